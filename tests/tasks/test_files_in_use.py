"""A replace or removal that Windows refuses for a while, since another program has the file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.core import files
from tasks.platforms import main

MANIFEST = b'[workspace]\nchannels = ["conda-forge"]\nplatforms = ["linux-64"]\n'
AFTER = b'[workspace]\nchannels = ["conda-forge"]\nplatforms = ["linux-64", "win-64"]\n'
FOREVER = 1 << 30
IN_USE = 32  # ERROR_SHARING_VIOLATION


def refuse(monkeypatch: pytest.MonkeyPatch, method: str, times: int, winerror: int | None) -> None:
    """Have the first calls of a method of Path fail as Windows does.

    A stand-in, since no other system refuses to replace a file that is open.
    """
    real: Callable[..., object] = getattr(Path, method)
    left = [times]

    def call(self: Path, *arguments: object, **options: object) -> object:
        if left[0]:
            left[0] -= 1
            error = PermissionError(13, "The process cannot access the file", str(self))
            if winerror is not None:
                error.winerror = winerror  # type: ignore[attr-defined,unused-ignore]
            raise error
        return real(self, *arguments, **options)

    monkeypatch.setattr(Path, method, call)


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
        f"error: {manifest}: cannot write this manifest: The process cannot access the file\n"
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
