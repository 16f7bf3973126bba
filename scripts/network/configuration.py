"""pixi's configuration: which files are read, what they say to a downloader, how they merge.

The rules are those of pixi 0.77 (crates/pixi_config/src/lib.rs: `config_path_system`,
`config_path_global`, `load_global_with`, `load_with`, `merge_config`).
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import reduce
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from scripts.core.errors import usage_error
from scripts.core.files import not_readable, read_text
from scripts.core.redact import redact
from scripts.core.typed_values import Table, load_toml
from scripts.network.mirrors import Mirrors, origin
from scripts.workspace.parse import pixi_table, workspace_table

_FILE: Final = "config.toml"
_WHAT: Final = "pixi configuration"
_LARGEST: Final = 1 << 20  # bytes; real ones have hundreds
# pixi's default, which is never taken as set: rattler_config, ConcurrencyConfig::merge_config.
_DEFAULT_DOWNLOADS: Final = 50
# What the argument parser of pixi (clap's BoolishValueParser) takes.
_YES: Final = frozenset({"y", "yes", "t", "true", "on", "1"})
_NO: Final = frozenset({"n", "no", "f", "false", "off", "0"})


class RootCerts(StrEnum):
    """Which root certificates to trust: the bundled ones of Mozilla, or the system's store."""

    WEBPKI = "webpki"
    SYSTEM = "system"


# The last two are deprecated, and pixi takes them for `system`.
_OLD_CERTS: Final = dict.fromkeys(("native", "all"), RootCerts.SYSTEM)
_ROOT_CERTS: Final = {each.value: each for each in RootCerts} | _OLD_CERTS


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Options:
    """One bucket's endpoint; `path_style`: the bucket is in the path, not in the host's name."""

    bucket: str
    endpoint_url: str
    region: str
    path_style: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PixiConfig:
    """What one file says, or several merged; None and empty: not written.

    What may hold a password is not shown. `files` are those read, the strongest first.
    """

    mirrors: Mirrors = field(default=(), repr=False)
    https_proxy: str | None = field(default=None, repr=False)
    http_proxy: str | None = field(default=None, repr=False)
    non_proxy_hosts: tuple[str, ...] = ()
    tls_no_verify: bool | None = None
    tls_root_certs: RootCerts | None = None
    downloads: int | None = None
    authentication_override_file: Path | None = None
    s3_options: tuple[S3Options, ...] = ()
    files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """What of the machine decides where files are: `sys.platform`, and the home folder."""

    platform: str
    home: Path | None


def read_pixi_config(root: Path, environ: Mapping[str, str]) -> PixiConfig:
    """Read what the files say that pixi reads for the workspace in `root`.

    Raises the error of exit code 2 that names a file which is broken; pixi would only log it and
    go on without.
    """
    system = System(platform=sys.platform, home=home_of(environ))
    named, searched = config_paths(root, environ, system)
    texts = {} if named is None else {named: read_text(named, limit=_LARGEST, what=_WHAT)}
    for path in searched:
        text = read_optional_text(path, limit=_LARGEST, what=_WHAT)
        if text is not None:
            texts[path] = text
    layers = (parse_pixi_config(text, str(path)) for path, text in texts.items())
    config = reduce(merge_configs, layers, PixiConfig())
    certs = _root_certs(environ.get("PIXI_TLS_ROOT_CERTS"), "PIXI_TLS_ROOT_CERTS")
    return dataclasses.replace(config, tls_root_certs=certs or config.tls_root_certs)


def home_of(environ: Mapping[str, str]) -> Path | None:
    """Return the home folder as pixi finds it; None where there is none (a bare service)."""
    named = environ.get("USERPROFILE" if sys.platform == "win32" else "HOME")
    if named:
        return Path(named)
    try:
        return Path.home()
    except RuntimeError:
        return None


def read_optional_text(path: Path, *, limit: int, what: str) -> str | None:
    """Read a file as `read_text` does; None where there is none."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise not_readable(path, what, error) from None
    return read_text(path, limit=limit, what=what)


def config_paths(
    root: Path, environ: Mapping[str, str], system: System
) -> tuple[Path | None, tuple[Path, ...]]:
    """Return the file that must be there, if any, and those that may, the weakest first.

    PIXI_CONFIG_FILE and PIXI_NO_CONFIG replace all but the workspace's own; both at once, or a
    value that is none, is an error in pixi as well.
    """
    own = root / ".pixi" / _FILE
    no_config, named = environ.get("PIXI_NO_CONFIG"), environ.get("PIXI_CONFIG_FILE")
    if no_config is not None and named is not None:
        raise usage_error(
            "PIXI_NO_CONFIG", "set together with PIXI_CONFIG_FILE; pixi takes only one of them"
        )
    if named == "":
        raise usage_error("PIXI_CONFIG_FILE", "set, but empty")
    if (no_config or "no").lower() not in _YES | _NO or no_config == "":
        raise usage_error("PIXI_NO_CONFIG", "neither true nor false")
    if named is not None or (no_config or "no").lower() in _YES:
        return Path(named) if named else None, (own,)
    return None, (*(folder / _FILE for folder in _global_folders(environ, system)), own)


def _global_folders(environ: Mapping[str, str], system: System) -> list[Path]:
    """The folders of the system and of the user (`config_path_system`, `config_path_global`)."""
    home, xdg = system.home, environ.get("XDG_CONFIG_HOME")
    own = environ.get("PIXI_HOME") or (home and home / ".pixi")
    if system.platform == "win32":
        roaming = environ.get("APPDATA")
        found = [Path("C:\\ProgramData/pixi"), roaming and Path(roaming) / "pixi", own]
    elif system.platform == "darwin":
        support = home and home / "Library" / "Application Support" / "pixi"
        found = [Path("/etc/pixi"), xdg and Path(xdg) / "pixi", support, own]
    elif xdg and xdg.startswith("/"):  # the crate dirs takes no relative one
        found = [Path("/etc/pixi"), Path(xdg) / "pixi", own]
    else:
        found = [Path("/etc/pixi"), home and home / ".config" / "pixi", own]
    return [Path(each) for each in found if each]


def parse_pixi_config(text: str, subject: str) -> PixiConfig:
    """Parse one file; keys that are not for downloads are left to pixi.

    Raises the error of exit code 2 for what pixi would refuse too. No error shows a proxy or a
    mirror, which may hold a password.
    """
    top = load_toml(text, subject)
    for key in ("mirrors", "proxy-config"):
        if not isinstance(top.fields.get(key, {}), Mapping):
            raise usage_error(subject, f"{key} is not a table")
    proxy = top.table("proxy-config")
    no_verify = _spelling(top, "tls-no-verify", "tls_no_verify")
    override = _spelling(top, "authentication-override-file", "authentication_override_file")
    override_file = top.string(override)
    if override_file is not None and "\0" in override_file:
        raise usage_error(subject, f"{override} is not a path")
    return PixiConfig(
        mirrors=_mirrors(top),
        https_proxy=_proxy(proxy, "https"),
        http_proxy=_proxy(proxy, "http"),
        non_proxy_hosts=proxy.strings("non-proxy-hosts") or (),
        tls_no_verify=top.boolean(no_verify) if no_verify in top.fields else None,
        tls_root_certs=_root_certs(top.string("tls-root-certs"), subject),
        downloads=_downloads(top.table("concurrency")),
        authentication_override_file=None if override_file is None else Path(override_file),
        s3_options=parse_s3_options(top.table("s3-options")),
        files=(subject,),
    )


def merge_configs(weak: PixiConfig, strong: PixiConfig) -> PixiConfig:
    """Merge one file into those before it (`merge_config`)."""
    has_proxy = strong.https_proxy or strong.http_proxy or strong.non_proxy_hosts
    is_set = strong.downloads not in {None, _DEFAULT_DOWNLOADS}
    return PixiConfig(
        mirrors=tuple({**dict(weak.mirrors), **dict(strong.mirrors)}.items()),
        https_proxy=strong.https_proxy or weak.https_proxy,
        http_proxy=strong.http_proxy or weak.http_proxy,
        non_proxy_hosts=strong.non_proxy_hosts if has_proxy else weak.non_proxy_hosts,
        tls_no_verify=weak.tls_no_verify if strong.tls_no_verify is None else strong.tls_no_verify,
        tls_root_certs=strong.tls_root_certs or weak.tls_root_certs,
        downloads=strong.downloads if is_set else weak.downloads or strong.downloads,
        authentication_override_file=strong.authentication_override_file
        or weak.authentication_override_file,
        s3_options=merge_s3_options(weak.s3_options, strong.s3_options),
        files=(*strong.files, *weak.files),
    )


def parse_s3_options(table: Table) -> tuple[S3Options, ...]:
    """Parse the tables of all buckets, as pixi 0.77 has them (rattler_config 0.6)."""
    return tuple(_bucket(bucket, each) for bucket, each in table.tables())


def parse_manifest_s3_options(text: str, name: str) -> tuple[S3Options, ...]:
    """Parse those of a manifest, which are stronger than the configuration's.

    As in crates/pixi_utils/src/reqwest.rs; `name` is the manifest's file name.
    """
    if "s3-options" not in text:
        return ()
    return parse_s3_options(workspace_table(pixi_table(load_toml(text, name))).table("s3-options"))


def merge_s3_options(
    weak: tuple[S3Options, ...], strong: tuple[S3Options, ...]
) -> tuple[S3Options, ...]:
    """Merge buckets, each whole."""
    return tuple({each.bucket: each for each in (*weak, *strong)}.values())


def _bucket(bucket: str, table: Table) -> S3Options:
    endpoint, region = table.string("endpoint-url"), table.string("region")
    if endpoint is None or region is None:
        raise usage_error(table.subject, f"{table.where} needs an endpoint-url and a region")
    if "://" not in endpoint:
        raise usage_error(table.subject, f"{table.path_of('endpoint-url')} is not a URL")
    path_style = table.boolean("force-path-style")
    return S3Options(bucket=bucket, endpoint_url=endpoint, region=region, path_style=path_style)


def _spelling(table: Table, key: str, alias: str) -> str:
    """Return which of two spellings is written; pixi refuses both."""
    if key in table.fields and alias in table.fields:
        raise usage_error(table.subject, f"{key} is written twice, also as {alias}")
    return alias if alias in table.fields else key


def _mirrors(top: Table) -> Mirrors:
    result: dict[str, tuple[str, ...]] = {}
    for prefix, urls in top.table("mirrors").fields.items():
        where = f"mirrors.{redact(prefix)}"
        if not isinstance(urls, list) or not all(isinstance(url, str) for url in urls):
            raise usage_error(top.subject, f"{where} is not a list of URLs")
        try:
            result[_mirror_url(prefix)] = tuple(map(_mirror_url, urls))
        except ValueError:
            message = f"{where} is not a URL, or has one that is none"
            raise usage_error(top.subject, message) from None
    return tuple(result.items())


def _mirror_url(url: str) -> str:
    """Write a mirror's URL as pixi compares it, ending in a slash; ValueError where it is none."""
    parts = urlsplit(url.strip())
    if not parts.scheme or not (parts.netloc or parts.scheme == "file"):
        raise ValueError(url)
    _ = parts.port  # raises for one that is none
    user, at, _ = parts.netloc.rpartition("@")
    scheme, _, host = origin(url.strip()).partition("://")
    query = f"?{parts.query}" if parts.query else ""
    return f"{scheme}://{user}{at}{host}{parts.path.rstrip('/')}/{query}"


def _proxy(table: Table, key: str) -> str | None:
    value = table.fields.get(key)
    if value is None or (isinstance(value, str) and value):
        return value
    raise usage_error(table.subject, f"{table.path_of(key)} is not the URL of a proxy")


def _root_certs(text: str | None, subject: str) -> RootCerts | None:
    if text is None or text in _ROOT_CERTS:
        return None if text is None else _ROOT_CERTS[text]
    raise usage_error(
        subject, f"tls-root-certs is not one of {', '.join(_ROOT_CERTS)}", ("actual", repr(text))
    )


def _downloads(table: Table) -> int | None:
    value = table.fields.get("downloads")
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value > 0):
        return value
    raise table.wrong("downloads", "a whole number from 1 up")
