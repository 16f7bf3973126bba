"""Bring a builder up to another pixi-mirror: its one file, and the tables of its manifest.

The tables are the features `tools` and `tasks`, but for the channels of the tools. The file of
before tells how it made them; what differs from that was edited, and is not overwritten. The
manifest is written first, so that whoever is killed in between can run it again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
import sys
import tomllib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from scripts.core.child_process import run_program, stderr_tail
from scripts.core.errors import MirrorError, finding_problem, usage_error
from scripts.core.files import holds, read_regular, write_atomically
from scripts.core.invocation import TEMPLATE
from scripts.core.report import Report
from scripts.core.scratch import scratch_folder
from scripts.core.typed_values import load_toml, parse_toml
from scripts.template.make_pyz import PYZ, archive, read_archive, toml_key
from scripts.template.new import MANIFEST, write_files
from scripts.workspace.workspace import Workspace, read_manifest_text

_RECORD: Final = ".template.json"  # of builders that had the tool as several hundred files
_LARGEST: Final = 64 << 20  # bytes of a tool
_TABLES: Final = {("feature", "tools"), ("feature", "tasks")}
_CHANNELS: Final = (
    "feature",
    "tools",
    "channels",
)  # the user's: conda-forge may be called otherwise
# Whose a line of a difference is.
_SIDES: Final = {"-": "yours", "+": "the tool's"}
# The comments above a table, which tomlkit takes for the end of the one before: what is new there
# would come between.
_ABOVE_A_TABLE: Final = re.compile(
    r"^(#[^\n]*\n(?:[ \t\r]*\n|[ \t]*#[^\n]*\n)*)([ \t]*\[[^\r\n]*)", re.MULTILINE
)
_MARK: Final = "\ue000"  # of no meaning, and in nobody's comments
_PUT_ASIDE: Final = re.compile(rf"^(.*)#{_MARK}([0-9]+)", re.MULTILINE)
_EDITED: Final = finding_problem(
    MANIFEST,
    f"you have changed tables that are those of {PYZ}; nothing was written",
    help="what is yours can be in a feature of its own; take it out of these tables, or say"
    " --replace, which takes the newer ones as they are",
)


def upgrade(workspace: Workspace, new: bytes, *, replace: bool, dry_run: bool) -> Report:
    """Take over the tool and its tables; where the user edited those, say so with exit code 1.

    `replace` overwrites what was edited, and writes `run` as well. Raises the error of exit code 2
    where this is no builder, or one of the old form. The caller holds the channel's lock file.
    """
    path = workspace.root / PYZ
    old = _read_tool(path) if path.exists() else None
    is_old = (workspace.root / _RECORD).exists()
    if workspace.manifest.file_name != MANIFEST or (old is None and not (replace and is_old)):
        raise _not_a_builder(workspace.root, is_old=is_old)
    inside = read_archive(new)
    text = read_manifest_text(workspace.manifest_path)
    mine, wanted = read_ours(text), read_ours(inside[MANIFEST].decode())
    made = mine
    if old is not None and not replace:
        made = read_ours(read_archive(old)[MANIFEST].decode())
    if mine not in (made, wanted):
        changes = _difference(mine, made)
        details = tuple((_SIDES[line[0]], line[2:]) for line in changes)
        problem = dataclasses.replace(_EDITED, details=details)
        return Report(data={"edited": changes}, problems=(problem,))
    edited = edit(text, wanted)
    changes = _difference(mine, wanted)
    renewed = [] if old == new else [f"{PYZ}  {_name(old)} -> {_name(new)}"]
    starters = _starters(workspace.root, inside) if replace else {}
    if not dry_run:
        if edited != text:
            write_atomically(workspace.manifest_path, edited.encode())
        write_files(workspace.root, starters)
        if old != new:
            write_atomically(path, new)
    summary = "this builder is up to date with the template"
    changed = [*([PYZ] if renewed else []), *([MANIFEST] if changes else []), *starters]
    if changed:
        names = " and ".join(filter(None, (", ".join(changed[:-1]), changed[-1])))
        summary = f"{names} {'would change' if dry_run else 'changed'}"
    return Report(
        lines=(*renewed, tuple(changes), f"upgrade: {summary}"),
        data={
            "dry-run": dry_run,
            "file": bool(renewed),
            "tables": changes,
            "starters": list(starters),
        },
    )


def _starters(root: Path, inside: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return what starts a tool without pixi, where the builder has it otherwise or not at all."""
    files = {name: inside[f"builder/{name}"] for name in ("run", "run.cmd")}
    return {name: data for name, data in files.items() if not holds(root / name, data)}


def read_newer(source: Path | None, root: Path) -> bytes:
    """Return the pixi-mirror.pyz to upgrade to: a file, one made by a checkout, or None: our own.

    Raises the error of exit code 2 where it is neither.
    """
    if source is None:
        if root in TEMPLATE.parents:
            raise usage_error(
                str(root),
                "its own tasks run, so there is nothing newer to compare it with",
                help=f"name a newer {PYZ}, or a checkout: pixi run upgrade --from PATH",
            )
        return archive()
    if not os.path.isdir(source):  # noqa: PTH112 -- whether one may look, reading it says
        return _read_tool(source)
    import tomlkit  # noqa: F401  # where this Python lacks it, that is no fault of the checkout's

    with scratch_folder() as scratch:  # the checkout knows what belongs to it
        made = scratch / PYZ
        command = [sys.executable, "-P", "-B", "-m", "scripts.template.make_pyz", str(made)]
        done = run_program(command, {**os.environ, "PYTHONPATH": str(source.resolve())})
        if done.returncode == 0:
            return _read_tool(made)
    raise usage_error(
        str(source),
        f"no {PYZ} can be made of it",
        *stderr_tail(done.stderr)[-1:],
        help=f"name a {PYZ}, or a checkout of pixi-mirror",
    )


def _read_tool(path: Path) -> bytes:
    try:
        data = read_regular(path, _LARGEST)
        read_archive(data)
    except OSError as error:
        raise usage_error(str(path), f"cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise usage_error(str(path), f"not a {PYZ}: {error}") from None
    return data


Values = dict[tuple[str, ...], Any]
"""The values of a manifest, by their dotted keys; an empty table is a value."""


def _values(table: Mapping[str, Any], path: tuple[str, ...] = ()) -> Values:
    found: Values = {}
    for key, value in table.items():
        if isinstance(value, Mapping) and value:
            found |= _values(value, (*path, key))
        else:
            found[*path, key] = value
    return found


def _read_all(manifest: str) -> Values:
    return _values(load_toml(manifest, MANIFEST).fields)


def read_ours(manifest: str) -> Values:
    """Read what is in the tables that are ours."""
    values = _read_all(manifest).items()
    return {key: value for key, value in values if key[:2] in _TABLES and key != _CHANNELS}


def edit(text: str, wanted: Values) -> str:
    """Edit a manifest so that it has these values in our tables, all else of it as it was.

    Raises the error of exit code 2 where that cannot be done for sure.
    """
    import tomlkit

    before, ours = _read_all(text), read_ours(text)
    above: list[str] = []
    document = parse_toml(_ABOVE_A_TABLE.sub(partial(_put_aside, above), text), MANIFEST)
    for key in sorted({*ours, *wanted}):
        if ours.get(key) == wanted.get(key):
            continue
        tables: list[Any] = [document]
        for name in key[:-1]:
            tables.append(tables[-1].setdefault(name, tomlkit.table()))
        if key in wanted:
            tables[-1][key[-1]] = wanted[key]
            continue
        del tables[-1][key[-1]]
        for depth in range(len(key) - 1, 0, -1):
            if not tables[depth]:
                del tables[depth - 1][key[depth - 1]]
    edited = _PUT_ASIDE.sub(lambda mark: above[int(mark[2])] + mark[1], document.as_string())
    expected = {key: before[key] for key in before.keys() - ours.keys()} | wanted
    comments = _comments(text)
    try:
        is_right, kept = _read_all(edited) == expected, _comments(edited)
    except MirrorError:
        is_right, kept = False, []
    if is_right and kept == comments:
        return edited
    help_ = "change these lines by hand, then run this again"
    parted = [pair[0] for pair in comments if is_right and pair not in kept]
    if parted:
        help_ = f"move the comment to the end of the line that it is about; or {help_}"
    raise usage_error(
        MANIFEST,
        "is written in a way that cannot be edited without risk; nothing was written",
        *(("your comment", comment) for comment in parted),
        *(("by hand", line) for line in _difference(ours, wanted)),
        help=help_,
    )


def _put_aside(above: list[str], found: re.Match[str]) -> str:
    """Leave at the end of a table's line a mark for the comments above it."""
    above.append(found[1])
    return f"{found[2]}#{_MARK}{len(above) - 1}"


def _comments(text: str) -> list[tuple[str, str]]:
    """Return the lines that are only a comment, each with the line below it."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    pairs = zip(lines, [*lines[1:], ""], strict=True)
    return [(line, below) for line, below in pairs if line.startswith("#")]


def _difference(before: Values, after: Values) -> list[str]:
    """Return the difference of two sets of values as lines: `- key = value`, `+ key = value`."""
    import tomlkit

    return [
        f"{mark} {toml_key(*key)} = {tomlkit.item(values[key]).as_string()}"
        for key in sorted({*before, *after})
        for mark, values in (("-", before), ("+", after))
        if before.get(key) != after.get(key) and key in values
    ]


def _name(tool: bytes | None) -> str:
    """Name a tool: its version, and what its sha256 begins with."""
    if tool is None:
        return "none"
    project = tomllib.loads(read_archive(tool)["pyproject.toml"].decode())["project"]
    return f"{project['version']} ({hashlib.sha256(tool).hexdigest()[:12]})"


def _not_a_builder(root: Path, *, is_old: bool) -> MirrorError:
    if not is_old:
        help_ = "`pixi run new DIR` makes one"
        if (root / "scripts" / "launch.py").exists():  # a copy of the template
            help_ = "a copy of pixi-mirror is brought up to date by `git pull --no-rebase`"
        return usage_error(str(root), f"not a builder: it has no {PYZ}", help=help_)
    gone = f"{_RECORD} scripts tasks tests LICENSE pyproject.toml requirements*.txt"
    return usage_error(
        str(root),
        f"a builder of before, whose tasks were not yet in one file, {PYZ}",
        help="say the same with --replace; then, in it, what is left of it goes:"
        f" git rm -rq {gone} && pixi workspace environment remove test",
    )
