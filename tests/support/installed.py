"""The wheel of this template, and a clean virtual environment that it is installed in.

Nothing is reached: the build backend is that of the running environment, and what the wheel
requires is lent from there by a `.pth` file, behind what was installed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from tests.support.template import ROOT

_BIN: Final = "Scripts" if os.name == "nt" else "bin"
_EXE: Final = ".exe" if os.name == "nt" else ""
_LENT: Final = "lent.pth"


def build(kind: Literal["wheel", "sdist"], target: Path, source: Path = ROOT) -> Path:
    """Build the wheel or the sdist of a template as pip would, and return the file."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(target)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (built,) = target.iterdir()
    return built


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """A virtual environment with the wheel in it; `added` is what that brought to site-packages."""

    folder: Path
    site_packages: Path
    added: frozenset[str]

    @property
    def programs(self) -> Path:
        """The folder of its programs, for PATH."""
        return self.folder / _BIN

    @property
    def program(self) -> str:
        """The program `pixi-mirror`."""
        return str(self.programs / f"pixi-mirror{_EXE}")

    @property
    def lent(self) -> Path:
        """The file by which it has what the wheel requires."""
        return self.site_packages / _LENT

    @property
    def template(self) -> Path:
        """The template where the wheel put it."""
        return self.site_packages / "pixi_mirror" / "template"

    def run(
        self, folder: Path, *arguments: str, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run the program in a folder, whatever its exit code."""
        return _run([self.program, *arguments], folder, os.environ | variables)


def install(wheel: Path, folder: Path) -> Installed:
    """Make the environment and install the wheel with its own pip."""
    python = str(folder / _BIN / f"python{_EXE}")
    _must(_run([sys.executable, "-I", "-m", "venv", str(folder)], folder.parent, os.environ))
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site_packages = Path(_must(_run([python, "-I", "-c", ask], folder, os.environ)).strip())
    before = _names(site_packages)
    pip = [python, "-I", "-m", "pip", "--isolated", "--disable-pip-version-check"]
    _must(_run([*pip, "install", "--no-index", "--no-deps", str(wheel)], folder, os.environ))
    added = _names(site_packages) - before
    lenders = dict.fromkeys(sysconfig.get_path(each) for each in ("purelib", "platlib"))
    made = Installed(folder=folder, site_packages=site_packages, added=added)
    made.lent.write_text("".join(f"{each}\n" for each in lenders), encoding="utf-8")
    return made


def _names(folder: Path) -> frozenset[str]:
    return frozenset(path.name for path in folder.iterdir()) - {"__pycache__"}


def _run(
    command: list[str], folder: Path, env: os._Environ[str] | dict[str, str]
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )


def _must(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout
