"""The demo's own place: kept or gone, never over something, free of the user's settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.core.errors import MirrorError
from scripts.demo.scratch import WORKSPACE, demo_folder, make_workspace, task_environment


def test_a_temporary_folder_goes() -> None:
    with demo_folder(None) as root:
        make_workspace(root, "http://127.0.0.1:1")
        assert root.is_dir()
    assert not root.exists()


def test_a_named_folder_is_made_and_stays(tmp_path: Path) -> None:
    with demo_folder(tmp_path / "new" / "folder") as root:
        workspace = make_workspace(root, "http://127.0.0.1:1")
    lock = workspace / "pixi.lock"
    assert lock.read_bytes() == (WORKSPACE / "pixi.lock").read_bytes()
    assert Path(task_environment(root, {})["PIXI_CONFIG_FILE"]).read_bytes() == (
        b'[mirrors]\n"https://conda.example.org" = ["http://127.0.0.1:1"]\n'
    )


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_bytes(b"x")
    with pytest.raises(MirrorError) as caught, demo_folder(tmp_path):
        pass
    assert str(caught.value) == (
        f"{tmp_path}: not empty, and the demo overwrites nothing\nhelp: name a new folder"
    )
    with pytest.raises(MirrorError) as caught, demo_folder(mine):
        pass
    assert str(caught.value).startswith(f"{mine}: cannot be made: ")
    assert mine.read_bytes() == b"x"


def test_the_users_settings_stay_outside(tmp_path: Path) -> None:
    given = {
        "PATH": "p",
        "https_proxy": "http://proxy.example.org",
        "PIXI_HOME": "theirs",
        "PIXI_PROJECT_MANIFEST": "theirs",
        "CONDA_PREFIX": "theirs",
        "RATTLER_AUTH_FILE": "theirs",
        "NO_PROXY": "theirs",
    }
    env = task_environment(tmp_path, given)
    assert "theirs" not in env.values()
    assert env["PATH"] == "p"
    assert {name for name in env if name.upper().endswith("_PROXY")} == {"NO_PROXY", "no_proxy"}
