"""What a bundle holds, to the byte, before any of it is written: values in, values out.

    bundle.json     what is carried and what it makes of a channel; written last
    bundle.json.sig its signature, where one is wanted
    SHA256SUMS      of all but itself and the signature
    LABEL.txt, unbundle.py
    files/PATH      each file below its own path in the channel; or volume-001.tar, ..., which
                    unpack to just that
    locks/N/...     the locks that the channel was made by, where they are wanted

No byte of it depends on when or where it was made, but for the snapshots that it was made from.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import PurePosixPath
from typing import Any, Final

from scripts.core.errors import raise_problems, usage_problem
from scripts.core.redact import printable
from scripts.core.report import counted, human_size
from scripts.keep.snapshots import Snapshot, SnapshotFile, by_path, proven_text, summary_of
from scripts.keep.unbundle import (
    BUNDLE,
    FORMAT,
    SUMS,
    TAR_END,
    padding,
    sums_text,
    tar_header,
)

_UNKNOWN: Final = "0" * 64
_SIZE: Final = re.compile(
    r"(\d{1,15}(?:\.\d{1,15})?) ?(?:([kmgt])(i?))?b?", re.IGNORECASE | re.ASCII
)
_LOCKS_SHOWN: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class LargeFile:
    """A file of the bundle with files of the channel: one as it is, or as many as a volume has."""

    path: str
    """Relative to the bundle."""
    files: tuple[SnapshotFile, ...]
    size: int
    """Bytes."""
    sha256: str = _UNKNOWN
    """Of a volume that is not written yet, zeros, which take as much room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BundlePlan:
    """All that a bundle holds."""

    base: Snapshot | None
    """What the channel must be that it is unpacked into; None: anything."""
    target: Snapshot
    """What the channel is afterwards."""
    files: tuple[SnapshotFile, ...]
    """What is added or changed, by path."""
    same_as: Mapping[PurePosixPath, PurePosixPath]
    """Of these, those that are not carried: another path, of base or bundle, has their bytes."""
    removed: tuple[PurePosixPath, ...]
    is_tar: bool
    """Volumes, not a folder."""
    large_files: tuple[LargeFile, ...]
    other_files: Mapping[str, bytes]
    """By their paths in the bundle `unbundle.py`, and what is carried of the locks."""
    is_signed: bool

    @property
    def carried(self) -> tuple[SnapshotFile, ...]:
        """The files of the channel that are in it."""
        return tuple(file for each in self.large_files for file in each.files)

    @property
    def carried_bytes(self) -> int:
        """Their size."""
        return sum(each.size for each in self.carried)

    @property
    def small_files(self) -> Mapping[str, bytes]:
        """What `bundle.json` names and does not come out of the channel, by path."""
        return {"LABEL.txt": render_label(self), **self.other_files}

    def around(self, file: SnapshotFile) -> tuple[bytes, bytes]:
        """Return what stands before and behind the bytes of a file."""
        if not self.is_tar:
            return b"", b""
        created = self.target.created.isoformat()
        return tar_header(str(file.path), file.size, created), padding(file.size)

    @property
    def end(self) -> bytes:
        """What stands behind the last file of each large one."""
        return TAR_END if self.is_tar else b""


def plan_bundle(
    target: Snapshot,
    files: Iterable[SnapshotFile],
    base: Snapshot | None,
    base_files: Iterable[SnapshotFile],
    *,
    is_tar: bool,
    volume_size: int | None,
    other_files: Mapping[str, bytes],
    is_signed: bool,
) -> BundlePlan:
    """Plan what takes a channel from `base` to `target`.

    `volume_size`: bytes that a volume has at most; None: all is in one. Raises the errors of exit
    code 2 of all files that no volume can hold.
    """
    before = {each.path: each.sha256 for each in base_files}
    there = {each.path: each.sha256 for each in files}
    changed = [each for each in files if before.get(each.path) != each.sha256]
    changed.sort(key=by_path)
    # What is at a path that changes may be meant as before or after: nothing refers to that.
    sources = {sha: path for path, sha in before.items() if there.get(path, sha) == sha}
    same_as = {
        each.path: first
        for each in changed
        if (first := sources.setdefault(each.sha256, each.path)) != each.path
    }
    plan = BundlePlan(
        base=base,
        target=target,
        files=tuple(changed),
        same_as=same_as,
        removed=tuple(sorted(before.keys() - there.keys(), key=lambda path: str(path).encode())),
        is_tar=is_tar,
        large_files=(),
        other_files=other_files,
        is_signed=is_signed,
    )
    carried = [each for each in changed if each.path not in same_as]
    return replace(plan, large_files=_plan_large_files(plan, carried, volume_size))


def _plan_large_files(
    plan: BundlePlan, carried: Sequence[SnapshotFile], most: int | None
) -> tuple[LargeFile, ...]:
    """Give each file one of its own, or fill one volume after the other."""
    rooms: list[list[SnapshotFile]] = []
    sizes: list[int] = []
    too_large = {}
    for each in carried:
        needed = each.size + sum(map(len, plan.around(each)))
        if most is not None and needed + len(plan.end) > most:
            too_large[each.path] = needed + len(plan.end)
        if not sizes or not plan.is_tar or (most is not None and sizes[-1] + needed > most):
            rooms.append([])
            sizes.append(len(plan.end))
        rooms[-1].append(each)
        sizes[-1] += needed
    message = f"is too large for a volume of {human_size(most or 0)}: a file is in one alone"
    help_ = f"--volume-size {max(too_large.values(), default=0)}B, or more"
    raise_problems(
        usage_problem(path, message, ("needed", f"{size} bytes"), help=help_)
        for path, size in too_large.items()
    )
    return tuple(
        LargeFile(
            path=f"volume-{number:03}.tar" if plan.is_tar else f"files/{room[0].path}",
            files=tuple(room),
            size=size,
            sha256=_UNKNOWN if plan.is_tar else room[0].sha256,
        )
        for number, (room, size) in enumerate(zip(rooms, sizes, strict=True), 1)
    )


def parse_volume_size(text: str) -> int:
    """Read `4.7GB`, `650 MiB` or bytes; raises ValueError for anything else."""
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise ValueError(text)
    amount, unit, binary = found.groups(default="")
    return int(float(amount) * (1024 if binary else 1000) ** " kmgt".index(unit.lower() or " "))


def render_document(plan: BundlePlan) -> bytes:
    """Write bundle.json: a line for each file, so that it costs little and people can read it."""
    target, base = plan.target, plan.base
    where: dict[PurePosixPath, str | int] = {x: f"={y}" for x, y in plan.same_as.items()}
    if plan.is_tar:
        for number, each in enumerate(plan.large_files, 1):
            where |= {file.path: number for file in each.files}
    head: dict[str, Any] = {
        "format": FORMAT,
        "base": base and {"id": base.id, "content-digest": base.content_digest},
        "target": summary_of(target),
        "carried": {"files": len(plan.carried), "bytes": plan.carried_bytes},
        "volumes": [{"name": x.path, "size": x.size, "sha256": x.sha256} for x in plan.large_files]
        if plan.is_tar
        else None,
        "tools": {
            path: {"size": len(data), "sha256": sha256(data).hexdigest()}
            for path, data in plan.small_files.items()
        },
        "locks": [
            {"label": x.label, "lock-sha256": x.lock_sha256, "manifest-sha256": x.manifest_sha256}
            for x in target.locks
        ],
    }
    rows = ([str(x.path), x.kind, x.size, x.sha256, where.get(x.path)] for x in plan.files)
    lines = [f"{json.dumps(key)}: {json.dumps(value)},\n" for key, value in head.items()]
    removed = map(str, plan.removed)
    return (
        f'{{\n{"".join(lines)}"files": {_list(rows)},\n"removed": {_list(removed)}\n}}\n'.encode()
    )


def _list(values: Iterable[Any]) -> str:
    rows = ",\n".join(json.dumps(each, separators=(",", ":")) for each in values)
    return f"[\n{rows}\n]" if rows else "[]"


def render_sums(plan: BundlePlan, document: bytes) -> bytes:
    """Write SHA256SUMS as coreutils' `sha256sum -c` reads it."""
    small = {**plan.small_files, BUNDLE: document}
    found = [(path, sha256(data).hexdigest()) for path, data in small.items()]
    return sums_text([*found, *((each.path, each.sha256) for each in plan.large_files)])


_LABEL: Final = f"""\
A bundle of pixi-mirror: it brings a conda channel, which pixi, conda and mamba install
from, to a state that its builder has published. Packages are data: nothing in here has
to be started to check it.

%s

Check that every byte is here:

    sha256sum -c {SUMS}

Bring a channel to it, with Python 3.8 or newer alone, from this folder:

    python -I -S unbundle.py %s. /path/of/the/channel

Where you have a copy of unbundle.py already, start that one: it checks this bundle, the
one in here comes with it. All is checked before anything is changed. A channel that is
not at what the bundle needs is refused, and stays as it is.

It ends with a receipt, receipt.json and receipt.txt: give one of them to the builder,
who makes the next bundle by it (`pixi run bundle OUT --since-receipt receipt.json`).
"""


def render_label(plan: BundlePlan) -> bytes:
    """Write LABEL.txt: one page for whoever finds, admits or unpacks the bundle."""
    target, base, volumes = plan.target, plan.base, plan.large_files
    form = "a folder: each file is below files/, at its path in the channel"
    if plan.is_tar:
        names = dict.fromkeys(each.path for each in (*volumes[:1], *volumes[-1:]))
        form = " ".join((counted(len(volumes), "plain tar file"), " to ".join(names))).strip()
    rows = [
        ("channel", f"{target.id}, published {target.created:%Y-%m-%d %H:%M} UTC"),
        ("", f"{counted(target.files, 'file')}, {human_size(target.size)}, layout {target.layout}"),
        ("content digest", target.content_digest),
        ("needs", "nothing: all files are in here" if base is None else base.id),
        *([] if base is None else [("content digest", base.content_digest)]),
        ("carries", f"{counted(len(plan.carried), 'file')}, {human_size(plan.carried_bytes)}"),
        ("removes", counted(len(plan.removed), "file")),
        ("form", form),
        ("signed", "bundle.json.sig, namespace pixi-mirror" if plan.is_signed else "no"),
        ("proven", proven_text(target)),
    ]
    for each in target.locks[:_LOCKS_SHOWN]:
        rows += [("made by", each.label), ("lock sha256", each.lock_sha256 or "unknown")]
    if len(target.locks) > _LOCKS_SHOWN:
        rows.append(("", f"and {len(target.locks) - _LOCKS_SHOWN} more, in {BUNDLE}"))
    told = "\n".join(f"  {label:<15} {printable(text)}" for label, text in rows)
    return (_LABEL % (told, "--allowed-signers FILE " if plan.is_signed else "")).encode()
