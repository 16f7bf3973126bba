"""How each URL is requested: mirrors, proxies, credentials and TLS as pixi users have set them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from scripts.core.channel_url import DEFAULT_PORTS, origin
from scripts.core.console import Console
from scripts.core.redact import redact
from scripts.network.auth import (
    Credential,
    read_credentials,
    refuse_unusable,
    url_for,
)
from scripts.network.configuration import (
    PixiConfig,
    merge_configs,
    parse_manifest_s3_options,
    read_pixi_config,
)
from scripts.network.mirrors import mirror_rule, mirror_urls
from scripts.network.proxies import choose_proxies
from scripts.network.pypi_auth import IndexCredentials
from scripts.network.rattler import RattlerClient
from scripts.network.tls import choose_trust, make_context, usable_ca_environ
from scripts.workspace.workspace import read_manifest_text


@dataclass(frozen=True, slots=True)
class Route:
    """How to send one request: the URL without its credentials, headers, proxy."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    proxy: str | None = None


class Router:
    """The way to every URL, by `[mirrors]`, `[proxy-config]`, netrc and all other settings.

    `downloads` is `concurrency.downloads` of pixi's configuration, None where it is not set;
    `credentials` tell which URLs only `rattler` can download; `context` has the TLS settings that
    `trust` asks for, except for `insecure_hosts`.
    """

    def __init__(
        self,
        manifest_path: Path,
        environ: Mapping[str, str],
        console: Console,
        indexes: Iterable[str] = (),
    ) -> None:
        """Read all settings of the workspace; raises the error of exit code 2 for a broken file.

        `manifest_path` need not exist: only its folder is needed. `indexes` are the URLs of the
        lock's package indexes, secrets included.
        """
        text = read_manifest_text(manifest_path) if manifest_path.is_file() else ""
        own = PixiConfig(s3_options=parse_manifest_s3_options(text, manifest_path.name))
        config = merge_configs(read_pixi_config(manifest_path.parent, environ), own)
        usable, unusable = usable_ca_environ(environ)
        self._mirrors = config.mirrors
        self._mirror_files = dict(config.mirror_files)
        self._proxies = choose_proxies(config, environ)
        self.credentials = read_credentials(config, environ)
        self.downloads = config.downloads
        self.trust = choose_trust(config, usable)
        self.context = make_context(self.trust)
        self.insecure_hosts = config.insecure_hosts
        self._indexes = IndexCredentials(
            indexes, environ, console.warn, uses_keyring=bool(config.uses_keyring)
        )
        self._private = set[str]()  # origins that have denied us without it
        self.rattler = RattlerClient(config, self._proxies, self.trust, environ)
        for file in config.files:
            console.detail(f"pixi configuration: {file}")
        for line in (*unusable, *self.credentials.notes):
            console.warn(line)
        if not self.trust.verify:
            console.warn("tls-no-verify is set: nobody is asked to prove who they are")
        elif self.insecure_hosts:
            hosts = ", ".join(self.insecure_hosts)
            console.warn(f"allow-insecure-host is set: not asked to prove who they are: {hosts}")

    def sources(self, url: str) -> tuple[str, ...]:
        """Return the URLs to request for a location of the lock, in the order of `[mirrors]`."""
        return mirror_urls(self._mirrors, url, self._mirror_files)

    def mirror_details(self, url: str, source: str) -> tuple[tuple[str, str], ...]:
        """Return, as a detail, the line of `[mirrors]` that led from a location to a source.

        Empty where none did.
        """
        rule = mirror_rule(self._mirrors, url)
        if rule is None or source == url:
            return ()
        target = rule[1][self.sources(url).index(source)]
        line = f"{redact(rule[0]).rstrip('/')} → {redact(target).rstrip('/')}"
        return (("mirrors", f"{line} (in {self._mirror_files[rule[0]]})"),)

    def can_resume(self, url: str) -> bool:
        """Tell whether a download can be resumed; the server may begin at 0 all the same."""
        return all(
            urlsplit(each).scheme in DEFAULT_PORTS and not self.credentials.needs_rattler(each)
            for each in self.sources(url)
        )

    def route(self, url: str) -> Route:
        """Return the first request's route, with the credentials for its host.

        Raises DownloadError for a URL that no server could answer rightly.
        """
        refuse_unusable(url)
        if origin(url) in self._private and (route := self.route_of_index(url)) is not None:
            return route
        return self._route(url, self.credentials.for_url(url))

    def route_of_index(self, url: str) -> Route | None:
        """Return the route with the credential of the lock's index on this host; None: it has none.

        For a URL without a password of its own, which the server has denied us.
        """
        has_password = urlsplit(url).password is not None
        credential = None if has_password else self._indexes.for_url(url)
        if credential is None:
            return None
        if credential == self.credentials.for_url(url):  # a user alone, whom a store may know
            credential = self.credentials.for_url(url_for(Credential(), url))
        self._private.add(origin(url))
        return self._route(url, credential)

    def _route(self, url: str, credential: Credential) -> Route:
        target = url_for(credential, url)
        sent = credential.authorization
        return Route(target, {"Authorization": sent} if sent else {}, self._proxies.for_url(target))

    def redirected(self, url: str) -> Route:
        """Return the route to another host that a server sent us to: no credentials."""
        return Route(url, proxy=self._proxies.for_url(url))
