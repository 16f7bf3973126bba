"""`pixi run diff --only LABEL`: what changed for one of several locks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from scripts.core.report import human_size
from scripts.keep.snapshots import read_snapshots
from scripts.workspace.settings import SettingOverrides
from scripts.workspace.workspace import open_workspace
from tasks import bundle, diff, mirror, rollback, unbundle
from tests.support.packages import TinyPackage
from tests.support.several import ALONE, BOTH, OWN, REMOTE, SERVICE, Several, make_several
from tests.support.upstream import Upstream

NEW = replace(SERVICE, version="2.0")
MORE = TinyPackage(name="more", subdir="win-64")


@pytest.fixture
def several(tmp_path: Path, upstream: Upstream) -> Several:
    """Four locks, mirrored; then two of them move, and the mirror follows."""
    made = make_several(tmp_path / "work", upstream)
    assert made.task(mirror.main, "--level", "files", "-q") == 0
    made.lock(made.root / "service" / "pixi.lock", *made.rows(NEW, BOTH, OWN))
    made.lock(made.root / "lone" / "team.lock", *made.rows(ALONE, MORE), platform="win-64")
    return made


def said(several: Several, capsys: pytest.CaptureFixture[str], *options: str) -> list[str]:
    """Run the task; return the lines that name packages."""
    capsys.readouterr()
    assert several.task(diff.main, *options) == 0
    return [line.strip() for line in capsys.readouterr().out.splitlines() if line[:2] == "  "]


def snapshots(several: Several) -> list[str]:
    """Return the ids of all snapshots."""
    place = open_workspace(several.own / "pixi.toml", SettingOverrides()).place
    return [each.id for each in read_snapshots(place)]


SERVED = ["~ served  1.0 0 -> 2.0 0", "+ own  1.0 0"]


def test_what_the_next_mirror_changes_for_it(
    several: Several, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said(several, capsys) == ["~ served  1.0 0 -> 2.0 0", "+ more  1.0 0"]
    assert said(several, capsys, "--only", "service") == SERVED
    assert said(several, capsys, "--only", "../lone/team.lock") == ["+ more  1.0 0"]
    assert said(several, capsys, "--only", "mirror") == []
    assert several.task(diff.main, "--only", "mirror") == 0
    size = human_size(sum(len(each.data) for each in (SERVICE, ALONE, REMOTE)))
    assert capsys.readouterr().out.splitlines() == [  # no index file is retained, or others' own
        "no package changed: channel -> lock",
        f"besides: 3 artifacts, {size}, retained or named by others",
        "to carry: 0 artifacts, 0 B",
    ]
    assert several.task(diff.main, "--only", "service") == 0
    # `own` is in the channel already, by another lock.
    assert capsys.readouterr().out.splitlines()[-1] == (
        f"to carry: 1 artifact, {human_size(len(NEW.data))}"
    )


def test_what_has_changed_for_it(several: Several, capsys: pytest.CaptureFixture[str]) -> None:
    assert several.task(mirror.main, "--level", "files", "-q") == 0
    first, last = snapshots(several)
    for states in ((first, last), (first, "channel"), (first,)):
        assert said(several, capsys, *states, "--only", "service") == SERVED
        assert said(several, capsys, *states, "--only", "mirror") == []
    assert said(several, capsys, "--only", "service") == []
    # A lock by its path is compared as it is.
    lock = str(several.root / "service" / "pixi.lock")
    assert said(several, capsys, first, lock, "--only", "service") == SERVED


def test_a_lock_that_there_was_not_named_nothing(
    several: Several, capsys: pytest.CaptureFixture[str]
) -> None:
    several.lock(several.root / "lone" / "b.lock", *several.rows(BOTH, MORE), platform="win-64")
    assert said(several, capsys, "--only", "../lone/b.lock") == ["+ both  1.0 0", "+ more  1.0 0"]


def test_a_label_that_there_is_not(several: Several, capsys: pytest.CaptureFixture[str]) -> None:
    assert several.task(diff.main, "--only", "servce") == 2
    assert (
        "error: tool.pixi-mirror.locks: has no lock 'servce'\n  nearest  service\n"
    ) in capsys.readouterr().err


def test_a_channel_that_keeps_no_locks(
    several: Several, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that came out of a bundle: which lock named what is not known there."""
    carried = tmp_path / "bundle"
    assert several.task(bundle.main, str(carried), "--full", "-q") == 0
    several.manifest("mirror", ["own"], 'locks = ["../service/pixi.lock"]\nchannel-dir = "far"\n')
    assert several.task(unbundle.main, str(carried), "-q") == 0
    capsys.readouterr()
    assert several.task(diff.main, "--only", "service") == 2
    assert capsys.readouterr().err == (
        "error: channel: the locks that it was made by are not kept, so it is compared as a whole"
        " alone\nhelp: leave --only out\n"
    )
    assert several.task(diff.main) == 0


def test_after_a_rollback_each_lock_is_as_it_was_with_its_own_environments(
    several: Several, capsys: pytest.CaptureFixture[str]
) -> None:
    """`environments` hold for the workspace's own lock: another one need not have them."""
    lone, manifest = several.root / "lone" / "team.lock", several.own / "pixi.toml"
    several.lock(lone, *several.rows(ALONE), platform="win-64", name="theirs")
    text = manifest.read_text(encoding="utf-8")
    manifest.write_text(f'{text}environments = ["default"]\n', encoding="utf-8")
    assert several.task(mirror.main, "--level", "files", "-q") == 0
    several.lock(lone, *several.rows(ALONE, MORE), platform="win-64", name="theirs")
    assert several.task(mirror.main, "--level", "files", "-q") == 0
    _, then, _ = snapshots(several)
    assert several.task(rollback.main, then, "-q") == 0
    assert said(several, capsys) == ["+ more  1.0 0"]
    assert said(several, capsys, "--only", "../lone/team.lock") == ["+ more  1.0 0"]
    assert said(several, capsys, "--only", "service") == []
