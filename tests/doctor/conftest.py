"""Mirrors of both layouts, made once, and consumers who ask about them."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tasks import doctor
from tests.support.locks import EnvironmentRows, LockRow, PlatformRows, RawRow, write_lock
from tests.support.mirrors import CHANNEL, make_mirror
from tests.support.packages import TinyPackage
from tests.support.upstream import Upstream

NVIDIA = "https://conda.anaconda.org/nvidia/label/cuda-1"
PRIVATE = "https://user:word@example.org:8080/t/token-1/chan"

PACKAGES = {
    "hello": TinyPackage(name="hello", subdir="linux-64", depends=("lib >=1",)),
    "lib": TinyPackage(name="lib", extension=".tar.bz2"),
    "newer": TinyPackage(name="lib", version="1.10", build="h2_0"),
    "far": TinyPackage(name="far", subdir="win-64", depends=("lib",)),
    "cuda": TinyPackage(name="cuda", subdir="linux-64"),
    "python": TinyPackage(name="python", version="3.12.1"),
    "odd": TinyPackage(name="odd", version="1!2.0+3", subdir="linux-64"),
}
CHANNELS = {"cuda": NVIDIA, "odd": PRIVATE}


@dataclass(frozen=True, kw_only=True)
class Asker:
    """A consumer's folder with its lock, and the mirror to ask about: a folder or a URL."""

    root: Path
    upstream: Path
    folder: Path
    url: str
    capsys: pytest.CaptureFixture[str]

    def row(
        self,
        name: str,
        *,
        other: TinyPackage | None = None,
        channel: str | None = None,
        url: str | None = None,
        without: frozenset[str] = frozenset(),
    ) -> LockRow:
        """Return a lock row of a package of the mirrors, or of another one in its channel."""
        package = PACKAGES[name] if other is None else other
        folder = self.upstream if other is None else self.root / "other"
        return LockRow(
            written=package.write(folder),
            channel=channel or CHANNELS.get(name, CHANNEL),
            url=url,
            without=without,
        )

    def lock(self, *rows: LockRow | RawRow, version: int = 7) -> None:
        """Write a lock of one environment for linux-64."""
        self.locks(
            EnvironmentRows(platforms=(PlatformRows(name="linux-64", rows=rows),)), version=version
        )

    def locks(self, *environments: EnvironmentRows, version: int = 7) -> None:
        """Write a lock."""
        self.root.mkdir(exist_ok=True)
        write_lock(self.root / "pixi.lock", environments, version)

    def configure(self, text: str) -> None:
        """Write pixi's configuration of the consumer's workspace."""
        path = self.root / ".pixi" / "config.toml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def ask(self, *options: str, mirror: str | None = None) -> tuple[int, str, str]:
        """Run the task; return exit code, stdout and stderr, places written as words."""
        self.capsys.readouterr()
        place = self.url if mirror is None else mirror
        lock = str(self.root / "pixi.lock")
        code = doctor.main(["--lock", lock, "--mirror", place, *options])
        out, err = self.capsys.readouterr()
        return code, self._shown(out), self._shown(err)

    def _shown(self, text: str) -> str:
        words = {
            self.folder.as_uri(): "FILE",
            self.url: "URL",
            str(self.folder): "FOLDER",
            str(self.root): "ROOT",
            self.root.as_posix(): "ROOT",
        }
        for place, word in words.items():
            text = text.replace(place, word)
        if os.name == "nt":
            text = re.sub(r"ROOT\S*", lambda found: found[0].replace("\\", "/"), text)
        return text


@pytest.fixture(autouse=True)
def _without_conda(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide this machine's conda, and what is in its folder, from tests that need neither."""
    if not any(map(request.node.get_closest_marker, ("needs_conda", "needs_pixi"))):
        folders = os.environ["PATH"].split(os.pathsep)
        kept = [each for each in folders if shutil.which("conda", path=each) is None]
        monkeypatch.setenv("PATH", os.pathsep.join(kept))


def _made(root: Path, layout: str, names: tuple[str, ...]) -> Path:
    mirror = make_mirror(root / layout, layout)
    rows = [
        LockRow(
            written=PACKAGES[name].write(root / "upstream"), channel=CHANNELS.get(name, CHANNEL)
        )
        for name in names
    ]
    mirror.lock(rows)
    mirror.index()
    return mirror.folder


@pytest.fixture(scope="session")
def consumed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `flat/local-channel`, `by-channel/local-channel` and `upstream`."""
    root = tmp_path_factory.mktemp("consumed")
    _made(root, "flat", ("hello", "lib", "newer", "far"))
    _made(root, "by-channel", tuple(PACKAGES))
    return root


Asks = Callable[[str], Asker]


@pytest.fixture
def asks(
    consumed: Path, tmp_path: Path, upstream: Upstream, capsys: pytest.CaptureFixture[str]
) -> Asks:
    """Give a consumer of a copy of one mirror, which `upstream` serves."""

    def make(layout: str) -> Asker:
        upstream.folder.rmdir()
        shutil.copytree(consumed / layout / "local-channel", upstream.folder)
        return Asker(
            root=tmp_path / "consumer",
            upstream=consumed / "upstream",
            folder=upstream.folder,
            url=upstream.url,
            capsys=capsys,
        )

    return make


@pytest.fixture
def flat(asks: Asks) -> Asker:
    """A consumer of the flat mirror: hello, lib (two versions) and far, of conda-forge."""
    return asks("flat")


@pytest.fixture
def by_channel(asks: Asks) -> Asker:
    """A consumer of the by-channel mirror: those, cuda of nvidia, odd of a private channel."""
    return asks("by-channel")
