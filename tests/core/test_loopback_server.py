"""Serve a folder on loopback for as long as one program runs."""

from __future__ import annotations

import os
from http.client import HTTPConnection
from pathlib import Path

import pytest

from scripts.core.loopback_server import served


@pytest.mark.skipif(os.name == "nt", reason="needs a limit on open files")
def test_a_file_that_cannot_be_opened_is_not_a_missing_one(tmp_path: Path) -> None:
    """A client takes a missing shard for a package that the channel lacks."""
    import resource

    (tmp_path / "shard").write_bytes(b"bytes")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with served(str(tmp_path)) as port:
        connection = HTTPConnection("127.0.0.1", port, timeout=30)
        answers = [_get(connection, "/shard")]
        try:  # the connection is there already
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
            answers.append(_get(connection, "/shard"))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        answers += [_get(connection, "/shard"), _get(connection, "/nothing")]
    assert answers == [
        (200, "OK", b"bytes"),
        (500, "cannot be read: Too many open files", b""),
        (200, "OK", b"bytes"),
        (404, "File not found", b""),
    ]


def _get(connection: HTTPConnection, path: str) -> tuple[int, str, bytes]:
    connection.request("GET", path)
    answer = connection.getresponse()
    body = answer.read()
    return answer.status, answer.reason, body if answer.status == 200 else b""
