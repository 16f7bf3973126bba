"""Downloads that only rattler can do: s3, oci, gcs, the keyring, tokens to renew. Acts."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scripts.access.pixi_config_layers import PixiConfig
from scripts.access.proxies import Proxies
from scripts.access.trust_choice import Trust
from scripts.core.rattler_child import RattlerRefusedError, call_rattler
from scripts.core.redact import redact
from scripts.fetch.failure import DownloadError, Fault

_STATUS: Final = re.compile(r"\(([1-5][0-9][0-9])\b|status(?: code)?:? ([1-5][0-9][0-9])\b")
# Behind such words stands what was found there instead.
_CONTENT: Final = re.compile(r"(failed to parse [^:]*).*", re.DOTALL)
_PROXIES: Final = frozenset({"https_proxy", "http_proxy", "all_proxy", "no_proxy"})
_CERTIFICATES: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR")
_LOOPBACK: Final = ("localhost", "127.0.0.0/8", "::1")


@dataclass(frozen=True, slots=True, kw_only=True)
class ByRattler:
    """rattler's own client, told of the same settings as ours. It finds credentials itself.

    `s3-options` are those of the configuration files. With py-rattler 0.25 `tls-no-verify` is
    an error, and without `sources` of trust the system's certificates hold.
    """

    config: PixiConfig
    proxies: Proxies
    trust: Trust
    environ: Mapping[str, str]

    def download(self, url: str, target: Path) -> None:
        """Download a URL, mirrors already applied, to a file; no digest is compared here.

        Raises DownloadError.
        """
        try:
            call_rattler(
                "download",
                {
                    "url": url,
                    "path": str(target),
                    "tls-no-verify": not self.trust.verify,
                    "tls-root-certs": self.trust.roots.value,
                    "s3-options": [
                        [each.bucket, each.endpoint_url, each.region, each.path_style]
                        for each in self.config.s3_options
                    ],
                },
                self.child_environment(),
            )
        except RattlerRefusedError as error:
            raise refusal(str(error)) from None

    def child_environment(self) -> dict[str, str]:
        """Return the variables by which every version of rattler can be told of settings."""
        env = {name: text for name, text in self.environ.items() if name.lower() not in _PROXIES}
        if self.proxies.https:
            env["HTTPS_PROXY"] = self.proxies.https
        if self.proxies.http:
            env["http_proxy"] = self.proxies.http
        env["NO_PROXY"] = ",".join((*self.proxies.bypass, *_LOOPBACK))
        for name in _CERTIFICATES:
            env.pop(name, None)
        for source in self.trust.sources:
            if Path(source.path).is_dir():
                others = env.get("SSL_CERT_DIR")
                env["SSL_CERT_DIR"] = (
                    f"{others}{os.pathsep}{source.path}" if others else source.path
                )
            else:
                env["SSL_CERT_FILE"] = source.path
        if self.config.authentication_override_file is not None:
            # There is no other way to tell rattler, and pixi asks this file before the other.
            env["RATTLER_AUTH_FILE"] = str(self.config.authentication_override_file)
        return env


def refusal(text: str) -> DownloadError:
    """Make of rattler's own words the error of one try, without what they hold of secrets."""
    match = _STATUS.search(text)
    sentence = "py-rattler: " + _CONTENT.sub(r"\1", redact(text))
    if match is None:
        return DownloadError(Fault.CONNECTION, sentence)
    return DownloadError(Fault.STATUS, sentence, status=int(match[1] or match[2]))
