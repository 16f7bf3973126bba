"""Tell what changed for the channel: on the terminal, as data, as a Markdown file."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from scripts.channel.users import last_mirrored_lock
from scripts.core.command import parse_path
from scripts.core.files import exists, write_output
from scripts.core.report import Json, Line, Report, counted, size_text, to_json
from scripts.keep.diff import ComparedFile, PlatformDiff, compare
from scripts.keep.diff_locks import diff_locks
from scripts.keep.diff_states import CHANNEL, ComparedState, files_to_carry
from scripts.keep.diff_text import code, diff_lines, markdown
from scripts.keep.snapshot_locks import lock_in
from scripts.keep.snapshots import read_snapshots
from scripts.lock.model import LockFile
from scripts.lock.read import read_lock
from scripts.workspace.workspace import Workspace

STDOUT: Final = Path("-")


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """What a new lock is compared with, and since when that holds, in words."""

    lock: LockFile | None
    since: str


def add_markdown_option(parser: argparse.ArgumentParser) -> None:
    """Add `--markdown FILE`."""
    parser.add_argument(
        "--markdown",
        type=parse_path,
        metavar="FILE",
        help="also write what changed as Markdown, for a pull request (- for stdout)",
    )


def known_before(workspace: Workspace) -> Baseline:
    """Return the lock that the channel was last made by for this workspace, else the present one.

    After a rollback that is the lock of then, until something else is mirrored. `pixi run NAME`
    renews pixi.lock before the task starts, so the file itself cannot tell what is new in it.
    """
    newest = next(reversed(read_snapshots(workspace.place)), None)
    published = None if newest is None else lock_in(workspace, newest)
    if newest is not None and published is not None:
        how = "rolled back" if newest.is_rollback else "last made"
        return Baseline(lock=read_lock(published), since=f"since the channel was {how}")
    mirrored = last_mirrored_lock(workspace)
    if mirrored is not None:
        return Baseline(lock=read_lock(mirrored), since="since the channel was last made")
    lock = read_lock(workspace.lock_path) if exists(workspace.lock_path) else None
    return Baseline(lock=lock, since="by this run (this lock had not been mirrored before)")


def changes_report(
    before: Baseline, after: LockFile, workspace: Workspace, markdown_file: Path | None
) -> Report:
    """Report the changes of what is mirrored, and write the Markdown where it is asked for.

    Licences of PyPI packages are those that their files in the channel tell.
    Markdown on stdout replaces the lines for people.
    """
    found = diff_locks(before.lock, after, workspace.settings, workspace.place.folder)
    lines: tuple[Line, ...] = (f"changed {before.since}:", *diff_lines(found))
    if not found:
        lines = (f"no change {before.since}",)
    data: dict[str, Json] = {"since": before.since, "changes": to_json(found)}
    return _with_markdown(lines, data, markdown(found), markdown_file)


def states_report(
    before: ComparedState, after: ComparedState, markdown_file: Path | None
) -> Report:
    """Report how two states of the mirror differ, in the same ways."""
    one, other = before.name, after.name
    # A published state keeps what is retained.
    may_stay = not (before.is_lock or after.is_lock)
    found = compare(before.files, after.files, may_stay=may_stay)
    changes, licenses = _named(found.changes), _named(found.licenses)
    lines: list[Line] = [f"{one} -> {other}:", *diff_lines(changes)]
    if not changes:
        lines = [f"no package changed: {one} -> {other}"]
    text = f"{code(one)} -> {code(other)}\n\n{markdown(changes)}\n"
    if licenses:
        lines += ["other licences than before:", *diff_lines(licenses)]
        text += f"## Other licences than before\n\n{markdown(licenses)}\n"
    sums = []
    if found.kept:
        sums.append(f"their former versions are still in {other}: {counted(found.kept, 'package')}")
    others = (each for each in (*before.others, *after.others) if not each.is_index)
    left = tuple({each.path: each for each in others}.values())
    to_carry = files_to_carry(before, after)
    if left:
        sums.append(f"besides: {_summed(left)}, retained or named by others")
    sums.append(f"to carry: {_summed(to_carry)}")
    data: dict[str, Json] = {
        "from": one,
        "to": other,
        "changes": _places_json(found.changes),
        "licenses": _places_json(found.licenses),
        "kept": found.kept,
        "not-compared": _files_json(left),
        "to-carry": _files_json(to_carry),
    }
    text += "".join(f"- {each}\n" for each in sums)
    return _with_markdown((*lines, *sums), data, text, markdown_file)


def _named(found: Iterable[PlatformDiff]) -> tuple[PlatformDiff, ...]:
    """Give the one channel of a flat mirror its name for people."""
    return tuple(replace(x, environment=CHANNEL) if x.environment == "." else x for x in found)


def _places_json(found: Iterable[PlatformDiff]) -> Json:
    return [
        {"channel": each.environment, "subdir": each.platform, "changes": to_json(each.changes)}
        for each in found
    ]


def _summed(files: Sequence[ComparedFile]) -> str:
    index, known = sum(x.is_index for x in files), [x.size for x in files if x.size is not None]
    text = counted(len(files) - index, "artifact")
    if index:
        text += f" and {counted(index, 'index file')}"
    return f"{text}, {size_text(sum(known), len(files) - len(known))}"


def _files_json(files: Sequence[ComparedFile]) -> Json:
    return {
        "bytes": sum(each.size or 0 for each in files),
        "of-unknown-size": sum(each.size is None for each in files),
        "files": [
            {"path": str(each.path), "size": each.size, "sha256": each.sha256} for each in files
        ],
    }


def _with_markdown(
    lines: tuple[Line, ...], data: dict[str, Json], text: str, markdown_file: Path | None
) -> Report:
    """Write the Markdown where it is asked for; on stdout it replaces the lines for people."""
    if markdown_file == STDOUT:
        lines = tuple(text.removesuffix("\n").split("\n"))
        data = {**data, "markdown": text}
    elif markdown_file is not None:
        write_output(markdown_file, text.encode())
    return Report(lines=lines, data=data)
