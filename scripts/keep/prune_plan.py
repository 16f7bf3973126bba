"""What a prune would do, written down to be approved, and done as it stands there or not at all.

A plan has what was seen when it was made: the files of the channel, who names what, what waits for
removal, the trees of snapshots. Where anything of that has moved, it is refused, and says what.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

from scripts.channel.digest_cache import Fingerprint
from scripts.channel.folders import refuse_output_within
from scripts.channel.inventory import files_below
from scripts.channel.users import ChannelUsers
from scripts.core.channel_paths import ChannelPaths
from scripts.core.child_process import quoted
from scripts.core.errors import MirrorError, first_details, usage_error
from scripts.core.files import is_dir, not_readable, read_regular, write_output
from scripts.core.report import Json
from scripts.keep.snapshots import read_snapshots, tree_of
from scripts.workspace.workspace import Workspace

_SCHEMA: Final = 1  # docs/json.schema.json describes it
_LARGEST: Final = 1 << 30  # bytes; a file of the channel has some 150
_SHOWN: Final = 10  # of what has moved
_GOES: Final = ("dropped", "removed", "trees", "bytes")
"""What of a report says what goes; a plan has it as the report of its dry run had it."""

Preconditions = Mapping[str, Mapping[str, Json]]
"""What a plan depends on: by kind, then by name, what tells whether it has moved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrunePlan:
    """What was approved."""

    at_once: bool
    drop: tuple[PurePosixPath, ...]
    """Those that were asked for alone; empty: all that is retained."""
    dropped: frozenset[str]
    """Paths that go from the index."""
    removed: frozenset[str]
    """Paths of the files that go."""
    trees: frozenset[str]
    """Ids of the snapshots whose trees go."""
    seen: Preconditions


def read_preconditions(place: ChannelPaths, users: ChannelUsers) -> Preconditions:
    """Look at all that a prune depends on, as far as the disk tells it without reading a file."""
    return {
        "file": {
            str(path): " ".join(map(str, Fingerprint.of(status)))
            for path, status in files_below(place.folder)
        },
        "workspace": dict(_names(users)),
        "waiting": {
            str(each.path): None if each.dropped is None else each.dropped.isoformat()
            for each in users.state.removals
        },
        "snapshot": {each.id: is_dir(tree_of(place, each)) for each in read_snapshots(place)},
    }


def _names(users: ChannelUsers) -> Iterator[tuple[str, str]]:
    """Yield who names what, as a digest of it."""
    for each in users.everybody:
        rows = sorted((str(x.path), str(x.digest)) for x in each.artifacts)
        when = " as last mirrored" if each is users.last else ""
        yield (
            f"{each.name} ({each.manifest}){when}",
            hashlib.sha256(repr(rows).encode()).hexdigest(),
        )


def write_plan(
    path: Path,
    workspace: Workspace,
    preview: Mapping[str, Json],
    seen: Preconditions,
    *,
    at_once: bool,
    drop: Sequence[PurePosixPath],
) -> None:
    """Write the plan of a dry run, of which `preview` is what its report has.

    Raises the error of exit code 2 where it cannot be written, would be in the channel, or where
    there is a file that is no plan.
    """
    refuse_output_within(workspace.place, path, "which would have moved then", "--output")
    if os.path.lexists(path) and not path.is_dir():
        try:
            read_plan(path)
        except MirrorError:
            message = "is there, and is no plan of a prune: it is not replaced"
            help_ = "name another file, or remove this one"
            raise usage_error(str(path), message, help=help_) from None
    document = {
        "schema": _SCHEMA,
        "now": at_once,
        "drop": [str(each) for each in drop],
        **{key: preview[key] for key in _GOES},
        "seen": seen,
    }
    write_output(path, (json.dumps(document, indent=1) + "\n").encode())


def apply_command(path: Path, words: Sequence[str]) -> str:
    """Write how a plan is applied, with those options of its dry run that it does not have."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for flag in ("--dry-run", "--now"):
        parser.add_argument(flag, action="store_true")
    for option in ("--drop", "--output"):
        parser.add_argument(option, action="append")
    _, others = parser.parse_known_args(words)
    return " ".join(map(quoted, ("pixi", "run", "prune", "--apply", str(path), *others)))


def read_plan(path: Path) -> PrunePlan:
    """Read a plan; raises the error of exit code 2 where there is none, or it is damaged."""
    try:
        return _parse_plan(json.loads(read_regular(path, _LARGEST)))
    except OSError as error:
        raise not_readable(path, "file", error) from None
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        raise usage_error(
            str(path),
            "is no plan of a prune, or is of another version of pixi-mirror",
            help="pixi run prune --dry-run --output FILE, which writes a new one",
        ) from None


def _parse_plan(document: Mapping[str, Any]) -> PrunePlan:
    if document["schema"] != _SCHEMA or type(document["now"]) is not bool:
        raise ValueError(document)
    dropped = frozenset(str(each["path"]) for each in document["dropped"])
    removed = frozenset(str(each["path"]) for each in document["removed"])
    return PrunePlan(
        at_once=document["now"],
        drop=tuple(PurePosixPath(each) for each in document["drop"]),
        dropped=dropped,
        removed=removed | dropped if document["now"] else removed,
        trees=frozenset(map(str, document["trees"])),
        seen={kind: dict(each.items()) for kind, each in document["seen"].items()},
    )


def refuse_moved(path: Path, plan: PrunePlan, seen: Preconditions) -> None:
    """Raise the error of exit code 2 where what the plan was made from has moved since."""
    kinds = sorted(plan.seen.keys() | seen.keys(), reverse=True)  # files, being many, last
    pairs = ((kind, plan.seen.get(kind, {}), seen.get(kind, {})) for kind in kinds)
    moved = [(what, f"{x} {name}") for x, *both in pairs for what, name in _moved(*both)]
    _refuse(path, "the mirror has moved since this plan was made", moved)


def refuse_undue(path: Path, plan: PrunePlan, preview: Mapping[str, Any]) -> None:
    """Raise the error of exit code 2 where not all of a plan would go: other settings, a hand.

    `preview` is what the report of a dry run with its options has.
    """
    dropped, removed = ({each["path"] for each in preview[key]} for key in ("dropped", "removed"))
    undue = plan.dropped - dropped
    undue |= plan.removed - (removed | dropped if plan.at_once else removed)
    undue |= plan.trees - set(preview["trees"])
    stays = [("would stay", each) for each in sorted(undue)]
    _refuse(path, "by the settings of this run not all of this plan is due", stays)


def _moved(before: Mapping[str, Json], now: Mapping[str, Json]) -> Iterator[tuple[str, str]]:
    for name in sorted(before.keys() | now.keys()):
        if name not in now:
            yield "gone", name
        elif name not in before:
            yield "new", name
        elif before[name] != now[name]:
            yield "changed", name


def _refuse(path: Path, reason: str, found: Sequence[tuple[str, str]]) -> None:
    if found:
        message = f"{reason}, so nothing was removed"
        help_ = f"pixi run prune --dry-run --output {path}"
        raise usage_error(str(path), message, *first_details(found, _SHOWN), help=help_)
