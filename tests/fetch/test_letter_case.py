"""Names that differ in case alone are told of before a byte is downloaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.channel.folders import same_but_for_case
from tasks import fetch
from tests.support.locks import EnvironmentRows, LockRow, PlatformRows, write_lock
from tests.support.packages import TinyPackage
from tests.support.upstream import Upstream

MANIFEST = '[workspace]\nname = "w"\nchannels = ["conda-forge"]\nplatforms = ["linux-64"]\n'
WARNING = "warning: names that differ in case alone, which Windows and macOS keep as one file: "


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    if (tmp_path.parent / tmp_path.name.upper()).exists():
        pytest.skip("this disk folds case, and cannot hold the upstream of these tests")
    folder = tmp_path / "workspace"
    folder.mkdir()
    (folder / "pixi.toml").write_text(MANIFEST, encoding="utf-8")
    return folder


def lock(workspace: Path, upstream: Upstream, *rows: tuple[str, str]) -> None:
    """Name packages by their channel's and their own name."""
    named = tuple(
        LockRow(
            written=TinyPackage(name=name, version=f"{number}.0").write(upstream.folder / channel),
            channel=f"{upstream.url}/{channel}",
        )
        for number, (channel, name) in enumerate(rows)
    )
    channels = tuple(dict.fromkeys(each.channel for each in named))
    platforms = (PlatformRows(name="linux-64", rows=named),)
    write_lock(workspace / "pixi.lock", (EnvironmentRows(platforms=platforms, channels=channels),))


def fetched(workspace: Path, *options: str) -> int:
    return fetch.main(["--manifest-path", str(workspace), *options])


def fold_case(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a probe file found under its other name.

    A stand-in: a disk that folds case is not at hand where the tests run, and takes root to make.
    """
    real = Path.exists

    def exists(self: Path) -> bool:
        folded = [each for each in self.parent.glob("*") if each.name.lower() == self.name.lower()]
        return bool(folded) or real(self)

    monkeypatch.setattr(Path, "exists", exists)


ONE = (("chan", "a"), ("CHAN", "b"), ("chan", "c"))


def test_two_channels_on_a_disk_that_keeps_both(
    workspace: Path, upstream: Upstream, capsys: pytest.CaptureFixture[str]
) -> None:
    lock(workspace, upstream, *ONE)
    assert fetched(workspace, "--layout", "by-channel") == 0
    host = upstream.url.removeprefix("http://").replace(":", "_")
    assert f"{WARNING}{host}/CHAN with {host}/chan\n" in capsys.readouterr().err
    assert len(list((workspace / "local-channel" / host).iterdir())) == 2
    # Control: a flat mirror has no folders of channels.
    assert fetched(workspace, "--channel-dir", "flat") == 0
    assert WARNING not in capsys.readouterr().err


def test_two_channels_on_a_disk_that_keeps_one(
    workspace: Path,
    upstream: Upstream,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    lock(workspace, upstream, *ONE)
    host = upstream.url.removeprefix("http://").replace(":", "_")
    fold_case(monkeypatch)
    assert fetched(workspace, "--layout", "by-channel") == 2
    folder = workspace / "local-channel"
    assert capsys.readouterr().err == (
        f"error: {host}/chan: differs from {host}/CHAN in case alone, and this disk keeps both as"
        f" one\n  channel folder  {folder}\n"
        "help: set channel-dir to a folder on a disk that tells case apart\n"
    )
    assert upstream.requests == []
    assert list(folder.iterdir()) == []
    assert fetched(workspace) == 0  # control


def test_two_artifacts(
    workspace: Path,
    upstream: Upstream,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    lock(workspace, upstream, ("ch", "dd"))
    assert fetched(workspace) == 0
    assert capsys.readouterr().err.count(WARNING) == 0
    # The same build under another name; what is there already counts as well
    (workspace / "local-channel" / "noarch" / "DD-0.0-0.conda").touch()
    assert fetched(workspace, "--dry-run") == 0
    line = f"{WARNING}noarch/DD-0.0-0.conda with noarch/dd-0.0-0.conda\n"
    assert capsys.readouterr().err == line
    assert fetched(workspace) == 0
    assert capsys.readouterr().err == line
    fold_case(monkeypatch)
    assert fetched(workspace) == 2
    assert "error: noarch/dd-0.0-0.conda: differs from noarch/DD-0.0-0.conda in case alone" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("paths", "pairs"),
    [
        (("a/b", "a/c", "ab"), []),
        (("a/B", "a/b"), [("a/B", "a/b")]),
        (("A/x", "a/y"), [("A", "a")]),
        (("A/x", "a/x"), [("A", "a")]),  # the folders alone, not all that is in them
        (("c/A/x", "c/a/x", "c/a/X"), [("c/A", "c/a"), ("c/a/X", "c/a/x")]),
        (("E\u0301", "\u00e9"), [("E\u0301", "\u00e9")]),  # as macOS composes
        (("x", "x"), []),
        (("AB", "Ab", "ab"), [("AB", "Ab"), ("AB", "ab")]),
    ],
)
def test_what_differs_in_case_alone(paths: tuple[str, ...], pairs: list[tuple[str, str]]) -> None:
    assert list(same_but_for_case(paths)) == pairs
