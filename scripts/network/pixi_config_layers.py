"""What pixi's configuration files say to a downloader, and how they overlay.

The rules are those of pixi 0.77 (crates/pixi_config/src/lib.rs: `Config`, `merge_config`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from scripts.core.errors import MirrorError, usage_error
from scripts.core.redact import redact
from scripts.core.typed_values import Table, load_toml
from scripts.network.s3_options import S3Options, overlay, parse_s3_options

# pixi's default, which is never taken for a wish: rattler_config, ConcurrencyConfig::merge_config.
_DEFAULT_DOWNLOADS: Final = 50


class RootCerts(StrEnum):
    """Which root certificates to trust: the bundled ones of Mozilla, or the system's store."""

    WEBPKI = "webpki"
    SYSTEM = "system"


# The last two are deprecated, and pixi takes them for `system`.
_ROOT_CERTS: Final = {
    "webpki": RootCerts.WEBPKI,
    "system": RootCerts.SYSTEM,
    "native": RootCerts.SYSTEM,
    "all": RootCerts.SYSTEM,
}

Mirrors = tuple[tuple[str, tuple[str, ...]], ...]
"""Pairs of a URL prefix and its replacements in order, each ending in a slash."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PixiConfigLayer:
    """One file's share; None and empty: not written. What may hold a password is not shown."""

    subject: str
    mirrors: Mirrors = field(default=(), repr=False)
    https_proxy: str | None = field(default=None, repr=False)
    http_proxy: str | None = field(default=None, repr=False)
    non_proxy_hosts: tuple[str, ...] = ()
    tls_no_verify: bool | None = None
    tls_root_certs: RootCerts | None = None
    downloads: int | None = None
    authentication_override_file: Path | None = None
    s3_options: tuple[S3Options, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PixiConfig:
    """What holds when all files are laid over each other.

    `tls_root_certs` and `downloads` are None where nobody wrote them. `files` are those that were
    read, the strongest first.
    """

    mirrors: Mirrors = field(default=(), repr=False)
    https_proxy: str | None = field(default=None, repr=False)
    http_proxy: str | None = field(default=None, repr=False)
    non_proxy_hosts: tuple[str, ...] = ()
    tls_no_verify: bool = False
    tls_root_certs: RootCerts | None = None
    downloads: int | None = None
    authentication_override_file: Path | None = None
    s3_options: tuple[S3Options, ...] = ()
    files: tuple[str, ...] = ()


def parse_pixi_config(text: str, subject: str) -> PixiConfigLayer:
    """Read one file; keys that are not for downloads are left to pixi.

    Raises the error of exit code 2 for what pixi would refuse too. No error shows a proxy or a
    mirror, which may hold a password.
    """
    top = load_toml(text, subject)
    for key in ("mirrors", "proxy-config"):
        if not isinstance(top.fields.get(key, {}), Mapping):
            raise usage_error(subject, f"{key} is not a table")
    proxy, concurrency = top.table("proxy-config"), top.table("concurrency")
    no_verify = _only_key(top, "tls-no-verify", "tls_no_verify")
    override = _only_key(top, "authentication-override-file", "authentication_override_file")
    override_file = top.string(override) if override else None
    if override_file is not None and "\0" in override_file:
        raise usage_error(subject, f"{override} is not a path")
    return PixiConfigLayer(
        subject=subject,
        mirrors=_mirrors(top),
        https_proxy=_proxy(proxy, "https"),
        http_proxy=_proxy(proxy, "http"),
        non_proxy_hosts=proxy.strings("non-proxy-hosts") or (),
        tls_no_verify=top.boolean(no_verify) if no_verify else None,
        tls_root_certs=_root_certs(top.string("tls-root-certs"), subject),
        downloads=_downloads(concurrency),
        authentication_override_file=None if override_file is None else Path(override_file),
        s3_options=parse_s3_options(top.table("s3-options")),
    )


def merge_layers(layers: Sequence[PixiConfigLayer], environ: Mapping[str, str]) -> PixiConfig:
    """Lay the files over each other, the weakest first, and PIXI_TLS_ROOT_CERTS over them all."""
    mirrors: dict[str, tuple[str, ...]] = {}
    s3_options: tuple[S3Options, ...] = ()
    result = PixiConfigLayer(subject="")
    for layer in layers:
        mirrors |= dict(layer.mirrors)
        s3_options = overlay(s3_options, layer.s3_options)
        result = _over(result, layer)
    from_environment = environ.get("PIXI_TLS_ROOT_CERTS")
    return PixiConfig(
        mirrors=tuple(mirrors.items()),
        https_proxy=result.https_proxy,
        http_proxy=result.http_proxy,
        non_proxy_hosts=result.non_proxy_hosts,
        tls_no_verify=bool(result.tls_no_verify),
        tls_root_certs=_root_certs(from_environment, "PIXI_TLS_ROOT_CERTS")
        or result.tls_root_certs,
        downloads=result.downloads,
        authentication_override_file=result.authentication_override_file,
        s3_options=s3_options,
        files=tuple(layer.subject for layer in reversed(layers)),
    )


def _over(weak: PixiConfigLayer, strong: PixiConfigLayer) -> PixiConfigLayer:
    """Lay one file's single values over those before it (`merge_config`)."""
    has_proxy = strong.https_proxy or strong.http_proxy or strong.non_proxy_hosts
    is_wish = strong.downloads is not None and strong.downloads != _DEFAULT_DOWNLOADS
    return PixiConfigLayer(
        subject="",
        https_proxy=strong.https_proxy or weak.https_proxy,
        http_proxy=strong.http_proxy or weak.http_proxy,
        non_proxy_hosts=strong.non_proxy_hosts if has_proxy else weak.non_proxy_hosts,
        tls_no_verify=weak.tls_no_verify if strong.tls_no_verify is None else strong.tls_no_verify,
        tls_root_certs=strong.tls_root_certs or weak.tls_root_certs,
        downloads=strong.downloads if is_wish else weak.downloads or strong.downloads,
        authentication_override_file=strong.authentication_override_file
        or weak.authentication_override_file,
    )


def _only_key(table: Table, key: str, alias: str) -> str | None:
    """Return which spelling is written, None for neither; pixi refuses both."""
    written = [each for each in (key, alias) if each in table.fields]
    if len(written) > 1:
        raise usage_error(table.subject, f"{key} is written twice, also as {alias}")
    return written[0] if written else None


def _mirrors(top: Table) -> Mirrors:
    table = top.table("mirrors")
    result: dict[str, tuple[str, ...]] = {}
    for prefix, urls in table.fields.items():
        where = f"mirrors.{redact(prefix)}"
        if not isinstance(urls, list) or not all(isinstance(url, str) for url in urls):
            raise usage_error(top.subject, f"{where} is not a list of URLs")
        replacements = tuple(_with_slash(url) for url in urls)
        if _with_slash(prefix) is None or None in replacements:
            raise usage_error(top.subject, f"{where} is not a URL, or has one that is none")
        result[_with_slash(prefix) or ""] = tuple(url for url in replacements if url)
    return tuple(result.items())


def _with_slash(url: str) -> str | None:
    """Write a mirror's URL as pixi compares it, ending in a slash; None where it is no URL."""
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError:
        return None
    if not parts.scheme or not (parts.netloc or parts.scheme == "file"):
        return None
    host = parts.netloc.rpartition("@")[2].lower()
    if (parts.scheme, port) in {("https", 443), ("http", 80)}:
        host = host.rpartition(":")[0]
    user = parts.netloc.rpartition("@")[0]
    at = f"{user}@" if user else ""
    query = f"?{parts.query}" if parts.query else ""
    return f"{parts.scheme}://{at}{host}{parts.path.rstrip('/')}/{query}"


def _proxy(table: Table, key: str) -> str | None:
    value = table.fields.get(key)
    if value is None or (isinstance(value, str) and value):
        return value
    raise usage_error(table.subject, f"{table.path_of(key)} is not the URL of a proxy")


def _root_certs(text: str | None, subject: str) -> RootCerts | None:
    if text is None:
        return None
    if text not in _ROOT_CERTS:
        raise _not_root_certs(text, subject)
    return _ROOT_CERTS[text]


def _not_root_certs(text: str, subject: str) -> MirrorError:
    return usage_error(
        subject, f"tls-root-certs is not one of {', '.join(_ROOT_CERTS)}", ("actual", repr(text))
    )


def _downloads(table: Table) -> int | None:
    value = table.fields.get("downloads")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise table.wrong("downloads", "a whole number from 1 up")
    return value
