"""Finding the workspace, and the channel folder it may have."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from scripts.core.errors import ExitCode, MirrorError
from scripts.workspace.settings import SettingOverrides
from scripts.workspace.workspace import Workspace, open_workspace

MANIFEST = '[workspace]\nname = "w"\nchannels = ["conda-forge"]\nplatforms = ["linux-64"]\n'
PYPROJECT = MANIFEST.replace("[workspace]", "[tool.pixi.workspace]")
PACKAGE = '[package]\nname = "p"\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder as the system itself names it."""
    return tmp_path.resolve()


def open_at(path: Path | None, **settings: str) -> Workspace:
    return open_workspace(path, SettingOverrides(channel_dir=settings.get("channel_dir")))


def refusal(path: Path | None, **settings: str) -> str:
    with pytest.raises(MirrorError) as caught:
        open_at(path, **settings)
    assert caught.value.problems[0].code is ExitCode.USAGE
    return str(caught.value)


@pytest.mark.parametrize("given", [".", "pixi.toml"])
def test_a_workspace_is_opened_by_folder_or_file(folder: Path, given: str) -> None:
    (folder / "pixi.toml").write_text(MANIFEST)
    workspace = open_at(folder / given)
    assert workspace.root == folder
    assert workspace.manifest_path == folder / "pixi.toml"
    assert workspace.lock_path == folder / "pixi.lock"
    assert workspace.manifest.name == "w"
    assert workspace.place.folder == folder / "local-channel"
    assert workspace.place.root == folder / ".pixi-mirror" / "local-channel"


def test_options_are_laid_over_the_settings(folder: Path) -> None:
    (folder / "pixi.toml").write_text(f'{MANIFEST}[tool.pixi-mirror]\nchannel-dir = "a"\njobs = 7')
    assert open_at(folder).place.folder == folder / "a"
    workspace = open_at(folder, channel_dir="b/c")
    assert workspace.place.folder == folder / "b" / "c"
    assert workspace.settings.jobs == 7


def test_what_a_killed_run_left_is_cleared(folder: Path) -> None:
    """Where a workspace of before was, which writes there no more, too."""
    (folder / "pixi.toml").write_text(MANIFEST)
    place = open_at(folder).place
    for each in (folder, place.state, place.cache, place.state / "workspaces" / "gone-0123abcd"):
        each.mkdir(parents=True, exist_ok=True)
        for name in ("pixi.lock", "pixi.lock.0123abcd.pixi-mirror.tmp"):
            (each / name).touch()
    open_at(folder)
    assert {x.name for x in folder.rglob("*") if x.is_file()} == {"pixi.toml", "pixi.lock"}


def test_pixi_toml_wins_over_pyproject(folder: Path) -> None:
    (folder / "pyproject.toml").write_text(PYPROJECT)
    assert open_at(folder).manifest_path.name == "pyproject.toml"
    (folder / "pixi.toml").write_text(MANIFEST)
    assert open_at(folder).manifest_path.name == "pixi.toml"
    assert open_at(folder / "pyproject.toml").manifest_path.name == "pyproject.toml"


def test_the_nearest_workspace_upward_is_found(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pyproject.toml without pixi and the manifest of a mere package are passed by."""
    inner = folder / "packages" / "p" / "src"
    inner.mkdir(parents=True)
    (folder / "pixi.toml").write_text(MANIFEST)
    (folder / "packages" / "pyproject.toml").write_text('[project]\nname = "pixi-like"\n')
    (folder / "packages" / "p" / "pixi.toml").write_text(PACKAGE)
    monkeypatch.chdir(inner)
    assert open_at(None).root == folder
    (folder / "packages" / "p" / "pixi.toml").write_text(MANIFEST + PACKAGE)
    assert open_at(None).root == folder / "packages" / "p"


def test_a_broken_manifest_on_the_way_is_told_of(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "pixi.toml").write_text("[package\n")
    monkeypatch.chdir(folder)
    assert refusal(None).startswith("pixi.toml: not TOML: ")


def test_no_workspace_anywhere_is_a_sentence(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert refusal(None) == (
        f"{folder}: there is no pixi workspace here or in any folder above\n"
        "help: go to the folder of your pixi.toml, or name it: --manifest-path PATH"
    )
    assert refusal(folder) == (
        f"{folder}: this folder has none of pixi.toml, pyproject.toml, mojoproject.toml\n"
        "help: pixi init"
    )
    missing = folder / "pixi.toml"
    assert refusal(missing) == f"{missing}: cannot read this manifest: there is no such file"


def test_a_file_that_pixi_would_not_read_is_refused(folder: Path) -> None:
    other = folder / "other.toml"
    other.write_text(MANIFEST)
    assert refusal(other) == (
        f"{other}: pixi reads no manifest of this name, "
        "only pixi.toml, pyproject.toml, mojoproject.toml"
    )


def test_a_manifest_must_be_text(folder: Path) -> None:
    path = folder / "pixi.toml"
    path.write_bytes(b"\xff\xfe[\x00")
    assert refusal(folder) == f"{path}: not UTF-8 text (byte 0); a manifest always is"


@pytest.mark.parametrize("channel_dir", [".", "..", "a/..", "{root}", "/"])
def test_the_channel_may_not_swallow_the_workspace(folder: Path, channel_dir: str) -> None:
    root = folder / "w"
    root.mkdir()
    (root / "pixi.toml").write_text(MANIFEST)
    given = channel_dir.format(root=root)
    assert refusal(root, channel_dir=given) == (
        f"tool.pixi-mirror.channel-dir: {given!r} is the workspace's own folder, or one around it\n"
        'help: channel-dir = "local-channel"'
    )


def test_the_channel_may_be_elsewhere_but_no_file(folder: Path) -> None:
    root = folder / "w"
    root.mkdir()
    (root / "pixi.toml").write_text(MANIFEST)
    assert open_at(root, channel_dir="../out").place.folder == folder / "out"
    assert open_at(root, channel_dir=str(folder / "x")).place.folder == folder / "x"
    assert refusal(root, channel_dir="pixi.toml") == (
        "tool.pixi-mirror.channel-dir: 'pixi.toml' is a file, not a folder\n"
        'help: move away what is there, or name another folder: channel-dir = "FOLDER"'
    )


@pytest.mark.parametrize("channel_dir", ["~", "~/mirror", "file:///srv/mirror"])
def test_what_a_shell_or_a_browser_would_make_a_path(folder: Path, channel_dir: str) -> None:
    """Taken by the letter, it would make a folder named `~` in the workspace."""
    (folder / "pixi.toml").write_text(MANIFEST)
    assert refusal(folder, channel_dir=channel_dir) == (
        f"tool.pixi-mirror.channel-dir: {channel_dir!r} is no path: write it out\n"
        'help: channel-dir = "local-channel"'
    )


@pytest.mark.parametrize(
    ("channel_dir", "where"),
    [
        (".pixi-mirror", ".pixi-mirror, where working state lives"),
        (".pixi-mirror/x", ".pixi-mirror, where working state lives"),
        (".pixi", ".pixi, which `pixi clean` removes"),
        (".pixi/mirror", ".pixi, which `pixi clean` removes"),
        (".git", ".git, where git keeps its own"),
        ("../.git/mirror", ".git, where git keeps its own"),
    ],
)
def test_the_channel_is_not_in_a_folder_of_others(
    folder: Path, channel_dir: str, where: str
) -> None:
    (folder / "pixi.toml").write_text(MANIFEST)
    assert refusal(folder, channel_dir=channel_dir) == (
        f"tool.pixi-mirror.channel-dir: {channel_dir!r} is in {where}\n"
        'help: channel-dir = "local-channel"'
    )
    # The control: only the name begins so.
    for name in (".pixi-mirror2", ".gitlab"):
        overrides = SettingOverrides(channel_dir=name)
        assert open_workspace(folder / "pixi.toml", overrides).place.folder == folder / name


@pytest.mark.skipif(os.name == "nt", reason="Windows allows other names, in other words")
def test_a_name_that_no_folder_can_have(folder: Path) -> None:
    (folder / "pixi.toml").write_text(MANIFEST)
    name = "x" * 300
    assert refusal(folder, channel_dir=name) == (
        f"tool.pixi-mirror.channel-dir: '{name}' cannot be a folder: File name too long\n"
        'help: channel-dir = "local-channel"'
    )


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps a folder that somebody is in")
def test_the_current_folder_is_gone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "gone").mkdir()
    monkeypatch.chdir(folder / "gone")
    (folder / "gone").rmdir()
    assert refusal(None) == (
        "the current folder: cannot look for a manifest there: No such file or directory"
    )


@pytest.mark.skipif(os.name == "nt" or not os.getuid(), reason="root may look everywhere")
def test_a_folder_that_nobody_may_look_into(folder: Path) -> None:
    (folder / "w").mkdir(mode=0)
    assert refusal(folder / "w") == (
        f"{folder / 'w'}: cannot look for a manifest there: Permission denied"
    )


@pytest.mark.skipif(os.name == "nt", reason="links are for few on Windows")
def test_links_in_a_circle(folder: Path) -> None:
    (folder / "pixi.toml").write_text(MANIFEST)
    (folder / "a").symlink_to("b")
    (folder / "b").symlink_to("a")
    circle = "there is no such folder: its links lead in a circle"
    assert refusal(folder / "a") == f"{folder / 'a'}: {circle}"
    assert refusal(folder / "a/pixi.toml").startswith(f"{folder / 'a/pixi.toml'}: ")
    assert refusal(folder, channel_dir="a") == (
        f"tool.pixi-mirror.channel-dir: {circle}\n"
        'help: move away what is there, or name another folder: channel-dir = "FOLDER"'
    )


@pytest.mark.skipif(os.name == "nt", reason="links are for few on Windows")
def test_working_state_that_leads_elsewhere(folder: Path) -> None:
    (folder / "pixi.toml").write_text(MANIFEST)
    (folder / ".pixi-mirror").symlink_to(folder)
    assert refusal(folder) == (
        f"{folder / '.pixi-mirror'}: a link, through which nothing is written\n"
        f"  leads to  {folder}\nhelp: remove it, then run this again"
    )
