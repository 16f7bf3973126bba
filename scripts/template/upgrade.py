"""Bring a builder up to the template that runs.

All is read and decided before the first byte is written; then files, each renamed into place, then
the manifest, then what is removed, and the record last. Killed in between, it is run again: what
is done is found done.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from scripts.core.errors import MirrorError, usage_error
from scripts.core.files import read_regular, unlink, write_atomically
from scripts.core.report import Report
from scripts.core.symlinks import refuse_obstacles
from scripts.core.template_files import TEMPLATE, template_files
from scripts.template.builder_files import (
    MANIFEST,
    TEMPLATE_TASKS,
    TemplateFile,
    builder_files,
    check_template,
)
from scripts.template.builder_manifest import without_tasks
from scripts.template.compare import Judged, Verdict, judge, records, versions
from scripts.template.difference import difference
from scripts.template.manifest_units import unit_digests
from scripts.template.merge import Merged, merge_manifest
from scripts.template.record import RECORD, Record, digest, make_record, read_record, write_record
from scripts.template.upgrade_report import Outcome, upgrade_report
from scripts.workspace.parse import parse_manifest
from scripts.workspace.workspace import Workspace, read_manifest_text

_LARGEST = 64 << 20  # bytes; what is larger is no file of the template
# A link, a folder, what lies behind a link or a file: never what the template laid down.
_ODD = "neither a file nor nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class UpgradeOptions:
    """What a user asks for besides.

    `base` is the template that the folder was copied from, where no record says so; `keep` names
    files and tables whose newer version the user has dealt with; `command` is what to paste again.
    """

    base: Path | None = None
    keep: frozenset[str] = frozenset()
    command: str = "pixi run upgrade"
    dry_run: bool = False


def upgrade(workspace: Workspace, options: UpgradeOptions, root: Path = TEMPLATE) -> Report:
    """Take over what the user has not changed; show the rest, which is exit code 1.

    Raises the error of exit code 2 where the builder has no record, or one that is none. The
    caller holds the channel's lock file.
    """
    check_template(root)
    folder = workspace.root
    record = _record(workspace, options.base)
    files = {str(file.path): file for file in builder_files(root)}
    judged = judge(
        versions(
            dict(record.files),
            dict(_present(folder, {*files, *dict(record.files)})),
            {name: digest(file.data) for name, file in files.items()},
        ),
        options.keep,
    )
    merged = _merged(workspace, record, options.keep, root)
    changed = tuple(_differences(folder, judged, files))
    outcome = Outcome(
        files=judged,
        tables=merged.judged,
        differences=(*changed, *merged.differences),
        keep=options.keep,
        command=options.command,
        is_dry=options.dry_run,
    )
    if not options.dry_run:
        after = make_record(records(judged).items(), records(merged.judged).items())
        with _told(folder):
            _write(workspace, judged, files, merged)
            if after != record or options.base is not None:
                _replace(folder / RECORD, write_record(after), is_program=False)
    return upgrade_report(outcome)


def _record(workspace: Workspace, base: Path | None) -> Record:
    """Return what the builder came from: its record, or the template that is named."""
    path = workspace.root / RECORD
    if base is not None:
        if path.exists():
            raise usage_error("--base", f"{RECORD} says already what this builder came from")
        return _record_of_template(base)
    try:
        return read_record(read_regular(path, _LARGEST), _channel_inside(workspace))
    except FileNotFoundError:
        raise usage_error(
            str(path),
            "there is no such file, so your changes cannot be told from the template's",
            help="name the template that this folder was copied from: pixi run upgrade --base DIR",
        ) from None
    except OSError as error:
        raise usage_error(str(path), f"cannot be read: {error.strerror}") from None


def _channel_inside(workspace: Workspace) -> PurePosixPath | None:
    """Return where in the builder its channel is; None where it is elsewhere."""
    channel = workspace.place.folder
    if not channel.is_relative_to(workspace.root):
        return None
    return PurePosixPath(channel.relative_to(workspace.root).as_posix())


def _record_of_template(base: Path) -> Record:
    """Record a template as a copy of the whole folder has it."""
    if not (base / "scripts" / "launch.py").is_file() or not (base / MANIFEST).is_file():
        raise usage_error("--base", f"not a template of pixi-mirror: {base}")
    kept = {"pixi.lock", str(MANIFEST)}
    files = {
        str(path): digest((base / path).read_bytes())
        for path in template_files(base)
        if str(path) not in kept
    }
    manifest = read_manifest_text(base / MANIFEST)
    return make_record(files.items(), unit_digests(manifest).items())


def _present(folder: Path, names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Hash those of the files that are there."""
    for name in names:
        path = folder / name
        if _obstacle(folder, name) is not None:
            yield name, _ODD
            continue
        if not os.path.lexists(path):
            continue
        try:
            yield name, digest(read_regular(path, _LARGEST))
        except OSError as error:
            raise _unreadable(path, error) from None


def _obstacle(folder: Path, name: str) -> str | None:
    """Say what keeps a file of this name from being read, written and removed in the builder."""
    try:
        refuse_obstacles(folder, [PurePosixPath(name)])
    except MirrorError as error:
        first = error.problems[0]
        if first.subject != name:
            return f"{first.subject}: {first.trouble}"
        return _NO_FILE
    path = folder / name
    try:
        return None if stat.S_ISREG(path.lstat().st_mode) else _NO_FILE
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreadable(path, error) from None


_NO_FILE = "a link or a folder here, a file in the template"


def _unreadable(path: Path, error: OSError) -> MirrorError:
    return usage_error(str(path), f"cannot be read: {error.strerror}; nothing was written")


def _merged(workspace: Workspace, record: Record, keep: frozenset[str], root: Path) -> Merged:
    template = without_tasks(read_manifest_text(root / MANIFEST), TEMPLATE_TASKS)
    text = read_manifest_text(workspace.manifest_path)
    merged = merge_manifest(text, template, dict(record.tables), keep)
    parse_manifest(merged.text, name=workspace.manifest.file_name)  # or nothing is written
    return merged


def _differences(
    folder: Path, judged: Iterable[Judged], files: dict[str, TemplateFile]
) -> Iterator[tuple[str, ...]]:
    for each in judged:
        if each.verdict is Verdict.DIFFERS:
            path, new = folder / each.name, files.get(each.name)
            obstacle = _obstacle(folder, each.name)
            if obstacle is None:
                data = None if new is None else new.data
                yield difference(each.name, read_regular(path, _LARGEST), data)
            else:
                yield (f"{each.name}: {obstacle}",)


def _write(
    workspace: Workspace, judged: tuple[Judged, ...], files: dict[str, TemplateFile], merged: Merged
) -> None:
    folder = workspace.root
    for each in judged:
        if each.verdict is Verdict.TAKEN and not each.is_removed:
            file = files[each.name]
            _replace(folder / each.name, file.data, is_program=file.is_program)
    if merged.is_changed:
        _replace(workspace.manifest_path, merged.text.encode("utf-8"), is_program=False)
    for each in judged:
        if each.is_removed:
            unlink(folder / each.name, missing_ok=True)
        if each.is_removed or (each.verdict is Verdict.SAME and each.record is None):
            _tidy(folder, PurePosixPath(each.name).parent)


def _replace(path: Path, data: bytes, *, is_program: bool) -> None:
    """Replace a file whole, its permissions as they were."""
    mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else None
    write_atomically(path, data)
    if mode is not None:
        path.chmod(mode)
    elif is_program and os.name != "nt":
        path.chmod(path.stat().st_mode | 0o111)


def _tidy(folder: Path, inside: PurePosixPath) -> None:
    """Remove folders that a removal left empty, or with nothing but Python's own cache."""
    while inside.parts:
        place = folder / inside
        if not place.is_dir():
            return
        names = [each.name for each in place.iterdir()]
        cache = place / "__pycache__"
        if names not in ([], [cache.name]) or cache.is_symlink() or cache.is_file():
            return
        if names:
            shutil.rmtree(cache)
        place.rmdir()
        inside = inside.parent


@contextlib.contextmanager
def _told(folder: Path) -> Iterator[None]:
    """Make a sentence of what the disk refuses."""
    try:
        yield
    except OSError as error:
        raise usage_error(
            str(error.filename or folder),
            f"cannot be written: {error.strerror}",
            help="see to it, then say this again: it goes on where it stopped",
        ) from None
