"""A mirror with its lock, indexed, for this machine and another; each test gets a copy."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from scripts.core.rattler_child import call_rattler
from scripts.verify.install.plan import overrides_of
from scripts.workspace.virtual_packages import default_packages, virtual_packages
from tasks import verify
from tests.support.locks import EnvironmentRows, LockRow, PlatformRows, RawRow, write_lock
from tests.support.mirrors import CHANNEL, Mirror, make_mirror
from tests.support.packages import PREFIX, TinyPackage


@cache
def here() -> str:
    """The subdir of this machine."""
    return str(call_rattler("current_platform", {}))


@cache
def elsewhere() -> str:
    """A subdir that is not this machine's, and sorts behind that and `noarch`."""
    return "win-64" if here() != "win-64" else "win-arm64"


def overrides() -> dict[str, str]:
    """What tells a client the machine that pixi assumes of this subdir; the lock tells none."""
    return dict(
        sorted(overrides_of(virtual_packages(tuple(default_packages(here()).values()))).items())
    )


def packages() -> tuple[TinyPackage, ...]:
    """What the mirror holds: `hello` needs `lib`; `far` is for another platform."""
    return (
        TinyPackage(
            name="hello",
            subdir=here(),
            depends=("lib >=1",),
            files=(
                ("bin/hello", b"#!/bin/sh\necho hello\n"),
                ("etc/hello.conf", f"prefix = {PREFIX}\n".encode()),
            ),
        ),
        TinyPackage(name="lib", extension=".tar.bz2", padding=2000),
        TinyPackage(name="far", subdir=elsewhere(), depends=("lib",)),
    )


@dataclass(frozen=True)
class World:
    """A copy of the mirror that a test may damage. `upstream` holds the artifacts as written."""

    mirror: Mirror
    upstream: Path

    @property
    def folder(self) -> Path:
        """The channel folder."""
        return self.mirror.folder

    def rows(self) -> dict[str, LockRow]:
        """The lock's rows by package name."""
        written = (each.write(self.upstream) for each in packages())
        return {each.package.name: LockRow(written=each, channel=CHANNEL) for each in written}

    def lock(self, *environments: EnvironmentRows, version: int = 7) -> None:
        """Write another lock; without environments, that of the mirror."""
        write_lock(
            self.mirror.root / "pixi.lock", environments or _environments(self.rows()), version
        )

    def verify(self, *options: str) -> int:
        """Run the task in this process."""
        return verify.main(["--manifest-path", str(self.mirror.root), "-q", *options])

    def loud(self, *options: str) -> int:
        """Run the task as loudly as by default."""
        return verify.main(["--manifest-path", str(self.mirror.root), *options])


def _environments(rows: dict[str, LockRow]) -> tuple[EnvironmentRows, ...]:
    mine: tuple[LockRow | RawRow, ...] = (rows["hello"], rows["lib"])
    return (
        EnvironmentRows(
            name="default",
            platforms=(
                PlatformRows(name=here(), rows=mine),
                PlatformRows(name=elsewhere(), rows=(rows["far"], rows["lib"])),
            ),
        ),
        EnvironmentRows(name="small", platforms=(PlatformRows(name=here(), rows=(rows["lib"],)),)),
    )


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> World:
    """The mirror, made once."""
    root = tmp_path_factory.mktemp("made")
    world = World(mirror=make_mirror(root / "workspace"), upstream=root / "upstream")
    (world.mirror.root / "pixi.toml").write_text(
        '[workspace]\nname = "w"\nchannels = ["conda-forge"]\n'
        f'platforms = ["{here()}", "{elsewhere()}"]\n\n'
        f'[target.{here()}.dependencies]\nhello = "*"\n\n'
        f'[target.{elsewhere()}.dependencies]\nfar = "*"\n\n'
        f'[feature.small]\nplatforms = ["{here()}"]\n\n'
        '[feature.small.dependencies]\nlib = "*"\n\n'
        '[environments]\nsmall = { features = ["small"], no-default-feature = true }\n',
        encoding="utf-8",
    )
    world.lock()
    for artifact in world.mirror.selection.artifacts:
        target = world.folder / artifact.path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(world.upstream / artifact.path, target)
    world.mirror.index()
    return world


@pytest.fixture
def world(made: World, tmp_path: Path) -> World:
    """A copy of the mirror."""
    root = tmp_path / "workspace"
    shutil.copytree(made.mirror.root, root)
    return World(mirror=Mirror(root=root, layout="flat"), upstream=made.upstream)


@pytest.fixture(autouse=True)
def stopped_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop the clock, so that a text can be asserted whole: seconds are shown where some passed."""
    for stage in ("scripts.verify.stage", "scripts.verify.install.stage"):
        monkeypatch.setattr(f"{stage}.perf_counter", lambda: 0.0)


def conda_adds_pip() -> bool:
    """Ask conda whether its solver adds pip to every python; `rattler` reads repodata itself."""
    shown = subprocess.check_output(["conda", "config", "--show", "solver", "--json"])
    return bool(json.loads(shown)["solver"] != "rattler")
