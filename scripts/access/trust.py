"""Make TLS connections that trust what was chosen, and nothing else. Acts."""

from __future__ import annotations

import ssl
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from scripts.access.pixi_config_layers import RootCerts
from scripts.access.response_head import bounded
from scripts.access.trust_choice import Source, Trust
from scripts.core.errors import usage_error

if TYPE_CHECKING:
    import requests
    import requests.adapters

# Where Linux systems keep their bundle (Go's crypto/x509/root_linux.go). The paths built into
# conda-forge's OpenSSL lie in the environment and hold Mozilla's certificates, not the system's.
_LINUX_BUNDLES: Final = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
_MAC_KEYCHAINS: Final = (
    "/System/Library/Keychains/SystemRootCertificates.keychain",
    "/Library/Keychains/System.keychain",
)


def make_context(trust: Trust) -> ssl.SSLContext:
    """Make the TLS settings of all connections; it may be shared between threads.

    Raises the error of exit code 2 for a file named by REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE that
    holds no certificates.
    """
    from urllib3.util.ssl_ import create_urllib3_context

    context = create_urllib3_context()  # checks host names as this version of urllib3 wants it
    # From Python 3.13 on; the certificates of many a company fail it, and pixi asks for less.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if not trust.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    loaded = [_load(context, source) for source in trust.sources]
    if not any(loaded):
        _load_roots(context, trust.roots)
    return context


def passed_over(trust: Trust) -> tuple[str, ...]:
    """Say which sources are not there, for a warning."""
    return tuple(
        f"{source.name}: there is nothing at {source.path}, so it is not used"
        for source in trust.sources
        if not source.needed and not Path(source.path).exists()
    )


def make_adapter(context: ssl.SSLContext) -> requests.adapters.HTTPAdapter:
    """Make an adapter of requests that trusts this context alone, and nothing of the environment.

    By itself requests adds Mozilla's certificates to any context that it verifies with, or (in
    2.32.2) puts its own in its place.
    """
    import urllib3
    from requests.adapters import HTTPAdapter
    from requests.utils import select_proxy

    if context.verify_mode is ssl.CERT_NONE:  # said once, by us, instead of once for each host
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    tls: dict[str, Any] = {"ssl_context": context, "cert_reqs": context.verify_mode.name}

    class ContextAdapter(HTTPAdapter):
        def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
            super().init_poolmanager(*args, **(kwargs | tls))
            pools: Any = self.poolmanager
            pools.pool_classes_by_scheme = bounded(pools.pool_classes_by_scheme)

        def proxy_manager_for(self, proxy: str, **proxy_kwargs: Any) -> Any:
            pools: Any = super().proxy_manager_for(
                proxy, proxy_ssl_context=context, **proxy_kwargs, **tls
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
            proxy = select_proxy(request.url, proxies) if proxies else None
            pools = self.proxy_manager_for(proxy) if proxy else self.poolmanager
            return pools.connection_from_url(request.url)

        def request_url(self, request: Any, proxies: Any) -> Any:
            """Spare the search for a proxy, for each artifact, where there is none."""
            return super().request_url(request, proxies) if proxies else request.path_url

        def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
            """Leave the connection as the pool made it."""

    return ContextAdapter()


def _load(context: ssl.SSLContext, source: Source) -> bool:
    """Load the certificates of one source; False where it is passed over."""
    path = Path(source.path)
    is_folder = path.is_dir()
    try:
        if is_folder:
            context.load_verify_locations(capath=path)
        else:
            context.load_verify_locations(cafile=path)
    except FileNotFoundError:
        if not source.needed:
            return False
        raise usage_error(source.name, "there is no such file", ("file", source.path)) from None
    except OSError as error:  # ssl.SSLError is one
        raise usage_error(
            source.name,
            "cannot read certificates from this file",
            ("file", source.path),
            ("reason", error.strerror or type(error).__name__),
            help="it must hold certificates in PEM form",
        ) from None
    return True


def _load_roots(context: ssl.SSLContext, roots: RootCerts) -> None:
    if roots is RootCerts.WEBPKI:
        from requests.utils import DEFAULT_CA_BUNDLE_PATH

        context.load_verify_locations(cafile=DEFAULT_CA_BUNDLE_PATH)
        return
    if sys.platform == "darwin":
        context.load_verify_locations(cadata=_mac_certificates())
        return
    bundle = next((each for each in _LINUX_BUNDLES if Path(each).is_file()), None)
    if sys.platform == "win32" or bundle is None:
        context.load_default_certs()
    else:
        context.load_verify_locations(cafile=bundle)


def _mac_certificates() -> str:
    """Return the certificates of the system's keychains, which OpenSSL does not read, in PEM."""
    command = ["/usr/bin/security", "find-certificate", "-a", "-p", *_MAC_KEYCHAINS]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0 or not done.stdout:
        raise usage_error(
            "tls-root-certs",
            "cannot read the certificates of the system's keychains",
            help="name a file of certificates in SSL_CERT_FILE",
        )
    return done.stdout
