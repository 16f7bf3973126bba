"""The tasks on a far side with pixi-mirror: what came out of a bundle is its builder's."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scripts.core.channel_paths import ChannelPaths, channel_paths
from scripts.core.errors import ExitCode
from scripts.keep.snapshots import newest_snapshot, read_snapshots
from tasks import bundle, diff, index, plan, prune, receipt, rollback, unbundle, verify
from tests.support.mirrors import Mirror, let_grace_pass, make_mirror, rows
from tests.support.packages import TinyPackage
from tests.tasks.conftest import BOTH, NEW, OLD

REASON = "came out of a bundle, and what goes is decided where that was made"
HELP = (
    "on the builder: pixi run prune; its next bundle removes here what it has dropped (how this"
    " becomes the builder: docs/layouts.md)"
)


class Sides:
    """A builder, and a far side whose workspace has a channel, and no lock."""

    def __init__(self, root: Path, layout: str) -> None:
        """Make both; the builder has nothing yet."""
        self.root, self.mirror = root, make_mirror(root / "builder" / "workspace", layout)
        self.workspace = root / "far"
        self.workspace.mkdir()
        text = '[workspace]\nname = "far"\nchannels = []\nplatforms = []\n'
        (self.workspace / "pixi.toml").write_text(text)

    @property
    def place(self) -> ChannelPaths:
        """Where the channel of the far side is."""
        return channel_paths(self.workspace / "local-channel")

    @property
    def receipt(self) -> Path:
        """What the far side last wrote."""
        return self.place.state / "receipt.json"

    def build(self, *packages: TinyPackage) -> None:
        """Index what these are, on the builder."""
        self.mirror.lock(rows(self.root / "upstream", packages))
        assert index.main(["--manifest-path", str(self.mirror.root), "-q"]) == 0

    def carry(self, name: str, *options: str, code: int = 0) -> None:
        """Bundle, as these options say, and unbundle with this exit code."""
        out = str(self.root / name)
        options = options or ("--since-receipt", str(self.receipt))
        of_builder = ["--manifest-path", str(self.mirror.root), "-q"]
        assert bundle.main([*of_builder, out, *options]) == 0
        assert unbundle.main(["--manifest-path", str(self.workspace), "-q", out]) == code

    def far(self, task: Any, *options: str) -> int:
        """Run a task on the far side."""
        return int(task.main([*options, "--manifest-path", str(self.workspace)]))

    def artifacts(self) -> list[str]:
        """Name the artifacts that are there, without their folders."""
        return sorted(each.name for each in self.place.folder.rglob("*.conda"))


@pytest.fixture(params=["flat", "by-channel"])
def sides(
    tmp_path: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> Sides:
    """The far side had OLD, has OLD and NEW since then, and is rolled back."""
    sides = Sides(tmp_path, request.param)
    sides.build(OLD, BOTH)
    sides.carry("one", "--full")
    sides.build(NEW, BOTH)
    sides.carry("two")
    first, _ = read_snapshots(sides.place)
    assert sides.far(rollback, "-q", first.id) == 0
    assert sides.artifacts() == ["a-1.0-0.conda", "a-2.0-0.conda", "both-1.0-0.conda"]
    capsys.readouterr()
    return sides


@pytest.mark.parametrize("has_lock", [False, True])
def test_prune_removes_what_is_due_and_drops_nothing(
    sides: Sides,
    capsys: pytest.CaptureFixture[str],
    has_lock: bool,  # noqa: FBT001
) -> None:
    if has_lock:  # one that names nothing, as `pixi lock` leaves it
        empty = make_mirror(sides.root / "empty", "flat")
        empty.lock(())
        (sides.workspace / "pixi.lock").write_bytes((empty.root / "pixi.lock").read_bytes())
    published = newest_snapshot(sides.place)
    assert published is not None
    assert sides.far(prune) == 0
    out, err = capsys.readouterr()
    assert "dropped" not in out
    assert f"warning: local-channel: {REASON}; so the index" in err
    assert f"help: {HELP}\n" in err
    assert "a-2.0-0.conda" in sides.artifacts(), "the control: it has not waited"
    let_grace_pass(sides.place)
    assert sides.far(prune) == 0
    assert "removed " in capsys.readouterr().out
    assert sides.artifacts() == ["a-1.0-0.conda", "both-1.0-0.conda"]
    newest = newest_snapshot(sides.place)
    assert newest is not None
    assert newest.content_digest == published.content_digest
    assert not json.loads((sides.place.state / "removals.json").read_bytes())["removals"]


def test_what_is_asked_for_is_refused(sides: Sides, capsys: pytest.CaptureFixture[str]) -> None:
    before = sides.artifacts()
    (path,) = sides.place.folder.rglob("a-1.0-0.conda")
    dropped = path.relative_to(sides.place.folder).as_posix()
    for options in (("--adopt",), ("--drop", dropped)):
        assert sides.far(prune, *options) == 2
        out, err = capsys.readouterr()
        assert (out, err) == ("", f"error: local-channel: {REASON}\nhelp: {HELP}\n")
    assert sides.artifacts() == before
    # The control: where the channel is to be this machine's own, its lock says what goes.
    (sides.place.state / "unbundled.json").unlink()
    assert sides.far(prune, "--adopt") == 2
    assert "pixi.lock: cannot read this lock file" in capsys.readouterr().err


def test_what_the_builder_dropped_goes_with_its_next_bundle(tmp_path: Path) -> None:
    """What the help says; the control is the far side before it."""
    sides = Sides(tmp_path, "flat")
    sides.build(OLD, BOTH)
    sides.carry("one", "--full")
    sides.build(NEW, BOTH)
    sides.carry("two")
    let_grace_pass(sides.place)
    assert sides.far(prune, "-q", "--now") == 0
    assert "a-1.0-0.conda" in sides.artifacts()
    assert sides.mirror.prune("--now") == 0
    sides.carry("three")
    assert sides.far(prune, "-q", "--now") == 0
    assert sides.artifacts() == ["a-2.0-0.conda", "both-1.0-0.conda"]


@pytest.mark.parametrize("layout", ["flat", "by-channel"])
def test_what_a_workspace_mirrors_there_is_not_dropped_in_silence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], layout: str
) -> None:
    sides, own = Sides(tmp_path, layout), TinyPackage(name="own")
    sides.build(OLD, BOTH)
    sides.carry("one", "--full")
    theirs = make_mirror(tmp_path / "theirs", layout)
    with (theirs.root / "pixi.toml").open("a", encoding="utf-8") as manifest:
        manifest.write('channel-dir = "../far/local-channel"\n')
    theirs.lock(rows(tmp_path / "upstream", (own, BOTH)))
    assert index.main(["--manifest-path", str(theirs.root), "-q"]) == 0
    sides.build(NEW)
    before = sides.artifacts()
    capsys.readouterr()
    sides.carry("two", "--full", code=2)
    (state,) = (sides.place.state / "workspaces").iterdir()
    (place,) = (x.relative_to(sides.place.folder) for x in sides.place.folder.rglob("own-*"))
    assert capsys.readouterr().err == (
        f"error: {sides.place.folder}: would lose what {theirs.root / 'pixi.toml'} mirrors here by"
        f" its lock\n  found  {place.as_posix()}\n"
        f"help: mirror that on the builder (`locks`); or elsewhere, and remove {state}\n"
    )
    assert sides.artifacts() == before
    # What else is there is not this side's to remove, and that is said; on the builder it is.
    assert index.main(["--manifest-path", str(sides.mirror.root)]) == 0
    assert "; `pixi run prune` removes them\n" in capsys.readouterr().out
    of_it = ("--manifest-path", str(theirs.root))
    for task, options in ((verify, ("--level", "files")), (plan, ()), (index, ())):
        capsys.readouterr()
        assert task.main([*of_it, *options]) == 0
        out = capsys.readouterr().out
        assert "; the next bundle removes them, once pruned on the builder\n" in out
        assert "pixi run prune" not in out
    # The control: it is mirrored there; and as the help says, it goes.
    sides.build(NEW, own)
    sides.carry("three", "--full")
    sides.build(NEW)
    assert sides.mirror.prune("--now") == 0
    sides.carry("four", "--full", code=2)
    shutil.rmtree(state)
    sides.carry("four", "--full")


@pytest.mark.parametrize("goes_back", [False, True])
def test_an_unbundle_that_was_stopped_is_ended_as_the_help_says(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    goes_back: bool,  # noqa: FBT001
) -> None:
    """A snapshot of what is between would have that refused, and be what the next bundle is of."""
    sides = Sides(tmp_path, "flat")
    sides.build(OLD, BOTH)
    sides.carry("one", "--full")
    sides.build(NEW, BOTH)
    set_time, left = os.utime, [2]  # of the index files switched, the first is a shard

    def die(*given: Any) -> None:
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        set_time(*given)

    with monkeypatch.context() as patched:
        patched.setattr(os, "utime", die)
        sides.carry("two", code=ExitCode.INTERRUPTED)
    (before,) = read_snapshots(sides.place)
    for task, options in ((prune, ()), (bundle, (str(tmp_path / "next"), "--full"))):
        capsys.readouterr()
        assert sides.far(task, "-q", *options) == 1
        said = capsys.readouterr().err.splitlines()
        assert said[0].startswith(f"error: {sides.place.folder}: is no longer what its newest")
        assert said[-1] == (
            "help: unbundle its last bundle again, which ends what was stopped, or a --full one;"
            f" or `pixi run rollback {before.id}`, which goes back; then run this again"
        )
    assert read_snapshots(sides.place) == (before,)
    if goes_back:
        assert sides.far(rollback, "-q", before.id) == 0
    else:
        assert unbundle.main([str(tmp_path / "two"), str(sides.place.folder)]) == 0
    for task, options in ((prune, ()), (bundle, (str(tmp_path / "next"), "--full"))):
        assert sides.far(task, "-q", *options) == 0  # the control


def test_a_receipt_of_what_is_published_no_longer_is_removed(
    sides: Sides, capsys: pytest.CaptureFixture[str]
) -> None:
    said = (
        "the receipt was of what was published before, and is removed: `pixi run receipt` writes"
        " it anew\n"
    )
    receipts = [sides.place.state / name for name in ("receipt.json", "receipt.txt")]
    assert not any(each.exists() for each in receipts), "the channel is rolled back"
    first, second, _ = read_snapshots(sides.place)
    assert sides.far(rollback, second.id) == 0
    assert said not in capsys.readouterr().out, "there is none to remove"
    assert sides.far(receipt) == 0
    assert sides.far(rollback, second.id) == 0  # the control: it is published already
    assert said not in capsys.readouterr().out
    assert all(each.exists() for each in receipts)
    assert sides.far(rollback, first.id) == 0
    assert capsys.readouterr().out.endswith(said)
    assert not any(each.exists() for each in receipts)
    sides.build(NEW)
    options = [str(sides.root / "none"), "--since-receipt", str(sides.receipt)]
    assert bundle.main(["--manifest-path", str(sides.mirror.root), *options]) == 2, "there is none"
    assert sides.far(receipt) == 0
    sides.carry("next")


def test_a_mirror_takes_the_receipt_away(moved_on: Mirror) -> None:
    of_it = ["--manifest-path", str(moved_on.root)]
    assert index.main([*of_it, "-q"]) == 0
    assert receipt.main([*of_it, "-q"]) == 0
    file = moved_on.workspace.place.state / "receipt.json"
    assert moved_on.prune("--dry-run") == 0  # the control
    assert index.main([*of_it, "-q"]) == 0
    assert file.exists()
    assert moved_on.prune() == 0
    assert not file.exists()


@pytest.mark.parametrize("layout", ["flat", "by-channel"])
def test_a_diff_tells_other_licences_of_conda_packages(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], layout: str
) -> None:
    sides, free = Sides(tmp_path, layout), replace(NEW, license="GPL-3.0-only")
    sides.build(OLD, BOTH)
    sides.carry("one", "--full")
    sides.build(free, BOTH)
    sides.carry("two")
    assert sides.mirror.prune("--now") == 0
    sides.carry("three")
    ids = [each.id for each in read_snapshots(sides.place)]
    capsys.readouterr()
    assert sides.far(diff, *ids[:2]) == 0
    out, err = capsys.readouterr()
    licences = "other licences than before:\n"
    assert licences in out
    assert out.partition(licences)[2].splitlines()[1] == "  ~ a  BSD-3-Clause -> GPL-3.0-only"
    assert err == ""
    assert sides.far(diff, ids[1], "channel") == 0
    assert licences not in capsys.readouterr().out, "the control: it is what it was"
    # Without its index nobody knows, and that is said.
    shutil.rmtree(sides.place.state / "snapshots" / ids[0])
    assert sides.far(diff, *ids[:2]) == 0
    out, err = capsys.readouterr()
    assert licences not in out
    assert f"snapshot {ids[0]}: its index is not kept whole, and of its conda packages" in err
    assert f"snapshot {ids[1]}" not in err


@pytest.mark.parametrize("layout", ["flat", "by-channel"])
def test_a_builder_that_looks_at_its_own_bundle_stays_the_builder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], layout: str
) -> None:
    sides = Sides(tmp_path, layout)
    sides.build(OLD, BOTH)
    sides.build(NEW, BOTH)
    sides.carry("one", "--full")
    out, builder = str(tmp_path / "one"), ["--manifest-path", str(sides.mirror.root)]
    capsys.readouterr()
    assert unbundle.main([*builder, out]) == 0
    assert " already: " in capsys.readouterr().out
    assert not sides.mirror.workspace.place.unbundled.exists()
    assert sides.mirror.prune("--now") == 0
    assert not [*sides.mirror.folder.rglob("a-1.0-0.conda")]
    # The control: a far side stays one, and where that was lost, it is known again.
    sides.place.unbundled.unlink()
    assert sides.far(unbundle, "-q", out) == 0
    assert sides.place.unbundled.exists()
    assert sides.far(prune, "-q", "--now") == 0
    assert [*sides.place.folder.rglob("a-1.0-0.conda")]
