"""Make the TLS settings that trust what was chosen, and nothing else."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import ssl
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from stat import S_ISREG
from typing import Final

from scripts.core.errors import MirrorError, usage_error
from scripts.network.pixi_config_layers import RootCerts
from scripts.network.tls_choice import Source, Trust

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
_PEM: Final = re.compile(rb"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----")
_LARGEST: Final = 16 << 20  # bytes of one file; a bundle of Mozilla's has a quarter of a million


def usable(environ: Mapping[str, str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Take out what pixi passes over: SSL_CERT_FILE and SSL_CERT_DIR that name no certificates.

    Return the other variables, and what to say of these.
    """
    left, notes = dict(environ), []
    if environ.get("SSL_CERT_FILE"):
        path = environ["SSL_CERT_FILE"]
        reason = _why_useless(path, is_folder=False)
        if reason is not None:
            del left["SSL_CERT_FILE"]
            notes.append(f"SSL_CERT_FILE: {reason} {path}, so it is not used")
    folders = []
    for path in filter(None, environ.get("SSL_CERT_DIR", "").split(os.pathsep)):
        reason = _why_useless(path, is_folder=True)
        if reason is None:
            folders.append(path)
        else:
            notes.append(f"SSL_CERT_DIR: {reason} {path}, so it is not used")
    if "SSL_CERT_DIR" in left:
        left["SSL_CERT_DIR"] = os.pathsep.join(folders)
    return left, tuple(notes)


def make_context(trust: Trust) -> ssl.SSLContext:
    """Make the TLS settings of all connections; it may be shared between threads.

    Raises the error of exit code 2 for a file that counts and holds no certificates.
    """
    from urllib3.util.ssl_ import create_urllib3_context

    context = create_urllib3_context()  # checks host names as this version of urllib3 wants it
    # From Python 3.13 on; the certificates of many a company fail it, and pixi asks for less.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    # As in pixi, what is named is trusted, though somebody else has signed it.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if not trust.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    for source in trust.sources:
        _load(context, source)
    for roots in trust.roots:
        try:
            _load_roots(context, roots)
        except (OSError, MirrorError):  # ssl.SSLError is an OSError
            if trust.written:
                raise
    return context


def root_for_rattler(trust: Trust) -> RootCerts:
    """Choose the one store that rattler's client can have; without any certificate it panics."""
    if trust.written or sys.platform != "linux" or _linux_bundle() is not None:
        return trust.roots[0] if trust.roots else RootCerts.WEBPKI
    return RootCerts.WEBPKI


def _why_useless(path: str, *, is_folder: bool) -> str | None:
    """Return the beginning of a sentence; None where certificates are there."""
    try:
        if not os.path.exists(path):  # noqa: PTH110 -- never raises
            return "there is nothing at"
        if is_folder != Path(path).is_dir():
            return "not a folder:" if is_folder else "a folder, not a file:"
        return None if _certificates(Path(path)) else "no certificates in PEM form in"
    except OSError as error:
        return f"cannot read ({error.strerror})"


def _certificates(path: Path) -> tuple[str, ...]:
    """Read a file, or every file in a folder, whatever it is called, as pixi does.

    OpenSSL takes those of a folder alone that are named after a hash of their subject.
    """
    if not path.is_dir():
        return _in_file(path)
    found: dict[str, None] = {}
    for file in sorted(path.iterdir()):
        with contextlib.suppress(OSError):  # a dangling link, a file of somebody else's
            if file.is_file():
                found.update(dict.fromkeys(_in_file(file)))
    return tuple(found)


def _in_file(path: Path) -> tuple[str, ...]:
    """Read the certificates in a file; a pipe would be waited for, and a device has no end."""
    if not S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "not a file")
    with path.open("rb") as file:
        return tuple(each.decode("ascii") for each in _PEM.findall(file.read(_LARGEST)))


def _load(context: ssl.SSLContext, source: Source) -> None:
    """Load the certificates of one source; one of many that is broken is passed over."""
    reason, loaded = "no certificates in PEM form", False
    try:
        for certificate in _certificates(Path(source.path)):
            try:
                context.load_verify_locations(cadata=certificate)
                loaded = True
            except ssl.SSLError as error:
                reason = error.reason or type(error).__name__
    except FileNotFoundError:
        raise usage_error(source.name, "there is no such file", ("file", source.path)) from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
    if not loaded:
        raise usage_error(
            source.name,
            "cannot read certificates from this file",
            ("file", source.path),
            ("reason", reason),
            help="it must hold certificates in PEM form",
        )


def _load_roots(context: ssl.SSLContext, roots: RootCerts) -> None:
    if roots is RootCerts.WEBPKI:
        from requests.utils import DEFAULT_CA_BUNDLE_PATH

        context.load_verify_locations(cafile=DEFAULT_CA_BUNDLE_PATH)
        return
    if sys.platform == "darwin":
        context.load_verify_locations(cadata=_mac_certificates())
        return
    bundle = _linux_bundle()
    if sys.platform == "win32" or bundle is None:
        context.load_default_certs()
    else:
        context.load_verify_locations(cafile=bundle)


def _linux_bundle() -> str | None:
    return next((each for each in _LINUX_BUNDLES if Path(each).is_file()), None)


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
