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
from scripts.network.configuration import PixiConfig

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
        if self._is_bypassed(parts.hostname.rstrip("."), parts.port or _PORTS[parts.scheme]):
            return None
        if "://" not in proxy:
            proxy = f"http://{proxy}"
        try:
            is_complete = bool(urlsplit(proxy).hostname) and urlsplit(proxy).port != 0
        except ValueError:
            is_complete = False
        if not is_complete:
            raise usage_error(self.source, f"the proxy for {parts.scheme} is not a URL")
        kind = urlsplit(proxy).scheme
        if kind not in {"http", "https"}:
            raise usage_error(
                self.source,
                f"{kind} proxies cannot be used, only http and https ones",
                help="set HTTPS_PROXY to an http proxy, or NO_PROXY to the hosts to reach directly",
            )
        return proxy

    def _is_bypassed(self, host: str, port: int) -> bool:
        """Apply NO_PROXY: `*`, names with all below them, addresses, networks; each with a port."""
        # It brings http.client along; and typeshed does not know it.
        from urllib.request import (  # type: ignore[attr-defined,unused-ignore]
            proxy_bypass_environment,
        )

        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            address = None
        names = ",".join(each.removeprefix("*.") for each in self.bypass)
        return (
            f".{host}".endswith(".localhost")
            or (address is not None and address.is_loopback)
            or "*" in self.bypass
            or bool(proxy_bypass_environment(f"{host}:{port}", {"no": names}))
            or (address is not None and any(_is_within(address, each) for each in self.bypass))
        )


def _is_within(address: ipaddress.IPv4Address | ipaddress.IPv6Address, network: str) -> bool:
    try:
        return address in ipaddress.ip_network(network.strip("[]"), strict=False)
    except ValueError:
        return False


def choose_proxies(config: PixiConfig, environ: Mapping[str, str]) -> Proxies:
    """Take the environment's proxies where it names any, else those of pixi's configuration.

    NO_PROXY holds for both, and HTTP_PROXY in capitals counts, other than in pixi 0.77; but not
    where REQUEST_METHOD is set: there it is a header of a CGI request (as in requests).
    """

    def variable(name: str) -> str | None:
        return environ.get(name) or environ.get(name.upper()) or None

    any_proxy = variable("all_proxy")
    https = variable("https_proxy") or any_proxy
    is_cgi = "REQUEST_METHOD" in environ
    http = (environ.get("http_proxy") if is_cgi else variable("http_proxy")) or any_proxy
    no_proxy = _split(variable("no_proxy") or "")
    if https or http:
        return Proxies(source="the environment", https=https, http=http, bypass=no_proxy)
    return Proxies(
        source="proxy-config",
        https=config.https_proxy,
        http=config.http_proxy,
        bypass=(*no_proxy, *_split(",".join(config.non_proxy_hosts))),
    )


def _split(text: str) -> tuple[str, ...]:
    return tuple(each.strip().lower() for each in text.split(",") if each.strip())
