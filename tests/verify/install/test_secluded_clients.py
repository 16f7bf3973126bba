"""Each client, told to take packages from where it must not, fails: its network is loopback alone.

A server of this machine, but outside of the client's network, stands for the world; beside that
the client is shown to really ask, where nothing but proxies keeps it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from scripts.core import rattler_child
from scripts.verify.findings import FOR_PYPI, Client
from scripts.verify.install import sandbox as sandboxes
from scripts.verify.install.clients import find_program
from scripts.verify.install.sandbox import run_sandboxed, sandbox, sandbox_environment
from tests.support.upstream import Upstream

CLIENTS = [
    Client.RATTLER,
    pytest.param(Client.PIXI, marks=pytest.mark.needs_pixi),
    pytest.param(Client.CONDA, marks=pytest.mark.needs_conda),
    Client.UV,
    Client.PIP,
]
_SOLVE = (
    "import asyncio, sys; from rattler import Gateway, solve;"
    "asyncio.run(solve([sys.argv[1]], ['x'], gateway=Gateway(cache_dir='c')))"
)
_MANIFEST = '[workspace]\nname = "w"\nchannels = ["{}"]\nplatforms = []\n[dependencies]\nx = "*"\n'


def _command(client: Client, channel: str, folder: Path) -> Sequence[str]:
    """Make what asks for a package of a channel, as the installers do, but not offline."""
    match client:
        case Client.RATTLER:
            return [sys.executable, "-P", "-c", _SOLVE, channel]
        case Client.PIXI:
            manifest = folder / "pixi.toml"
            text = _MANIFEST.format(channel).replace("[]", f'["{_subdir()}"]')
            manifest.write_text(text, encoding="utf-8")
            return ["pixi", "lock", "--manifest-path", str(manifest)]
        case Client.UV | Client.PIP:
            program = find_program(client, os.environ)
            if program is None:
                pytest.skip(f"needs {client}")
            start = [] if client is Client.UV else ["-I", "-m"]
            if program != Path(sys.executable):
                start = []
            pip = ["pip"] if client is Client.UV or start else []
            target = ("--target", str(folder / "t"), "--no-deps")
            return [str(program), *start, *pip, "install", *target, "--index-url", channel, "x"]
        case _:
            return [
                *("conda", "create", "-n", "n", "-c", channel, "x", "--override-channels"),
                *("--yes", "--quiet", "--dry-run"),
            ]


def _subdir() -> str:
    return str(rattler_child.call_rattler("current_platform", {}))


def _run(
    client: Client, channel: str, folder: Path
) -> tuple[subprocess.CompletedProcess[bytes], str]:
    variables = {
        "CONDA_PKGS_DIRS": str(folder / "cache"),
        "CONDA_ENVS_DIRS": str(folder / "envs"),
        "CONDA_REMOTE_MAX_RETRIES": "0",
        "CONDARC": str(folder / "rc"),
        "PIXI_CACHE_DIR": str(folder / "cache"),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_RETRIES": "0",
        "PIP_TRUSTED_HOST": "conda.example.org",
        "UV_CACHE_DIR": str(folder / "cache"),
        "UV_HTTP_RETRIES": "0",
        "PIXI_HOME": str(folder),
    }
    command = _command(client, channel, folder)
    done = run_sandboxed(command, sandbox_environment(folder, variables))
    return done, (done.stdout + done.stderr).decode("utf-8", "replace")


@pytest.mark.parametrize("client", CLIENTS)
def test_in_a_namespace_nothing_outside_is_reached(
    client: Client, tmp_path: Path, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not sandbox().command:
        pytest.skip("this system gives no network of its own")
    monkeypatch.chdir(tmp_path)
    done, words = _run(client, upstream.url, tmp_path)
    assert done.returncode != 0, words
    assert upstream.requests == []
    assert upstream.url in words


@pytest.mark.parametrize("client", CLIENTS)
def test_elsewhere_proxies_are_asked_for_all_that_is_not_loopback(
    client: Client, tmp_path: Path, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control, too: a client that asks nobody would not be kept from anything."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sandboxes, "_can_unshare", lambda _: False)
    monkeypatch.setattr(sandboxes, "_REFUSING", upstream.url)
    sandbox.cache_clear()
    try:
        done, words = _run(client, "http://conda.example.org/chan", tmp_path)
    finally:
        sandbox.cache_clear()
    assert done.returncode != 0, words
    asked = {request.target.rpartition("/")[0] for request in upstream.requests}
    below = "x" if client in FOR_PYPI else "noarch"
    assert f"http://conda.example.org/chan/{below}" in asked
    assert all(each.startswith("http://conda.example.org/chan") for each in asked)
