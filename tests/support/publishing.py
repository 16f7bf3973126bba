r"""A mirror that is moved on, rolled back and pruned all the while, and killed in the middle of it.

    python -m tests.support.publishing ROOT TURNS SEED

Of each task that is killed the next run is the same task, as a scheduler would have it. Goes on
until so many turns are done, and something was removed; then it says as JSON how often each task
was run and killed, and how many files were removed. Acts.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

from scripts.core.channel_paths import channel_paths
from scripts.keep.snapshot_locks import locks_of
from scripts.keep.snapshots import newest_snapshot, read_snapshots, tree_of

TASKS: Final = ("mirror", "rollback", "prune")
_KILLED: Final = 0.5  # of all runs
_MOST: Final = 300  # turns


class Publisher:
    """A workspace with its locks in the folder `locks`, and what was done to it."""

    def __init__(self, root: Path, chance: random.Random) -> None:
        """Take the workspace."""
        self.root, self.chance = root, chance
        self.place = channel_paths(root / "local-channel")
        self.runs, self.kills, self.removed = Counter[str](), Counter[str](), 0
        self.took = dict.fromkeys(TASKS, 2.0)  # seconds, of the last run of each

    def turn(self, task: str) -> None:
        """Run one task, perhaps killed first."""
        options: tuple[str, ...] = ()
        if task == "mirror":
            self.lock(self.chance.choice(sorted((self.root / "locks").iterdir())))
        elif task == "rollback":
            kept = [x for x in read_snapshots(self.place) if tree_of(self.place, x).is_dir()]
            options = (self.chance.choice(kept).id,)
        else:  # which needs the lock of what was rolled back to
            newest = newest_snapshot(self.place)
            assert newest is not None
            self.lock(locks_of(self.place, newest) / "1" / "pixi.lock")
        if self.chance.random() < _KILLED:
            self.run(task, *options, killed_after=self.chance.uniform(0.1, 1) * self.took[task])
        self.run(task, *options)

    def lock(self, lock: Path) -> None:
        """Exchange the lock, as `pixi lock` does."""
        shutil.copyfile(lock, self.root / "new.lock")
        (self.root / "new.lock").replace(self.root / "pixi.lock")

    def run(self, task: str, *options: str, killed_after: float | None = None) -> None:
        """Run a task in a process of its own; it must end well, unless it was killed."""
        before, began = self.there(), time.monotonic()
        where = ("--manifest-path", str(self.root))
        command = [sys.executable, "-P", "-m", f"tasks.{task}", "-q", *where, *options]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            try:
                said = process.communicate(timeout=killed_after)[1]
            except subprocess.TimeoutExpired:
                process.kill()
                self.kills[task] += 1
                said = None
        if said is not None:
            if process.returncode:
                sys.exit(f"{task} ended with {process.returncode}: {said}")
            self.runs[task] += 1
            self.took[task] = time.monotonic() - began
        self.removed += len(before - self.there())

    def there(self) -> set[Path]:
        """Name all files of the channel folder."""
        return {path for path in self.place.folder.rglob("*") if path.is_file()}


def main(root: Path, turns: int, seed: int) -> dict[str, Any]:
    """Publish until it is enough."""
    chance = random.Random(seed)
    publisher = Publisher(root, chance)
    for turn in range(_MOST):
        publisher.turn(TASKS[turn % 3] if turn < turns else chance.choice(TASKS))
        if turn + 1 >= turns and publisher.removed and publisher.kills:
            break
    runs, kills = dict(publisher.runs), dict(publisher.kills)
    return {"runs": runs, "kills": kills, "removed": publisher.removed}


if __name__ == "__main__":
    root, turns, seed = sys.argv[1:]
    print(json.dumps(main(Path(root), int(turns), int(seed))), flush=True)
    os._exit(0)
