"""Which proxy a URL goes through.

The environment's proxies win over `[proxy-config]` as a whole (pixi_config: `get_proxies`). A
session of requests knows no exceptions, so the answer is given for each URL.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any
from urllib.parse import urlsplit

from scripts.core.channel_url import DEFAULT_PORTS
from scripts.core.errors import usage_error
from scripts.network.configuration import PixiConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxies:
    """The proxies, passwords included, and the hosts without one; `source`: where they are set."""

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
        if self._is_bypassed(parts.hostname.rstrip("."), parts.port or DEFAULT_PORTS[parts.scheme]):
            return None
        proxy = proxy if "://" in proxy else f"http://{proxy}"
        try:
            asked = urlsplit(proxy)
            host, _ = asked.hostname, asked.port  # raises for none
        except ValueError:
            host = None
        if not host or asked.scheme not in {"http", "https"}:
            raise usage_error(
                self.source,
                f"the proxy for {parts.scheme} is not the URL of an http or https proxy",
                help=f"set {parts.scheme}_proxy to an http proxy, or NO_PROXY to the hosts to reach"
                " directly",
            )
        if asked.password is None:  # requests would not send the user, either
            return asked._replace(netloc=asked.netloc.replace("@", ":@")).geturl()
        return proxy

    def _is_bypassed(self, host: str, port: int) -> bool:
        """Apply NO_PROXY: `*`, names with all below them, addresses, networks; each with a port."""
        from urllib import request  # brings http.client along

        names = ",".join(each.removeprefix("*.") for each in self.bypass)
        by_name: Any = getattr(request, "proxy_bypass_environment")  # noqa: B009 -- typeshed lacks it
        return (
            f".{host}".endswith(".localhost")
            or "*" in self.bypass
            or bool(by_name(f"{host}:{port}", {"no": names}))
            or any(_is_within(host, each) for each in (*self.bypass, "127.0.0.0/8", "::1"))
        )


def _is_within(host: str, network: str) -> bool:
    try:
        return ip_address(host) in ip_network(network.strip("[]"), strict=False)
    except ValueError:  # one of them is a name
        return False


def choose_proxies(config: PixiConfig, environ: Mapping[str, str]) -> Proxies:
    """Take the environment's proxies where it names any, else those of pixi's configuration.

    NO_PROXY holds for both. HTTP_PROXY in capitals counts where nothing is configured, as in pixi
    0.77; but not where REQUEST_METHOD is set: there it is a header of a CGI request. Of two
    spellings the one in capitals counts, empty too, as in hyper-util (client/proxy/matcher.rs).
    """

    def variable(name: str) -> str | None:
        return environ.get(name.upper(), environ.get(name)) or None

    any_proxy = variable("all_proxy")
    https = variable("https_proxy") or any_proxy
    is_cgi = "REQUEST_METHOD" in environ
    http = (environ.get("http_proxy") if is_cgi else variable("http_proxy")) or any_proxy
    no_proxy = _split(variable("no_proxy") or "")
    is_set = https or environ.get("http_proxy")
    if is_set or not (config.https_proxy or config.http_proxy):
        return Proxies(source="the environment", https=https, http=http, bypass=no_proxy)
    return Proxies(
        source="proxy-config",
        https=config.https_proxy,
        http=config.http_proxy,
        bypass=(*no_proxy, *_split(",".join(config.non_proxy_hosts))),
    )


def _split(text: str) -> tuple[str, ...]:
    return tuple(each.strip().lower() for each in text.split(",") if each.strip())
