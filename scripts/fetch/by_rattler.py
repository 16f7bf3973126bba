"""Downloads that only rattler can do: s3, oci, gcs, the keyring, tokens to renew."""

from __future__ import annotations

import os
import re
from collections.abc import Container, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from scripts.core.rattler_child import RattlerRefusedError, call_rattler
from scripts.core.redact import redact
from scripts.fetch.failure import DownloadError, ErrorKind, kind_of_status
from scripts.network.pixi_config_layers import PixiConfig
from scripts.network.proxies import Proxies
from scripts.network.tls import root_for_rattler
from scripts.network.tls_choice import Trust

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
                    "tls-root-certs": root_for_rattler(self.trust).value,
                    "s3-options": [
                        [each.bucket, each.endpoint_url, each.region, each.path_style]
                        for each in self.config.s3_options
                    ],
                },
                self.child_environment(),
            )
        except RattlerRefusedError as error:
            buckets = {each.bucket for each in self.config.s3_options}
            raise refusal(str(error), url, buckets) from None

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


def refusal(text: str, url: str, buckets: Container[str]) -> DownloadError:
    """Make of rattler's own words the error of one try, without what they hold of secrets.

    `buckets` are those that `s3-options` are set for.
    """
    found = _STATUS.search(text)
    status = int(found[1] or found[2]) if found else None
    sentence = "py-rattler: " + _CONTENT.sub(r"\1", redact(text))
    parts = urlsplit(url)
    if parts.scheme == "s3":
        is_set = parts.netloc in buckets
        kind = _kind_of_s3(text, status, is_set=is_set)
        trouble = f"the bucket {parts.netloc} could not be asked"
        if kind is ErrorKind.S3_KEYS:
            trouble = f"no keys are set that open the bucket {parts.netloc}"
        elif kind is ErrorKind.S3_OPTIONS:
            is_wrong = "what is set does not fit" if is_set else "nothing is set for"
            trouble = f"{is_wrong} the bucket {parts.netloc}"
        elif status is not None:
            trouble = f"HTTP {status} from the bucket {parts.netloc}"
        # That it could not sign the request is all that rattler says of missing settings.
        details = () if status is None and "presign" in text else (("said", sentence),)
        return DownloadError(kind, trouble, *details, status=status)
    if status is not None:
        return DownloadError(kind_of_status(status), sentence, status=status)
    if _CONTENT.search(text):
        return DownloadError(ErrorKind.UNAUTHORIZED, sentence)
    if "tls-no-verify" in text:
        return DownloadError(ErrorKind.TLS_NOT_TURNED_OFF, sentence)
    return DownloadError(ErrorKind.CUT_OFF, sentence)


def _kind_of_s3(text: str, status: int | None, *, is_set: bool) -> ErrorKind:
    """Tell keys that lack from a bucket's endpoint and region that lack, or are another's.

    Without `s3-options` rattler asks AWS, with what AWS's own variables and files say.
    """
    if status is None and "presign" in text:
        return ErrorKind.S3_KEYS if is_set else ErrorKind.S3_OPTIONS
    if status in {401, 403}:
        return ErrorKind.S3_KEYS
    if status is None:
        return ErrorKind.CUT_OFF
    kind = kind_of_status(status)
    return ErrorKind.S3_OPTIONS if kind is ErrorKind.REFUSED else kind
