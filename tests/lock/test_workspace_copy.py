"""What pixi needs of a workspace is copied, and nothing more: a mirror may have a terabyte."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from scripts.core.errors import MirrorError
from scripts.lock.update import workspace_copy
from scripts.workspace.settings import SettingOverrides
from scripts.workspace.workspace import open_workspace

MANIFEST = """\
[workspace]
name = "w"
channels = ["./own-channel"]
platforms = ["linux-64"]

[pypi-dependencies]
lib = { path = "lib" }

[tool.pixi-mirror]
channel-dir = "DIR"
"""


@pytest.mark.parametrize("channel_dir", ["mirror", "lib/mirror", "../mirror"])
def test_the_mirror_is_not_copied(tmp_path: Path, channel_dir: str) -> None:
    root = tmp_path / "w"
    channel = (root / channel_dir).resolve()
    for folder in (root / "own-channel", root / "lib", channel):
        folder.mkdir(parents=True)
        (folder / f"{folder.name}.bin").touch()
    (root / "unnamed.bin").touch()
    (root / "pixi.toml").write_text(MANIFEST.replace("DIR", channel_dir), encoding="utf-8")
    workspace = open_workspace(root / "pixi.toml", SettingOverrides())
    for around in (None, tmp_path):
        with workspace_copy(workspace, around) as manifest:
            copied = manifest.parent if around is None else manifest.parent.parent
            files = {x.name for x in copied.rglob("*") if x.is_file()}
        assert files == {"pixi.toml", "own-channel.bin", "lib.bin"}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are POSIX")
@pytest.mark.parametrize("names", [("lib",), ("lib/other", "lib/pipe")])
def test_what_cannot_be_copied_is_named(tmp_path: Path, names: tuple[str, ...]) -> None:
    """Alone, or among the files of a folder."""
    pipes = [tmp_path / each for each in names]
    for each in pipes:
        each.parent.mkdir(exist_ok=True)
        os.mkfifo(each)
    (tmp_path / "pixi.toml").write_text(MANIFEST.replace("DIR", "mirror"), encoding="utf-8")
    workspace = open_workspace(tmp_path / "pixi.toml", SettingOverrides())
    with pytest.raises(MirrorError) as caught, workspace_copy(workspace):
        pass
    (problem,) = caught.value.problems
    assert problem.message == "cannot copy the workspace here"
    assert sorted(problem.details) == [("because", f"`{x}` is a named pipe") for x in pipes]
