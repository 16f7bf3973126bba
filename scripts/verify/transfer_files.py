"""Write the report for those who approve a transfer."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from scripts.core.errors import ExitCode, Problem, usage_error
from scripts.core.files import hash_file, write_atomically
from scripts.core.report import Report
from scripts.core.version import version
from scripts.verify.document import Document
from scripts.verify.document_html import to_html
from scripts.verify.document_markdown import to_markdown
from scripts.verify.report import Results
from scripts.verify.transfer import Origin, transfer_document
from scripts.workspace.workspace import Workspace

_WRITERS: Final[dict[str, Callable[[Document], str]]] = {".md": to_markdown, ".html": to_html}


def check_targets(targets: Sequence[Path], workspace: Workspace) -> None:
    """Refuse a report within the channel, which is only looked at: the error of exit code 2."""
    for target in targets:
        if target.resolve().is_relative_to(workspace.place.folder.resolve()):
            raise usage_error(
                str(target),
                "would be in the channel, into which verify writes nothing",
                help=f"--report {target.name}",
            )


def write_reports(
    report: Report, results: Results, workspace: Workspace, targets: Sequence[Path]
) -> Report:
    """Write the report to every file, and say so in the one that is returned.

    A file that cannot be written is one problem more: what was found is told all the same.
    """
    document = transfer_document(_origin(workspace, results), results, report.lines)
    written: list[str] = []
    problems: list[Problem] = []
    for target in targets:
        try:
            write_atomically(target, _WRITERS[target.suffix.lower()](document).encode())
        except OSError as error:
            problems.append(
                Problem(
                    subject=str(target),
                    trouble=f"cannot write this file: {error.strerror}",
                    code=ExitCode.USAGE,
                )
            )
            continue
        written.append(str(target))
    return dataclasses.replace(
        report,
        lines=(*report.lines, *(f"report: {name}" for name in written)),
        data={**report.data, "reports": written},
        problems=(*report.problems, *problems),
    )


def _origin(workspace: Workspace, results: Results) -> Origin:
    folder = workspace.place.folder
    return Origin(
        workspace=workspace.manifest.name or workspace.root.name,
        manifest=workspace.manifest_path.name,
        channel_dir=workspace.settings.channel_dir,
        lock_sha256=hash_file(workspace.lock_path, "sha256"),
        moment=now(),
        version=version(),
        index_sha256={
            each.path: hash_file(folder / each.path, "sha256") for each in results.account.index
        },
    )


def now() -> datetime:
    """Return the time, for people: UTC."""
    return datetime.now(UTC)
