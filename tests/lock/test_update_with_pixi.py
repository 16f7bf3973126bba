"""Updating with the real pixi: solve groups, restrictions, and the dry run that touches nothing."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

import pytest

from scripts.channel.users import last_mirrored_lock
from scripts.core.errors import ExitCode, MirrorError, Problem
from scripts.core.rattler_child import call_rattler
from scripts.core.report import flattened
from scripts.keep.diff_locks import diff_locks
from scripts.keep.diff_text import diff_lines
from scripts.lock.model import LockFile, locked_packages
from scripts.lock.read import read_lock
from scripts.lock.satisfiability import check_satisfiability
from scripts.lock.update import plan_update, renew_lock, try_update
from scripts.workspace.pixi import need_pixi, run_pixi
from scripts.workspace.settings import Settings
from scripts.workspace.workspace import Workspace
from tests.support.mirrored import mirrored
from tests.support.packages import TinyPackage
from tests.support.pixi_workspace import PixiWorkspace
from tests.support.upstream import Upstream

pytestmark = pytest.mark.needs_pixi

MANIFEST = """
[workspace]
name = "tiny"
channels = ["{channel}"]
platforms = ["linux-64", "win-64"]

[dependencies]
a = "*"

[feature.tools.dependencies]
t = "*"

[environments]
default = { solve-group = "main" }
dev = { features = ["tools"], solve-group = "main" }
tools = { features = ["tools"], no-default-feature = true }

[tool.pixi-mirror]
exclude-environments = ["dev", "tools"]
"""
OLD = tuple(TinyPackage(name=name, depends=("b",) if name == "a" else ()) for name in "abt")
NEW = tuple(
    TinyPackage(name=name, version="2.0", depends=("b",) if name == "a" else ()) for name in "abt"
)


def _unsatisfied(workspace: Workspace, lock: LockFile) -> tuple[Problem, ...]:
    own = mirrored(lock, manifest=workspace.manifest, root=workspace.root)
    return check_satisfiability([own])


@pytest.fixture
def made(tmp_path: Path, upstream: Upstream) -> PixiWorkspace:
    """A workspace locked with the old packages, where upstream has the new ones by now."""
    made = PixiWorkspace.make(tmp_path / "workspace", upstream, MANIFEST)
    made.publish(*OLD)
    made.lock()
    made.publish(*NEW)
    return made


def pixi() -> Path:
    return need_pixi(os.environ, "lock")


def planned(made: PixiWorkspace, **request: tuple[str, ...]) -> tuple[str, ...]:
    workspace = made.workspace
    lock = read_lock(workspace.lock_path)
    return plan_update(workspace.manifest, lock, workspace.settings, **request).arguments


def changed(before: LockFile, after: LockFile) -> tuple[str, ...]:
    """Tell every change, also of what is not mirrored."""
    return tuple(flattened(diff_lines(diff_locks(before, after, Settings(), Path("none")))))


ALL_OF_GROUP = (
    "default, linux-64: 2 changed",
    "  ~ a  1.0 0 -> 2.0 0",
    "  ~ b  1.0 0 -> 2.0 0",
    "default, win-64: 2 changed",
    "  ~ a  1.0 0 -> 2.0 0",
    "  ~ b  1.0 0 -> 2.0 0",
    "dev, linux-64: 3 changed",
    "  ~ a  1.0 0 -> 2.0 0",
    "  ~ b  1.0 0 -> 2.0 0",
    "  ~ t  1.0 0 -> 2.0 0",
    "dev, win-64: 3 changed",
    "  ~ a  1.0 0 -> 2.0 0",
    "  ~ b  1.0 0 -> 2.0 0",
    "  ~ t  1.0 0 -> 2.0 0",
)


def test_pixi_alone_updates_nothing_of_half_a_solve_group(made: PixiWorkspace) -> None:
    """The reason for naming all members: when pixi mends this, the rule can go."""
    before = made.lock_text
    run_pixi(pixi(), ("update", "--environment", "default"), made.root / "pixi.toml")
    assert made.lock_text == before


def test_an_update_names_the_whole_solve_group_and_not_the_tools(made: PixiWorkspace) -> None:
    before = read_lock(made.workspace.lock_path)
    after = renew_lock(pixi(), made.workspace, planned(made))
    assert changed(before, after) == ALL_OF_GROUP


def test_an_update_without_a_solve_group(tmp_path: Path, upstream: Upstream) -> None:
    text = MANIFEST.replace('default = { solve-group = "main" }\n', "")
    made = PixiWorkspace.make(tmp_path / "workspace", upstream, text)
    made.publish(*OLD)
    made.lock()
    made.publish(*NEW)
    before = read_lock(made.workspace.lock_path)
    after = renew_lock(pixi(), made.workspace, planned(made))
    assert changed(before, after) == ALL_OF_GROUP[:6]


def test_an_update_of_one_package_on_one_platform(made: PixiWorkspace) -> None:
    before = read_lock(made.workspace.lock_path)
    plan = planned(made, packages=("b",), platforms=("win-64",))
    after = renew_lock(pixi(), made.workspace, plan)
    assert changed(before, after) == (
        "default, win-64: 1 changed",
        "  ~ b  1.0 0 -> 2.0 0",
        "dev, win-64: 1 changed",
        "  ~ b  1.0 0 -> 2.0 0",
    )


def test_an_unknown_package_is_pixis_own_error(made: PixiWorkspace) -> None:
    with pytest.raises(MirrorError) as caught:
        renew_lock(pixi(), made.workspace, planned(made, packages=("aa",)))
    (problem,) = caught.value.problems
    assert problem.code is ExitCode.PROGRAM
    assert problem.message == "failed with exit code 1"
    said = [text for _, text in problem.details]
    assert said[0].endswith("could not find a package named 'aa'")
    assert said[1] == "  help: did you mean 'a'?"


def test_a_dry_run_tells_the_same_and_touches_nothing(
    made: PixiWorkspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    workspace = made.workspace
    before, state = read_lock(workspace.lock_path), made.state()
    tried = try_update(pixi(), workspace, planned(made))
    assert made.state() == state
    assert list((tmp_path / "temporary").iterdir()) == []
    assert changed(before, tried) == ALL_OF_GROUP
    # Control: the same for real does what was told, and the state does tell.
    after = renew_lock(pixi(), workspace, planned(made))
    assert changed(tried, after) == ("no change",)
    assert made.state() != state


def test_a_dry_run_sees_what_was_uploaded_anew(made: PixiWorkspace) -> None:
    """`pixi update --dry-run` does not: it compares locations."""
    made.upstream.folder.joinpath("noarch", NEW[1].file_name).unlink()
    made.publish(TinyPackage(name="b", files=(("share/b", b"other bytes"),)))
    before = read_lock(made.workspace.lock_path)
    plan = planned(made)
    tried = try_update(pixi(), made.workspace, plan)
    line = "  ! b  1.0 0 has other bytes than before (re-uploaded)"
    assert changed(before, tried).count(line) == 4
    # Control: when this holds no more, no copy is needed.
    theirs = run_pixi(pixi(), (*plan, "--dry-run", "--json"), made.root / "pixi.toml")
    assert '"name": "a"' in theirs
    assert '"name": "b"' not in theirs


def test_a_dry_run_with_a_channel_within_the_workspace(tmp_path: Path, upstream: Upstream) -> None:
    """The lock names such a channel by its absolute path; a copy of it lies elsewhere."""
    text = MANIFEST.replace('"{channel}"', '"./channel"')
    made = PixiWorkspace.make(tmp_path / "workspace", upstream, text)
    local = PixiWorkspace(root=made.root, upstream=upstream)
    upstream.folder.rmdir()
    upstream.folder.symlink_to(made.root / "channel", target_is_directory=True)
    (made.root / "channel").mkdir()
    local.publish(*OLD)
    local.lock()
    local.publish(*NEW)
    before, state = read_lock(made.workspace.lock_path), made.state()
    tried = try_update(pixi(), made.workspace, planned(made))
    assert made.state() == state
    assert changed(before, tried) == ALL_OF_GROUP
    assert _unsatisfied(made.workspace, tried) == ()


def test_a_dry_run_with_what_lies_beside_the_workspace(tmp_path: Path, upstream: Upstream) -> None:
    """A channel in a folder beside it, which the lock names by its absolute path, too."""
    text = MANIFEST.replace('"{channel}"', '"../beside/channel"')
    made = PixiWorkspace.make(tmp_path / "workspaces" / "own", upstream, text)
    upstream.folder.rmdir()
    channel = tmp_path / "workspaces" / "beside" / "channel"
    channel.mkdir(parents=True)
    upstream.folder.symlink_to(channel, target_is_directory=True)
    made.publish(*OLD)
    made.lock()
    made.publish(*NEW)
    before, state = read_lock(made.workspace.lock_path), made.state()
    tried = try_update(pixi(), made.workspace, planned(made))
    assert made.state() == state
    assert changed(before, tried) == ALL_OF_GROUP
    assert _unsatisfied(made.workspace, tried) == ()
    # Control: what it says is what comes.
    assert changed(tried, renew_lock(pixi(), made.workspace, planned(made))) == ("no change",)


def test_lock_renews_what_the_manifest_asks_for(made: PixiWorkspace) -> None:
    before = read_lock(made.workspace.lock_path)
    assert changed(before, renew_lock(pixi(), made.workspace)) == ("no change",)
    manifest = made.root / "pixi.toml"
    text = manifest.read_text(encoding="utf-8").replace('a = "*"', 'a = "2.*"')
    manifest.write_text(text, encoding="utf-8")
    assert [problem.message for problem in _unsatisfied(made.workspace, before)] == [
        "environment default does not meet a requirement any more",
        "environment dev does not meet a requirement any more",
    ]
    after = renew_lock(pixi(), made.workspace)
    assert _unsatisfied(made.workspace, after) == ()
    assert "  ~ a  1.0 0 -> 2.0 0" in changed(before, after)


def test_what_gives_a_lock_the_digests_that_it_lacks(made: PixiWorkspace) -> None:
    """The help of `fetch`."""
    lock = made.workspace.lock_path
    lock.write_text(re.sub(r"(?m)^  (sha256|md5): .*\n", "", made.lock_text), encoding="utf-8")
    made.lock()  # the control
    assert "sha256" not in made.lock_text
    run_pixi(pixi(), ("update",), made.root / "pixi.toml")
    assert all(each.record.sha256 for each in locked_packages(read_lock(lock).environments))


def test_what_pixi_refuses_is_made_anew_once_it_is_removed(made: PixiWorkspace) -> None:
    """The help of errors that the lock is none, or refers to nothing."""
    lock, good = made.workspace.lock_path, made.lock_text
    for old, new in (("version: 7", "version: 0"), ("- conda: ", "- conda: x")):
        lock.write_text(good.replace(old, new, 1), encoding="utf-8")
        with pytest.raises(MirrorError, match="restore it"):
            read_lock(lock)
        with pytest.raises(MirrorError, match="failed with exit code 1"):  # the control
            made.lock()
        lock.unlink()
        made.lock()
        read_lock(lock)


def test_what_locks_another_version_than_the_newest(made: PixiWorkspace) -> None:
    """The help where an artifact cannot be opened, which is the newest as a rule."""
    for words, locked in ((("update",), "b-2.0"), (("add", "b!=2.0"), "b-1.0")):
        run_pixi(pixi(), words, made.root / "pixi.toml")
        assert locked in made.lock_text


def test_the_channels_of_a_solve_group_are_those_of_all_its_members(
    made: PixiWorkspace,
) -> None:
    manifest = made.root / "pixi.toml"
    text = manifest.read_text(encoding="utf-8").replace(
        "[environments]",
        f'[feature.tools]\nchannels = ["{made.upstream.url}/more"]\n[environments]',
    )
    manifest.write_text(text, encoding="utf-8")
    made.upstream.folder.joinpath("more").mkdir()
    TinyPackage(name="t").write(made.upstream.folder / "more")
    made.publish()
    call_rattler("index", {"folder": str(made.upstream.folder / "more")})
    stale = read_lock(made.workspace.lock_path)
    assert len(_unsatisfied(made.workspace, stale)) >= 3  # all three environments
    assert _unsatisfied(made.workspace, renew_lock(pixi(), made.workspace)) == ()


def test_the_lock_a_channel_was_made_from_is_remembered(made: PixiWorkspace) -> None:
    workspace = made.workspace
    assert last_mirrored_lock(workspace) is None
    made.note_mirrored()
    kept = last_mirrored_lock(workspace)
    assert kept is not None
    old = kept.read_bytes()
    assert old == workspace.lock_path.read_bytes()
    before = made.state()
    made.note_mirrored()
    assert made.state() == before  # nothing to do, nothing written
    renew_lock(pixi(), workspace, planned(made))
    assert last_mirrored_lock(workspace) == kept
    assert kept.read_bytes() == old
    assert old != workspace.lock_path.read_bytes()
