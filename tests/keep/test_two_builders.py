"""Two builders, one lock, one indexer, nothing retained: the same bytes of index and pages."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from scripts.keep.snapshots import Snapshot, newest_snapshot
from tasks import index, prune
from tests.support.locks import LockRow
from tests.support.mirrors import CHANNEL, Mirror, make_mirror, rows
from tests.support.packages import TinyPackage
from tests.support.wheels import PypiRow, TinySdist, TinyWheel

OLD = TinyPackage(name="a", subdir="linux-64", purls=("pkg:pypi/a-old?source=x",))
NEW = replace(OLD, version="2.0", purls=("pkg:pypi/a-new?source=x",))
GONE = TinyPackage(name="gone", subdir="win-64", purls=("pkg:pypi/gone-there?source=x",))
BOTH = TinyPackage(name="both", purls=("pkg:pypi/other?source=x",))
PYPI = "https://pypi.example.org/simple"


def locked(root: Path, *packages: TinyPackage, wheel: str) -> list[LockRow | PypiRow]:
    written = (TinyWheel(name="tiny", version=wheel), TinySdist(name="built"))
    pypi = [PypiRow(written=each.write(root / "pypi"), index=PYPI) for each in written]
    return [*rows(root / "upstream", packages, CHANNEL), *pypi]


def built(mirror: Mirror) -> tuple[dict[str, bytes], Snapshot | None]:
    return mirror.contents(), newest_snapshot(mirror.workspace.place)


@pytest.mark.parametrize("layout", ["flat", "by-channel"])
def test_what_a_builder_had_before_does_not_show(layout: str, tmp_path: Path) -> None:
    """One makes its mirror in one go; the other has had another lock before, and pruned."""
    new = locked(tmp_path, NEW, BOTH, wheel="2.0")
    one = make_mirror(tmp_path / "one" / "workspace", layout)
    one.lock(new)
    assert index.main(["--manifest-path", str(one.root), "-q"]) == 0
    other = make_mirror(tmp_path / "other" / "elsewhere", layout)
    for each in (locked(tmp_path, OLD, GONE, wheel="1.0"), new):
        other.lock(each)
        assert index.main(["--manifest-path", str(other.root), "-q"]) == 0
    (contents, snapshot), (others, another) = built(one), built(other)
    assert contents != others  # something is retained
    assert prune.main(["--manifest-path", str(other.root), "-q", "--now"]) == 0
    others, another = built(other)
    assert contents == others
    assert snapshot is not None
    assert another is not None
    assert snapshot.content_digest == another.content_digest
