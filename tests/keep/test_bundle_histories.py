"""Whatever a mirror has gone through: a bundle of it makes the same channel elsewhere."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from scripts.channel.state import read_state
from scripts.core.channel_paths import ChannelPaths, channel_paths
from scripts.keep.snapshots import newest_snapshot, read_snapshots
from scripts.keep.unbundle import parse_receipt, unbundle
from tests.support.histories import Channel, contents, plan, write

HISTORIES = 1000
SAMPLE = 8
CHUNKS = 8


def _carry(place: ChannelPaths, far: ChannelPaths, out: Path, chance: random.Random) -> None:
    """Bundle what a far side lacks, by its receipt, in some form, and unbundle it there."""
    base = None
    receipt = far.state / "receipt.json"
    if receipt.exists() and chance.random() < 0.9:
        digest = parse_receipt(receipt.read_bytes()).digest
        base = next(each for each in read_snapshots(place) if each.content_digest == digest)
    is_tar = chance.random() < 0.5
    volume_size = chance.choice([None, 4096, 9000]) if is_tar else None
    planned = plan(place, base, volume_size=volume_size, is_tar=is_tar)
    said = write(place, planned, out)
    assert said == sum(map(len, contents(out).values()))
    outcome = unbundle(str(out), str(far.folder), grace=chance.choice([0, 3600]))
    assert (outcome.receipt.damaged, outcome.receipt.missing) == (0, 0)


def _named(place: ChannelPaths) -> dict[str, bytes]:
    """Read all of a channel folder but for what waits for its removal."""
    waiting = {str(each.path) for each in read_state(place).removals}
    return {path: data for path, data in contents(place.folder).items() if path not in waiting}


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_a_far_side_follows(chunk: int, tmp_path: Path, *, deep: bool) -> None:
    for number in range(chunk, HISTORIES if deep else SAMPLE, CHUNKS):
        _live_through(random.Random(number), tmp_path / str(number))


def _live_through(chance: random.Random, root: Path) -> None:
    builder = Channel(place=channel_paths(root / "builder" / "channel"))
    sites = [channel_paths(root / f"site{each}" / "channel") for each in range(3)]
    for step in range(chance.randint(2, 5)):
        for _ in range(chance.randint(1, 3)):
            snapshot = builder.change(chance)
        before, chain = builder.place, sites[: chance.randint(1, 3)]
        for hop, site in enumerate(chain):
            newest = newest_snapshot(site)
            if newest is None or newest.content_digest != snapshot.content_digest:
                _carry(before, site, root / f"out{step}-{hop}", chance)
            assert _named(site) == builder.named
            there = newest_snapshot(site)
            assert there is not None
            assert there.content_digest == snapshot.content_digest
            before = site
