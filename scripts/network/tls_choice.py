"""Which certificates to trust.

From pixi: `tls-no-verify`; `tls-root-certs`, beside which SSL_CERT_FILE and SSL_CERT_DIR count as
well (crates/pixi_utils/src/reqwest.rs: one build of pixi adds them, the other takes them in its
place); then these two alone. From requests: `REQUESTS_CA_BUNDLE`, then `CURL_CA_BUNDLE`. Where
nothing is said: the system's and Mozilla's, for one build of pixi takes these, the other those.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Final

from scripts.network.pixi_config_layers import PixiConfig, RootCerts

_OF_REQUESTS: Final = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_SETTING: Final = "tls-root-certs"
_STORES: Final = {
    RootCerts.SYSTEM: "the system's certificates",
    RootCerts.WEBPKI: "Mozilla's certificates",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A file or folder of certificates; `name` is the variable that names it."""

    name: str
    path: str

    def __str__(self) -> str:
        """Write it as a shell does."""
        return f"{self.name}={self.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """Whom to trust: anybody (`verify` False), else the stores `roots` and what `sources` hold.

    `written`: the store is that of `tls-root-certs`. `outdone` is what is set, too, and does not
    count.
    """

    verify: bool = True
    roots: tuple[RootCerts, ...] = (RootCerts.SYSTEM, RootCerts.WEBPKI)
    written: bool = False
    sources: tuple[Source, ...] = ()
    outdone: tuple[Source, ...] = ()

    @property
    def facts(self) -> tuple[tuple[str, str], ...]:
        """Say which certificates count, where that was said, and what does not count for it."""
        stores = [_STORES[each] for each in self.roots]
        if self.written:
            stores = [f"{_STORES[each]} ({_SETTING} = {each})" for each in self.roots]
        elif not self.sources:
            stores[-1:] = [f"{stores[-1]}, as nothing is set"]
        used = [("certificates", each) for each in (*stores, *map(str, self.sources))]
        return (*used, *(("not used", str(each)) for each in self.outdone))


def choose_trust(config: PixiConfig, environ: Mapping[str, str]) -> Trust:
    """Decide from pixi's configuration and the environment, less what names no certificates."""
    if config.tls_no_verify:
        return Trust(verify=False)
    folders = environ.get("SSL_CERT_DIR", "").split(os.pathsep)
    pixis = _sources(environ, "SSL_CERT_FILE")
    pixis += [Source(name="SSL_CERT_DIR", path=each) for each in folders if each]
    of_activation = [each for each in pixis if _is_of_activation(each, environ)]
    named = [each for each in pixis if each not in of_activation]
    of_requests = [each for name in _OF_REQUESTS for each in _sources(environ, name)]
    written = () if config.tls_root_certs is None else (config.tls_root_certs,)
    if written or named:
        used, outdone = named, [*of_requests, *of_activation]
    elif of_requests:
        used, outdone = of_requests[:1], [*of_requests[1:], *of_activation]
    else:
        used, outdone = of_activation, []
    is_said = bool(written or named or of_requests)
    return Trust(
        roots=written if is_said else Trust().roots,
        written=bool(written),
        sources=tuple(used),
        outdone=tuple(outdone),
    )


def _sources(environ: Mapping[str, str], name: str) -> list[Source]:
    return [Source(name=name, path=environ[name])] if environ.get(name) else []


def _is_of_activation(source: Source, environ: Mapping[str, str]) -> bool:
    """Tell what the activated environment has set itself from what a person has.

    On Windows the activation of conda-forge's openssl sets SSL_CERT_FILE to Mozilla's
    certificates, for every `pixi run`; nothing that is said elsewhere would ever count.
    """
    prefix = environ.get("CONDA_PREFIX")
    return bool(prefix) and PurePath(source.path).is_relative_to(PurePath(prefix or ""))
