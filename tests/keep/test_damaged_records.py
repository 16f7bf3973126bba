"""Records of snapshots that somebody has damaged: told, forgotten, and no reason to stop the rest.

What is damaged decides nothing: no tree or folder goes because an altered record names it.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scripts.keep.snapshot_locks import locks_of
from scripts.keep.snapshots import (
    Snapshot,
    later_of,
    read_snapshots,
    record_of,
    tree_of,
)
from tasks import bundle, diff, index, prune, receipt, rollback, snapshots, verify
from tests.support.mirrors import Mirror, copy_linked, make_mirror, rows
from tests.support.packages import TinyPackage

OLD = TinyPackage(name="a", subdir="linux-64")
BOTH = TinyPackage(name="b")
LATE, EARLY = "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00"
Run = Callable[..., str]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Mirror:
    """A mirror with three snapshots."""
    made = make_mirror(tmp_path_factory.mktemp("damaged") / "workspace")
    for number in range(1, 4):
        move_to(made, number)
    copy_linked(made.root, made.root.with_name("kept"))
    return made


@pytest.fixture
def mirror(made: Mirror) -> Mirror:
    """The same for each test."""
    shutil.rmtree(made.root)
    copy_linked(made.root.with_name("kept"), made.root)
    return made


@pytest.fixture
def run(mirror: Mirror, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a task; return what it prints, of one that fails what it says on stderr."""

    def run(task: Any, *options: object, code: int = 0) -> str:
        capsys.readouterr()
        done = task.main(["--manifest-path", str(mirror.root), *map(str, options)])
        out, err = capsys.readouterr()
        assert done == code, err
        return err if code else out

    return run


def move_to(mirror: Mirror, number: int) -> None:
    """Mirror by a lock of another version."""
    packages = (replace(OLD, version=f"{number}.0"), BOTH)
    mirror.lock(rows(mirror.root.parent / "upstream", packages))
    assert index.main(["--manifest-path", str(mirror.root), "-q"]) == 0


def there(mirror: Mirror) -> tuple[Snapshot, ...]:
    return read_snapshots(mirror.workspace.place)


def alter(record: Path, line: int, **changes: Any) -> None:
    """Change fields of a line of a record, as nobody but JSON forbids; `_` stands for `-`."""
    lines = record.read_text(encoding="utf-8").splitlines()
    document = json.loads(lines[line])
    for key, value in changes.items():
        document[int(key[1:]) if line else key.replace("_", "-")] = value
    lines[line] = json.dumps(document).replace("Infinity", "1e999")
    record.write_text("\n".join([*lines, ""]), encoding="utf-8")


HEADERS: tuple[dict[str, Any], ...] = (
    *({key: value} for key in ("files", "artifacts", "bytes") for value in (1e999, -1, True, "1")),
    *({"created": value} for value in (LATE, EARLY, "9999-12-31T23:59:59+00:00", 5)),
    *({"locks": [["label", {}, None]]}, {"locks": [[5, None, None]]}, {"locks": 5}),
    *({"proofs": [[5, 6, LATE]]}, {"proofs": [["files", None, EARLY]]}),
    *({"proofs": [["files", 7, "2026-01-01T00:00:00+00:00"]]}, {"made_by": "\ud800"}),
    *({"parent": []}, {"content_digest": None}, {"layout": []}, {"schema": 10**400}),
    *({"id": 10**400}, {"id": "\ud800"}, {"id": None}),
)


def test_a_receipt_of_what_is_made_here_sends_to_verify(mirror: Mirror, run: Run) -> None:
    """Which says what mends it. Control: what came out of a bundle, as in test_task_unbundle.py."""
    file = mirror.folder / "noarch" / "b-1.0-0.conda"
    file.unlink()  # it is a link to that of other tests
    file.write_bytes(b"b")
    said = "is not what it must be; damaged: 1, missing: 0\n  found  noarch/b-1.0-0.conda\n"
    assert run(receipt, code=1) == f"error: {mirror.folder}: {said}help: pixi run verify\n"
    mended = "error: noarch/b-1.0-0.conda: size differs from pixi.lock\n"
    assert run(verify, "-q", "--level", "files", code=1).startswith(mended)
    mirror.workspace.place.unbundled.write_text("{}")
    assert "help: on the builder: pixi run bundle OUT --full" in run(receipt, code=1)


@pytest.mark.parametrize("changes", HEADERS, ids=lambda each: json.dumps(each)[:60])
def test_a_header_is_told(mirror: Mirror, run: Run, changes: dict[str, Any]) -> None:
    *_, newest = there(mirror)
    record = record_of(mirror.workspace.place, newest.id)
    alter(record, 0, **changes)
    help_ = (
        "take the newer pixi-mirror, or restore it from a backup; else, as only this snapshot is"
        f" lost then: pixi run snapshots --forget {newest.id}"
    )
    told = (
        f"error: {record}: is damaged, or of another version of pixi-mirror: nothing can be said"
        f" of this snapshot\nhelp: {help_}\n"
    )
    for task, *options in ((index,), (rollback, newest.id), (bundle, "out", "--full")):
        assert run(task, *options, code=2) == told
    lines = run(snapshots).splitlines()
    assert len(lines) == 3
    assert lines[2] == (
        f"{newest.id}  its record is damaged (`pixi run snapshots --forget {newest.id}`),"
        " or of a newer version"
    )
    assert json.loads(run(snapshots, "--json"))["damaged"] == [newest.id]


ROWS: tuple[tuple[str, tuple[Any, ...]], ...] = (
    ("_0", ("\ud800", "/etc/passwd", "../../outside", "", "a\0b", None)),
    ("_1", ("folder", None, [])),
    ("_2", (1e999, -1, "1", None)),
    ("_3", ("\ud800", None, {})),
    ("_4", (5, {}, "\ud800")),
    ("_5", (5, [], "\ud800")),
)


@pytest.mark.parametrize(
    ("column", "value"), [(column, value) for column, values in ROWS for value in values]
)
def test_a_row_is_told(mirror: Mirror, run: Run, column: str, value: Any) -> None:
    *_, newest = there(mirror)
    record = record_of(mirror.workspace.place, newest.id)
    alter(record, 1, **{column: value})
    told = f"error: {record}: is damaged, or of another version of pixi-mirror: "
    for task, *options in ((rollback, newest.id), (diff, newest.id), (bundle, "out", "--full")):
        assert run(task, *options, code=2).startswith(told)


def test_only_its_own_files_go_with_a_record(mirror: Mirror, run: Run) -> None:
    place = mirror.workspace.place
    first, second, third = there(mirror)
    record = record_of(place, first.id)
    precious = mirror.root / "precious"
    for other in (second.id, "../../../../precious"):
        precious.mkdir(exist_ok=True)
        (precious / "thesis.doc").write_text("mine")
        alter(record, 0, id=other)
        assert run(prune, "--keep-snapshots", "1", "--dry-run").count(first.id) == 0
        text = record.read_text(encoding="utf-8")
        assert run(snapshots, "--forget", first.id).startswith(f"forgotten: {first.id}, ")
        assert not record.exists()
        assert there(mirror) == (second, third)
        assert tree_of(place, second).is_dir()
        assert (precious / "thesis.doc").read_text() == "mine"
        record.write_text(text, encoding="utf-8")
    # The control: one that is whole goes with its tree.
    run(snapshots, "--forget", second.id)
    assert not tree_of(place, second).exists()


def test_the_newest_can_be_forgotten_once_it_is_damaged(mirror: Mirror, run: Run) -> None:
    first, second, third = there(mirror)
    assert run(snapshots, "--forget", third.id, code=2).startswith(f"error: {third.id}: is the ")
    record_of(mirror.workspace.place, third.id).write_bytes(b"\xff")
    run(snapshots, "--forget", third.id)
    assert there(mirror) == (first, second)
    assert "stands" not in run(index)
    *_, newest = there(mirror)
    assert (newest.parent, newest.content_digest) == (second.id, third.content_digest)


def test_files_of_other_names_are_none_of_ours(mirror: Mirror, run: Run) -> None:
    place, before = mirror.workspace.place, there(mirror)
    folder, record = place.snapshots, record_of(place, before[0].id)
    shutil.copy(record, folder / f"{record.stem} (1).jsonl")
    (folder / "note.jsonl").write_text("mine")
    (folder / "mine.part").mkdir()
    others = [f"{record.stem} (1).jsonl", "mine.part", "note.jsonl"]
    assert there(mirror) == before
    assert len(run(snapshots).splitlines()) == 3
    assert run(snapshots, "--forget", "note", code=2).startswith("error: note: is the id of no ")
    move_to(mirror, 4)
    run(snapshots, "--forget", before[0].id)
    assert all((folder / each).exists() for each in others)


def test_an_old_one_stops_nobody(mirror: Mirror, run: Run, tmp_path: Path) -> None:
    place = mirror.workspace.place
    first, second, third = there(mirror)
    run(receipt)
    record_of(place, first.id).write_bytes(b"{}")
    file = place.state / "receipt.json"
    assert "nothing to carry" in run(bundle, tmp_path / "out", "--since-receipt", file)
    assert run(index).splitlines()[-1] == f"snapshot {third.id} stands"
    plan = tmp_path / "plan.json"
    run(prune, "--dry-run", "--output", plan)
    run(prune, "--apply", plan)
    shutil.rmtree(tree_of(place, second))  # so that all records are looked through
    assert "of it can be found nowhere" in run(rollback, second.id, code=2)
    alter(record_of(place, third.id), 1, _2=1e999)
    assert "of it can be found nowhere" in run(rollback, second.id, code=2)
    assert "is damaged" in run(rollback, third.id, code=2), "the control"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_no_pipe_is_waited_for(mirror: Mirror, run: Run) -> None:
    place, (_, second, newest) = mirror.workspace.place, there(mirror)
    lock, record = locks_of(place, second) / "1" / "pixi.lock", record_of(place, newest.id)
    for file, id_ in ((lock, second.id), (later_of(record), newest.id), (record, newest.id)):
        kept = file.read_bytes() if file.exists() else None
        file.unlink(missing_ok=True)
        os.mkfifo(file)
        assert "not a file" in run(rollback, id_, code=2)
        file.unlink()
        if kept is not None:
            file.write_bytes(kept)
    assert "rolled back" in run(rollback, second.id), "the control"


@pytest.mark.parametrize(
    ("task", "options", "help_"),
    [
        (rollback, [""], "pixi run snapshots"),
        (snapshots, ["--forget", ""], "pixi run snapshots"),
        (
            bundle,
            ["out", "--since", ""],
            "pixi run snapshots lists them; or pixi run bundle OUT --full, which needs no base",
        ),
    ],
)
def test_no_id_at_all(run: Run, task: Any, options: list[str], help_: str) -> None:
    assert run(task, *options, code=2) == (
        f"error: snapshot: the id of one is needed, and this is empty\nhelp: {help_}\n"
    )


def test_a_newest_tree_that_somebody_removed_is_built_again(mirror: Mirror, run: Run) -> None:
    place = mirror.workspace.place
    first, *_, newest = there(mirror)
    for each in (first, newest):
        shutil.rmtree(tree_of(place, each))
    assert run(index).splitlines()[-1] == f"snapshot {newest.id} stands"
    assert not tree_of(place, first).exists()
    artifact = tree_of(place, newest) / "linux-64" / "a-3.0-0.conda"
    assert artifact.samefile(mirror.folder / "linux-64" / "a-3.0-0.conda")
