"""How many downloads are under way at once."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import Any

import pytest

from scripts.core.console import Console
from scripts.fetch.stage import fetch
from scripts.network.content import Body
from scripts.network.http import HttpClient
from tests.support.locks import EnvironmentRows, LockRow, PlatformRows, write_lock
from tests.support.mirrors import make_mirror
from tests.support.packages import TinyPackage
from tests.support.replies import together
from tests.support.template import ROOT
from tests.support.upstream import Upstream

COUNT = 8


def fetched(root: Path, upstream: Upstream, packages: list[TinyPackage], settings: str) -> None:
    """Fetch these packages with these settings, all of them."""
    mirror = make_mirror(root)
    rows = tuple(
        LockRow(written=each.write(upstream.folder / "ch"), channel=f"{upstream.url}/ch")
        for each in packages
    )
    platform = PlatformRows(name="linux-64", rows=rows)
    write_lock(mirror.root / "pixi.lock", (EnvironmentRows(platforms=(platform,)),))
    manifest = mirror.root / "pixi.toml"
    manifest.write_text(f"{manifest.read_text()}{settings}\n", encoding="utf-8")
    report = fetch(mirror.workspace, mirror.selection, Console())
    assert report.problems == ()


@pytest.mark.parametrize(("jobs", "most"), [(2, 2), (10**9, 5)])
def test_never_more_than_this_machine_bears(
    tmp_path: Path, upstream: Upstream, monkeypatch: pytest.MonkeyPatch, jobs: int, most: int
) -> None:
    """A pixi configuration may say `concurrency.downloads = 1000000`, and mean no limit."""
    monkeypatch.setattr("scripts.fetch.pool._MOST", 5)
    most_threads = 0
    original = HttpClient.get

    def get(self: HttpClient, *arguments: Any, **keywords: Any) -> Body:
        nonlocal most_threads
        ours = [each for each in threading.enumerate() if each.name.startswith("download")]
        most_threads = max(most_threads, len(ours))
        return original(self, *arguments, **keywords)

    monkeypatch.setattr(HttpClient, "get", get)
    upstream.always("*", together(most))
    packages = [TinyPackage(name=f"p{number}") for number in range(COUNT)]
    fetched(tmp_path, upstream, packages, f"jobs = {jobs}")
    assert upstream.most_at_once == most
    assert most_threads == most


def test_without_a_setting_there_are_thirty_two(tmp_path: Path, upstream: Upstream) -> None:
    packages = [TinyPackage(name=f"p{number}") for number in range(40)]
    upstream.always("*", together(4))
    fetched(tmp_path / "set", upstream, packages, "jobs = 4")  # control
    assert upstream.most_at_once == 4
    upstream.always("*", together(32))
    fetched(tmp_path / "not-set", upstream, packages, "")
    assert upstream.most_at_once == 32


@pytest.mark.parametrize("file", ["pixi.toml", "builder/pixi.toml.in", "docs/settings.md"])
def test_who_reads_a_manifest_is_told_of_as_many(file: str) -> None:
    text = (ROOT / file).read_text(encoding="utf-8")
    assert re.findall("downloads at a time; without it, (.*)", text) == ["32"]


def test_the_largest_come_first(tmp_path: Path, upstream: Upstream) -> None:
    """So that none of them is left for the end."""
    packages = [TinyPackage(name=f"p{number}", padding=number * 1000) for number in range(COUNT)]
    fetched(tmp_path, upstream, packages, "jobs = 1")
    asked = [request.path.rpartition("/")[2].partition("-")[0] for request in upstream.requests]
    assert asked == [f"p{number}" for number in reversed(range(COUNT))]
