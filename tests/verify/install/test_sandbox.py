"""What keeps a program from the network really does, and a folder is served to it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scripts.core import loopback_server
from scripts.verify.install.sandbox import (
    Sandbox,
    certificates,
    run_sandboxed,
    sandbox,
    sandbox_environment,
)

SERVED = Path(loopback_server.__file__)
CONNECT = "import socket, sys; socket.create_connection(('127.0.0.1', int(sys.argv[1])), 5)"
READ = (
    "import sys, urllib.request as r; from pathlib import Path;"
    "url = Path(sys.argv[1]).read_text();"
    "print(r.build_opener(r.ProxyHandler({})).open(url, timeout=5).read().decode())"
)


def test_no_network_is_reached(tmp_path: Path) -> None:
    """Not even this machine's own: what listens here is in another namespace."""
    if not sandbox().command:
        pytest.skip("this system gives no network of its own")
    with socket.create_server(("127.0.0.1", 0)) as server:
        command = [sys.executable, "-c", CONNECT, str(server.getsockname()[1])]
        environment = sandbox_environment(tmp_path, {})
        assert subprocess.run(command, env=environment, check=False).returncode == 0
        done = run_sandboxed(command, environment)
    assert done.returncode == 1
    assert done.stderr.decode().splitlines()[-1].startswith("OSError: [Errno 101]")


def test_the_environment_is_no_one_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trusted = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
    others = ("PIXI_CACHE_DIR", "RATTLER_AUTH_FILE", "CONDA_PKGS_DIRS", "XDG_CACHE_HOME")
    for name in (*trusted, *others):
        monkeypatch.setenv(name, "the user's")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example.org")
    monkeypatch.setenv("CONDA_OVERRIDE_CUDA", "9")
    monkeypatch.setenv("OTHER", "stays")
    environment = sandbox_environment(tmp_path, {"CONDA_OVERRIDE_GLIBC": "2.28"})
    assert "the user's" not in environment.values()
    assert environment["HTTPS_PROXY"] == environment["https_proxy"] == "http://127.0.0.1:9"
    assert environment["HOME"] == str(tmp_path)
    assert environment.keys().isdisjoint(trusted)
    assert Path(certificates()["SSL_CERT_FILE"]).is_file()
    assert environment["OTHER"] == "stays"
    overrides = {name: text for name, text in environment.items() if name.startswith("CONDA_")}
    assert overrides == {"CONDA_OVERRIDE_GLIBC": "2.28"}


def test_a_program_that_cannot_be_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A conda whose interpreter is gone; with `unshare` before it, that one says so."""
    monkeypatch.setattr(
        "scripts.verify.install.sandbox.sandbox", lambda: Sandbox(command=(), description="")
    )
    missing = str(tmp_path / "conda")
    done = run_sandboxed([missing], sandbox_environment(tmp_path, {}))
    assert done.returncode == 126
    if os.name != "nt":  # where the error does not name the file
        said = f"{missing}: cannot be started: No such file or directory"
        assert done.stderr.decode() == said


def test_an_interrupted_run_leaves_no_program_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was started by what was started ends, too."""
    if os.name != "posix":
        pytest.skip("process groups are POSIX's")
    marker = tmp_path / "pid"
    child = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(60)"
    parent = "import subprocess, sys; subprocess.run([sys.executable, '-c', *sys.argv[1:]])"

    def interrupted(process: subprocess.Popen[bytes], *_: object) -> None:
        while not (marker.exists() and marker.read_text(encoding="ascii")):
            assert process.poll() is None
            time.sleep(0.01)
        raise KeyboardInterrupt

    sandbox()  # which runs a program of its own, the first time
    with monkeypatch.context() as patched:
        patched.setattr(subprocess.Popen, "communicate", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_sandboxed([sys.executable, "-c", parent, child, str(marker)], dict(os.environ))
    pid = marker.read_text(encoding="ascii")
    for _ in range(200):
        ps = subprocess.run(["ps", "-o", "stat=", "-p", pid], capture_output=True, check=False)
        if ps.stdout.strip() == b"" or ps.stdout.startswith(b"Z"):
            return
        time.sleep(0.01)
    pytest.fail("it still runs")


def test_a_folder_is_served_to_one_program(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a+b.txt").write_text("hello", encoding="utf-8")
    config = tmp_path / "config"
    request = {
        "folder": str(folder),
        "config": str(config),
        "text": "http://127.0.0.1:{port}/a%2Bb.txt",
        "command": [sys.executable, "-c", READ, str(config)],
    }
    command = [sys.executable, "-I", str(SERVED)]
    done = run_sandboxed(command, sandbox_environment(tmp_path, {}), json.dumps(request).encode())
    assert (done.stdout.decode().strip(), done.returncode) == ("hello", 0)


HANG_UP = """
import pathlib, socket, struct, sys, time
linger = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
port = int(pathlib.Path(sys.argv[1]).read_text())
for _ in range(5):
    with socket.create_connection(("127.0.0.1", port)) as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        one.sendall(b"GET /large HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
        one.recv(1)
time.sleep(0.3)
"""


def test_a_program_that_hangs_up_is_no_error_of_ours(tmp_path: Path) -> None:
    """Of one that failed, its own words are shown, and not how the server took it."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "large").write_bytes(bytes(10_000_000))
    config = tmp_path / "config"
    request = {
        "folder": str(folder),
        "config": str(config),
        "text": "{port}",
        "command": [sys.executable, "-c", HANG_UP, str(config)],
    }
    command = [sys.executable, "-I", str(SERVED)]
    done = run_sandboxed(command, sandbox_environment(tmp_path, {}), json.dumps(request).encode())
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_the_program_s_exit_code_is_passed_on(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; sys.exit(7)"]
    assert loopback_server.run_served(str(tmp_path), str(tmp_path / "config"), "", command) == 7
