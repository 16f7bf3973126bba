"""Connections that leave this machine are refused, and a test that swallows that fails."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from tests.support import guard
from tests.support.upstream import Upstream


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1"])
def test_refuses_addresses_that_are_not_loopback(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as client:
        for reach in (client.connect, client.connect_ex, lambda to: client.sendto(b"x", to)):
            with pytest.raises(guard.NotLoopbackError):
                reach((host, 9))
    assert len(guard.refused) == 3
    guard.refused.clear()


def test_refuses_to_look_up_names() -> None:
    with pytest.raises(guard.NotLoopbackError):
        socket.create_connection(("conda.example.org", 9), timeout=1)
    with pytest.raises(guard.NotLoopbackError):
        requests.get("http://conda.example.org/", timeout=1)
    assert guard.refused == ["socket.getaddrinfo: 'conda.example.org'"] * 2
    guard.refused.clear()


def test_lets_loopback_through(upstream: Upstream) -> None:
    upstream.folder.joinpath("file").write_bytes(b"x")
    for host in ("127.0.0.1", "localhost"):
        assert requests.get(f"http://{host}:{upstream.port}/file", timeout=5).content == b"x"


_INNER = """
import contextlib, socket
import pytest

def test_swallows():
    with contextlib.suppress(BaseException):
        socket.getaddrinfo("conda.example.org", 80)

@pytest.mark.needs_conda
def test_needs():
    pass

@pytest.mark.needs_conda
def test_needs_too():
    pass

@pytest.mark.needs_pixi
def test_needs_another():
    pass
"""


def test_a_swallowed_refusal_fails_and_a_skip_is_loud(tmp_path: Path) -> None:
    """A control, run as a pytest of its own under this tree's conftest.py."""
    root = Path(__file__).parents[2]
    shutil.copyfile(root / "tests" / "conftest.py", tmp_path / "conftest.py")
    tmp_path.joinpath("test_inner.py").write_text(_INNER, encoding="utf-8")
    markers = "markers =\n  needs_pixi: x\n  needs_conda: x\n"
    settings = f"[pytest]\npythonpath = {root}\n{markers}"
    tmp_path.joinpath("pytest.ini").write_text(settings, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(tmp_path)],
        env={**os.environ, "PATH": ""},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 1, done.stdout
    assert "1 passed, 3 skipped, 1 error in " in lines[-1]
    assert "one more item: \"socket.getaddrinfo: 'conda.example.org'\"" in done.stdout
    assert any(" not tested here " in line for line in lines)
    assert "2 tests skipped: needs conda, which is not on PATH" in lines
    assert "1 test skipped: needs pixi, which is not on PATH" in lines


def test_the_environment_is_clean(clean_environment: Path) -> None:
    assert Path.home() == clean_environment
    assert list(clean_environment.iterdir()) == []
    assert os.environ["NO_PROXY"] == "127.0.0.1,localhost,::1"
    left = [name for name in os.environ if name.startswith(("PIXI_", "CONDA_", "RATTLER_"))]
    assert left == []
    assert [name for name in os.environ if name.upper().endswith("S_PROXY")] == []
