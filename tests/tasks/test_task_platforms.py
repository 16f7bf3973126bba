"""`pixi run platforms`, from its arguments to the bytes on the disk."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.platforms import main
from tests.support.mirrors import forbid
from tests.support.template import ROOT

MANIFEST = (
    b'[workspace]\r\nchannels = ["conda-forge"]\r\nplatforms = ["linux-64", "win-64", "osx-64"]'
    b"\r\n\r\n# payload\r\n[feature.mirror]\r\nplatforms = [\r\n  'linux-64', # all of them\r\n"
    b"  'win-64',\r\n]\r\n[feature.gpu]\n[environments]\n"
    b'default = ["mirror"]\ntools = { features = [], no-default-feature = true }\n'
    b'gpu = { features = ["gpu"], solve-group = "g" }\n'
    b'[tool.pixi-mirror]\nexclude-environments = ["tools"]'
)
WARNING = (
    "warning: environment gpu lacks the feature mirror, so it is locked for osx-64 too; "
    "write in [environments]: "
    'gpu = { features = ["gpu", "mirror"], solve-group = "g" }\n'
)


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    path = tmp_path / "pixi.toml"
    path.write_bytes(MANIFEST)
    return path


def run(manifest: Path, *arguments: str) -> int:
    return main(["--manifest-path", str(manifest), *arguments])


def test_without_arguments_it_shows_and_warns(
    manifest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(manifest) == 0
    shown = capsys.readouterr()
    assert shown.out == (
        "default  linux-64, win-64\n"
        "tools    linux-64, win-64, osx-64  (not mirrored)\n"
        "gpu      linux-64, win-64, osx-64\n"
    )
    assert shown.err == WARNING
    assert manifest.read_bytes() == MANIFEST
    assert [each.name for each in manifest.parent.iterdir()] == ["pixi.toml"]


def test_an_environment_with_the_pasted_line_is_not_warned_of(
    manifest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = b'gpu = { features = ["gpu"], solve-group = "g" }'
    pasted = WARNING.partition("]: ")[2].strip().encode()
    manifest.write_bytes(MANIFEST.replace(old, pasted))
    assert run(manifest) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("written", "line"),
    [
        ('["gpu"]', '[environments]: gpu = { features = ["gpu", "mirror"] }'),
        (
            '{ features = ["gpu"], no-default-feature = true }',
            '[environments]: gpu = { features = ["gpu", "mirror"], no-default-feature = true }',
        ),
        (
            '{ features = ["gpu"], dependencies = { cupy = "*" } }',
            '[environments.gpu]: features = ["gpu", "mirror"]',
        ),
        ('{ features = ["gpu"], platforms = ["win-64"] }', None),
        ('["gpu", "mirror"]', None),
    ],
)
def test_every_way_to_write_an_environment_has_its_line(
    manifest: Path, capsys: pytest.CaptureFixture[str], written: str, line: str | None
) -> None:
    old = b'{ features = ["gpu"], solve-group = "g" }'
    manifest.write_bytes(MANIFEST.replace(old, written.encode()))
    assert run(manifest) == 0
    warning = "environment gpu lacks the feature mirror, so it is locked for osx-64 too; write in"
    expected = "" if line is None else f"warning: {warning} {line}\n"
    assert capsys.readouterr().err == expected


@pytest.mark.parametrize(
    ("platforms", "feature", "shown"),
    [("[]", "", "none"), ('["osx-64"]', "[feature.mirror.dependencies]\n", "osx-64")],
)
def test_where_no_feature_narrows_nothing_is_warned_of(
    manifest: Path, capsys: pytest.CaptureFixture[str], platforms: str, feature: str, shown: str
) -> None:
    workspace = f"[workspace]\nchannels = []\nplatforms = {platforms}\n{feature}"
    manifest.write_text(f"{workspace}[environments]\nx = []\n", encoding="utf-8")
    assert run(manifest) == 0
    assert capsys.readouterr() == (f"default  {shown}\nx        {shown}\n", "")


def test_an_excluded_environment_is_not_warned_of(
    manifest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(manifest, "--exclude-environments", "gpu,tools") == 0
    assert capsys.readouterr().err == ""


def test_what_the_settings_narrow_is_said(
    manifest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest.write_bytes(MANIFEST + b'\nplatforms = ["linux-64", "osx-64"]')
    assert run(manifest) == 0
    assert capsys.readouterr().out.splitlines()[3:] == [
        "mirrored of these by the settings: linux-64, osx-64"
    ]


def test_platforms_are_set(manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(manifest, "osx-64", "linux-64") == 0
    assert manifest.read_bytes() == MANIFEST.replace(b"  'win-64',", b"  'osx-64',")
    assert capsys.readouterr().out == (
        "feature.mirror.platforms: linux-64, win-64 → linux-64, osx-64\n"
        "default  linux-64, osx-64\n"
        "tools    linux-64, win-64, osx-64  (not mirrored)\n"
        "gpu      linux-64, win-64, osx-64\n"
        "next: `pixi lock`, then `pixi run mirror`\n"
    )


@pytest.mark.parametrize("launcher", [None, "./run", "pixi mirror"])
@pytest.mark.parametrize("is_own", [True, False])
def test_what_comes_next(
    launcher: str | None,
    manifest: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    *,
    is_own: bool,
) -> None:
    """`pixi run` renews the lock of its own workspace before a task; nobody else does."""
    named = manifest if is_own else manifest.parent / "other" / "pixi.toml"
    monkeypatch.setenv("PIXI_PROJECT_MANIFEST", str(named))
    if launcher is not None:
        monkeypatch.setenv("PIXI_MIRROR_RUN", launcher)
    assert run(manifest, "--add", "osx-64") == 0
    renews = is_own and launcher is None
    said = "`pixi run mirror`, which renews pixi.lock first"
    if not renews:
        said = f"`pixi lock`, then `{launcher or 'pixi run'} mirror`"
    assert capsys.readouterr().out.splitlines()[-1] == f"next: {said}"
    assert run(manifest, "--add", "osx-64") == 0  # nothing is changed, so nothing comes next
    assert "next: " not in capsys.readouterr().out


def test_platforms_are_added_and_removed(
    manifest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--add", "linux-aarch64", "--add", "osx-64", "--remove", "linux-64", "-q")
    assert run(manifest, *options) == 0
    assert manifest.read_bytes() == MANIFEST.replace(
        b'"osx-64"]', b'"osx-64", "linux-aarch64"]'
    ).replace(
        b"  'linux-64', # all of them\r\n  'win-64',\r\n",
        b"  'win-64',\r\n  'linux-aarch64',\r\n  'osx-64',\r\n",
    )
    assert capsys.readouterr() == ("", "")


def test_nothing_to_change_writes_nothing(
    manifest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = manifest.stat()
    assert run(manifest, "--add", "win-64") == 0
    assert manifest.stat() == before
    assert capsys.readouterr().out.splitlines()[0] == (
        "feature.mirror.platforms is already linux-64, win-64; nothing was written"
    )


def test_json_says_the_same(manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(manifest, "--json", "--remove", "win-64") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["exit-code"] == 0
    assert report["changed"] is True
    assert report["list"] == "feature.mirror.platforms"
    assert (report["before"], report["after"]) == (["linux-64", "win-64"], ["linux-64"])
    assert report["environments"][0] == {
        "name": "default",
        "platforms": [{"name": "linux-64", "subdir": "linux-64", "virtual-packages": []}],
        "mirrored": True,
    }
    assert len(report["warnings"]) == 1
    assert report["problems"] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--add", "osx-65"),
            "error: platforms: no such subdir: 'osx-65'\nhelp: did you mean osx-64?\n",
        ),
        (
            ("linux-64", "--add", "osx-64"),
            (
                "error: platforms: either the platforms wanted, or --add and --remove\n"
                "help: pixi run platforms --add linux-aarch64 --remove win-64\n"
            ),
        ),
        (
            ("--remove", "linux-64", "--remove", "win-64"),
            "error: pixi.toml: feature.mirror.platforms would have no platform left\n",
        ),
    ],
)
def test_a_refusal_leaves_the_file_untouched(
    manifest: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    message: str,
) -> None:
    before = manifest.stat()
    assert run(manifest, *arguments) == 2
    assert capsys.readouterr() == ("", message)
    assert manifest.read_bytes() == MANIFEST
    assert manifest.stat() == before


@pytest.mark.parametrize("content", [b"\xef\xbb\xbf" + MANIFEST, b"[workspace\n", b"\xff", b"\0"])
def test_what_is_no_manifest_is_untouched(manifest: Path, content: bytes) -> None:
    manifest.write_bytes(content)
    assert run(manifest, "--add", "osx-64") == 2
    assert manifest.read_bytes() == content


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
def test_the_files_mode_stays(manifest: Path) -> None:
    manifest.chmod(0o600)
    assert run(manifest, "--add", "osx-64") == 0
    assert stat.S_IMODE(manifest.stat().st_mode) == 0o600


def test_a_folder_that_is_not_writable(
    manifest: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    content = manifest.read_bytes()
    with monkeypatch.context() as patched:
        forbid(patched, manifest.parent, os.open)
        assert run(manifest, "--add", "osx-64") == 2
    assert capsys.readouterr().err == (
        f"error: {manifest}: cannot be written: Permission denied\n"
        "help: see that its folder may be written to, and has room; then run this again\n"
    )
    assert manifest.read_bytes() == content
    assert [each.name for each in manifest.parent.iterdir()] == [manifest.name]
    assert run(manifest, "--add", "osx-64") == 0, "the control"


def test_a_terminal_without_the_arrow_gets_an_escape(manifest: Path) -> None:
    """Windows pipes have a code page of old."""
    done = subprocess.run(
        [sys.executable, "-m", "tasks.platforms", "--manifest-path", manifest, "linux-64"],
        cwd=ROOT,
        env=os.environ | {"PYTHONIOENCODING": "cp1250", "PYTHONUTF8": "0"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0
    assert done.stdout.splitlines()[0] == (
        b"feature.mirror.platforms: linux-64, win-64 \\u2192 linux-64"
    )
