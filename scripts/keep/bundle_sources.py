"""What a bundle is made from: the base that a far side has, and the locks that go along."""

from __future__ import annotations

import re
from hashlib import sha256
from pathlib import Path
from typing import Final

from scripts.core.channel_paths import ChannelPaths
from scripts.core.errors import MirrorError, Problem, finding_problem, usage_error, usage_problem
from scripts.core.files import not_readable, read_regular
from scripts.core.redact import redact
from scripts.keep.snapshot_locks import kept_locks
from scripts.keep.snapshots import Snapshot, find_snapshot, read_snapshots
from scripts.keep.unbundle import parse_receipt

_FULL: Final = "pixi run bundle OUT --full, which needs no base"
LARGEST_RECEIPT: Final = 1 << 16  # bytes
# What `redact` hides, to be on the safe side, though it is none: the user of every git server, and
# the folders of initials of PyPI's older files; and what is locked of a repository.
_NO_SECRET: Final = re.compile(r"(?<=://)git@|(?<=/packages/)[^/\s]+/t/(?=[^/\s]+/)")
_OF_REPOSITORY: Final = re.compile(
    r"(git\+[^\s?#]*)\?(?:&?(?:branch|rev|subdirectory|tag)=[^\s&#]*)+(?![^\s#])"
)


def base_by_id(place: ChannelPaths, name: str) -> Snapshot:
    """Find the snapshot of this id; raises the error of exit code 2, whose help is a full one."""
    return find_snapshot(place, name, help=f"pixi run snapshots lists them; or {_FULL}")


def base_by_receipt(place: ChannelPaths, file: Path) -> Snapshot:
    """Find the snapshot that a far side has, as its receipt says.

    Raises the error of exit code 1 where files were damaged or missing there, and of 2 where the
    receipt cannot be read, or no snapshot here has these files.
    """
    try:
        receipt = parse_receipt(read_regular(file, LARGEST_RECEIPT))
    except OSError as error:
        raise not_readable(file, "receipt", error) from None
    except (ValueError, TypeError, RecursionError) as error:
        message = "is no receipt, or is damaged"
        raise usage_error(str(file), message, ("reason", str(error)), help=_FULL) from None
    found = {"damaged": receipt.damaged, "missing": receipt.missing, "read": receipt.read}
    if receipt.damaged or receipt.missing:
        message = "says that the channel there is not whole, and no delta is made from it"
        details = ((label, str(value)) for label, value in found.items())
        raise MirrorError(finding_problem(file, message, *details, help=_FULL))
    for each in reversed(read_snapshots(place)):
        if each.content_digest == receipt.digest:
            return each
    message = "is of a channel that no snapshot here is the same as"
    ids = (("snapshot", receipt.id), ("content digest", receipt.digest))
    raise usage_error(str(file), message, *ids, help=_FULL)


def read_lock_files(place: ChannelPaths, snapshot: Snapshot) -> dict[str, bytes]:
    """Read the locks and manifests that a snapshot was made by, by their paths in a bundle.

    Raises the error of exit code 2 of each that is not here, or in which a secret is found.
    """
    files, problems = dict[str, bytes](), list[Problem]()
    for number, (each, there) in enumerate(kept_locks(place, snapshot), 1):
        for name, data in there.items():
            files[f"locks/{number}/{name}"] = data
            problems += secrets_in(f"{each.label}: {name}", data)
        wanted = {each.lock_sha256, each.manifest_sha256} - {None}
        if not wanted <= {sha256(data).hexdigest() for data in files.values()}:
            problems.append(_not_here(each.label))
    if problems or not files:
        raise MirrorError(*(problems or [_not_here(snapshot.id)]))
    return files


def _not_here(subject: str) -> Problem:
    message = "its lock and manifest are not kept here (`unbundle` keeps none)"
    return usage_problem(
        subject, message, help="leave --with-locks out: their sha256 are carried all the same"
    )


def secrets_in(name: str, data: bytes) -> list[Problem]:
    """Find URLs with what `redact` hides: the first of them is told, hidden."""
    for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
        plain = _NO_SECRET.sub("", _OF_REPOSITORY.sub(r"\1", line))
        hidden = redact(plain)
        if hidden != plain:
            message = "holds what may be a secret, and is not carried"
            help_ = "take it out of the file (pixi auth login keeps secrets elsewhere), mirror"
            help_ += " again, or leave --with-locks out"
            return [usage_problem(name, message, (f"line {number}", hidden.strip()), help=help_)]
    return []
