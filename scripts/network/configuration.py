"""pixi's configuration: which files are read, what they hold for downloads, how they merge.

The rules are those of pixi 0.77 (crates/pixi_config/src/lib.rs: `config_path_system`,
`config_path_global`, `load_global_with`, `load_with`, `merge_config`). What makes pixi itself
refuse to start (a key written twice, variables that contradict each other) is not checked.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from scripts.core.channel_url import origin
from scripts.core.errors import usage_error
from scripts.core.files import read_text
from scripts.core.redact import redact
from scripts.core.typed_values import Table, load_toml
from scripts.network.mirrors import Mirrors, url_path
from scripts.workspace.parse import pixi_table, workspace_table

_WHAT: Final = "pixi configuration"
_LARGEST: Final = 1 << 20  # bytes; real ones have hundreds
# pixi's default, which is never taken as set: rattler_config, ConcurrencyConfig::merge_config.
_DEFAULT_DOWNLOADS: Final = 50
# What the argument parser of pixi (clap's BoolishValueParser) takes.
_YES: Final = frozenset({"y", "yes", "t", "true", "on", "1"})


class RootCerts(StrEnum):
    """Which root certificates to trust: the bundled ones of Mozilla, or the system's store."""

    WEBPKI = "webpki"
    SYSTEM = "system"


# The last two are deprecated, and pixi takes them for `system`.
_OLD_CERTS: Final = dict.fromkeys(("native", "all"), RootCerts.SYSTEM)
_ROOT_CERTS: Final = {each.value: each for each in RootCerts} | _OLD_CERTS


class S3Options(NamedTuple):
    """One bucket's endpoint; `path_style`: the bucket is in the path, not in the host's name."""

    bucket: str
    endpoint_url: str
    region: str
    path_style: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PixiConfig:
    """What one file says, or several merged; None or empty: it is not set.

    Fields that may hold a password are not in its repr. `uses_keyring`: the program `keyring` is
    asked for the passwords of indexes; `insecure_hosts` (`host`, `host:8443`, `https://host`, `*`)
    are those whose certificates are not verified. `offline_by` names the file or the variable that
    makes pixi offline, empty where the strongest that speaks of it says that it is not. `files` are
    those read, the strongest first; `mirror_files` name the file that each prefix of `mirrors` is
    written in.
    """

    mirrors: Mirrors = field(default=(), repr=False)
    mirror_files: tuple[tuple[str, str], ...] = field(default=(), repr=False, compare=False)
    https_proxy: str | None = field(default=None, repr=False)
    http_proxy: str | None = field(default=None, repr=False)
    non_proxy_hosts: tuple[str, ...] = ()
    tls_no_verify: bool | None = None
    tls_root_certs: RootCerts | None = None
    downloads: int | None = None
    authentication_override_file: Path | None = None
    s3_options: tuple[S3Options, ...] = ()
    uses_keyring: bool | None = None
    insecure_hosts: tuple[str, ...] = ()
    offline_by: str | None = None
    files: tuple[str, ...] = ()


def read_pixi_config(root: Path, environ: Mapping[str, str]) -> PixiConfig:
    """Read the configuration files that pixi reads for the workspace in `root`.

    Raises the error of exit code 2 that names a file which is broken; pixi would only log it and
    go on without.
    """
    config, named = PixiConfig(), environ.get("PIXI_CONFIG_FILE")
    for path in config_paths(root, environ, sys.platform, home_of(environ)):
        read = read_text if named and path == Path(named) else read_optional_text
        text = read(path, limit=_LARGEST, what=_WHAT)
        if text is not None:
            config = merge_configs(config, parse_pixi_config(text, str(path)))
    certs = _root_certs(environ.get("PIXI_TLS_ROOT_CERTS"), "PIXI_TLS_ROOT_CERTS")
    offline_by, variable = config.offline_by, environ.get("PIXI_OFFLINE")
    if variable is not None:
        offline_by = "PIXI_OFFLINE" if variable.lower() in _YES else ""
    certs = certs or config.tls_root_certs
    return dataclasses.replace(config, tls_root_certs=certs, offline_by=offline_by)


def home_of(environ: Mapping[str, str]) -> Path | None:
    """Return the home folder as pixi finds it; None where there is none (a bare service)."""
    named = environ.get("USERPROFILE" if sys.platform == "win32" else "HOME")
    home = named or os.path.expanduser("~")  # noqa: PTH111 -- never raises
    return None if home == "~" else Path(home)


def read_optional_text(path: Path, *, limit: int, what: str) -> str | None:
    """Read a file as `read_text` does; None where there is none."""
    there = os.path.exists(path)  # noqa: PTH110 -- never raises
    return read_text(path, limit=limit, what=what) if there else None


def config_paths(
    root: Path, environ: Mapping[str, str], platform: str, home: Path | None
) -> tuple[Path, ...]:
    """Return the files that pixi reads where they exist, the weakest first.

    PIXI_CONFIG_FILE, which must exist, and PIXI_NO_CONFIG replace all but the workspace's own.
    """
    own, named = root / ".pixi", environ.get("PIXI_CONFIG_FILE")
    if named:
        return Path(named), own / "config.toml"
    if environ.get("PIXI_NO_CONFIG", "").lower() in _YES:
        return (own / "config.toml",)
    xdg = environ.get("XDG_CONFIG_HOME")
    parents = ["/etc", home and home / ".config"]
    if platform == "win32":
        parents = ["C:\\ProgramData", environ.get("APPDATA")]
    elif platform == "darwin":
        parents = ["/etc", xdg, home and home / "Library" / "Application Support"]
    elif xdg and xdg.startswith("/"):  # the crate dirs takes no relative one
        parents = ["/etc", xdg]
    folders = [Path(each) / "pixi" for each in parents if each]
    of_user = environ.get("PIXI_HOME") or (home and home / ".pixi")
    folders += [Path(of_user)] if of_user else []
    return tuple(each / "config.toml" for each in (*folders, own))


def parse_pixi_config(text: str, subject: str) -> PixiConfig:
    """Parse one file; keys that are not for downloads are left to pixi.

    Raises the error of exit code 2 for what pixi would refuse too. No error shows a proxy or a
    mirror, which may hold a password.
    """
    loaded = load_toml(text, subject)
    top = Table(subject, "", {key.replace("_", "-"): loaded.fields[key] for key in loaded.fields})
    for key in ("mirrors", "proxy-config", "pypi-config"):
        if not isinstance(top.fields.get(key, {}), Mapping):
            raise usage_error(subject, f"{key} is not a table")
    proxy, concurrency = top.table("proxy-config"), top.table("concurrency")
    downloads = concurrency.integer("downloads")
    if downloads is not None and downloads < 1:
        raise concurrency.wrong("downloads", "a whole number from 1 up")
    override_file = top.string("authentication-override-file")
    if override_file is not None and "\0" in override_file:
        raise usage_error(subject, "authentication-override-file is not a path")
    mirrors, pypi = _mirrors(top), top.table("pypi-config")
    return PixiConfig(
        mirrors=mirrors,
        mirror_files=tuple((prefix, subject) for prefix, _ in mirrors),
        https_proxy=_proxy(proxy, "https"),
        http_proxy=_proxy(proxy, "http"),
        non_proxy_hosts=proxy.strings("non-proxy-hosts"),
        tls_no_verify=top.boolean("tls-no-verify") if "tls-no-verify" in top.fields else None,
        tls_root_certs=_root_certs(top.string("tls-root-certs"), subject),
        downloads=downloads,
        authentication_override_file=None if override_file is None else Path(override_file),
        s3_options=parse_s3_options(top.table("s3-options")),
        uses_keyring=_uses_keyring(pypi),
        insecure_hosts=pypi.strings("allow-insecure-host"),
        offline_by=(subject if top.boolean("offline") else "") if "offline" in top.fields else None,
        files=(subject,),
    )


def merge_configs(weak: PixiConfig, strong: PixiConfig) -> PixiConfig:
    """Merge a file over weaker ones (`merge_config`): what it says replaces what they say.

    Mirrors and buckets are replaced one by one; a proxy comes with its own exceptions; insecure
    hosts add up.
    """
    values = ((each.name, getattr(strong, each.name)) for each in dataclasses.fields(strong))
    said = {name: value for name, value in values if value not in (None, ())}
    if strong.https_proxy or strong.http_proxy:
        said.setdefault("non_proxy_hosts", ())
    if strong.downloads == _DEFAULT_DOWNLOADS and weak.downloads:
        del said["downloads"]
    said["mirror_files"] = tuple((dict(weak.mirror_files) | dict(strong.mirror_files)).items())
    said["insecure_hosts"] = (*weak.insecure_hosts, *strong.insecure_hosts)
    said["mirrors"] = tuple((dict(weak.mirrors) | dict(strong.mirrors)).items())
    buckets = {each.bucket: each for each in (*weak.s3_options, *strong.s3_options)}
    said["s3_options"] = tuple(buckets.values())
    said["files"] = (*strong.files, *weak.files)
    return dataclasses.replace(weak, **said)


def parse_s3_options(table: Table) -> tuple[S3Options, ...]:
    """Parse `s3-options`, a table for each bucket, as pixi 0.77 has them (rattler_config 0.6)."""
    return tuple(
        S3Options(
            bucket=bucket,
            endpoint_url=each.required("endpoint-url"),
            region=each.required("region"),
            path_style=each.boolean("force-path-style"),
        )
        for bucket, each in table.tables()
    )


def parse_manifest_s3_options(text: str, name: str) -> tuple[S3Options, ...]:
    """Parse the `s3-options` of a manifest, which are stronger than the configuration's.

    As in crates/pixi_utils/src/reqwest.rs; `name` is the manifest's file name.
    """
    if "s3-options" not in text:
        return ()
    return parse_s3_options(workspace_table(pixi_table(load_toml(text, name))).table("s3-options"))


def _mirrors(top: Table) -> Mirrors:
    result: dict[str, tuple[str, ...]] = {}
    for prefix, urls in top.table("mirrors").fields.items():
        try:
            each = urls if isinstance(urls, list) else [None]
            result[_mirror_url(prefix)] = tuple(map(_mirror_url, each))
        except (ValueError, AttributeError):  # the latter: not a string
            message = f"mirrors.{redact(prefix)} is not a URL with a list of URLs"
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
    path = f"{url_path(url.strip()).rstrip('/')}/"
    return parts._replace(
        scheme=scheme, netloc=f"{user}{at}{host}", path=path, fragment=""
    ).geturl()


def _proxy(table: Table, key: str) -> str | None:
    value = table.fields.get(key)
    if value is None or (isinstance(value, str) and value):
        return value
    raise usage_error(table.subject, f"{table.path_of(key)} is not the URL of a proxy")


def _uses_keyring(table: Table) -> bool | None:
    provider = table.string("keyring-provider")
    if provider in {None, "disabled", "subprocess"}:
        return None if provider is None else provider == "subprocess"
    raise table.wrong("keyring-provider", "one of disabled, subprocess")


def _root_certs(text: str | None, subject: str) -> RootCerts | None:
    if text is None or text in _ROOT_CERTS:
        return None if text is None else _ROOT_CERTS[text]
    message = f"tls-root-certs is not one of {', '.join(_ROOT_CERTS)}"
    raise usage_error(subject, message, ("actual", repr(text)))
