"""The credentials of package indexes: from their URLs in the lock, and the program `keyring`.

As uv does it for pixi (crates/uv-auth/src/middleware.rs and keyring.rs of uv 0.11): an index URL
in the lock may hold a user and a password, which then count for all files of its host; or only a
user, whose password the program `keyring` has, where pixi's `keyring-provider` says so. They are
tried after netrc and pixi's own stores. One difference: they are not sent to a mirror on another
host.
"""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import takewhile
from typing import Final
from urllib.parse import unquote, urlsplit

from scripts.core.channel_url import origin
from scripts.core.child_process import run_program
from scripts.core.redact import without_secrets
from scripts.network.auth import Credential, basic

_PROGRAM: Final = "keyring"
_TIMEOUT: Final = 60.0  # seconds; it may ask a server of its own


class IndexCredentials:
    """The users of indexes, and their passwords; asked by several threads."""

    def __init__(
        self,
        indexes: Iterable[str],
        environ: Mapping[str, str],
        warn: Callable[[str], None],
        *,
        uses_keyring: bool,
    ) -> None:
        """Take the URLs of the indexes as the lock writes them, secrets included."""
        self._indexes = tuple(each for each in dict.fromkeys(indexes) if "@" in urlsplit(each)[1])
        self._environ, self._warn, self._uses_keyring = environ, warn, uses_keyring
        self._known: dict[str, Credential] = {}
        self._lock = threading.Lock()

    def for_url(self, url: str) -> Credential | None:
        """Return the credential of the index on the URL's host that shares most of its path."""
        indexes = [each for each in self._indexes if origin(each) == origin(url)]
        if not indexes:
            return None
        index = max(indexes, key=lambda each: _shared_folders(each, url))
        with self._lock:  # the program is slow, and may ask a person: once
            if index not in self._known:
                self._known[index] = self._credential(index)
            return self._known[index]

    def _credential(self, index: str) -> Credential:
        user_info = urlsplit(index).netloc.rpartition("@")[0]
        user, colon, password = user_info.partition(":")
        user, found = unquote(user), unquote(password) if colon else None
        if found is None and self._uses_keyring and user and not user.startswith("-"):
            found = self._from_keyring(without_secrets(index), user)
        return basic(user, found or "")

    def _from_keyring(self, index: str, user: str) -> str | None:
        """Ask for the index, then for its host."""
        program = shutil.which(_PROGRAM, path=self._environ.get("PATH"))
        if program is None:
            self._warn('keyring-provider = "subprocess" is set, and no program keyring is on PATH')
            return None
        for service in _services(index):
            try:
                command = (program, "get", service, user)
                done = run_program(command, self._environ, timeout=_TIMEOUT)
            except subprocess.TimeoutExpired:
                self._warn(f"keyring has not answered within {_TIMEOUT:.0f} seconds: {service}")
                return None
            if done.returncode == 0 and (word := done.stdout.decode("utf-8", "replace").rstrip()):
                return word
        self._warn(f"keyring has no password of the user that the lock names for {index}")
        return None


def _shared_folders(one: str, other: str) -> int:
    """Count the leading folders that the paths of two URLs share."""
    pairs = zip(urlsplit(one).path.split("/"), urlsplit(other).path.split("/"), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _services(index: str) -> Iterator[str]:
    """Yield the service names under which `keyring` may have the password."""
    parts = urlsplit(index)
    yield from (index, parts.netloc)
    if parts.scheme != "https":
        yield f"{parts.scheme}://{parts.netloc}"
