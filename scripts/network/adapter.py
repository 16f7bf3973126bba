"""The adapter of requests by which everything over http(s) is asked for.

It brings all of requests along: import it where something is asked for.
"""

from __future__ import annotations

import ssl
from typing import Any, Final

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from requests.utils import select_proxy

from scripts.network.mirrors import origin
from scripts.network.response_head import bounded

# Connections that a thread keeps open: a lock may name a thousand servers, a process may not.
_MOST_SERVERS: Final = 8


class ContextAdapter(HTTPAdapter):
    """Trusts its TLS context alone, and takes nothing from the environment.

    By itself requests adds Mozilla's certificates to any context that it verifies with, or (in
    2.32.2) puts its own in its place. And it finds out for each artifact what needs to be found
    out once for each server.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        """Take the context; it may be shared between threads, an adapter may not."""
        self._context = context
        self._pools: dict[tuple[str | None, str], Any] = {}
        if context.verify_mode is ssl.CERT_NONE:  # said once, by us, instead of once for each host
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        super().__init__()

    def close(self) -> None:
        """Close all connections; what is asked for next makes new ones."""
        super().close()
        self._pools.clear()

    @property
    def _tls(self) -> dict[str, Any]:
        return {"ssl_context": self._context, "cert_reqs": self._context.verify_mode.name}

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the manager of pools for connections without a proxy."""
        super().init_poolmanager(*args, **(kwargs | self._tls))
        pools: Any = self.poolmanager
        pools.pool_classes_by_scheme = bounded(pools.pool_classes_by_scheme)

    def proxy_manager_for(self, proxy: str, **proxy_kwargs: Any) -> Any:
        """Make the manager of pools for connections by this proxy; TLS to it trusts no other."""
        pools: Any = super().proxy_manager_for(
            proxy, proxy_ssl_context=self._context, **proxy_kwargs, **self._tls
        )
        pools.pool_classes_by_scheme = bounded(pools.pool_classes_by_scheme)
        return pools

    def get_connection_with_tls_context(
        self,
        request: Any,
        verify: Any,  # noqa: ARG002 -- these two are the context's already
        proxies: Any = None,
        cert: Any = None,  # noqa: ARG002
    ) -> Any:
        """Return the pool for a request's server."""
        proxy = select_proxy(request.url, proxies) if proxies else None
        key = (proxy, origin(request.url))
        if key not in self._pools:
            if len(self._pools) == _MOST_SERVERS:
                self.close()
            pools = self.proxy_manager_for(proxy) if proxy else self.poolmanager
            self._pools[key] = pools.connection_from_url(request.url)
        return self._pools[key]

    def build_response(self, request: Any, answer: Any) -> requests.Response:
        """Make the response, without cookies and a text's encoding: no artifact has any."""
        response = requests.Response()
        response.status_code = answer.status
        response.headers = CaseInsensitiveDict(answer.headers)
        response.reason = answer.reason
        response.url = request.url
        response.request = request
        response.raw = answer
        return response

    def request_url(self, request: Any, proxies: Any) -> Any:
        """Return what stands in the request line; without a proxy there is nothing to choose."""
        return super().request_url(request, proxies) if proxies else request.path_url

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Leave the connection as the pool made it."""
