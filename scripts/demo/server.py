"""A small HTTP server on loopback that serves a folder as it is."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingTCPServer

_POLL = 0.02  # seconds; how soon the server sees that it shall end


@contextlib.contextmanager
def serve(folder: Path) -> Iterator[str]:
    """Serve a folder while the block runs; yields the URL, without trailing slash."""
    with _Server(("127.0.0.1", 0), partial(_Handler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, args=(_POLL,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


# No http.server.HTTPServer: it asks for the name of this machine, which can take seconds.
class _Server(ThreadingTCPServer):
    daemon_threads = True  # a client that holds its connection must not hold us
    request_queue_size = 64

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of a client that went away; what a client misses, it says itself."""


class _Handler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 10  # seconds that an idle connection is kept

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing: the fetch says what it gets."""
