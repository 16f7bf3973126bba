"""Which certificates to trust, and the TLS settings that trust these and nothing else.

Only the first that is set counts: pixi's `tls-no-verify` and `tls-root-certs`; SSL_CERT_FILE with
SSL_CERT_DIR; as in requests, `REQUESTS_CA_BUNDLE`, then `CURL_CA_BUNDLE`. Where nothing is set, the
system's and Mozilla's certificates, each of which one build of pixi takes. SSL_CERT_FILE and
SSL_CERT_DIR count beside `tls-root-certs`, too: one build of pixi 0.77 adds them to it, the other
takes them in its place (crates/pixi_utils/src/reqwest.rs, tls.rs).
"""

from __future__ import annotations

import contextlib
import os
import ssl
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from stat import S_ISDIR
from typing import Any, Final, NamedTuple

from scripts.core.errors import usage_error
from scripts.core.files import regular_status
from scripts.network.configuration import PixiConfig, RootCerts
from scripts.network.errors import lower_first

_STORES: Final = {
    RootCerts.SYSTEM: "the system's certificates",
    RootCerts.WEBPKI: "Mozilla's certificates",
}
# Where Linux systems keep their bundle (Go's crypto/x509/root_linux.go). The paths built into
# conda-forge's OpenSSL, which truststore would take, lie in the environment and hold Mozilla's.
_LINUX_BUNDLES: Final = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


class Source(NamedTuple):
    """A file or folder of certificates; `name` is the variable that names it."""

    name: str
    path: str

    def __str__(self) -> str:
        """Write it as `NAME=PATH`."""
        return f"{self.name}={self.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """Whom to trust: anybody (`verify` False), else the stores `roots` and what `sources` hold.

    `overridden` are sources that are set, too, but do not count.
    """

    verify: bool = True
    roots: tuple[RootCerts, ...] = (RootCerts.SYSTEM, RootCerts.WEBPKI)
    sources: tuple[Source, ...] = ()
    overridden: tuple[Source, ...] = ()

    @property
    def is_explicit(self) -> bool:
        """Tell whether `tls-root-certs` chose the store; else they are both, or none."""
        return len(self.roots) == 1

    @property
    def details(self) -> tuple[tuple[str, str], ...]:
        """Name, for an error, the certificates that count and those that do not, and why."""
        stores = [_STORES[each] for each in self.roots]
        if self.is_explicit:
            stores = [f"{_STORES[each]} (tls-root-certs = {each})" for each in self.roots]
        elif not self.sources:
            stores[-1:] = [f"{stores[-1]}, as nothing is set"]
        used = [("certificates", each) for each in (*stores, *map(str, self.sources))]
        return (*used, *(("not used", str(each)) for each in self.overridden))


def choose_trust(config: PixiConfig, environ: Mapping[str, str]) -> Trust:
    """Choose by pixi's configuration and the variables of `usable_ca_environ`."""
    if config.tls_no_verify:
        return Trust(verify=False)
    of_activation, named = list[Source](), list[Source]()
    for each in _sources(environ, "SSL_CERT_FILE", "SSL_CERT_DIR"):
        (of_activation if _is_of_activation(each.path, environ) else named).append(each)
    of_requests = _sources(environ, "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
    # Strongest first; the first that is set counts alone.
    candidates = [named, of_requests[:1], of_requests[1:], of_activation]
    explicit = config.tls_root_certs
    used = named if explicit else next((each for each in candidates if each), [])
    roots = (explicit,) if explicit else () if used and used != of_activation else Trust().roots
    return Trust(
        roots=roots,
        sources=tuple(used),
        overridden=tuple(one for each in candidates if each != used for one in each),
    )


def _sources(environ: Mapping[str, str], *names: str) -> list[Source]:
    """List what these variables name; SSL_CERT_DIR may name several folders."""
    texts = [(each, environ.get(each, "")) for each in names]
    paths = [
        (name, text.split(os.pathsep if name == "SSL_CERT_DIR" else "\0")) for name, text in texts
    ]
    return [Source(name, path) for name, some in paths for path in some if path]


def _is_of_activation(path: str, environ: Mapping[str, str]) -> bool:
    """Tell whether the activated environment set this path, not a person.

    On Windows the activation of conda-forge's openssl sets SSL_CERT_FILE to Mozilla's
    certificates, for every `pixi run`: weaker settings would never count.
    """
    prefix = environ.get("CONDA_PREFIX")
    return prefix is not None and prefix != "" and PurePath(path).is_relative_to(prefix)


def usable_ca_environ(environ: Mapping[str, str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Remove SSL_CERT_FILE and SSL_CERT_DIR that name no certificates: pixi ignores them, too.

    Returns the variables that are left, and a note on each that was removed.
    """
    left, notes = dict(environ), list[str]()
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        found = [(each, _why_useless(each)) for each in _sources(environ, name)]
        notes += [f"{each}: {reason}, so it is not used" for each, reason in found if reason]
        left[name] = os.pathsep.join(each.path for each, reason in found if not reason)
    return left, tuple(notes)


def _why_useless(source: Source) -> str | None:
    path, expected = Path(source.path), "folder" if source.name == "SSL_CERT_DIR" else "file"
    try:
        is_folder = S_ISDIR(path.stat().st_mode)
        if is_folder is not (expected == "folder"):
            return f"not a {expected}"
        _load(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), path, only_one=True)
    except OSError as error:
        return _reason(error)
    return None


def _reason(error: OSError) -> str:
    is_tls = isinstance(error, ssl.SSLError)
    return "no certificates in PEM form" if is_tls else lower_first(error.strerror or str(error))


def _load(context: Any, path: Path, *, only_one: bool = False) -> None:
    """Load a file, or every file in a folder (or `only_one`), whatever it is called, as pixi does.

    OpenSSL takes those of a folder alone that are named after a hash of their subject. Raises
    OSError where nothing was loaded; ssl.SSLError is one.
    """
    if not path.is_dir():
        regular_status(path)
        context.load_verify_locations(cafile=path)
        return
    is_loaded = False
    for file in sorted(path.iterdir()):
        with contextlib.suppress(OSError):  # no certificate, or a file of somebody else's
            if file.is_file():
                _load(context, file)
                is_loaded = True
                if only_one:
                    break
    if not is_loaded:
        raise ssl.SSLError("no certificates in PEM form")


def make_context(trust: Trust) -> Any:
    """Make the TLS settings of all connections; it may be shared between threads.

    Raises the error of exit code 2 for a file that counts and holds no certificates.
    """
    uses_system = trust.verify and RootCerts.SYSTEM in trust.roots
    context: Any = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if uses_system and sys.platform in {"darwin", "win32"}:
        import truststore  # asks the system itself, whose store OpenSSL does not read

        context, uses_system = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT), False
    # From Python 3.13 on; the certificates of many a company fail it, and pixi asks for less.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    # As in pixi, what is named is trusted, though somebody else has signed it.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if not trust.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    for source in trust.sources:
        try:
            _load(context, Path(source.path))
        except OSError as error:
            details = ("file", source.path), ("reason", _reason(error))
            text = "cannot read certificates from this file"
            help_line = "it must hold certificates in PEM form"
            raise usage_error(source.name, text, *details, help=help_line) from None
    if RootCerts.WEBPKI in trust.roots:
        from requests.utils import DEFAULT_CA_BUNDLE_PATH

        context.load_verify_locations(cafile=DEFAULT_CA_BUNDLE_PATH)
    if uses_system:
        bundle = _linux_bundle()
        with contextlib.suppress(OSError):  # a broken store trusts nobody; the error will name it
            context.load_verify_locations(bundle) if bundle else context.load_default_certs()
    return context


def _linux_bundle() -> str | None:
    return next((each for each in _LINUX_BUNDLES if Path(each).is_file()), None)


def root_for_rattler(trust: Trust) -> RootCerts:
    """Choose the one store that rattler's client can have; without any certificate it panics."""
    if trust.is_explicit or sys.platform != "linux" or _linux_bundle() is not None:
        return trust.roots[0] if trust.roots else RootCerts.WEBPKI
    return RootCerts.WEBPKI
