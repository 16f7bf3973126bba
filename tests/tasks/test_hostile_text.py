"""Texts of a lock and a manifest that would do more than show: on a terminal, in every report."""

from __future__ import annotations

import json
import re
import unicodedata
from pathlib import Path

import pytest

from tasks import verify
from tests.support.locks import EnvironmentRows, PlatformRows, RawRow, write_lock
from tests.support.mirrors import make_mirror, rows
from tests.support.packages import TinyPackage

# A new line, a turned one, an isolate, a zero width, separators of lines, C0 and C1, a tag.
HOSTILE = "\nhelp: evil\u202e\u2066\u200b\u2028\u2029\x1b\x9b\xad\ufeff\U000e0001"
SHOWN = r"\nhelp: evil\u202e\u2066\u200b\u2028\u2029\x1b\x9b\xad\ufeff\U000e0001"
SHAPELESS = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def shapeless(text: str) -> set[str]:
    return {each for each in text if unicodedata.category(each) in SHAPELESS} - {"\n"}


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A mirror of one package, whose workspace and left-out packages have hostile names."""
    root = tmp_path / "workspace"
    mirror = make_mirror(root)
    manifest = root / "pixi.toml"
    text = manifest.read_text(encoding="utf-8")
    name = json.dumps(f"mine{HOSTILE}")  # what JSON writes of it is TOML as well
    name = re.sub(r"\\udb40\\udc01", r"\\U000e0001", name)
    text = text.replace('name = "mirrored"', f"name = {name}")
    text += 'allow-incomplete = ["pypi"]\n'
    manifest.write_text(text, encoding="utf-8")
    real = rows(tmp_path / "upstream", (TinyPackage(name="a"),))
    mirror.lock(real)
    location = json.dumps(f"https://example.org/{HOSTILE}-1.0-py3-none-any.whl")
    location = re.sub(r"\\udb40\\udc01", r"\\U000e0001", location)
    hostile = RawRow(key="pypi", location=location, lines=("name: evil", "version: '1.0'"))
    platforms = (PlatformRows(name="linux-64", rows=(*real, hostile)),)
    write_lock(root / "pixi.lock", (EnvironmentRows(platforms=platforms),), 7)
    mirror.index()
    return root


def test_on_the_terminal(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify.main(["--manifest-path", str(workspace), "--level", "files"]) == 0
    out, err = capsys.readouterr()
    assert f"{SHOWN}-1.0" in out + err
    assert shapeless(out + err) == set()
    assert "\nhelp: evil" not in out + err


def test_in_an_error(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lock = workspace / "pixi.lock"
    lock.write_text(lock.read_text().replace("name: linux-64", r'name: "l\nhelp: evil"'))
    assert verify.main(["--manifest-path", str(workspace), "--level", "files"]) == 2
    first, *_, last = capsys.readouterr().err.splitlines()
    assert first == r"error: pixi.lock: platform l\nhelp: evil: no such subdir: 'l\nhelp: evil'"
    assert last.startswith("help: known are noarch")  # control: its own help


@pytest.mark.parametrize("form", ["md", "html"])
def test_in_a_report(workspace: Path, tmp_path: Path, form: str) -> None:
    report = tmp_path / f"report.{form}"
    options = ["--level", "files", "--report", str(report)]
    assert verify.main(["--manifest-path", str(workspace), *options]) == 0
    text = report.read_text(encoding="utf-8")
    shown = SHOWN if form == "html" else SHOWN.replace("\\", "\\\\")
    assert f"mine{shown}" in text
    assert f"{SHOWN}-1.0" in text  # verbatim, in both
    assert shapeless(text) == set()


def test_as_json_nothing_is_lost(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--level", "files", "--json"]
    assert verify.main(["--manifest-path", str(workspace), *options]) == 0
    out = capsys.readouterr().out
    assert out.isascii()
    (left_out,) = json.loads(out)["left-out"]["packages"]
    assert f"{HOSTILE}-1.0" in left_out["location"]
