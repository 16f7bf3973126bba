"""Downloads that only rattler's client can do: s3, oci, gcs, the keyring, tokens to renew.

One child process for all of a run: rattler is asyncio's, which may crash as its process ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import tempfile
import threading
from collections.abc import Container, Mapping
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final
from urllib.parse import urlsplit

from scripts.core.child_process import existing_folder, program_error
from scripts.core.errors import MirrorError
from scripts.core.rattler_child import parse_answer, worker_command, worker_environment
from scripts.core.redact import redact
from scripts.network.configuration import PixiConfig
from scripts.network.errors import DownloadError, ErrorKind, kind_of_status
from scripts.network.proxies import Proxies
from scripts.network.tls import Trust, root_for_rattler

_STATUS: Final = re.compile(r"\(([1-5][0-9][0-9])\b|status(?: code)?:? ([1-5][0-9][0-9])\b")
# Behind such words stands what was found there instead.
_CONTENT: Final = re.compile(r"(failed to parse [^:]*).*", re.DOTALL)
# In words that change with its version.
_OTHER_KEYS: Final = re.compile("not S3 credentials|unsupported authentication method")
_OF_GOOGLE: Final = re.compile("GCS|credential")
_PROXIES: Final = frozenset({"https_proxy", "http_proxy", "all_proxy", "no_proxy"})
_LOOPBACK: Final = ("localhost", "127.0.0.0/8", "::1")


class RattlerClient:
    """rattler's own client, with the same settings as ours. It finds credentials itself.

    With py-rattler 0.25, `tls-no-verify` is an error, and the system's certificates are trusted
    where `trust` has no `sources`.
    """

    def __init__(
        self, config: PixiConfig, proxies: Proxies, trust: Trust, environ: Mapping[str, str]
    ) -> None:
        """Take the settings; the child is started by the first download."""
        self._config, self._proxies, self._trust = config, proxies, trust
        self._environ = environ
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._waiting: dict[str, SimpleQueue[dict[str, Any]]] = {}

    def download(self, url: str, target: Path) -> None:
        """Download a URL, mirrors already applied, over a file; no digest is compared here.

        Raises DownloadError, and the error of exit code 4 where the child died.
        """
        answers: SimpleQueue[dict[str, Any]] = SimpleQueue()
        with self._lock:
            child = self._child or self._start()
            self._waiting[str(target)] = answers
            with contextlib.suppress(OSError):  # it has died, and `_read` tells of that
                _write_line(child, {"url": url, "path": str(target)})
        answer = answers.get()
        if "problem" in answer:
            raise MirrorError(answer["problem"])
        if "error" in answer:
            buckets = {each.bucket for each in self._config.s3_options}
            raise refusal(answer["error"], url, buckets)

    def close(self) -> None:
        """End the child, and what it has under way."""
        with self._lock:
            if self._child is not None:
                self._child.kill()

    def _start(self) -> subprocess.Popen[bytes]:
        errors = tempfile.TemporaryFile()  # noqa: SIM115 -- read and closed by `_read`
        settings = {
            "tls_no_verify": not self._trust.verify,
            "tls_root_certs": root_for_rattler(self._trust).value,
            "s3_options": self._config.s3_options,
        }
        child = subprocess.Popen(
            worker_command("download"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=worker_environment(self.child_environment()),
            cwd=existing_folder(),
            process_group=0 if os.name == "posix" else None,  # Ctrl-C is ours to pass on
        )
        with contextlib.suppress(OSError):
            _write_line(child, settings)
        self._child = child
        threading.Thread(target=self._read, args=(child, errors), daemon=True).start()
        return child

    def _read(self, child: subprocess.Popen[bytes], errors: Any) -> None:
        """Pass each answer to the download that waits for it, the child's end to the rest."""
        assert child.stdout is not None
        last: dict[str, Any] = {}
        with child, errors:
            for line in child.stdout:
                last = parse_answer(line.decode("utf-8", "replace")) or last
                with self._lock:
                    waiting = self._waiting.pop(last.get("path", ""), None)
                if waiting is not None:
                    waiting.put(last)
            code = child.wait()
            errors.seek(0)
            message = f"ended with status {code} and no result"
            (problem,) = program_error("py-rattler (download)", message, errors.read()).problems
        with self._lock:
            self._child = None
            left, self._waiting = self._waiting, {}
        for waiting in left.values():  # it refused its settings, or crashed
            waiting.put(last if "error" in last and "path" not in last else {"problem": problem})

    def child_environment(self) -> dict[str, str]:
        """Return the environment variables that tell every version of rattler our settings."""
        env = {name: text for name, text in self._environ.items() if name.lower() not in _PROXIES}
        if self._proxies.https:
            env["HTTPS_PROXY"] = self._proxies.https
        if self._proxies.http:
            env["http_proxy"] = self._proxies.http
        env["NO_PROXY"] = ",".join((*self._proxies.bypass, *_LOOPBACK))
        folders = [each.path for each in self._trust.sources if Path(each.path).is_dir()]
        files = [each.path for each in self._trust.sources if each.path not in folders]
        for name, paths in (("SSL_CERT_DIR", folders), ("SSL_CERT_FILE", files[-1:])):
            env.pop(name, None)
            if paths:
                env[name] = os.pathsep.join(paths)
        if self._config.authentication_override_file is not None:
            # There is no other way to tell rattler, and pixi asks this file before the other.
            env["RATTLER_AUTH_FILE"] = str(self._config.authentication_override_file)
        return env


def _write_line(child: subprocess.Popen[bytes], value: Mapping[str, object]) -> None:
    assert child.stdin is not None
    child.stdin.write(json.dumps(value).encode() + b"\n")
    child.stdin.flush()


def refusal(text: str, url: str, buckets: Container[str]) -> DownloadError:
    """Turn rattler's own words into the error of one try, secrets hidden.

    `buckets` are those with `s3-options`. Without them rattler asks AWS, with AWS's own variables
    and files; where settings are missing it only says that it could not sign the request.
    """
    found = _STATUS.search(text)
    status = int(found[1] or found[2]) if found else None
    kind = ErrorKind.CUT_OFF if status is None else kind_of_status(status)
    message = "py-rattler: " + _CONTENT.sub(r"\1", redact(text))
    scheme, bucket = urlsplit(url)[:2]
    if scheme != "s3":
        if status is None and _CONTENT.search(text):
            kind = ErrorKind.UNAUTHORIZED
        elif status is None and scheme == "gcs" and _OF_GOOGLE.search(text):
            kind = ErrorKind.GCS_KEYS
        elif status is None and "tls-no-verify" in text:
            kind = ErrorKind.TLS_NOT_TURNED_OFF
        return DownloadError(kind, message, status=status)
    is_set, is_unsigned = bucket in buckets, status is None and "presign" in text
    said = () if is_unsigned else (("said", message),)
    message = f"HTTP {status} from the bucket {bucket}"
    if (is_unsigned and is_set) or status in {401, 403} or _OTHER_KEYS.search(text):
        kind, message = ErrorKind.S3_KEYS, f"no keys are set that open the bucket {bucket}"
    elif is_unsigned or kind is ErrorKind.REFUSED:
        wrong = "what is set does not fit" if is_set else "nothing is set for"
        kind, message = ErrorKind.S3_OPTIONS, f"{wrong} the bucket {bucket}"
    elif status is None:
        message = f"the bucket {bucket} could not be asked"
    return DownloadError(kind, message, said, status=status)
