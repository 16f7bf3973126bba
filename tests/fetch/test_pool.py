"""How many downloads are under way at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scripts.core.console import Console
from scripts.fetch.pool import Pool
from scripts.fetch.stage import FetchOptions, fetch
from tests.support.locks import EnvironmentRows, LockRow, PlatformRows, write_lock
from tests.support.mirrors import make_mirror
from tests.support.packages import TinyPackage
from tests.support.replies import late
from tests.support.upstream import Upstream

COUNT = 8


@pytest.mark.parametrize(("jobs", "most"), [(2, 2), (10**9, 5)])
def test_never_more_than_this_machine_bears(
    tmp_path: Path, upstream: Upstream, monkeypatch: pytest.MonkeyPatch, jobs: int, most: int
) -> None:
    """A pixi configuration may say `concurrency.downloads = 1000000`, and mean no limit."""
    monkeypatch.setattr("scripts.fetch.pool._MOST", 5)
    pools: list[Pool] = []
    original = Pool.__init__

    def remember(self: Pool, *arguments: Any) -> None:
        pools.append(self)
        original(self, *arguments)

    monkeypatch.setattr(Pool, "__init__", remember)
    mirror = make_mirror(tmp_path / "w")
    packages = [TinyPackage(name=f"p{number}") for number in range(COUNT)]
    rows = tuple(
        LockRow(written=each.write(upstream.folder / "ch"), channel=f"{upstream.url}/ch")
        for each in packages
    )
    platform = PlatformRows(name="linux-64", rows=rows)
    write_lock(mirror.root / "pixi.lock", (EnvironmentRows(platforms=(platform,)),))
    manifest = mirror.root / "pixi.toml"
    manifest.write_text(f"{manifest.read_text()}jobs = {jobs}\n", encoding="utf-8")
    upstream.always("*", late(0.1))
    report = fetch(mirror.workspace, mirror.selection, FetchOptions(), Console())
    assert report.problems == ()
    assert upstream.most_at_once == most
    assert [len(pool._threads) for pool in pools] == [most]
