"""The pixi program, kept away from the machine's own settings, caches and network."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

# What an outer `pixi run` or an activated environment would tell the inner one.
_INHERITED = ("PIXI_", "CONDA_", "VIRTUAL_ENV", "PYTHON")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pixi:
    """The program, and a home of its own for it."""

    program: str
    home: Path

    @property
    def environment(self) -> dict[str, str]:
        """The variables for a child: this process's, without what would lead back to its pixi."""
        env = {name: text for name, text in os.environ.items() if not name.startswith(_INHERITED)}
        folder = str(self.home)
        return env | {"HOME": folder, "PIXI_HOME": folder, "PIXI_CACHE_DIR": f"{folder}/cache"}

    def configure(self, text: str) -> None:
        """Write its global configuration file."""
        (self.home / "config.toml").write_text(text, encoding="utf-8")

    def run(self, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run it in a folder, without a terminal and whatever its exit code."""
        return subprocess.run(
            [self.program, *arguments],
            cwd=folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
        )


def path_without_clients() -> str:
    """Return a PATH without these clients: the proof by each that is there takes a second."""
    clients = ("pixi", "conda", "micromamba")
    folders = os.environ["PATH"].split(os.pathsep)
    return os.pathsep.join(
        folder
        for folder in folders
        if not any(shutil.which(program, path=folder) for program in clients)
    )


def find_pixi(home: Path) -> Pixi:
    """Return the pixi on PATH with `home` as its home, or skip the test where there is none."""
    program = shutil.which("pixi")
    if program is None:
        pytest.skip("the program pixi is not on PATH")
    home.mkdir(parents=True, exist_ok=True)
    return Pixi(program=program, home=home)
