"""A replace or removal that Windows refuses for a while, since another program has the file."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scripts.core import files
from tasks import fetch, index, prune, verify
from tasks.platforms import main
from tests.support.locks import EnvironmentRows, LockRow, PlatformRows, write_lock
from tests.support.packages import TinyPackage
from tests.support.upstream import Upstream

MANIFEST = b'[workspace]\nchannels = ["conda-forge"]\nplatforms = ["linux-64"]\n'
AFTER = b'[workspace]\nchannels = ["conda-forge"]\nplatforms = ["linux-64", "win-64"]\n'
FOREVER = 1 << 30
IN_USE = 32  # ERROR_SHARING_VIOLATION


def refuse(
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    times: int,
    winerror: int | None,
    name: str | None = None,
) -> list[int]:
    """Have the first calls of a method of Path fail as Windows does; return how many are left.

    `name`: of a file in the channel folder, the only one that is refused.
    A stand-in, since no other system refuses to replace a file that is open.
    """
    real: Callable[..., object] = getattr(Path, method)
    left = [times]

    def call(self: Path, *arguments: object, **options: object) -> object:
        shown = Path(str(arguments[0])) if method == "replace" else self
        is_it = name is None or (shown.name == name and "local-channel" in shown.parts[:-1])
        if left[0] and is_it and ".pixi-mirror" not in shown.parts:
            left[0] -= 1
            error = PermissionError(13, "The process cannot access the file", str(self))
            if winerror is not None:
                error.winerror = winerror  # type: ignore[attr-defined,unused-ignore]
            raise error
        return real(self, *arguments, **options)

    monkeypatch.setattr(Path, method, call)
    return left


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    path = tmp_path / "pixi.toml"
    path.write_bytes(MANIFEST)
    return path


def add(manifest: Path) -> int:
    return main(["--manifest-path", str(manifest), "--add", "win-64"])


@pytest.mark.parametrize("winerror", [5, IN_USE, 33, 1224])
def test_a_file_in_use_for_a_moment_is_replaced(
    manifest: Path, monkeypatch: pytest.MonkeyPatch, winerror: int
) -> None:
    refuse(monkeypatch, "replace", 3, winerror)
    assert add(manifest) == 0
    assert manifest.read_bytes() == AFTER
    assert list(manifest.parent.iterdir()) == [manifest]


def test_a_file_in_use_all_the_time_is_named(
    manifest: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The ten seconds are made short, since nothing else happens in them."""
    monkeypatch.setattr(files, "_TRY_FOR", 0.2)
    with monkeypatch.context() as refusing:
        refuse(refusing, "replace", FOREVER, IN_USE)
        assert add(manifest) == 2
    assert capsys.readouterr().err == (
        f"error: {manifest}: cannot be replaced, tried for 0.2 s: The process cannot access the "
        "file\nhelp: close the program that has it open, or make it writable; then run this "
        "again: it goes on where it stopped\n"
    )
    assert manifest.read_bytes() == MANIFEST
    assert list(manifest.parent.iterdir()) == [manifest]
    assert add(manifest) == 0  # what is left is a state that the next run finishes
    assert manifest.read_bytes() == AFTER


def test_a_refusal_of_another_kind_is_not_waited_out(
    manifest: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    refuse(monkeypatch, "replace", 1, None)
    assert add(manifest) == 2
    assert capsys.readouterr().err == (
        f"error: {manifest}: cannot be written: The process cannot access the file\n"
        "help: see that its folder may be written to, and has room; then run this again\n"
    )
    assert manifest.read_bytes() == MANIFEST


def test_a_removal_is_tried_again_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    path.touch()
    refuse(monkeypatch, "unlink", 3, IN_USE)
    files.unlink(path)
    assert not path.exists()
    files.unlink(path, missing_ok=True)
    with pytest.raises(FileNotFoundError):
        files.unlink(path)


@pytest.fixture
def root(tmp_path: Path, upstream: Upstream) -> Path:
    """A workspace with an artifact to fetch."""
    written = TinyPackage(name="a").write(upstream.folder / "ch")
    row = LockRow(written=written, channel=f"{upstream.url}/ch")
    platform = PlatformRows(name="linux-64", rows=(row,))
    root = tmp_path / "w"
    root.mkdir()
    (root / "pixi.toml").write_bytes(
        MANIFEST.replace(b'"conda-forge"', f'"{upstream.url}/ch"'.encode())
        + b'[tool.pixi-mirror]\nlayout = "flat"\n'
    )
    write_lock(root / "pixi.lock", (EnvironmentRows(platforms=(platform,)),))
    return root


def run(task: Any, root: Path, *options: str) -> int:
    return int(task.main(["--manifest-path", str(root), "-q", *options]))


def test_fetch_index_and_prune_wait_for_a_file_in_use(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them is refused something, and all of it is done in the end."""
    folder = root / "local-channel" / "noarch"
    for task, method, options in (
        (fetch, "replace", ()),
        (index, "replace", ()),
        (prune, "unlink", ("--now", "--drop", "noarch/b-1.0-0.conda")),
    ):
        if task is prune:
            shutil.copyfile(folder / "a-1.0-0.conda", folder / "b-1.0-0.conda")
        with monkeypatch.context() as refusing:
            left = refuse(refusing, method, 3, IN_USE)
            assert run(task, root, *options) == 0, task
        assert left == [0], "the control: it was refused three times"
    assert run(verify, root, "--level", "files,index", "--strict") == 0


@pytest.mark.parametrize(("task", "method"), [(index, "replace"), (prune, "unlink")])
def test_index_and_prune_name_a_file_that_stays_in_use(
    root: Path,
    task: Any,
    method: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(files, "_TRY_FOR", 0.2)
    assert run(fetch, root) == 0
    options: tuple[str, ...] = ()
    name = "repodata.json"
    if task is prune:
        assert run(index, root) == 0
        name = "b-1.0-0.conda"
        folder = root / "local-channel" / "noarch"
        shutil.copyfile(folder / "a-1.0-0.conda", folder / name)
        options = ("--now", "--drop", f"noarch/{name}")
    capsys.readouterr()
    with monkeypatch.context() as refusing:
        refuse(refusing, method, FOREVER, IN_USE, name)
        assert run(task, root, *options) == 2
    said = "replaced" if task is index else "removed"
    assert capsys.readouterr().err == (
        f"error: {root / 'local-channel' / 'noarch' / name}: cannot be {said}, tried for 0.2 s: The"
        " process cannot access the file\n"
        "help: close the program that has it open, or make it writable; then run this again: it"
        " goes on where it stopped\n"
    )
    assert run(task, root, *(options if task is index else ("--now",))) == 0
    assert run(verify, root, "--level", "files,index", "--strict") == 0


def test_a_workspace_in_use_is_forgotten_in_the_end(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(fetch, root) == run(index, root) == 0
    other = root.parent / "other"
    shutil.copytree(root, other, ignore=shutil.ignore_patterns("local-channel", ".pixi-mirror"))
    text = (other / "pixi.toml").read_text(encoding="utf-8")
    text = text.replace("[workspace]", '[workspace]\nname = "other"')
    (other / "pixi.toml").write_text(
        f'{text}channel-dir = "../w/local-channel"\n', encoding="utf-8"
    )
    assert run(index, other) == 0
    folder = root / ".pixi-mirror" / "local-channel" / "state" / "workspaces"
    assert len(list(folder.iterdir())) == 2
    real, left = shutil.rmtree, [3]

    def refused(path: Any, *arguments: Any, **options: Any) -> None:
        if left[0]:
            left[0] -= 1
            error = PermissionError(13, "The process cannot access the file", str(path))
            error.winerror = IN_USE  # type: ignore[attr-defined,unused-ignore]
            raise error
        real(path, *arguments, **options)

    with monkeypatch.context() as refusing:
        refusing.setattr(shutil, "rmtree", refused)
        assert run(prune, root, "--forget", "other") == 0
    assert left == [0]
    assert len(list(folder.iterdir())) == 1
