"""A fast file server on loopback, in a process of its own; may wait before each first byte.

Run as `python -m bench.server FOLDER SECONDS`; prints its port.
"""

from __future__ import annotations

import os
import sys
import time
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class _Handler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # connections are kept, as real channels keep them
    disable_nagle_algorithm = True  # or each answer waits for the client's delayed ACK
    wait = 0.0

    def do_GET(self) -> None:
        """Send a file with sendfile, after the wait."""
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return
        time.sleep(self.wait)
        with path.open("rb") as file:
            self.send_response(200)
            self.send_header("Content-Length", str(os.fstat(file.fileno()).st_size))
            self.end_headers()
            self.wfile.flush()
            self.connection.sendfile(file)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


class _Server(ThreadingHTTPServer):
    request_queue_size = 256
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Clients that leave early are none of our business."""


def main(folder: str, wait: str) -> None:
    """Serve until killed."""
    os.chdir(folder)
    _Handler.wait = float(wait)
    server = _Server(("127.0.0.1", 0), _Handler)
    sys.stdout.write(f"{server.server_address[1]}\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
