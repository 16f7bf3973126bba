"""What the task `locks` says: each lock of the mirror, what it holds, what it alone adds."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final

from scripts.core.artifact import Artifact
from scripts.core.report import Report, counted, listed, size_text, table
from scripts.lock.mirrored import MirroredLock
from scripts.lock.select import Selection, paths_of

_SHOWN: Final = 3  # environments or platforms that one line names
_HEAD: Final = ("lock", "version", "environments", "platforms", "artifacts", "size", "alone")

# Bytes by place; None: neither does a lock say, nor is it in the channel folder yet.
_Sizes = Mapping[PurePosixPath, int | None]


def lock_report(selection: Selection, folder: Path, *, is_whole: bool) -> Report:
    """Describe every lock; of a size that no lock says, the channel folder may tell.

    `is_whole`: no list of environments or platforms is cut.
    """
    sizes = {each.path: _size(each, folder) for each in selection.artifacts}
    paths = [paths_of(selection.layout, each.environments) for each in selection.locks]
    times = Counter(path for some in paths for path in some)
    rows = [
        _row(lock, mine, {path for path in mine if times[path] == 1}, sizes)
        for lock, mine in zip(selection.locks, paths, strict=True)
    ]
    whole = _sum(sizes, sizes)
    together = f"{counted(len(sizes), 'artifact')}, {_text(whole)}"
    return Report(
        lines=(
            *table([_HEAD, *(_cells(row, is_whole=is_whole) for row in rows)]),
            f"together {together}, what several name counted once",
        ),
        data={"locks": rows, "artifacts": len(sizes), **whole},
    )


def _row(
    lock: MirroredLock,
    mine: Collection[PurePosixPath],
    alone: Collection[PurePosixPath],
    sizes: _Sizes,
) -> dict[str, Any]:
    platforms = (rows.platform.label for each in lock.environments for rows in each.platforms)
    return {
        "lock": lock.label,
        "location": lock.location,
        "manifest": None if lock.manifest is None else lock.manifest.file_name,
        "kept": None if lock.kept is None else lock.kept.isoformat(),
        "version": lock.file.version,
        "environments": [each.name for each in lock.environments],
        "platforms": list(dict.fromkeys(platforms)),
        "artifacts": len(mine),
        **_sum(mine, sizes),
        "alone": {"artifacts": len(alone), **_sum(alone, sizes)},
    }


def _size(artifact: Artifact, folder: Path) -> int | None:
    if artifact.size is not None:
        return artifact.size
    with contextlib.suppress(OSError):  # not there yet
        return (folder / artifact.path).stat().st_size
    return None


def _sum(paths: Iterable[PurePosixPath], sizes: _Sizes) -> dict[str, int]:
    found = [sizes[each] for each in paths]
    return {"size": sum(filter(None, found)), "of-unknown-size": found.count(None)}


def _text(row: Mapping[str, Any]) -> str:
    return size_text(row["size"], row["of-unknown-size"])


def _cells(row: Mapping[str, Any], *, is_whole: bool) -> Sequence[str]:
    names = (row["environments"], row["platforms"])
    return (
        row["lock"],
        str(row["version"]),
        *(listed(each, len(each) if is_whole else _SHOWN) or "none" for each in names),
        str(row["artifacts"]),
        _text(row),
        f"{row['alone']['artifacts']}, {_text(row['alone'])}",
    )
