"""Snapshots of a large mirror: have many of them, and time one of what has not changed."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from scripts.channel.locks import read_locks
from scripts.channel.removals import now
from scripts.core.console import Console
from scripts.keep.snapshot_trees import build_tree
from scripts.keep.snapshots import (
    new_snapshot,
    newest_snapshot,
    read_snapshot_files,
    read_snapshots,
    write_snapshot,
)
from scripts.keep.take_snapshot import take_snapshot
from scripts.workspace.workspace import Workspace, open_workspace


def fill(workspace: Workspace, count: int) -> None:
    """Have so many snapshots, all with the files of the newest one."""
    place, newest = workspace.place, newest_snapshot(workspace.place)
    assert newest is not None
    files = read_snapshot_files(place, newest)
    for _ in range(count - len(read_snapshots(place))):
        before = newest
        newest = new_snapshot(
            files, made_by="index", layout=before.layout, before=before, when=now()
        )
        build_tree(place, newest, files, before, files)
        write_snapshot(place, newest, files)


def main(root: str, count: str) -> None:
    """Print the seconds that it takes to see that nothing has changed, with the lock read."""
    workspace = open_workspace(Path(root), {})
    fill(workspace, int(count))
    locks = read_locks(workspace, Console(), believes_cache=True)
    began = time.perf_counter()
    report = take_snapshot(workspace, Console(), made_by="index", locks=locks)
    assert not report.problems, report.problems
    sys.stdout.write(f"{time.perf_counter() - began}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
