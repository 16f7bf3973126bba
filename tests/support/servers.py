"""A folder served by Python's `http.server`, or by nginx. Acts."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

SENT: Final = "sent"

# As `python -m http.server` serves a folder, but that it tells what it has sent.
_HTTP_SERVER: Final = """
import hashlib, sys
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

log = open(sys.argv[2], "a", buffering=1)

class Handler(SimpleHTTPRequestHandler):
    def copyfile(self, source, outputfile):
        data = source.read()
        outputfile.write(data)
        log.write(f"{self.path} {hashlib.sha256(data).hexdigest()}\\n")

    def log_message(self, *_):
        pass

ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""

_NGINX: Final = """
daemon off;
{user}
pid {scratch}/pid;
error_log {scratch}/error.log;
events {{}}
http {{
  access_log off;
  client_body_temp_path {scratch}/body;
  proxy_temp_path {scratch}/proxy;
  fastcgi_temp_path {scratch}/fastcgi;
  uwsgi_temp_path {scratch}/uwsgi;
  scgi_temp_path {scratch}/scgi;
  server {{ listen 127.0.0.1:{port}; root {folder}; {more} }}
}}
"""


@contextlib.contextmanager
def served(folder: Path, server: str, scratch: Path, *, more: str = "") -> Iterator[str]:
    """Serve a folder, and give its URL; `more` are lines of nginx's own configuration.

    The `http.server` writes to `scratch/sent` what it has sent: a path and a sha256 a line.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-P", "-c", _HTTP_SERVER, str(port), str(scratch / SENT)]
    if server == "nginx":
        user = "user root;" if os.name == "posix" and os.geteuid() == 0 else ""
        text = _NGINX.format(user=user, scratch=scratch, port=port, folder=folder, more=more)
        (scratch / "nginx.conf").write_text(text, encoding="utf-8")
        command = ["nginx", "-p", str(scratch), "-c", str(scratch / "nginx.conf")]
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
                time.sleep(0.05)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
