"""What a bundle is made from: the base that a far side has, and the locks that go along."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Final

from scripts.core.channel_paths import ChannelPaths
from scripts.core.errors import MirrorError, Problem, finding_problem, usage_error, usage_problem
from scripts.core.files import not_readable, read_regular
from scripts.core.redact import redact
from scripts.keep.bundle_plan import BundledLock, SmallFile, lock_path
from scripts.keep.snapshot_trees import locks_of
from scripts.keep.snapshots import Snapshot, SnapshotLock, find_snapshot, read_snapshots
from scripts.keep.unbundle import parse_receipt
from scripts.workspace.workspace import LOCK_NAME

_FULL: Final = "pixi run bundle OUT --full, which needs no base"
_LARGEST_RECEIPT: Final = 1 << 16  # bytes
_LARGEST_LOCK: Final = 1 << 28  # bytes
_MANIFESTS: Final = ("pixi.toml", "pyproject.toml")
# What `redact` hides, to be on the safe side, though it is none: the user of every git server, and
# the folders of initials of PyPI's older files.
_NO_SECRET: Final = re.compile(r"(?<=://)git@|(?<=/packages/)[^/\s]+/t/(?=[^/\s]+/)")


def base_by_id(place: ChannelPaths, name: str) -> Snapshot:
    """Find the snapshot of this id; raises the error of exit code 2, whose help is a full one."""
    try:
        return find_snapshot(place, name)
    except MirrorError as error:
        problem = error.problems[0]
        help_ = f"pixi run snapshots lists them; or {_FULL}"
        raise usage_error(problem.subject, problem.message, *problem.details, help=help_) from None


def base_by_receipt(place: ChannelPaths, file: Path) -> Snapshot:
    """Find the snapshot that a far side has, as its receipt says.

    Raises the error of exit code 1 where files were damaged or missing there, and of 2 where the
    receipt cannot be read, or no snapshot here has these files.
    """
    try:
        receipt = parse_receipt(read_regular(file, _LARGEST_RECEIPT))
    except OSError as error:
        raise not_readable(file, "receipt", error) from None
    except (ValueError, TypeError, RecursionError) as error:
        message = "is no receipt, or is damaged"
        raise usage_error(str(file), message, ("reason", str(error)), help=_FULL) from None
    if not receipt.is_right:
        raise MirrorError(
            finding_problem(
                file,
                "says that the channel there is not whole, and no delta is made from it",
                ("damaged", str(receipt.damaged)),
                ("missing", str(receipt.missing)),
                ("read", receipt.read),
                help=_FULL,
            )
        )
    for each in reversed(read_snapshots(place)):
        if each.content_digest == receipt.digest:
            return each
    raise usage_error(
        str(file),
        "is of a channel that no snapshot here is the same as",
        ("snapshot", receipt.id),
        ("content digest", receipt.digest),
        help=_FULL,
    )


def read_bundled_locks(
    place: ChannelPaths, snapshot: Snapshot, *, with_files: bool
) -> tuple[BundledLock, ...]:
    """Say by what locks a snapshot was made, and read their files where they are to go along.

    Raises the error of exit code 2 of every file in which a secret is found, or that is not here.
    """
    if not with_files:
        return tuple(BundledLock(lock=each) for each in snapshot.locks)
    folder, problems = locks_of(place, snapshot), list[Problem]()
    found = []
    for number, each in enumerate(snapshot.locks, 1):
        files, odd = _read_files(folder / str(number), number, each)
        found.append(BundledLock(lock=each, files=files))
        problems += odd
    if not snapshot.locks:
        message = "no lock of it is known here, and --with-locks was given"
        problems.append(usage_problem(snapshot.id, message, help="leave --with-locks out"))
    if problems:
        raise MirrorError(*problems)
    return tuple(found)


def _read_files(
    folder: Path, number: int, lock: SnapshotLock
) -> tuple[tuple[SmallFile, ...], list[Problem]]:
    files, problems = [], []
    for names, wanted in (((LOCK_NAME,), lock.lock_sha256), (_MANIFESTS, lock.manifest_sha256)):
        found = set()
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                file = SmallFile(
                    path=lock_path(number, name), data=read_regular(folder / name, _LARGEST_LOCK)
                )
                files.append(file)
                problems += secrets_in(f"{lock.label}: {name}", file.data)
                found.add(file.sha256)
        if wanted is not None and wanted not in found:
            problems.append(
                usage_problem(
                    f"{lock.label}: {names[0]}",
                    "is not here as its snapshot was made by it, and --with-locks was given",
                    ("sha256", wanted),
                    help="leave --with-locks out: its sha256 is carried all the same",
                )
            )
    return tuple(files), problems


def secrets_in(name: str, data: bytes) -> list[Problem]:
    """Find URLs with a user, a password, a token or a query: the first of them is told, hidden."""
    for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
        plain = _NO_SECRET.sub("", line)
        hidden = redact(plain)
        if hidden != plain:
            return [
                usage_problem(
                    name,
                    "holds what may be a secret, and is not carried",
                    (f"line {number}", hidden.strip()),
                    help="take it out of the file (pixi auth login keeps secrets elsewhere), mirror"
                    " again, or leave --with-locks out",
                )
            ]
    return []
