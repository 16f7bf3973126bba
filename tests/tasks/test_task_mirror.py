"""The task mirror: what its stages say, said once, and where the chain ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks import mirror
from tests.support.locks import RawRow
from tests.support.mirrors import Mirror, make_mirror, rows
from tests.support.packages import TinyPackage

WHEEL = "https://files.example.org/x{0}-1.0-py3-none-any.whl"


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mirror:
    """A mirror whose lock names an artifact, which is there, and five wheels."""
    monkeypatch.setenv("PATH", "")  # py-rattler alone installs: the others take a second each
    wheels = [
        RawRow(key="pypi", location=WHEEL.format(each), lines=(f"name: x{each}", "version: '1.0'"))
        for each in range(5)
    ]
    made = make_mirror(tmp_path / "workspace")
    made.lock((*rows(tmp_path / "upstream", (TinyPackage(name="lib"),)), *wheels))
    return made


def run(made: Mirror, *options: str) -> int:
    return mirror.main(["--manifest-path", str(made.root), *options])


def test_what_several_stages_say_is_said_once(
    made: Mirror, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(made, "--allow-incomplete", "pypi") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "fetch: nothing to do, 1 artifact is there"
    assert lines[-1] == "mirror: local-channel holds what pixi.lock names, verified"
    left_out = [line for line in lines if line.startswith("left out: ")]
    assert [line.split()[2] for line in left_out] == [f"x{each}" for each in range(5)]


def test_without_pixi_run_the_lock_must_fit(
    made: Mirror, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody has renewed it: it is taken as it is, or refused before anything is done."""
    assert run(made, "--allow-incomplete", "pypi") == 0
    fits = "mirror: using pixi.lock as it is; it fits the manifest"
    first, *notes = capsys.readouterr().err.splitlines()[:4]
    assert first == fits
    for note, said in zip(notes, ("own dependencies", "channel-priority", "PyPI"), strict=True):
        assert note.startswith("mirror: not checked: ")
        assert said in note
    manifest, before = made.root / "pixi.toml", made.states()
    text = manifest.read_text(encoding="utf-8")
    manifest.write_text(text + '\n[dependencies]\nlib = ">=9"\n', encoding="utf-8")
    assert run(made) == 2
    out, err = capsys.readouterr()
    assert (out, err.partition(":")[0], "lib" in err, fits in err) == ("", "error", True, False)
    assert made.states() == before


def test_all_findings_are_named(made: Mirror, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(made) == 1
    out, err = capsys.readouterr()
    assert "verified" not in out.splitlines()[-1]
    errors = err[err.index("error: ") :]
    assert all(f"x{each} 1.0" in errors for each in range(5)), errors
    assert "more, which -v shows" not in errors
