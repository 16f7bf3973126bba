"""Which proxy a URL goes through.

The environment's proxies win over `[proxy-config]` as a whole (pixi_config: `get_proxies`). A
session of requests knows no exceptions, so the answer is given for each URL.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from scripts.core.errors import usage_error
from scripts.network.pixi_config_layers import PixiConfig

_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxies:
    """The proxies, with their passwords, and what goes past them; `source` is who said so."""

    source: str
    https: str | None = field(default=None, repr=False)
    http: str | None = field(default=None, repr=False)
    bypass: tuple[str, ...] = ()

    def for_url(self, url: str) -> str | None:
        """Return the proxy for a URL, None to go without.

        This machine's own names never go through one: to a proxy they mean itself. Raises the
        error of exit code 2 for a kind of proxy that cannot be used.
        """
        parts = urlsplit(url)
        proxy = {"https": self.https, "http": self.http}.get(parts.scheme)
        if proxy is None or parts.hostname is None:
            return None
        port = parts.port or _PORTS[parts.scheme]
        if _is_loopback(parts.hostname) or _goes_past(parts.hostname, port, self.bypass):
            return None
        if "://" not in proxy:
            proxy = f"http://{proxy}"
        if not _is_complete(proxy):
            raise usage_error(self.source, f"the proxy for {parts.scheme} is not a URL")
        kind = urlsplit(proxy).scheme
        if kind not in {"http", "https"}:
            raise usage_error(
                self.source,
                f"{kind} proxies cannot be used, only http and https ones",
                help="set HTTPS_PROXY to an http proxy, or NO_PROXY to the hosts to reach directly",
            )
        return proxy


def choose_proxies(config: PixiConfig, environ: Mapping[str, str]) -> Proxies:
    """Take the environment's proxies where it names any, else those of pixi's configuration.

    NO_PROXY holds for both, and HTTP_PROXY in capitals counts, other than in pixi 0.77; but not
    where REQUEST_METHOD is set: there it is a header of a CGI request (as in requests).
    """
    any_proxy = _variable(environ, "all_proxy")
    https = _variable(environ, "https_proxy") or any_proxy
    is_cgi = "REQUEST_METHOD" in environ
    http = environ.get("http_proxy") if is_cgi else _variable(environ, "http_proxy")
    http = http or any_proxy
    no_proxy = _split(_variable(environ, "no_proxy") or "")
    if https or http:
        return Proxies(source="the environment", https=https, http=http, bypass=no_proxy)
    hosts = tuple(each for host in config.non_proxy_hosts for each in _split(host))
    return Proxies(
        source="proxy-config",
        https=config.https_proxy,
        http=config.http_proxy,
        bypass=(*no_proxy, *hosts),
    )


def _variable(environ: Mapping[str, str], name: str) -> str | None:
    return environ.get(name) or environ.get(name.upper()) or None


def _split(text: str) -> tuple[str, ...]:
    return tuple(each.strip().lower() for each in text.split(",") if each.strip())


def _is_complete(proxy: str) -> bool:
    try:
        parts = urlsplit(proxy)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _is_loopback(host: str) -> bool:
    address = _address(host)
    if address is not None:
        return address.is_loopback
    return host == "localhost" or host.endswith(".localhost")


def _goes_past(host: str, port: int, bypass: tuple[str, ...]) -> bool:
    """Apply NO_PROXY: `*`, names with all below them, addresses, networks; each with a port."""
    host = host.rstrip(".")
    return any(each == "*" or _matches(each, host, port) for each in bypass)


def _matches(pattern: str, host: str, port: int) -> bool:
    address, network = _address(host), _network(pattern)
    if address is not None and network is not None:
        return network.version == address.version and address in network
    name, colon, wanted = pattern.rpartition(":")
    if colon and wanted.isdecimal():
        return str(port) == wanted and _matches(name, host, port)
    pattern = pattern.removeprefix("*").lstrip(".")
    return bool(pattern) and (host == pattern or host.endswith(f".{pattern}"))


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None


def _network(pattern: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(pattern.strip("[]"), strict=False)
    except ValueError:
        return None
