"""`new`, from its arguments to the bytes on the disk."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import tomllib
from pathlib import Path

import pytest

from scripts.core.child_process import quoted
from scripts.core.invocation import TEMPLATE
from scripts.core.report import human_size
from scripts.template import new
from scripts.template.make_pyz import archive
from tasks.new import main
from tests.support.builders import contents, make_builder, run_task
from tests.support.template import copy_template

# What a builder has beside its manifest.
LAID_DOWN = {
    *(".gitattributes", ".gitignore", "README.md", "pixi-mirror.pyz", "run", "run.cmd"),
    *(".github/workflows/update-mirror.yml", ".gitlab-ci.yml"),
}

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not on PATH")


def test_a_builder_has_what_it_needs_and_nothing_of_the_templates_past(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "deep" / "my mirror"
    options = ["--name", "ours", "-c", "bioconda", "-c", "conda-forge", "--platform", "win-64"]
    assert main([str(folder), *options, "numpy>=2", "scipy=1.15", "bioconda::bwa"]) == 0
    made = contents(folder)
    text = made.pop("pixi.toml").decode()
    manifest = tomllib.loads(text)
    assert manifest["workspace"]["name"] == "ours"
    assert manifest["workspace"]["channels"] == ["bioconda", "conda-forge"]
    assert "win-64" in manifest["workspace"]["platforms"]
    assert manifest["feature"]["mirror"]["platforms"] == ["win-64"]
    assert manifest["dependencies"] == {
        "numpy": ">=2",
        "scipy": "1.15.*",
        "bwa": {"version": "*", "channel": "bioconda"},
        "pip": "*",
    }
    assert 'pip = "*" # conda requires it of every python' in text
    assert made["pixi-mirror.pyz"] == archive()
    assert set(made) == LAID_DOWN
    assert capsys.readouterr().out == (
        f"new: {folder}: a builder, {len(made) + 1} files, {_size(folder)}\n"
        "channels   bioconda, conda-forge\n"
        "platforms  win-64\n"
        "packages   numpy >=2, scipy 1.15.*, bwa, pip\n"
        "there is no pixi.lock yet: `pixi lock` makes it\n"
        "next:\n"
        f"  cd {quoted(str(folder))}\n"
        "  pixi lock\n"
        "  pixi run mirror\n"
        "  git add --all\n"
        '  git commit -m "a mirror"\n'
    )
    assert [each.name for each in tmp_path.iterdir()] == ["deep"]
    assert [each.name for each in folder.parent.iterdir()] == ["my mirror"]
    if os.name != "nt":
        assert os.access(folder / "run", os.X_OK)
        assert not os.access(folder / "pixi.toml", os.X_OK)
        assert stat.S_IMODE(folder.stat().st_mode) == stat.S_IMODE(folder.parent.stat().st_mode)


@pytest.mark.parametrize(
    ("options", "packages", "is_said"),
    [
        (("--no-pip",), "pandas", False),
        (("--no-pip", "numpy"), "numpy", False),
        (("-c", "tiny", "hello"), "hello", True),
        (("-c", "tiny", "--no-pip", "hello"), "hello", False),
    ],
)
def test_without_pip(
    options: tuple[str, ...],
    packages: str,
    is_said: bool,  # noqa: FBT001
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([str(tmp_path / "mine"), *options]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[3] == f"packages   {packages}"
    said = (
        "pip is not among them, since none of these channels is the template's; conda requires it"
        " of every python: `pixi add pip`, if they have it"
    )
    assert (lines[4] == said) is is_said


def _size(folder: Path) -> str:
    return human_size(sum(map(len, contents(folder).values())))


@needs_git
def test_it_is_a_repository_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where git was told of another one, as in a hook."""
    other = tmp_path / "other"
    subprocess.run(["git", "init", "-q", str(other)], check=True)
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    assert main([str(tmp_path / "mine"), "-q"]) == 0
    monkeypatch.delenv("GIT_DIR")
    status = subprocess.run(
        ["git", "status", "--porcelain", "--ignored", "--untracked-files=all"],
        cwd=tmp_path / "mine",
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    # Nothing is committed, nothing ignored.
    assert {line[:2] for line in status} == {"??"}
    assert len(status) == len(contents(tmp_path / "mine"))


def test_without_git_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main([str(tmp_path / "mine"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["git"] is False
    assert main([str(tmp_path / "other")]) == 0
    said = capsys.readouterr().out
    assert "git is not on PATH: no repository was made\n" in said
    assert said.endswith("  pixi run mirror\n")
    assert not (tmp_path / "mine" / ".git").exists()


@pytest.mark.skipif(os.name == "nt", reason="the stand-in is a shell script")
def test_a_git_that_fails_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A stand-in for git: the real one will not fail when it is told to."""
    program = tmp_path / "bin" / "git"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho 'fatal: no' >&2\nexit 128\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    assert main([str(tmp_path / "a" / "b" / "mine")]) == 4
    assert capsys.readouterr().err == (
        "error: git init: ended with exit code 128\n  said  fatal: no\n"
    )
    assert [each.name for each in tmp_path.iterdir()] == ["bin"]


def test_an_empty_folder_is_used_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `pixi init` does in the folder one is in, which must stay that very folder."""
    folder = tmp_path / "here"
    folder.mkdir()
    before = folder.stat().st_ino
    monkeypatch.chdir(folder)
    assert main([".", "-q"]) == 0
    assert folder.stat().st_ino == before
    assert tomllib.loads((folder / "pixi.toml").read_text())["workspace"]["name"] == "here"
    assert set(contents(folder)) == {*LAID_DOWN, "pixi.toml"}


@pytest.mark.skipif(os.name == "nt", reason="a link needs a privilege there")
def test_a_folder_that_there_can_never_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    circle = tmp_path / "circle"
    circle.symlink_to(circle)
    assert main([str(circle / "mine"), "--manifest-path", str(tmp_path)]) == 2
    assert capsys.readouterr().err.splitlines()[:2] == [
        "warning: new makes a workspace of its own; --manifest-path is not used",
        f"error: {str(circle / 'mine')!r}: there can be no such folder",
    ]


def test_a_folder_that_is_not_empty_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    assert main([str(tmp_path)]) == 2
    assert capsys.readouterr().err == (
        f"error: {tmp_path}: this folder is not empty: mine.txt is in it\n"
        "help: name a folder that is not there yet: pixi run new DIR\n"
    )
    assert contents(tmp_path) == {"mine.txt": b"mine"}
    assert main([str(tmp_path / "mine.txt")]) == 2
    assert capsys.readouterr().err.startswith(
        f"error: {tmp_path / 'mine.txt'}: no builder can be made here: "
    )


def test_what_a_killed_run_left_in_an_empty_folder_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    with monkeypatch.context() as patch:  # a killed process tidies nothing up
        patch.setattr(shutil, "rmtree", lambda *_, **__: None)
        patch.setattr(new, "replace", _killed)
        with pytest.raises(KeyboardInterrupt):
            new.new_builder(folder, name="here")
    (left,) = folder.iterdir()
    assert (left / "work" / "pixi.toml").is_file()

    # Nothing is removed that is not of its form.
    for name in ("mine.txt", "mine.pixi-mirror.tmp"):
        (folder / name).mkdir()
        assert main([str(folder)]) == 2
        assert f"this folder is not empty: {name} is in it\n" in capsys.readouterr().err
        (folder / name).rmdir()
    assert main([str(folder), "-q"]) == 0
    assert set(contents(folder)) == {*LAID_DOWN, "pixi.toml"}
    assert not left.exists()


def _killed(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.skipif(os.name == "nt", reason="arguments are Unicode there")
@pytest.mark.parametrize(
    ("arguments", "subject"),
    [
        (("a\udcff",), "DIR"),
        (("a", "--name", "a\udcff"), "--name"),
        (("a", "-c", "a\udcff"), "--channel"),
        (("a", "-p", "a\udcff"), "--platform"),
        (("a", "a\udcff"), "PACKAGE"),
    ],
)
def test_what_is_no_text_is_refused(
    arguments: tuple[str, ...], subject: str, tmp_path: Path
) -> None:
    done = run_task(TEMPLATE, "new", *arguments, cwd=tmp_path)
    text = str(tmp_path / "a\udcff") if subject == "DIR" else "a\udcff"
    assert (done.code, done.err) == (2, f"error: {subject}: not UTF-8 text: {text!r}\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("numpy>=", "a*"),
            (
                "error: numpy>=: no MatchSpec that can be written: "
                "unable to parse version spec: >=\n"
                "help: pixi run new DIR numpy 'scipy>=1.15,<2'\n"
            ),
        ),
        (("-p", "linux-65"), "error: platforms: no such subdir: 'linux-65'\n"),
        (("-c", "a b"), "error: --channel: neither the name nor the URL of a channel: 'a b'\n"),
        (("--name", ""), "error: --name: no name for a workspace: ''\n"),
        (
            ("numpy", "NumPy"),
            (
                "error: numpy: asked for twice: 'NumPy' is the second\n"
                "help: one MatchSpec may say both, with a comma\n"
            ),
        ),
    ],
)
def test_what_cannot_be_leaves_nothing_behind(
    arguments: tuple[str, ...],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([str(tmp_path / "a" / "b"), *arguments]) == 2
    assert capsys.readouterr().err.startswith(message)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_place_that_cannot_be_written_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tmp_path.chmod(0o500)
    assert main([str(tmp_path / "mine")]) == 2
    tmp_path.chmod(0o700)
    assert capsys.readouterr().err == (
        f"error: {tmp_path / 'mine'}: no builder can be made here: Permission denied\n"
        "help: name a folder that you may write to: pixi run new DIR\n"
    )


def test_a_file_where_a_folder_should_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert main([str(tmp_path / "file" / "mine")]) == 2
    assert "no builder can be made here" in capsys.readouterr().err
    assert contents(tmp_path) == {"file": b""}


def test_a_copy_without_git_makes_the_same(tmp_path: Path) -> None:
    """As a wheel's template does, which is nobody's checkout."""
    template = copy_template(tmp_path / "template")
    (template / "tasks" / "__pycache__").mkdir()
    (template / "tasks" / "__pycache__" / "a.pyc").touch()
    for unneeded in ("pixi.lock", "bench", ".ci", "tests"):
        path = template / unneeded
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    (template / "run").chmod(0o644)  # as some archives have it
    mine = make_builder(template, tmp_path / "a" / "mine")
    assert contents(mine) == contents(make_builder(TEMPLATE, tmp_path / "b" / "mine"))
    assert os.name == "nt" or os.access(mine / "run", os.X_OK)
