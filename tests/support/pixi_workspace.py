r"""A workspace that the real pixi locks from a channel served on loopback.

    made = PixiWorkspace.make(tmp_path / "workspace", upstream, MANIFEST)
    made.publish(TinyPackage(name="a"))
    made.lock()

The upstream's folder is the channel, indexed by py-rattler; `{channel}` in the manifest's text
is replaced by its URL.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from scripts.channel.locks import read_locks
from scripts.channel.users import read_users, save_workspace
from scripts.core.console import Console
from scripts.core.rattler_child import call_rattler
from scripts.workspace.pixi import need_pixi, run_pixi
from scripts.workspace.settings import SettingOverrides
from scripts.workspace.workspace import Workspace, open_workspace
from tests.support.packages import TinyPackage
from tests.support.upstream import Upstream


@dataclass(frozen=True, slots=True, kw_only=True)
class PixiWorkspace:
    """The workspace's folder and the channel it takes packages from."""

    root: Path
    upstream: Upstream

    @classmethod
    def make(cls, root: Path, upstream: Upstream, manifest: str) -> PixiWorkspace:
        """Write the manifest; the channel is as the upstream has it."""
        root.mkdir(parents=True)
        text = manifest.replace("{channel}", upstream.url)
        (root / "pixi.toml").write_text(text, encoding="utf-8")
        return cls(root=root, upstream=upstream)

    @property
    def workspace(self) -> Workspace:
        """The workspace as a task opens it."""
        return open_workspace(self.root, SettingOverrides())

    @property
    def lock_text(self) -> str:
        """The present lock."""
        return (self.root / "pixi.lock").read_text(encoding="utf-8")

    def publish(self, *packages: TinyPackage) -> None:
        """Add artifacts to the channel, or upload them anew, and index it from nothing."""
        folder = self.upstream.folder
        for package in packages:
            package.write(folder)
        for old in folder.glob("*/repodata*"):  # an indexer looks at known names no more
            old.unlink()
        call_rattler("index", {"folder": str(folder)})

    def lock(self) -> None:
        """Run `pixi lock`, not through the tasks."""
        run_pixi(need_pixi(os.environ, "lock"), ("lock",), self.root / "pixi.toml")

    def note_mirrored(self) -> None:
        """Note that the channel is made from the present lock, without making it."""
        users = read_users(self.workspace, read_locks(self.workspace, Console()))
        save_workspace(self.workspace, users, users.own.layout)

    def state(self) -> dict[str, str]:
        """Map every file and folder of the workspace to its digest, time and permissions."""
        return {
            path.relative_to(self.root).as_posix(): _state_of(path)
            for path in sorted((self.root, *self.root.rglob("*")))
        }


def _state_of(path: Path) -> str:
    status = path.lstat()
    digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
    return f"{digest} {status.st_mtime_ns} {status.st_mode:o}"
