"""`pixi run bench`: measure fetch, index and verify against their peers."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence

from bench.run import NONE, rows, table
from scripts.core.child_process import program_error
from scripts.core.command import run_task, task_parser
from scripts.core.console import Console
from scripts.core.report import Report


def main(argv: Sequence[str] | None = None) -> int:
    """Run the task with these arguments."""
    parser = task_parser("bench", "measure fetch, index and verify against their peers")
    parser.add_argument(
        "--rounds", type=int, default=5, metavar="N", help="runs of each, after one to warm up"
    )
    parser.add_argument(
        "--records",
        type=int,
        default=50_000,
        metavar="N",
        help="records of the largest index (default 50000, which takes minutes; 0: none)",
    )
    parser.add_argument(
        "--year",
        action="store_true",
        help="instead, live through a year of weekly mirrors and bundles: what it takes on disks",
    )
    return run_task("bench", parser, run, argv)


def run(options: argparse.Namespace, console: Console) -> Report:
    """Measure, and show each row as it is done."""
    if options.year:
        return _year(console)
    missing = [name for name in ("curl", "sha256sum") if shutil.which(name) is None]
    if missing:
        subject, message = " and ".join(missing), "not on PATH; everything is measured against it"
        raise program_error(subject, message)
    measured = []
    for row in rows(max(1, options.rounds), options.records, console.note):
        measured.append(row)
        ratio = NONE if row.ratio is None else f"{row.ratio:.2f}"
        console.note(f"bench: {row.what}: {row.ours.best:.2f} s; / {row.against}: {ratio}")
    return Report(
        lines=tuple(table(measured)),
        data={
            "rows": [
                {
                    "measured": row.what,
                    "against": row.against,
                    "ours": row.ours.best,
                    "theirs": None if row.theirs is None else row.theirs.best,
                    "ratio": row.ratio,
                    "aim": row.most,
                    "aim-seconds": row.within,
                    "cpu": row.ours.cpu,
                    "memory": row.ours.peak,
                }
                for row in measured
            ]
        },
    )


def _year(console: Console) -> Report:
    from bench.year import weeks, year_table

    lived = []
    for week in weeks():
        lived.append(week)
        console.note(f"bench: week {len(lived)}: {week.carried} bytes carried")
    return Report(
        lines=tuple(year_table(lived)),
        data={
            "weeks": [
                {
                    "week": each.number + 1,
                    "carried": each.carried,
                    "new-artifacts": each.artifacts,
                    "new-index": each.index,
                    "files": each.files,
                    "channel": each.channel,
                    "snapshot-files": each.trees,
                    "snapshot-records": each.records,
                    "seconds": each.seconds,
                }
                for each in lived
            ]
        },
    )


if __name__ == "__main__":
    sys.exit(main())
