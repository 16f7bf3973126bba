r"""A workspace with its lock, and its artifacts in place as `fetch` would leave them.

    mirror = make_mirror(tmp_path, (TinyPackage(name="hello"),))
    mirror.index()

`INDEXERS` are the indexers to test: every rattler-index on PATH (there may be several versions,
in several folders), and py-rattler.
"""

from __future__ import annotations

import builtins
import dataclasses
import errno
import io
import json
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from scripts.channel.locks import read_locks
from scripts.channel.selection import read_selection
from scripts.channel.state import read_state, write_removals
from scripts.channel.users import read_users
from scripts.core.channel_paths import ChannelPaths
from scripts.core.console import Console, Verbosity
from scripts.core.report import Report
from scripts.index.stage import index
from scripts.lock.select import Selection
from scripts.workspace.settings import SettingOverrides
from scripts.workspace.workspace import Workspace, open_workspace
from tasks import prune
from tests.support.locks import EnvironmentRows, LockRow, PlatformRows, RawRow, write_lock
from tests.support.packages import TinyPackage
from tests.support.wheels import PypiRow

CHANNEL: Final = "https://conda.anaconda.org/conda-forge"

PY_RATTLER: Final = "py-rattler"
_PROGRAM: Final = "rattler-index"
_FOLDERS: Final = tuple(filter(None, os.environ.get("PATH", "").split(os.pathsep)))
INDEXERS: Final = tuple(
    dict.fromkeys(
        each
        for each in (*(shutil.which(_PROGRAM, path=each) for each in _FOLDERS), PY_RATTLER)
        if each
    )
)


def path_with(indexer: str) -> str:
    """Return a PATH on which this indexer is the one that is found."""
    folders = [each for each in _FOLDERS if shutil.which(_PROGRAM, path=each) is None]
    if indexer != PY_RATTLER:
        folders.insert(0, str(Path(indexer).parent))
    return os.pathsep.join(folders)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirror:
    """A workspace whose lock can be exchanged, as `pixi lock` would."""

    root: Path
    layout: str

    @property
    def workspace(self) -> Workspace:
        """The workspace as a task opens it."""
        return open_workspace(self.root / "pixi.toml", SettingOverrides())

    @property
    def selection(self) -> Selection:
        """What the present lock wants mirrored."""
        workspace = self.workspace
        return read_selection(workspace, read_locks(workspace, Console()))

    @property
    def folder(self) -> Path:
        """The channel folder."""
        return self.workspace.place.folder

    def index(self) -> Report:
        """Run the stage."""
        workspace, console = self.workspace, Console(verbosity=Verbosity.VERBOSE)
        users = read_users(workspace, read_locks(workspace, Console()))
        return index(workspace, self.selection, console, users=users)

    def prune(self, *options: str) -> int:
        """Run the task, quietly."""
        return prune.main(["--manifest-path", str(self.root), "-q", *options])

    def waiting(self) -> list[str]:
        """Name all that waits for its removal."""
        return [str(each.path) for each in read_state(self.workspace.place).removals]

    def let_grace_pass(self) -> None:
        """Make all that waits for its removal have waited for two hours more."""
        let_grace_pass(self.workspace.place)

    def lock(self, rows: Iterable[LockRow | RawRow | PypiRow], version: int = 7) -> Selection:
        """Write a lock of these rows, and put each of their artifacts where it belongs.

        A PyPI row is of linux-64, and a path of one is that of a file beside the lock.
        """
        rows = tuple(rows)
        platforms = tuple(
            PlatformRows(name=name, rows=tuple(row for row in rows if _is_for(row, name)))
            for name in sorted({_platform(row) for row in rows}) or ("linux-64",)
        )
        channels = (CHANNEL,) if not rows else None
        environment = EnvironmentRows(platforms=platforms, channels=channels)
        write_lock(self.root / "pixi.lock", (environment,), version)
        selection = self.selection
        written = {row.location: row.written.path for row in rows if isinstance(row, LockRow)}
        written |= {row.file_url: row.written.path for row in rows if isinstance(row, PypiRow)}
        for artifact in selection.artifacts:
            target = self.folder / artifact.path
            if not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(written[artifact.urls[0]], target)
        return selection

    def repodata(self, subdir: str) -> Any:
        """Read a repodata.json of the channel folder (`linux-64`, `bioconda/noarch`)."""
        return json.loads((self.folder / subdir / "repodata.json").read_bytes())

    def record(self, path: str) -> Any:
        """Read the record of an artifact of the channel folder, whatever map it is in."""
        subdir, _, name = path.rpartition("/")
        document = self.repodata(subdir)
        return (document["packages"] | document["packages.conda"])[name]

    def states(self) -> dict[str, tuple[bytes, int]]:
        """Read every file of the channel folder: its bytes and its time."""
        return {
            file.relative_to(self.folder).as_posix(): (file.read_bytes(), file.stat().st_mtime_ns)
            for file in sorted(self.folder.rglob("*"))
            if file.is_file()
        }

    def contents(self) -> dict[str, bytes]:
        """Read every file of the channel folder."""
        return {name: data for name, (data, _) in self.states().items()}


def _platform(row: LockRow | RawRow | PypiRow) -> str:
    subdir = row.written.package.subdir if isinstance(row, LockRow) else "noarch"
    return "linux-64" if subdir == "noarch" else subdir


def _is_for(row: LockRow | RawRow | PypiRow, platform: str) -> bool:
    return _platform(row) == platform


def make_mirror(
    root: Path, layout: str = "flat", *, name: str = "mirrored", settings: str = ""
) -> Mirror:
    """Write the manifest of an empty workspace; `settings` are more lines of its table."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "pixi.toml").write_text(
        f'[workspace]\nname = "{name}"\nchannels = ["conda-forge"]\nplatforms = ["linux-64"]\n\n'
        f'[tool.pixi-mirror]\nlayout = "{layout}"\n{settings}',
        encoding="utf-8",
    )
    return Mirror(root=root, layout=layout)


def let_grace_pass(place: ChannelPaths) -> None:
    """Make all that waits for its removal have waited for two hours more."""
    removals = read_state(place).removals
    times = [each.dropped and each.dropped - timedelta(hours=2) for each in removals]
    waited = zip(removals, times, strict=True)
    write_removals(place, [dataclasses.replace(each, dropped=when) for each, when in waited])


def forbid(monkeypatch: pytest.MonkeyPatch, there: Path, *functions: Callable[..., Any]) -> None:
    """Have these functions of `os`, or `open`, refuse a path, and what is in it."""

    def make(real: Callable[..., Any]) -> Callable[..., Any]:
        def refuse(path: Any = ".", *args: Any, **more: Any) -> Any:
            path_itself = isinstance(path, int) or real.__name__ in {"scandir", "listdir"}
            if str(there) not in {str(path), str(path if path_itself else Path(path).parent)}:
                return real(path, *args, **more)
            raise PermissionError(errno.EACCES, "Permission denied", str(path))

        return refuse

    for each in functions:
        for module in (io, builtins) if each is open else (os,):
            monkeypatch.setattr(module, each.__name__, make(each))


def copy_linked(root: Path, target: Path) -> None:
    """Copy a workspace, its channel folder by hard links: the files of that stay the very ones."""

    def copy(source: str, copied: str) -> None:
        if "local-channel" in Path(source).relative_to(root).parts[:1]:
            os.link(source, copied)
        else:
            shutil.copy2(source, copied)

    shutil.copytree(root, target, copy_function=copy)


def rows(
    upstream: Path, packages: Sequence[TinyPackage], channel: str = CHANNEL
) -> tuple[LockRow, ...]:
    """Write packages to a folder that stands for upstream, and give their lock rows."""
    return tuple(LockRow(written=each.write(upstream), channel=channel) for each in packages)
