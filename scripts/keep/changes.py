"""Tell what changed for the channel: on the terminal, as data, as a Markdown file."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from scripts.channel.users import last_mirrored_lock
from scripts.core.channel_url import file_segments
from scripts.core.errors import usage_error
from scripts.core.files import write_atomically
from scripts.core.rattler_child import rank_versions
from scripts.core.record import PypiRecord
from scripts.core.report import Json, Line, Report, to_json
from scripts.lock.diff import diff, diff_lines, markdown, versions_to_rank
from scripts.lock.model import LockFile
from scripts.lock.pypi import pypi_artifacts
from scripts.lock.read import read_lock
from scripts.verify.licences import read_license
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
        type=Path,
        metavar="FILE",
        help="also write what changed as Markdown, for a pull request (- for stdout)",
    )


def known_before(workspace: Workspace) -> Baseline:
    """Return the lock that this workspace was last mirrored by, else the one that is there now.

    `pixi run NAME` renews pixi.lock before the task starts, so the file itself cannot tell what
    is new in it.
    """
    mirrored = last_mirrored_lock(workspace)
    if mirrored is not None:
        return Baseline(lock=read_lock(mirrored), since="since the channel was last made")
    lock = read_lock(workspace.lock_path) if workspace.lock_path.exists() else None
    return Baseline(lock=lock, since="by this run (the channel has not been made yet)")


def changes_report(
    before: Baseline, after: LockFile, workspace: Workspace, markdown_file: Path | None
) -> Report:
    """Report the changes of what is mirrored, and write the Markdown where it is asked for.

    Licences of PyPI packages are those that their files in the channel tell.
    Markdown on stdout replaces the lines for people.
    """
    ranks = rank_versions(versions_to_rank(before.lock, after))
    read = partial(_read_license, workspace.place.folder)
    found = diff(before.lock, after, workspace.settings, ranks, read)
    text = markdown(found)
    lines: tuple[Line, ...] = (f"changed {before.since}:", *diff_lines(found))
    if not found:
        lines = (f"no change {before.since}",)
    if markdown_file == STDOUT:
        lines = tuple(text.removesuffix("\n").split("\n"))
    elif markdown_file is not None:
        _write(markdown_file, text)
    data: dict[str, Json] = {"since": before.since, "changes": to_json(found)}
    if markdown_file == STDOUT:
        data["markdown"] = text
    return Report(lines=lines, data=data)


def _read_license(folder: Path, record: PypiRecord) -> str | None:
    """Read the licence of a PyPI package whose file is in the channel."""
    if file_segments(record.location.partition("#")[0]) is None:
        return None
    file = folder / next(pypi_artifacts(record)).path
    return read_license(file) if file.is_file() else None


def _write(path: Path, text: str) -> None:
    try:
        write_atomically(path, text.encode())
    except OSError as error:
        raise usage_error(str(path), f"cannot write this file: {error.strerror}") from None
