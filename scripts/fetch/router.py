"""How each URL is requested, by what pixi users have already set.

Mirrors, proxies, certificates and credentials are read once; the choices themselves are made by
the modules that decide.
"""

from __future__ import annotations

import dataclasses
import threading
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.core.console import Console
from scripts.fetch.by_rattler import ByRattler
from scripts.fetch.failure import NOBODY_THERE, DownloadError, ErrorKind
from scripts.fetch.http import Route
from scripts.network.credential_choice import headers_for, placeholder_in, url_for
from scripts.network.credentials import read_credentials
from scripts.network.mirrors import candidates, fails_over, fewest_failures_first, origin
from scripts.network.pixi_config import read_pixi_config
from scripts.network.proxies import choose_proxies
from scripts.network.s3_options import overlay, parse_manifest_s3_options
from scripts.network.tls import make_context, usable
from scripts.network.tls_choice import choose_trust
from scripts.workspace.workspace import read_manifest_text

if TYPE_CHECKING:
    from requests.adapters import HTTPAdapter


class Router:
    """The way to every URL, as `[mirrors]`, `[proxy-config]`, netrc and all the rest have it.

    `downloads` is the number at once that a configuration file wrote, None where none did.
    """

    def __init__(self, manifest_path: Path, environ: Mapping[str, str], console: Console) -> None:
        """Read all that is set for the workspace; what is broken is an error (2).

        A lock may lie alone, where `manifest_path` names no file.
        """
        config = read_pixi_config(manifest_path.parent, environ)
        text = read_manifest_text(manifest_path) if manifest_path.is_file() else ""
        buckets = parse_manifest_s3_options(text, manifest_path.name)
        self._mirrors = config.mirrors
        self._proxies = choose_proxies(config, environ)
        self._credentials = read_credentials(config, environ)
        usable_environ, unusable = usable(environ)
        self.trust = trust = choose_trust(config, usable_environ)
        self._context = make_context(trust)
        self._rattler = ByRattler(
            config=dataclasses.replace(config, s3_options=overlay(config.s3_options, buckets)),
            proxies=self._proxies,
            trust=trust,
            environ=environ,
        )
        self._failures: Counter[str] = Counter()
        self._lock = threading.Lock()
        self.downloads = config.downloads
        for file in config.files:
            console.detail(f"pixi configuration: {file}")
        for line in (*unusable, *self._credentials.notes):
            console.warn(line)
        if not trust.verify:
            console.warn("tls-no-verify is set: nobody is asked to prove who they are")

    def sources(self, url: str) -> tuple[str, ...]:
        """Return the URLs to ask for a location of the lock; who failed least comes first."""
        return fewest_failures_first(candidates(self._mirrors, url), self._failures)

    def failed(self, url: str, error: DownloadError) -> None:
        """Remember that a mirror failed, so that it is not the first to be asked again."""
        is_of_server = error.kind in NOBODY_THERE | {ErrorKind.CUT_OFF} or error.status is not None
        if is_of_server and fails_over(error.status):
            with self._lock:
                self._failures[origin(url)] += 1

    def route(self, url: str) -> Route:
        """Return the first request's route, with the credentials for its host.

        Raises DownloadError for a URL with a placeholder in it: no server could answer rightly.
        """
        _refuse_placeholder(url)
        credential = self._credentials.for_url(url)
        target = url_for(credential, url)
        return Route(
            url=target, headers=headers_for(credential), proxy=self._proxies.for_url(target)
        )

    def redirected(self, url: str) -> Route:
        """Return the route to another host that a server sent us to: no credentials."""
        return Route(url=url, proxy=self._proxies.for_url(url))

    def adapter(self) -> HTTPAdapter:
        """Make the adapter of one thread."""
        from scripts.network.adapter import ContextAdapter

        return ContextAdapter(self._context)

    def needs_rattler(self, url: str) -> bool:
        """Tell whether only rattler can request this URL (s3, oci, tokens to renew)."""
        return self._credentials.needs_rattler(url)

    def rattler_may_know(self, url: str, status: int) -> bool:
        """Tell whether, after this refusal, the system's keyring may hold what is wanted."""
        return self._credentials.may_be_in_keyring(url, status)

    def download_by_rattler(self, url: str, target: Path) -> None:
        """Download with rattler's client, which finds credentials itself."""
        _refuse_placeholder(url)
        self._rattler.download(url, target)


def _refuse_placeholder(url: str) -> None:
    found = placeholder_in(url)
    if found is not None:
        text = f"its URL has {found} in it, where a token or a name should stand"
        raise DownloadError(ErrorKind.PLACEHOLDER, text)
