"""Which certificates to trust. Decides; does no I/O.

From pixi: `tls-no-verify`, and `SSL_CERT_FILE` and `SSL_CERT_DIR` before `tls-root-certs`
(crates/pixi_utils/src/tls.rs); from requests: `REQUESTS_CA_BUNDLE`, then `CURL_CA_BUNDLE`, before
all of these. Where nothing is said: Mozilla's certificates, pixi's default and that of requests.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Final

from scripts.access.pixi_config_layers import PixiConfig, RootCerts

_OF_REQUESTS: Final = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A file or folder of certificates; `name` is the variable that names it.

    A `needed` one that is missing is an error, as in requests; another is passed over, as in pixi.
    """

    name: str
    path: str
    needed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """Whom to trust: anybody (`verify` False), the certificates of `sources`, else `roots`."""

    verify: bool = True
    sources: tuple[Source, ...] = ()
    roots: RootCerts = RootCerts.WEBPKI


def choose_trust(config: PixiConfig, environ: Mapping[str, str]) -> Trust:
    """Decide from pixi's configuration and the environment."""
    roots = config.tls_root_certs or RootCerts.WEBPKI
    if config.tls_no_verify:
        return Trust(verify=False, roots=roots)
    for name in _OF_REQUESTS:
        if environ.get(name):
            source = Source(name=name, path=environ[name], needed=True)
            return Trust(sources=(source,), roots=roots)
    named = [("SSL_CERT_FILE", environ.get("SSL_CERT_FILE", ""))]
    folders = environ.get("SSL_CERT_DIR", "").split(os.pathsep)
    named += [("SSL_CERT_DIR", folder) for folder in folders]
    sources = tuple(
        Source(name=name, path=path, needed=False)
        for name, path in named
        if path and not _is_of_activation(path, config, environ)
    )
    return Trust(sources=sources, roots=roots)


def _is_of_activation(path: str, config: PixiConfig, environ: Mapping[str, str]) -> bool:
    """Tell a file that the activated environment itself has set, against a wish in the settings.

    On Windows the activation of conda-forge's openssl sets SSL_CERT_FILE to a file of the
    environment, for every `pixi run`; a written `tls-root-certs` would never count.
    """
    prefix = environ.get("CONDA_PREFIX")
    return (
        config.tls_root_certs is not None
        and bool(prefix)
        and PurePath(path).is_relative_to(PurePath(prefix or ""))
    )
