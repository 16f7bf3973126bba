"""Channels that change at random, without tasks: small files, and a snapshot after each change.

    builder = Channel(place=channel_paths(tmp_path / "channel"))
    builder.change(random.Random(7))
    builder.bundle_to(tmp_path / "out", base)

What a file holds is of no matter to a bundle, so nothing in here is a real package.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path, PurePosixPath

from scripts.core.channel_paths import ChannelPaths, Layout
from scripts.core.console import Console, Verbosity
from scripts.keep.bundle import write_bundle
from scripts.keep.bundle_plan import BundlePlan, plan_bundle
from scripts.keep.snapshots import (
    INDEX_KIND,
    Snapshot,
    SnapshotFile,
    new_snapshot,
    newest_snapshot,
    read_snapshot_files,
    write_snapshot,
)

PROGRAM = {"unbundle.py": b"# stands for the program\n"}
QUIET = Console(verbosity=Verbosity.QUIET)
_NAMES = tuple(
    f"{subdir}/{name}-1.0-0.conda" for subdir in ("noarch", "linux-64") for name in "abcdefgh"
)


@dataclass
class Channel:
    """A channel folder, what its index names, and what it named at each of its snapshots."""

    place: ChannelPaths
    named: dict[str, bytes] = field(default_factory=dict)
    past: list[tuple[Snapshot, dict[str, bytes]]] = field(default_factory=list)

    def change(self, chance: random.Random) -> Snapshot:
        """Do something that a keeper of a mirror does, and take a snapshot."""
        artifacts = sorted(path for path in self.named if path.endswith(".conda"))
        kind = chance.choice(["add", "add", "remove", "replace", "move", "copy", "roll back"])
        if kind == "roll back" and self.past:
            self.named = dict(chance.choice(self.past)[1])
        elif kind == "remove" and artifacts:
            for path in chance.sample(artifacts, chance.randint(1, len(artifacts))):
                del self.named[path]
        elif kind == "replace" and artifacts:
            self.named[chance.choice(artifacts)] = chance.randbytes(chance.choice([0, 7, 900]))
        elif kind in {"move", "copy"} and artifacts:
            path = chance.choice(artifacts)
            self.named[chance.choice(_NAMES)] = self.named[path]
            if kind == "move":
                del self.named[path]
        else:
            for path in chance.sample(_NAMES, 3):
                self.named[path] = chance.randbytes(chance.choice([0, 1, 511, 512, 2000]))
        return self.publish()

    def publish(self) -> Snapshot:
        """Index what is there, put it into the folder, and take a snapshot."""
        artifacts = {path: data for path, data in self.named.items() if path.endswith(".conda")}
        self.named = dict(artifacts)
        for subdir in ("noarch", *{path.partition("/")[0] for path in artifacts}):
            rows = [path for path in sorted(artifacts) if path.startswith(subdir)]
            index = "".join(f"{path} {sha256(artifacts[path]).hexdigest()}\n" for path in rows)
            self.named[f"{subdir}/repodata.json"] = index.encode()
            for path in rows:
                shard = sha256(artifacts[path]).hexdigest()
                self.named[f"{subdir}/shards/{shard}.msgpack.zst"] = artifacts[path][:9]
        for path, data in self.named.items():
            file = self.place.folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        files = tuple(
            SnapshotFile(
                path=PurePosixPath(path),
                kind="conda" if path.endswith(".conda") else INDEX_KIND,
                size=len(data),
                sha256=sha256(data).hexdigest(),
            )
            for path, data in self.named.items()
        )
        before = newest_snapshot(self.place)
        when = datetime(2026, 1, 5, 12, tzinfo=UTC)
        snapshot = new_snapshot(
            files, made_by="index", layout=Layout.FLAT, before=before, when=when
        )
        write_snapshot(self.place, snapshot, files)
        self.past.append((snapshot, dict(self.named)))
        return snapshot


def plan(
    place: ChannelPaths,
    base: Snapshot | None = None,
    *,
    base_place: ChannelPaths | None = None,
    volume_size: int | None = None,
    is_tar: bool = False,
    is_signed: bool = False,
) -> BundlePlan:
    """Plan what takes a channel from `base` to the newest snapshot of this one."""
    target = newest_snapshot(place)
    assert target is not None
    return plan_bundle(
        target,
        read_snapshot_files(place, target),
        base,
        () if base is None else read_snapshot_files(base_place or place, base),
        volume_size=volume_size,
        is_tar=is_tar,
        other_files=PROGRAM,
        is_signed=is_signed,
    )


def write(place: ChannelPaths, planned: BundlePlan, out: Path) -> int:
    """Write it, and return the size that it is said to have."""
    return sum(write_bundle(planned, place.folder, out, QUIET))


def contents(folder: Path) -> dict[str, bytes]:
    """Read every file below a folder."""
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }
