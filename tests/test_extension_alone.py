"""`pixi mirror` without a task, or an option first: it is `mirror`, and asks before a first one."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from scripts.core.report import human_size
from tests.support.locks import EnvironmentRows, LockRow, PlatformRows, write_lock
from tests.support.packages import TinyPackage
from tests.support.template import ROOT
from tests.support.terminal import on_terminal
from tests.support.upstream import Upstream

_PROGRAM = (sys.executable, "-c", "from scripts.extension import main; raise SystemExit(main())")
_MANIFEST = """\
[workspace]
name = "theirs"
channels = ["{0}"]
platforms = ["linux-64"]

[dependencies]
hello = "*"
"""
_SETTINGS = "\n[tool.pixi-mirror]\n"
_VERIFIED = "mirror: local-channel holds what pixi.lock names, verified"
_FILES_ALONE = (
    "mirror: local-channel holds what pixi.lock names;"
    " not proven: archives, index, closure, solve, install"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Theirs:
    """Somebody's workspace with one package, which nobody has mirrored yet."""

    root: Path

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the program in a folder of the workspace, without a terminal."""
        return subprocess.run(
            [*_PROGRAM, *arguments],
            cwd=self.root / "src",
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def answer(self, typed: str, *arguments: str) -> tuple[int, str]:
        """Run it on a terminal where somebody answers."""
        command = [*_PROGRAM, *arguments]
        return on_terminal(command, self.root / "src", typed=typed, PYTHONPATH=str(ROOT))

    def set(self, text: str) -> None:
        """Append to the manifest."""
        with (self.root / "pixi.toml").open("a", encoding="utf-8") as manifest:
            manifest.write(text)

    @property
    def made(self) -> list[str]:
        """All that is in the workspace, but for what was there before."""
        before = {"pixi.toml", "pixi.lock", "src"}
        return sorted({each.name for each in self.root.iterdir()} - before)


@pytest.fixture
def theirs(tmp_path: Path, upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> Theirs:
    monkeypatch.setenv("PATH", "")  # py-rattler alone installs: the others take a second each
    root = tmp_path / "theirs"
    (root / "src").mkdir(parents=True)
    (root / "pixi.toml").write_text(_MANIFEST.format(upstream.url), encoding="utf-8")
    row = LockRow(written=TinyPackage(name="hello").write(upstream.folder), channel=upstream.url)
    platforms = (PlatformRows(name="linux-64", rows=(row,)),)
    write_lock(root / "pixi.lock", [EnvironmentRows(platforms=platforms, channels=(upstream.url,))])
    return Theirs(root=root)


def test_without_a_terminal_a_first_mirror_must_be_asked_for(
    theirs: Theirs, upstream: Upstream
) -> None:
    (artifact,) = upstream.folder.rglob("*.conda")
    refused = theirs.run("--level", "files")
    *_, plan, error, where, advice = refused.stderr.splitlines()
    size = human_size(artifact.stat().st_size)
    assert plan.startswith(f"fetch: 1 to download into local-channel, {size}, ")
    assert plan.endswith(" free")
    assert [error, where, advice] == [
        "error: local-channel: there is no mirror yet, and no terminal to ask whether to make one",
        f"  workspace  {theirs.root}",
        "help: pixi-mirror --yes --level files",
    ]
    assert (refused.stdout, refused.returncode) == ("", 2)
    assert (theirs.made, upstream.paths) == ([], [])
    # The control: told not to ask, it makes it; from then on there is nothing to ask.
    for options in (("--yes",), ()):
        done = theirs.run("--level", "files", *options)
        assert (done.stdout.splitlines()[-1], done.returncode) == (_FILES_ALONE, 0)
        assert theirs.made == [".pixi-mirror", "local-channel"]


@pytest.mark.parametrize(("settings", "task"), [(_SETTINGS, ()), ("", ("mirror",))])
def test_who_has_said_it_is_not_asked(theirs: Theirs, settings: str, task: tuple[str, ...]) -> None:
    """By a table of settings, though it says nothing, or by the task's name."""
    theirs.set(settings)
    done = theirs.run(*task)
    assert (done.stdout.splitlines()[-1], done.returncode) == (_VERIFIED, 0)
    assert done.stderr.count("1 to download into local-channel, ") == 1


def test_an_option_first_is_one_of_mirror(theirs: Theirs) -> None:
    theirs.set(_SETTINGS)
    done = theirs.run("--layout", "by-channel", "--level", "files")
    assert (done.stdout.splitlines()[-1], done.returncode) == (_FILES_ALONE, 0)
    (artifact,) = theirs.root.glob("local-channel/**/*.conda")
    assert artifact.parent.parent.parent.name == "local-channel"  # in a folder of its channel's
    refused = theirs.run("--layuot", "flat")
    assert refused.stderr.splitlines()[-1] == (
        "pixi-mirror mirror: error: unrecognized arguments: --layuot flat"
    )
    assert refused.returncode == 2


@pytest.mark.skipif(os.name == "nt", reason="Windows has no pty")
@pytest.mark.parametrize("typed", ["n\n", "\n", "\x04", "yesterday\n"])
def test_no_is_no(theirs: Theirs, upstream: Upstream, typed: str) -> None:
    code, said = theirs.answer(typed)
    assert code == 1
    question = f"make a mirror of {theirs.root} in local-channel? [y/N] "
    assert said.count(question) == 1
    assert said.index(" to download into local-channel, ") < said.index(question)
    error = "\x1b[31merror:\x1b[0m local-channel: was not made: the answer was no\n"
    assert said.endswith(error)
    assert (theirs.made, upstream.paths) == ([], [])


@pytest.mark.skipif(os.name == "nt", reason="Windows has no pty")
@pytest.mark.parametrize("typed", ["y\n", "Yes\n"])
def test_yes_makes_it_and_says_the_plan_once(theirs: Theirs, typed: str) -> None:
    code, said = theirs.answer(typed, "--level", "files")
    assert (code, said.count("1 to download")) == (0, 1)
    assert theirs.made == [".pixi-mirror", "local-channel"]
