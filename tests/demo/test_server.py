"""The demo's server serves its folder, and ends with the block."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import requests

from scripts.demo.server import serve


def test_serves_a_folder_on_loopback(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tmp_path.joinpath("a").mkdir()
    tmp_path.joinpath("a", "b").write_bytes(b"bytes")
    with serve(tmp_path) as url, requests.Session() as session:
        assert url.startswith("http://127.0.0.1:")
        for _ in range(2):
            assert session.get(f"{url}/a/b", timeout=5).content == b"bytes"
        assert session.get(f"{url}/a/c", timeout=5).status_code == 404
        start = time.monotonic()
    assert time.monotonic() - start < 1
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{url}/a/b", timeout=5)
    assert capfd.readouterr() == ("", "")
