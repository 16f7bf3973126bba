"""Which platform of one lock is which of another."""

from __future__ import annotations

from collections.abc import Sequence

from scripts.lock.model import LockPlatform, PlatformPackages


def paired(
    old: Sequence[PlatformPackages], new: Sequence[PlatformPackages]
) -> list[tuple[PlatformPackages | None, PlatformPackages | None]]:
    """Pair the platforms of two locks: by what they are, then by name, then lone ones by subdir."""
    left, right = list(old), list(new)
    partner: dict[int, PlatformPackages] = {}
    for is_same in (_same_identity, _same_name, _same_subdir):
        for each in tuple(right):
            candidates = [one for one in left if is_same(one.platform, each.platform)]
            rivals = [one for one in right if is_same(one.platform, each.platform)]
            if len(candidates) == 1 and len(rivals) == 1:
                partner[id(each)] = candidates[0]
                left.remove(candidates[0])
                right.remove(each)
    pairs: list[tuple[PlatformPackages | None, PlatformPackages | None]] = [
        (partner.get(id(each)), each) for each in new
    ]
    return pairs + [(each, None) for each in left]


def _same_identity(one: LockPlatform, other: LockPlatform) -> bool:
    if one.virtual_packages is None or other.virtual_packages is None:
        return False
    same = sorted(one.virtual_packages) == sorted(other.virtual_packages)
    return one.subdir == other.subdir and same


def _same_name(one: LockPlatform, other: LockPlatform) -> bool:
    return (one.name, one.subdir) == (other.name, other.subdir)


def _same_subdir(one: LockPlatform, other: LockPlatform) -> bool:
    return one.subdir == other.subdir
