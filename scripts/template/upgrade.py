"""Bring a builder up to another pixi-mirror: its one file, and the tables of its manifest.

The tables are the features `tools` and `tasks`, but for the channels of the tools. The file of
before tells how it made them; what differs from that was edited, and is not overwritten. The
manifest is written first, so that whoever is killed in between can say it again.
"""

from __future__ import annotations

import copy
import hashlib
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from scripts.core.errors import ExitCode, MirrorError, Problem, usage_error
from scripts.core.files import read_regular, write_atomically
from scripts.core.report import Report
from scripts.core.scratch import scratch_folder
from scripts.core.typed_values import load_toml, parse_toml
from scripts.core.version import TEMPLATE
from scripts.template.archive import PYZ, archive, read_archive, render_tables, toml_key, toml_value
from scripts.template.new import MANIFEST, program_failed, quoted, write_files
from scripts.workspace.workspace import Workspace, read_manifest_text

_RECORD: Final = ".template.json"  # of builders that had the tool as several hundred files
_LARGEST: Final = 64 << 20  # bytes of a tool
_EDITED: Final = Problem(
    subject=MANIFEST,
    message=f"you have changed tables that are those of {PYZ}; nothing was written",
    code=ExitCode.FINDINGS,
    help="what is yours can be in a feature of its own; take it out of these tables, or say"
    " --replace, which takes the newer ones as they are",
)


def upgrade(workspace: Workspace, new: bytes, *, replace: bool, dry_run: bool) -> Report:
    """Take over the tool and its tables; where the user edited those, say so with exit code 1.

    `replace` takes the tables whatever was edited, and lays down `run` as well. Raises the error
    of exit code 2 where this is no builder, or one of before. The caller holds the channel's lock.
    """
    path = workspace.root / PYZ
    old = _read_tool(path) if path.exists() else None
    is_old = (workspace.root / _RECORD).exists()
    if workspace.manifest.file_name != MANIFEST or (old is None and not (replace and is_old)):
        raise _not_a_builder(workspace.root, is_old=is_old)
    inside = read_archive(new)
    text = read_manifest_text(workspace.manifest_path)
    mine, wanted = _tables(text.encode()), _tables(inside[MANIFEST])
    made = mine if old is None or replace else _tables(read_archive(old)[MANIFEST])
    if mine not in (made, wanted):
        changes = list(_difference(made, mine))
        return Report(lines=tuple(changes), data={"edited": changes}, problems=(_EDITED,))
    edited = with_tables(text, wanted)
    changes = list(_difference(mine, wanted))
    renewed = [] if old == new else [f"{PYZ}  {_name(old)} -> {_name(new)}"]
    if not dry_run:
        if edited != text:
            write_atomically(workspace.manifest_path, edited.encode())
        if replace:
            run = {name: inside[f"builder/{name}"] for name in ("run", "run.cmd")}
            write_files(workspace.root, run)
        if old != new:
            write_atomically(path, new)
    count = len(renewed) + len(changes)
    summary = f"{count} {'would change' if dry_run else 'changed'}"
    summary = summary if count else "this builder is up to date with the template"
    return Report(
        lines=(*renewed, *changes, f"upgrade: {summary}"),
        data={"dry-run": dry_run, "file": bool(renewed), "tables": changes},
    )


def read_newer(source: Path | None, root: Path) -> bytes:
    """Return the tool to upgrade to: a file, what a checkout makes, or that of the one that runs.

    Raises the error of exit code 2 where it is neither, of 4 where a checkout makes none.
    """
    if source is None:
        if TEMPLATE.is_relative_to(root):
            raise usage_error(
                str(root),
                "its own tasks run, so there is nothing newer to compare it with",
                help=f"name a newer {PYZ}, or a checkout: pixi run upgrade --from PATH",
            )
        return archive()
    if not source.is_dir():
        return _read_tool(source)
    if not (source / "scripts" / "template" / "archive.py").is_file():
        raise usage_error(
            str(source),
            "not a template of pixi-mirror: it has no scripts/template/archive.py",
            help=f"name a {PYZ}, or a checkout of pixi-mirror",
        )
    # It knows what belongs to it.
    with scratch_folder() as scratch:
        made = scratch / PYZ
        command = [sys.executable, "-P", "-B", "-m", "scripts.template.archive", str(made)]
        env = {**os.environ, "PYTHONPATH": str(source.resolve())}
        done = subprocess.run(command, env=env, capture_output=True, check=False)
        if done.returncode == 0:
            return _read_tool(made)
    raise program_failed(str(source), f"no {PYZ} can be made of it", done.stderr)


def _read_tool(path: Path) -> bytes:
    try:
        data = read_regular(path, _LARGEST)
        read_archive(data)
    except OSError as error:
        raise usage_error(str(path), f"cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise usage_error(str(path), f"not a {PYZ}: {error}") from None
    return data


def _tables(manifest: bytes) -> dict[str, Any]:
    """Read the tables that are ours; one that is not there is empty."""
    features: Any = load_toml(manifest.decode(), MANIFEST).fields.get("feature", {})
    tables = {name: copy.deepcopy(features.get(name, {})) for name in ("tools", "tasks")}
    tables["tools"].pop("channels", None)  # the user's: conda-forge may be called otherwise
    return tables


def with_tables(text: str, wanted: Mapping[str, Any]) -> str:
    """Edit a manifest so that it has these tables, all else of it as it was.

    Raises the error of exit code 2 where that cannot be done for sure.
    """
    import tomlkit

    expected = parse_toml(text, MANIFEST).unwrap()
    for name, table in wanted.items():
        kept = expected.setdefault("feature", {}).get(name, {}).get("channels")
        expected["feature"][name] = dict(table) | ({} if kept is None else {"channels": kept})
    document = parse_toml(_with_new_tasks(text, wanted), MANIFEST)
    features = document.setdefault("feature", tomlkit.table(is_super_table=True))
    for name in wanted:
        _set(features, name, expected["feature"][name])
    edited: str = document.as_string()
    try:
        is_right = load_toml(edited, MANIFEST).fields == expected
    except MirrorError:
        is_right = False
    if not is_right or _comments(edited) != _comments(text):
        raise usage_error(
            MANIFEST,
            "is written in a way that cannot be edited without risk; nothing was written",
            *(("by hand", line) for line in _difference(_tables(text.encode()), wanted)),
            help="change these lines by hand, then say this again",
        )
    return edited


def _with_new_tasks(text: str, wanted: Mapping[str, Any]) -> str:
    """Put the tables of new tasks before the first that is there.

    tomlkit would put them behind a comment that belongs to what comes next.
    """
    start = text.find("\n[feature.tasks.tasks.") + 1
    there = _tables(text.encode())["tasks"].get("tasks", {})
    tasks = wanted["tasks"].get("tasks", {})
    new = {name: task for name, task in tasks.items() if name not in there}
    if not start or not new:
        return text
    added = render_tables({"tasks": {"tasks": new}}) + "\n"
    if "\r\n" in text:
        added = added.replace("\n", "\r\n")
    return text[:start] + added + text[start:]


def _set(table: Any, key: str, value: Any) -> None:
    """Give a table of tomlkit's a value: leaf by leaf, so that what is the same stays as it is."""
    import tomlkit

    if not isinstance(value, Mapping):
        if table.get(key) != value:
            table[key] = value
        return
    if not isinstance(table.get(key), Mapping):
        table[key] = tomlkit.table(all(isinstance(each, Mapping) for each in value.values()))
    inner = table[key]
    for each in [name for name in inner if name not in value]:
        del inner[each]
    for name, each in value.items():
        _set(inner, name, each)


def _comments(text: str) -> list[str]:
    """List the lines that are nothing but a comment, in their order."""
    return [line.strip() for line in text.splitlines() if line.lstrip().startswith("#")]


def _difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    """Tell two sets of tables apart, a line for each value: `- key = value`, `+ key = value`."""
    old, new = dict(_values(("feature",), before)), dict(_values(("feature",), after))
    for key in sorted({*old, *new}):
        for mark, values in (("-", old), ("+", new)):
            if old.get(key) != new.get(key) and key in values:
                yield f"{mark} {toml_key(*key)} = {toml_value(values[key])}"


def _values(
    path: tuple[str, ...], table: Mapping[str, Any]
) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _values((*path, key), value)
        else:
            yield (*path, key), value


def _name(tool: bytes | None) -> str:
    """Name a tool: its version, and what its sha256 begins with."""
    if tool is None:
        return "none"
    project = tomllib.loads(read_archive(tool)["pyproject.toml"].decode())["project"]
    return f"{project['version']} ({hashlib.sha256(tool).hexdigest()[:12]})"


def _not_a_builder(root: Path, *, is_old: bool) -> MirrorError:
    if not is_old:
        return usage_error(
            str(root),
            f"not a builder: it has no {PYZ}",
            help="`pixi run new DIR` makes one",
        )
    where = f"--manifest-path {quoted(root)}"
    gone = f"{_RECORD} scripts tasks tests LICENSE pyproject.toml requirements*.txt"
    return usage_error(
        str(root),
        f"a builder of before, whose tasks were not yet in one file, {PYZ}",
        help="three commands in it change that:"
        f" pixi run --manifest-path {quoted(TEMPLATE)} upgrade {where} --replace"
        f" && git rm -rq {gone}"
        " && pixi workspace environment remove test",
    )
