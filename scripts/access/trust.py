"""Make the TLS settings that trust what was chosen, and nothing else. Acts."""

from __future__ import annotations

import errno
import os
import ssl
import subprocess
import sys
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Final

from scripts.access.pixi_config_layers import RootCerts
from scripts.access.trust_choice import Source, Trust
from scripts.core.errors import usage_error

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
        if not source.needed and not os.path.exists(source.path)  # noqa: PTH110 -- never raises
    )


def _load(context: ssl.SSLContext, source: Source) -> bool:
    """Load the certificates of one source; False where it is passed over."""
    path = Path(source.path)
    try:
        mode = path.stat().st_mode
        if S_ISDIR(mode):
            context.load_verify_locations(capath=path)
        else:
            _refuse_endless(mode)
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


def _refuse_endless(mode: int) -> None:
    """Refuse a pipe, which would be waited for, and a device, which has no end."""
    if not S_ISREG(mode):
        raise OSError(errno.EINVAL, "not a file")


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
