"""A mirror of conda and PyPI packages for two platforms, indexed; each test gets a copy."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import pytest

from scripts.workspace.model import DEFAULT_INDEX
from tasks import index, verify
from tests.support.locks import EnvironmentRows, LockRow, PlatformRows, RawRow, write_lock
from tests.support.mirrors import CHANNEL
from tests.support.packages import TinyPackage
from tests.support.verified import stopped_clock
from tests.support.wheels import PypiRow, TinySdist, TinyWheel

__all__ = ["stopped_clock"]
LINUX, WINDOWS = "linux-64", "win-64"
PLATFORMS: Final = {LINUX: "manylinux_2_17_x86_64.manylinux2014_x86_64", WINDOWS: "win_amd64"}
OTHER: Final = "https://other.example.org/simple"
DIRECT: Final = "https://downloads.example.org/dl/tiny_direct-1.0-py3-none-any.whl"
PACKAGES: Final[dict[str, TinyWheel | TinySdist]] = {
    "app": TinyWheel(
        name="Tiny.App",
        requires_dist=(
            "tiny-lib>=1",
            'tiny-color>=1; extra == "color"',
            'tiny-win; sys_platform == "win32"',
            "numpy>=2",
        ),
        extras=("color",),
    ),
    "lib": TinyWheel(name="tiny-lib", version="1.1"),
    "color": TinyWheel(name="tiny-color", requires_dist=('tiny-app[color]; extra == "all"',)),
    "win": TinyWheel(name="tiny-win"),
    "local": TinyWheel(name="tiny-local", version="1.0+own.1"),
    "direct": TinyWheel(name="tiny-direct"),
    "sdist": TinySdist(name="tiny-sdist", requires_dist=("tiny-lib",)),
    **{
        f"native {name}": TinyWheel(name="tiny-native", tags=f"cp311-cp311-{tag}")
        for name, tag in PLATFORMS.items()
    },
}
MANIFEST: Final = f"""\
[workspace]
name = "w"
channels = ["conda-forge"]
platforms = ["{LINUX}", "{WINDOWS}"]

[dependencies]
python = "3.11.*"
numpy = "*"
python_abi = "*"

[pypi-dependencies]
tiny_app = {{ version = ">=1", extras = ["color"] }}
tiny-native = "*"
tiny-local = "*"
tiny-direct = {{ url = "{DIRECT}" }}
tiny-sdist = "*"
folder = {{ path = "./folder" }}

[tool.pixi-mirror]
layout = "flat"
allow-unhashed = true
"""
FOLDER: Final = RawRow(
    key="pypi", location="./folder", lines=("name: folder", "requires_dist:", "- tiny-lib")
)


@dataclass(frozen=True, kw_only=True)
class PypiWorld:
    """A workspace with its mirror. `upstream` holds the artifacts as written."""

    root: Path
    upstream: Path
    capsys: pytest.CaptureFixture[str]
    packages: Mapping[str, TinyWheel | TinySdist] = field(default_factory=lambda: PACKAGES)
    python_version: str = "3.11.7"
    python_depends: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """The channel folder."""
        return self.root / "local-channel"

    def rows(self) -> dict[str, PypiRow]:
        """The rows of wheels and sdists, by a short name."""
        written = {key: each.write(self.upstream) for key, each in self.packages.items()}
        rows = {key: PypiRow(written=each) for key, each in written.items()}
        return rows | {
            "color": replace(rows["color"], index=OTHER),
            "direct": replace(rows["direct"], index=None, url=DIRECT),
        }

    def conda(self, platform: str) -> tuple[LockRow, ...]:
        """The conda rows of a platform."""
        python = TinyPackage(
            name="python",
            version=self.python_version,
            subdir=platform,
            depends=self.python_depends,
        )
        numpy = TinyPackage(name="numpy", version="2.4", purls=("pkg:pypi/numpy?source=x",))
        abi = TinyPackage(name="python_abi", build="0_cp311t", purls=("pkg:pypi/python-abi",))
        written = (each.write(self.upstream) for each in (python, numpy, abi))
        return tuple(LockRow(written=each, channel=CHANNEL) for each in written)

    def lock(self, rows: dict[str, PypiRow] | None = None, without: str = "") -> None:
        """Write a lock; each platform has what is for it."""
        rows = rows or self.rows()
        places = []
        for platform in PLATFORMS:
            other = next(each for each in PLATFORMS if each != platform)
            gone = {without, f"native {other}", *(() if platform == WINDOWS else ("win",))}
            mine = tuple(row for key, row in rows.items() if key not in gone)
            every: tuple[LockRow | RawRow | PypiRow, ...] = (
                *self.conda(platform),
                *mine,
                FOLDER,
            )
            places.append(PlatformRows(name=platform, rows=every))
        environment = EnvironmentRows(platforms=tuple(places), indexes=(DEFAULT_INDEX,))
        write_lock(self.root / "pixi.lock", (environment,))

    def path(self, key: str) -> Path:
        """Where the mirror has the file of a row."""
        host, _, rest = self.rows()[key].file_url.partition("://")[2].partition("/")
        return self.folder / "_pypi/files" / host / rest.replace("%2B", "+")

    def place(self) -> None:
        """Put every artifact where it belongs."""
        for key, row in self.rows().items():
            self.path(key).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(row.written.path, self.path(key))
        for platform in PLATFORMS:
            for each in self.conda(platform):
                target = self.folder / each.written.package.subdir / each.written.path.name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(each.written.path, target)

    def remade(self, **packages: TinyWheel | TinySdist) -> PypiWorld:
        """Return the same with other packages in place of some, locked, mirrored and indexed."""
        new = replace(self, packages={**self.packages, **packages})
        shutil.rmtree(self.folder / "_pypi")
        new.lock()
        new.place()
        code, _, err = new.run(index, "-q")
        assert code == 0, err
        return new

    def run(self, task: Any, *options: str) -> tuple[int, str, str]:
        """Run a task; return exit code, stdout, stderr."""
        self.capsys.readouterr()
        code = task.main(["--manifest-path", str(self.root), *options])
        return code, *self.capsys.readouterr()

    def verify(self, *levels: str) -> tuple[int, Any]:
        """Verify at these levels; return the exit code and what `--json` says."""
        code, out, err = self.run(verify, "-q", "--json", "--level", ",".join(levels))
        assert out, err
        return code, json.loads(out)

    def found(self, level: str) -> list[tuple[str, str]]:
        """Verify at a level; return the last part of the subject, and the message, of all found."""
        code, told = self.verify(level)
        problems = told.get("problems", [])
        assert code == (1 if problems else 0), told
        return [(x["subject"].rpartition("/")[2], x["message"]) for x in problems]


@pytest.fixture(scope="session")
def made_pypi(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The mirror, made once."""
    folder = tmp_path_factory.mktemp("pypi")
    root = folder / "workspace"
    root.mkdir()
    (root / "pixi.toml").write_text(MANIFEST, encoding="utf-8")
    world = PypiWorld(root=root, upstream=folder / "upstream", capsys=None)  # type: ignore[arg-type]
    world.lock()
    world.place()
    assert index.main(["--manifest-path", str(root), "-q"]) == 0
    return folder


@pytest.fixture
def world(made_pypi: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> PypiWorld:
    """A copy of the mirror."""
    shutil.copytree(made_pypi, tmp_path / "pypi")
    folder = tmp_path / "pypi"
    return PypiWorld(root=folder / "workspace", upstream=folder / "upstream", capsys=capsys)
