"""`prune --dry-run --output FILE`, approved, then `prune --apply FILE`: just that, or nothing."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from scripts.channel.state import read_state, write_removals
from scripts.index.file_classes import INDEX_FILES
from scripts.keep.snapshots import read_snapshots, tree_of
from tasks import index, prune
from tests.support.histories import contents
from tests.support.mirrors import Mirror, make_mirror
from tests.support.packages import TinyPackage
from tests.tasks.conftest import BOTH, NEW, OLD, relock

RETAINED = "linux-64/a-1.0-0.conda"
Run = Callable[..., list[str]]
ODD = (
    '{"schema": 1, "now": false, "drop": [], "dropped": [], "removed": [], "trees": [],'
    ' "seen": {"file": [[1, 2]]}}'
)


@pytest.fixture
def run(moved_on: Mirror, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the task; return its lines, of one that fails what it says on stderr."""
    assert index.main(["--manifest-path", str(moved_on.root)]) == 0  # which takes a snapshot

    def run(*options: object, code: int = 0) -> list[str]:
        capsys.readouterr()
        arguments = ["--manifest-path", str(moved_on.root), *map(str, options)]
        assert prune.main(arguments) == code
        out, err = capsys.readouterr()
        return (err if code else out).splitlines()

    return run


@pytest.fixture
def plan(tmp_path: Path, run: Run) -> Path:
    """The plan of a plain prune."""
    file = tmp_path / "plan.json"
    run("--dry-run", "--output", file)
    return file


def refused(plan: Path, *moved: str, is_due: bool = True) -> list[str]:
    """Return what a refusal says."""
    reason = "the mirror has moved since this plan was made"
    if not is_due:
        reason = "by the settings of this run not all of this plan is due"
    return [
        f"error: {plan}: {reason}, so nothing was removed",
        *moved,
        f"help: pixi run prune --dry-run --output {plan}",
    ]


def indexed(mirror: Mirror) -> list[str]:
    return sorted(mirror.repodata("linux-64")["packages.conda"])


def test_it_does_just_what_the_dry_run_said(moved_on: Mirror, run: Run, tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    before = moved_on.states()
    said = run("--dry-run", "--output", file)
    command = f"pixi run prune --apply {file} --manifest-path {moved_on.root}"
    assert said[-1] == f"plan: {file}; `{command}` does just that"
    assert said[:-1] == run("--dry-run")
    assert moved_on.states() == before
    done = run("--apply", file)
    assert done[0] == said[0].replace("would drop", "dropped")
    assert indexed(moved_on) == ["a-2.0-0.conda"]
    assert RETAINED in moved_on.waiting()
    assert (moved_on.folder / RETAINED).exists()
    # Said again it is refused: that has been done.
    assert run("--apply", file, code=2)[0] == refused(file)[0]


@pytest.mark.parametrize("strikes", [(), ("b",)], ids=["whole", "struck out"])
def test_now_removes_what_it_listed_and_the_index_that_named_it(
    strikes: tuple[str, ...], moved_on: Mirror, run: Run, tmp_path: Path
) -> None:
    """No index is left that names what is gone; all else that it did not list waits."""
    relock(moved_on, NEW, BOTH, *(TinyPackage(name=each, subdir="win-64") for each in "bc"))
    assert index.main(["--manifest-path", str(moved_on.root), "-q"]) == 0
    relock(moved_on, NEW, BOTH)
    assert index.main(["--manifest-path", str(moved_on.root), "-q"]) == 0
    file = tmp_path / "plan.json"
    run("--dry-run", "--now", "--output", file)
    document = json.loads(file.read_text("utf-8"))
    document["removed"].pop()
    struck = {f"win-64/{each}-1.0-0.conda" for each in strikes}
    document["dropped"] = [x for x in document["dropped"] if x["path"] not in struck]
    file.write_text(json.dumps(document), encoding="utf-8")
    listed = {each["path"] for key in ("dropped", "removed") for each in document[key]}
    run("--apply", file)
    there = moved_on.states().keys()
    assert RETAINED in listed
    assert listed & there == set()
    assert moved_on.waiting() != []
    assert all("/shards/" in each and each in there for each in moved_on.waiting())
    left = {each for each in there if each.startswith("win-64/") and "/shards/" not in each}
    index_files = {f"win-64/{each}" for each in INDEX_FILES}
    assert left == (struck | index_files if struck else set())


def test_what_is_due_only_since_then_stays(moved_on: Mirror, plan: Path, run: Run) -> None:
    waiting = moved_on.waiting()
    assert waiting
    run("--apply", plan, "--grace", "0s")
    assert {RETAINED, *waiting} <= set(moved_on.waiting())
    assert all((moved_on.folder / each).exists() for each in moved_on.waiting())
    # The control: a prune without a plan takes them.
    run("--grace", "0s")
    assert not any((moved_on.folder / each).exists() for each in (RETAINED, *waiting))


def test_without_a_grace_what_is_dropped_is_told_with_what_goes(
    moved_on: Mirror, run: Run, tmp_path: Path
) -> None:
    file, before = tmp_path / "plan.json", moved_on.states().keys()
    said = run("--dry-run", "--grace", "0s", "--output", file)
    goes = next(each for each in said if each.startswith("would remove"))
    done = run("--apply", file, "--grace", "0s")
    assert goes.replace("would remove", "removed") in done
    assert RETAINED in before - moved_on.states().keys()


def test_lines_that_were_struck_out_stay(moved_on: Mirror, run: Run, tmp_path: Path) -> None:
    relock(moved_on, NEW, BOTH, TinyPackage(name="c", subdir="linux-64"))
    assert index.main(["--manifest-path", str(moved_on.root), "-q"]) == 0
    relock(moved_on, NEW, BOTH)
    assert index.main(["--manifest-path", str(moved_on.root), "-q"]) == 0
    file = tmp_path / "plan.json"
    run("--dry-run", "--output", file)
    document = json.loads(file.read_text("utf-8"))
    assert [each["path"] for each in document["dropped"]] == [RETAINED, "linux-64/c-1.0-0.conda"]
    del document["dropped"][0]
    file.write_text(json.dumps(document), encoding="utf-8")
    run("--apply", file)
    assert indexed(moved_on) == ["a-1.0-0.conda", "a-2.0-0.conda"]


def add_file(mirror: Mirror) -> str:
    (mirror.folder / "linux-64" / "mine-1-0.conda").write_bytes(b"mine")
    return "  new  file linux-64/mine-1-0.conda"


def write_index(mirror: Mirror) -> str:
    file = mirror.folder / "noarch" / "repodata.json"
    data = file.read_bytes()
    file.unlink()  # a link, and other tests have it, too
    file.write_bytes(data + b"\n")
    return "  changed  file noarch/repodata.json"


def replace_artifact(mirror: Mirror) -> str:
    """Exchange it for another file of its size and time."""
    file = mirror.folder / RETAINED
    status, data = file.stat(), file.read_bytes()
    other = file.with_name("other")
    other.write_bytes(data[::-1])
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(file)
    return f"  changed  file {RETAINED}"


def remove_artifact(mirror: Mirror) -> str:
    (mirror.folder / RETAINED).unlink()
    return f"  gone  file {RETAINED}"


def lock_it_again(mirror: Mirror) -> str:
    relock(mirror, OLD, BOTH)
    return f"  changed  workspace mirrored ({mirror.root / 'pixi.toml'})"


def join(mirror: Mirror) -> str:
    other = make_mirror(
        mirror.root.parent / "other",
        name="other",
        settings='channel-dir = "../workspace/local-channel"\n',
    )
    relock(other, OLD, BOTH)
    other.index()
    return f"  new  workspace other ({other.root / 'pixi.toml'})"


def forget_what_waits(mirror: Mirror) -> str:
    [waiting] = mirror.waiting()
    write_removals(mirror.workspace.place, ())
    return f"  gone  waiting {waiting}"


def let_time_pass(mirror: Mirror) -> str:
    [waiting] = mirror.waiting()
    mirror.let_grace_pass()
    return f"  changed  waiting {waiting}"


def lose_a_tree(mirror: Mirror) -> str:
    place = mirror.workspace.place
    [snapshot] = read_snapshots(place)
    tree_of(place, snapshot).rename(place.root / "elsewhere")
    return f"  changed  snapshot {snapshot.id}"


MOVES = (
    *(add_file, write_index, replace_artifact, remove_artifact, lock_it_again, join),
    *(forget_what_waits, let_time_pass, lose_a_tree),
)


@pytest.mark.parametrize("move", MOVES, ids=lambda each: each.__name__)
def test_it_is_refused_where_anything_has_moved(
    moved_on: Mirror, plan: Path, run: Run, move: Callable[[Mirror], str]
) -> None:
    said = move(moved_on)
    before, state = moved_on.states(), read_state(moved_on.workspace.place)
    assert run("--apply", plan, code=2) == refused(plan, said)
    assert moved_on.states() == before
    assert read_state(moved_on.workspace.place) == state
    # The control: a plan made of what is there now.
    assert len(run("--dry-run", "--output", plan)) > 0
    if move is not write_index:
        run("--apply", plan)


def test_of_much_that_has_moved_files_are_cut(moved_on: Mirror, plan: Path, run: Run) -> None:
    for number in range(12):
        (moved_on.folder / "linux-64" / f"mine-{number}-0.conda").write_bytes(b"mine")
    relock(moved_on, NEW, BOTH, TinyPackage(name="c"))
    assert index.main(["--manifest-path", str(moved_on.root), "-q"]) == 0
    second = read_snapshots(moved_on.workspace.place)[-1].id
    lines = run("--apply", plan, code=2)
    manifest = moved_on.root / "pixi.toml"
    assert lines[1:3] == [
        f"  changed  workspace mirrored ({manifest})",
        f"  changed  workspace mirrored ({manifest}) as last mirrored",
    ]
    assert f"  new      snapshot {second}" in lines
    assert lines[11].startswith("  and      ")
    assert len(lines) == 13


def test_trees_go_as_planned(moved_on: Mirror, run: Run, tmp_path: Path) -> None:
    place = moved_on.workspace.place
    for name in ("c", "d"):
        relock(moved_on, NEW, BOTH, TinyPackage(name=name))
        assert index.main(["--manifest-path", str(moved_on.root), "-q"]) == 0
    first, second, third = read_snapshots(place)
    file = tmp_path / "plan.json"
    said = run("--dry-run", "--output", file, "--keep-snapshots", "3")
    of_it = f"--manifest-path {moved_on.root}"
    command = f"pixi run prune --apply {file} {of_it} --keep-snapshots 3"
    assert said[-1] == f"plan: {file}; `{command}` does just that"
    assert json.loads(file.read_text("utf-8"))["trees"] == [first.id]
    # Fewer are kept now, and yet just that one goes; where more are, nothing is done.
    assert run("--apply", file, "--keep-snapshots", "9", code=2) == refused(
        file, f"  would stay  {first.id}", is_due=False
    )
    assert run("--apply", file, code=2)[0] == refused(file, is_due=False)[0], "the control"
    run("--apply", file, "--keep-snapshots", "1")
    kept = [tree_of(place, each).is_dir() for each in (first, second, third)]
    assert kept == [False, True, True]


def test_a_longer_grace_refuses_what_is_not_due_by_it(
    moved_on: Mirror, run: Run, tmp_path: Path
) -> None:
    [waiting] = moved_on.waiting()
    moved_on.let_grace_pass()
    file = tmp_path / "plan.json"
    run("--dry-run", "--output", file)
    assert run("--apply", file, "--grace", "9w", code=2) == refused(
        file, f"  would stay  {waiting}", is_due=False
    )
    run("--apply", file)
    assert not (moved_on.folder / waiting).exists()


@pytest.mark.skipif(os.name == "nt", reason="splits the command as a shell of POSIX does")
def test_the_command_said_is_followed(
    moved_on: Mirror, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    relock(moved_on, NEW, BOTH, TinyPackage(name="c"))
    assert index.main(["--manifest-path", str(moved_on.root), "-q"]) == 0
    file = tmp_path / "a plan.json"
    options = ("--keep-snapshots=1", "--grace", "9w 1h", f"--output={file}", "--drop", RETAINED)
    said = run("--dry-run", *options)
    command = re.fullmatch(r"plan: .*; `pixi run prune (.*)` does just that", said[-1])
    assert command is not None
    words = shlex.split(command[1])
    assert not {"--drop", "--dry-run", f"--output={file}"} & set(words)
    capsys.readouterr()
    assert prune.main(words) == 0
    assert "dropped from the index: 1 artifact" in capsys.readouterr().out
    place = moved_on.workspace.place
    assert [tree_of(place, each).is_dir() for each in read_snapshots(place)] == [False, False, True]


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"schema": 2}', "\xff", '{"schema": 1, "now": 1}', "[" * 99999, ODD]
)
def test_what_is_no_plan(run: Run, tmp_path: Path, text: str) -> None:
    file = tmp_path / "plan.json"
    file.write_text(text, encoding="latin-1")
    assert run("--apply", file, code=2) == [
        f"error: {file}: is no plan of a prune, or is of another version of pixi-mirror",
        "help: pixi run prune --dry-run --output FILE, which writes a new one",
    ]


def test_no_other_file_is_replaced(
    moved_on: Mirror, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(moved_on.root)
    before = contents(moved_on.root)
    for name in ("pixi.toml", "pixi.lock"):
        assert run("--dry-run", "--output", name, code=2) == [
            f"error: {name}: is there, and is no plan of a prune: it is not replaced",
            "help: name another file, or remove this one",
        ]
    for folder in (".", str(tmp_path), os.sep):
        assert run("--dry-run", "--output", folder, code=2) == [
            f"error: {folder}: cannot write this file: it is a folder"
        ]
    assert contents(moved_on.root) == before
    for _ in range(2):  # the control: a plan is
        run("--dry-run", "--output", "plan.json")


def test_a_plan_that_is_not_there_or_cannot_be_written(
    moved_on: Mirror, run: Run, tmp_path: Path
) -> None:
    missing = tmp_path / "none.json"
    assert run("--apply", missing, code=2) == [
        f"error: {missing}: cannot read this file: there is no such file"
    ]
    inside = moved_on.folder / "plan.json"
    assert run("--dry-run", "--output", inside, code=2) == [
        f"error: {inside}: would be in the channel, which would have moved then",
        "help: --output plan.json",
    ]
    assert not inside.exists()


def test_a_plan_is_as_described(plan: Path, schema: Any) -> None:
    document = json.loads(plan.read_text("utf-8"))
    described = {**schema.schema["$defs"]["prune-plan"], "$defs": schema.schema["$defs"]}
    jsonschema.validate(document, described)
    assert document["dropped"] == [{"path": RETAINED, "size": len(OLD.data)}]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**document, "more": 1}, described)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ("--apply", "x", "--now"),
            "--apply does what its plan says: no --dry-run, --now or --drop with it",
        ),
        (("--output", "x"), "--output writes what --dry-run says: no --output without it"),
        (("--apply", "x", "--adopt"), "argument --adopt: not allowed with argument --apply"),
    ],
)
def test_options_that_contradict(
    options: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        prune.main(list(options))
    assert caught.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith(f"error: {said}")
