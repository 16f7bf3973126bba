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
from dataclasses import dataclass
from hashlib import sha256
from pathlib import PurePosixPath
from typing import Any, Final

from scripts.core.errors import MirrorError, usage_problem
from scripts.core.report import counted, human_size
from scripts.keep.snapshots import Snapshot, SnapshotFile, SnapshotLock
from scripts.keep.unbundle import (
    BUNDLE,
    FORMAT,
    SUMS,
    TAR_END,
    padding,
    sums_text,
    tar_header,
    tar_time,
)

LABEL: Final = "LABEL.txt"
PROGRAM: Final = "unbundle.py"
_FILES: Final = "files"
_LOCKS: Final = "locks"
_UNKNOWN: Final = "0" * 64  # as long as the sha256 that will stand there
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?) ?(?:([kmgt])(i?))?b?", re.IGNORECASE | re.ASCII)
_UNITS: Final = " kmgt"
_LOCKS_SHOWN: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallFile:
    """A file of the bundle that is made, or held, in memory."""

    path: str
    """Relative to the bundle."""
    data: bytes

    @property
    def sha256(self) -> str:
        """Of its bytes."""
        return sha256(self.data).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class BundledLock:
    """A lock that the channel was made by, and the files of it that are carried."""

    lock: SnapshotLock
    files: tuple[SmallFile, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """A tar file of the bundle: uncompressed, and each file wholly in one of them."""

    number: int
    """From 1 on."""
    files: tuple[SnapshotFile, ...]
    size: int
    """Bytes."""

    @property
    def name(self) -> str:
        """Its path in the bundle."""
        return f"volume-{self.number:03}.tar"


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
    volumes: tuple[Volume, ...] | None
    """None: a folder."""
    locks: tuple[BundledLock, ...]
    program: SmallFile
    is_signed: bool

    @property
    def carried(self) -> tuple[SnapshotFile, ...]:
        """The files of the channel that are in it."""
        return tuple(each for each in self.files if each.path not in self.same_as)

    @property
    def carried_bytes(self) -> int:
        """Their size."""
        return sum(each.size for each in self.carried)

    @property
    def small_files(self) -> tuple[SmallFile, ...]:
        """What does not come out of the channel, but for `SHA256SUMS` and `bundle.json`."""
        locks = (file for each in self.locks for file in each.files)
        return (SmallFile(path=LABEL, data=render_label(self)), self.program, *locks)

    @property
    def large_files(self) -> dict[str, int]:
        """The sizes of what does, by path in the bundle."""
        if self.volumes is not None:
            return {each.name: each.size for each in self.volumes}
        return {path_in_bundle(each): each.size for each in self.carried}


def path_in_bundle(file: SnapshotFile) -> str:
    """Name the place of a carried file: in a folder, or among the members of a volume."""
    return f"{_FILES}/{file.path}"


def plan_bundle(
    target: Snapshot,
    files: Iterable[SnapshotFile],
    base: Snapshot | None,
    base_files: Iterable[SnapshotFile],
    *,
    volume_size: int | None,
    is_tar: bool,
    locks: tuple[BundledLock, ...],
    program: bytes,
    is_signed: bool,
) -> BundlePlan:
    """Plan what takes a channel from `base` to `target`.

    `volume_size`: bytes that a volume has at most; None: all is in one. Raises the errors of exit
    code 2 of all files that no volume can hold.
    """
    before = {each.path: each for each in base_files}
    there = {each.path: each for each in files}
    changed = sorted(
        (
            each
            for path, each in there.items()
            if path not in before or before[path].sha256 != each.sha256
        ),
        key=lambda each: str(each.path).encode(),
    )
    # What is at a path that changes may be meant as before or after: nothing refers to that.
    source = {
        each.sha256: path
        for path, each in before.items()
        if there.get(path, each).sha256 == each.sha256
    }
    same_as = {}
    for each in changed:
        first = source.setdefault(each.sha256, each.path)
        if first != each.path:
            same_as[each.path] = first
    carried = [each for each in changed if each.path not in same_as]
    return BundlePlan(
        base=base,
        target=target,
        files=tuple(changed),
        same_as=same_as,
        removed=tuple(sorted(before.keys() - there.keys(), key=lambda each: str(each).encode())),
        volumes=_plan_volumes(target, carried, volume_size) if is_tar else None,
        locks=locks,
        program=SmallFile(path=PROGRAM, data=program),
        is_signed=is_signed,
    )


def _plan_volumes(
    target: Snapshot, files: Sequence[SnapshotFile], most: int | None
) -> tuple[Volume, ...]:
    """Fill one volume after the other."""
    rooms: list[list[SnapshotFile]] = []
    sizes: list[int] = []
    too_large = []
    for each in files:
        needed = len(header_in_volume(target, each)) + each.size + len(padding(each.size))
        if most is not None and needed + len(TAR_END) > most:
            too_large.append((each, needed + len(TAR_END)))
        if not sizes or (most is not None and sizes[-1] + needed > most):
            rooms.append([])
            sizes.append(len(TAR_END))
        rooms[-1].append(each)
        sizes[-1] += needed
    if too_large:
        raise MirrorError(
            *(
                usage_problem(
                    each.path,
                    f"is too large for a volume of {human_size(most or 0)}: a file is in one alone",
                    ("needed", f"{needed} bytes"),
                    help=f"--volume-size {max(size for _, size in too_large)}B, or more",
                )
                for each, needed in too_large
            )
        )
    return tuple(
        Volume(number=number, files=tuple(room), size=size)
        for number, (room, size) in enumerate(zip(rooms, sizes, strict=True), 1)
    )


def header_in_volume(target: Snapshot, file: SnapshotFile) -> bytes:
    """Return what stands before a file's bytes in a volume."""
    return tar_header(str(file.path), file.size, tar_time(target.created.isoformat()))


def parse_volume_size(text: str) -> int:
    """Read `4.7GB`, `650 MiB` or bytes; raises ValueError for anything else."""
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise ValueError(text)
    amount, unit, binary = found.groups()
    factor = (1024 if binary else 1000) ** (_UNITS.index(unit.lower()) if unit else 0)
    return int(float(amount) * factor)


def render_document(plan: BundlePlan, volumes: Mapping[str, str] | None = None) -> bytes:
    """Write bundle.json: a line for each file, so that it costs little and people can read it.

    `volumes`: the sha256 of each, by name; None: they are not known yet, and take as much room.
    """
    target, base = plan.target, plan.base
    numbers = {file.path: each.number for each in plan.volumes or () for file in each.files}

    def where(path: PurePosixPath) -> str | int | None:
        return f"={plan.same_as[path]}" if path in plan.same_as else numbers.get(path)

    head: dict[str, Any] = {
        "format": FORMAT,
        "base": base and {"id": base.id, "content-digest": base.content_digest},
        "target": {
            "id": target.id,
            "created": target.created.isoformat(),
            "layout": target.layout,
            "content-digest": target.content_digest,
            "files": target.files,
            "artifacts": target.artifacts,
            "bytes": target.size,
        },
        "carried": {"files": len(plan.carried), "bytes": plan.carried_bytes},
        "volumes": None
        if plan.volumes is None
        else [
            {
                "name": each.name,
                "size": each.size,
                "sha256": _UNKNOWN if volumes is None else volumes[each.name],
            }
            for each in plan.volumes
        ],
        "tools": {
            each.path: {"size": len(each.data), "sha256": each.sha256} for each in plan.small_files
        },
        "locks": [
            {
                "label": each.lock.label,
                "lock-sha256": each.lock.lock_sha256,
                "manifest-sha256": each.lock.manifest_sha256,
            }
            for each in plan.locks
        ],
    }
    rows = (
        json.dumps([str(x.path), x.kind, x.size, x.sha256, where(x.path)], separators=(",", ":"))
        for x in plan.files
    )
    lines = [f"{json.dumps(key)}: {json.dumps(value)}," for key, value in head.items()]
    lines.append(f'"files": [{_list(rows)}],')
    lines.append(f'"removed": [{_list(json.dumps(str(each)) for each in plan.removed)}]')
    return ("{\n" + "\n".join(lines) + "\n}\n").encode()


def _list(lines: Iterable[str]) -> str:
    text = ",\n".join(lines)
    return text and f"\n{text}\n"


def render_sums(
    plan: BundlePlan, document: bytes, volumes: Mapping[str, str] | None = None
) -> bytes:
    """Write SHA256SUMS as coreutils' `sha256sum -c` reads it; `volumes` as `render_document`."""
    if plan.volumes is None:
        found = {path_in_bundle(each): each.sha256 for each in plan.carried}
    else:
        found = {each.name: _UNKNOWN for each in plan.volumes} | dict(volumes or {})
    found |= {each.path: each.sha256 for each in plan.small_files}
    return sums_text([*found.items(), (BUNDLE, sha256(document).hexdigest())])


def lock_path(number: int, name: str) -> str:
    """Name the place of a lock's file in the bundle."""
    return f"{_LOCKS}/{number}/{name}"


def render_label(plan: BundlePlan) -> bytes:
    """Write LABEL.txt: one page for whoever finds, admits or unpacks the bundle."""
    target, base = plan.target, plan.base
    rows = [
        ("channel", f"{target.id}, published {target.created:%Y-%m-%d %H:%M} UTC"),
        ("", f"{counted(target.files, 'file')}, {human_size(target.size)}, layout {target.layout}"),
        ("content digest", target.content_digest),
        ("needs", "nothing: all files are in here" if base is None else base.id),
        *(() if base is None else (("content digest", base.content_digest),)),
        ("carries", f"{counted(len(plan.carried), 'file')}, {human_size(plan.carried_bytes)}"),
        ("removes", counted(len(plan.removed), "file")),
        ("form", _form(plan)),
        ("signed", "bundle.json.sig, namespace pixi-mirror" if plan.is_signed else "no"),
        *_lock_rows(plan),
    ]
    lines = [
        "A bundle of pixi-mirror: it brings a conda channel, which pixi, conda and mamba install",
        "from, to a state that its builder has published. Packages are data: nothing in here has",
        "to be started to check it.",
        "",
        *(f"  {label:<15} {text}" for label, text in rows),
        "",
        "Check that every byte is here:",
        "",
        f"    sha256sum -c {SUMS}",
        "",
        "Bring a channel to it, with Python 3.8 or newer alone, from this folder:",
        "",
        f"    python -I -S {PROGRAM} . /path/of/the/channel",
        "",
        "Where you have a copy of unbundle.py already, start that one: it checks this bundle, the",
        "one in here comes with it. All is checked before anything is changed. A channel that is",
        "not at what the bundle needs is refused, and stays as it is.",
        "",
        "It ends with a receipt, receipt.json and receipt.txt: give one of them to the builder,",
        "who makes the next bundle by it (`pixi run bundle OUT --since-receipt receipt.json`).",
    ]
    return ("\n".join(lines) + "\n").encode()


def _form(plan: BundlePlan) -> str:
    if plan.volumes is None:
        return "a folder: each file is below files/, at its path in the channel"
    if not plan.volumes:
        return "no volume: nothing is carried"
    names = sorted({plan.volumes[0].name, plan.volumes[-1].name})
    return f"{counted(len(plan.volumes), 'plain tar volume')}: {' to '.join(names)}"


def _lock_rows(plan: BundlePlan) -> list[tuple[str, str]]:
    rows = []
    for each in plan.locks[:_LOCKS_SHOWN]:
        rows += [("made by", each.lock.label), ("lock sha256", each.lock.lock_sha256 or "unknown")]
    left = len(plan.locks) - _LOCKS_SHOWN
    return [*rows, *([("", f"and {left} more, in {BUNDLE}")] if left > 0 else [])]
