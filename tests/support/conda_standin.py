"""A program that takes the place of conda or micromamba where there is none, or none that fails.

    program = standin(tmp_path, "micromamba", monkeypatch)
    …  # a run of verify
    program.call.arguments, program.call.variables

It installs what it is asked for, as the real one would, with py-rattler. Asked for its
configuration, it says what the one file `~/.condarc` says, as conda takes it.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
import yaml

_ROOT: Final = Path(__file__).resolve().parents[2]
_RECORD, _ENDING = "STANDIN_RECORD", "STANDIN_ENDING"
_ADD_PIP: Final = "_ADD_PIP_AS_PYTHON_DEPENDENCY"
_ENDINGS: Final = {
    "well": (0, ""),
    "refusing": (1, "error    libmamba Could not solve for environment specs\n"),
    "crashing": (134, "Fatal Python error: PyGILState_Release: thread state\nAborted\n"),
    "wanting pip": (1, "error    libmamba nothing provides pip needed by python-3.13.0-0\n"),
    "without end": (0, ""),
    "killed": (-signal.SIGKILL if sys.platform != "win32" else 1, ""),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What it was told. `wanted` is the text of the file of specs, `is_alone` about its network."""

    arguments: list[str]
    variables: dict[str, str]
    wanted: str
    is_alone: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Standin:
    """The program; `call` is its last."""

    path: Path
    record: Path

    @property
    def call(self) -> Call:
        """Read what it was told."""
        return Call(**json.loads(self.record.read_text(encoding="utf-8")))


def standin(
    folder: Path, name: str, monkeypatch: pytest.MonkeyPatch, ending: str = "well"
) -> Standin:
    """Write the program and put it on PATH; `ending` says whether and how it fails.

    `refusing` installs nothing, `crashing` installs first, `killed` is ended by a signal, `without
    end` does not end, and `wanting pip` is content where it is told not to add it. Asked for its
    version, it says one.
    """
    if sys.platform == "win32":
        pytest.skip("a program without an extension is none on Windows")
    folder.mkdir(exist_ok=True)
    path, record = folder / name, folder / f"{name}.json"
    text = f"import sys; sys.path.insert(0, {str(_ROOT)!r})\n"
    text += "from tests.support.conda_standin import main; main()\n"
    path.write_text(f"#!{sys.executable}\n{text}", encoding="utf-8")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv(_RECORD, str(record))
    monkeypatch.setenv(_ENDING, ending)
    return Standin(path=path, record=record)


def main() -> None:
    """Be the program: write down the call, install, end."""
    arguments = sys.argv[1:]
    if arguments == ["--version"]:
        print(os.environ.get("STANDIN_VERSION", "26.7.1"))
        return
    ending = os.environ[_ENDING]
    if ending == "without end":
        time.sleep(600)
    if arguments[0] == "config":
        code, words = _ENDINGS[ending]
        print(json.dumps({"message": words.strip()} if code else config(arguments[1])))
        sys.exit(code)
    wanted = Path(arguments[arguments.index("--file") + 1]).read_text(encoding="utf-8")
    call = {
        "arguments": arguments,
        "variables": dict(os.environ),
        "wanted": wanted,
        "is_alone": _is_alone(),
    }
    Path(os.environ[_RECORD]).write_text(json.dumps(call), encoding="utf-8")
    told = [text for name, text in os.environ.items() if name.endswith(_ADD_PIP)]
    code, words = _ENDINGS["well" if ending == "wanting pip" and told == ["false"] else ending]
    if code < 0:
        os.kill(os.getpid(), -code)
    if code != 1:
        try:
            asyncio.run(_install(arguments, wanted.split()))
        except Exception:  # as Python would end, but by os._exit
            code, words = 1, traceback.format_exc()
    sys.stderr.write(words)
    sys.stderr.flush()
    os._exit(code)  # rattler may crash on the way out


def config(option: str) -> dict[str, Any]:
    """Return what `conda config` prints with this option and --json, of what the doctor reads."""
    file = Path.home() / ".condarc"
    said = (yaml.safe_load(file.read_text(encoding="utf-8")) if file.is_file() else None) or {}
    if option == "--show-sources":
        return {str(file): said} if said else {}
    alias = said.get("channel_alias", "https://conda.anaconda.org").rstrip("/")
    defaults = ["https://repo.anaconda.com/pkgs/main", "https://repo.anaconda.com/pkgs/r"]
    several = {
        "defaults": said.get("default_channels", defaults),
        **said.get("custom_multichannels", {}),
    }
    return {
        "channels": said.get("channels", []),
        "channel_alias": _taken_apart(alias),
        "custom_channels": {
            name: _taken_apart(place, name)
            for name, place in said.get("custom_channels", {}).items()
        },
        "custom_multichannels": {
            name: [_taken_apart(each if "://" in each else f"{alias}/{each}") for each in channels]
            for name, channels in several.items()
        },
        "add_pip_as_python_dependency": said.get("add_pip_as_python_dependency", True),
        "solver": said.get("solver", "libmamba"),
        "repodata_fns": said.get("repodata_fns", ["current_repodata.json", "repodata.json"]),
        "repodata_use_shards": said.get("repodata_use_shards", True),
        **{name: said.get(name) for name in ("allowlist_channels", "denylist_channels")},
        **{name: said.get(name) for name in ("offline", "use_only_tar_bz2")},
    }


def _taken_apart(url: str, name: str = "") -> dict[str, str]:
    parts = urlsplit(url.rstrip("/"))
    return {"scheme": parts.scheme, "location": f"{parts.netloc}{parts.path}", "name": name}


def _is_alone() -> bool:
    """Tell whether there is no way to an address beyond loopback (RFC 5737); nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return True
    return False


async def _install(arguments: list[str], specs: list[str]) -> None:
    """Do what `conda create -n NAME -c CHANNEL SPEC` does for this machine, with fresh caches."""
    from rattler import Gateway, VirtualPackage, install, solve

    from scripts.core.rattler_solver import subdir_type

    subdir, cache = subdir_type(), Path(os.environ["CONDA_PKGS_DIRS"])
    records = await solve(
        [arguments[arguments.index("-c") + 1]],
        specs,
        gateway=Gateway(cache_dir=cache / "repodata"),
        platforms=[subdir.current(), subdir("noarch")],
        virtual_packages=VirtualPackage.detect(),
    )
    root = os.environ.get("MAMBA_ROOT_PREFIX")
    folder = Path(root) / "envs" if root else Path(os.environ["CONDA_ENVS_DIRS"])
    prefix = folder / arguments[arguments.index("-n") + 1]
    await install(records, prefix, cache_dir=cache / "packages", show_progress=False)
