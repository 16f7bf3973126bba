"""Serve a folder on loopback for as long as one program runs.

Run as `python -I FILE`, this file, with a JSON object on stdin: the `folder` to serve, the
`command` to run, and a file to write before that, `config`, with the `text` in which `{port}`
stands for the server's port. Ends as the command ends. It is a program of its own
because in a network namespace loopback, too, is one of its own.

`repodata.json` is not served, so that clients read the records from the shards.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import Final

PORT: Final = "{port}"
_POLL: Final = 0.02  # seconds until it notices that it is to end

# linux/sockios.h, net/if.h: read and set the flags of an interface; it is up, it is running.
_SIOCGIFFLAGS: Final = 0x8913
_SIOCSIFFLAGS: Final = 0x8914
_UP: Final = 0x1


class _Handler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    extensions_map = SimpleHTTPRequestHandler.extensions_map | {
        ".v1_json": "application/vnd.pypi.simple.v1+json"  # PEP 691
    }

    def translate_path(self, path: str) -> str:
        """Find the file; none for repodata.json, its zst and its bz2, so that shards are read."""
        found = super().translate_path(path)
        is_plain = Path(found).name.startswith("repodata.json")
        return str(Path(found, "not served")) if is_plain else found

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer; a file that is there and cannot be opened is not a missing one."""
        error = sys.exc_info()[1]
        is_missing = isinstance(error, FileNotFoundError | NotADirectoryError)
        if code == HTTPStatus.NOT_FOUND and isinstance(error, OSError) and not is_missing:
            code, message = HTTPStatus.INTERNAL_SERVER_ERROR, f"cannot be read: {error.strerror}"
        super().send_error(code, message, explain)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: what goes wrong shows in the program's own words."""


class _Server(socketserver.ThreadingTCPServer):
    request_queue_size = 128
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of a program that hangs up, as one does that has failed meanwhile."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


@contextlib.contextmanager
def served(folder: str) -> Iterator[int]:
    """Serve the folder, and give the port."""
    with contextlib.suppress(OSError):  # the client will say that it reaches no server
        _raise_loopback()
    with _Server(("127.0.0.1", 0), partial(_Handler, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, args=(_POLL,), daemon=True).start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()


def _raise_loopback() -> None:
    """Bring the loopback interface up, which in a new network namespace is down.

    Nothing happens where it is up already, or is nothing to bring up.
    """
    if sys.platform != "linux":
        return
    import fcntl
    import socket
    import struct

    name = b"lo"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        answer = fcntl.ioctl(control, _SIOCGIFFLAGS, struct.pack("16sH14x", name, 0))
        flags = struct.unpack("16sH14x", answer)[1]
        if not flags & _UP:
            fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH14x", name, flags | _UP))


def run_served(folder: str, config: str, text: str, command: Sequence[str]) -> int:
    """Serve the folder, write the configuration, run the command."""
    with served(folder) as port:
        Path(config).write_text(text.replace(PORT, str(port)), encoding="utf-8")
        return subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode


if __name__ == "__main__":
    code = run_served(**json.loads(sys.stdin.buffer.read()))
    if code < 0:  # as a signal ended the program, it ends this one
        with contextlib.suppress(OSError):  # SIGKILL has no handler to be reset
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)
