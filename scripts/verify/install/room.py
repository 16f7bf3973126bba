"""Tell a full temporary disk from a fault of the channel."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from scripts.core.errors import ExitCode, MirrorError, Problem
from scripts.core.report import human_size
from scripts.index.artifact import read_info_files
from scripts.verify.install.package_paths import PATHS, files_size
from scripts.verify.install.plan_install import Installation

# As the systems' C libraries say ENOSPC and EDQUOT, Windows says it, and conda does.
_FULL: Final = re.compile(
    r"No space left on device|Disk quota exceeded|not enough space on the disk|NoSpaceLeft"
)


def is_for_want_of_room(problems: Iterable[Problem]) -> bool:
    """Tell whether a program, or Python, says that the disk is full."""
    return any(_FULL.search(str(problem)) for problem in problems)


def no_room(installation: Installation, folder: Path, temporary: Path, free: int) -> Problem:
    """Say how much room an environment takes; `free` bytes were there before it was tried."""
    return Problem(
        subject=str(temporary),
        trouble=f"this disk has no room to install {installation.place}",
        code=ExitCode.USAGE,
        facts=(
            ("needed", f"at least {human_size(_needed(installation, folder))}"),
            ("free", human_size(free)),
        ),
        help="TMPDIR=/a/folder/with/room pixi run verify",
    )


def free_room(folder: Path) -> int:
    """Return the bytes that are free on the disk of a folder."""
    return shutil.disk_usage(folder).free


def _needed(installation: Installation, folder: Path) -> int:
    """Add the artifacts up, and the files in them as far as they say how large they are."""
    needed = 0
    for artifact in installation.artifacts:
        path = folder / artifact.path
        try:
            needed += path.stat().st_size
            needed += files_size(read_info_files(path, str(artifact.path), frozenset({PATHS})))
        except (OSError, MirrorError):
            continue  # a damaged one: what it would need nobody can say
    return needed
