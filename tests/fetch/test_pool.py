"""How many downloads are under way at once."""

from __future__ import annotations

import itertools
import re
import shutil
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import tasks.fetch
from scripts.channel.part import part_path
from scripts.core.console import Console
from scripts.core.errors import ExitCode
from scripts.core.report import human_size
from scripts.fetch.stage import fetch
from scripts.network.content import Body
from scripts.network.http import HttpClient
from tests.support.locks import EnvironmentRows, LockRow, PlatformRows, write_lock
from tests.support.mirrors import make_mirror
from tests.support.packages import TinyPackage
from tests.support.replies import Reply, dripping, status, together
from tests.support.template import ROOT
from tests.support.upstream import Upstream

COUNT = 8


def fetched(
    root: Path, upstream: Upstream, packages: list[TinyPackage], settings: str, *without: str
) -> None:
    """Fetch these packages with these settings, all of them; rows are `without` these keys."""
    mirror, channel = make_mirror(root), f"{upstream.url}/ch"
    written = [each.write(upstream.folder / "ch") for each in packages]
    rows = tuple(LockRow(written=x, channel=channel, without=frozenset(without)) for x in written)
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


def test_what_is_there_whole_counts_as_come(
    tmp_path: Path,
    upstream: Upstream,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    clock = SimpleNamespace(monotonic=itertools.count(0, 10).__next__)
    monkeypatch.setattr("scripts.fetch.progress.time", clock)
    packages = [TinyPackage(name=f"p{number}", padding=number * 100_000) for number in (1, 2)]
    upstream.always("*", Reply(piece=10_000, pause=0.05))
    upstream.once("*/p2-*", status(503))
    fetched(tmp_path, upstream, packages, "jobs = 1")
    small, large = (each.write(upstream.folder / "ch").size for each in packages)
    line = re.compile(rf"fetch: (.) of 2, ([0-9.]+) k?B of {human_size(small + large)}, .*")
    lines = [x for x in map(line.fullmatch, capsys.readouterr().err.splitlines()) if x]
    come = {x: [float(each[2]) * 1000 for each in lines if each[1] == x] for x in "01"}
    assert min(come["1"]) >= max(come["0"])
    assert max(come["1"]) > large + 10_000
    assert all(each[0].endswith(", 1 tries failed") for each in lines if each[1] == "1")


@pytest.mark.parametrize("without", ["", "size"])
def test_what_an_earlier_run_has_left_did_not_come_in_no_time(
    tmp_path: Path,
    upstream: Upstream,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    without: str,
) -> None:
    """A line for a log, every ten seconds: its speed is that of what comes.

    The control: of a size that nobody knows no part is gone on with, and it all comes.
    """
    seconds = itertools.count(0, 10)
    clock = SimpleNamespace(monotonic=seconds.__next__)
    monkeypatch.setattr("scripts.fetch.progress.time", clock)
    package = TinyPackage(name="a", padding=300_000)
    written = package.write(upstream.folder / "ch")
    left = 0 if without else 200_000
    part = part_path(make_mirror(tmp_path).workspace.place.parts, written.sha256)
    part.parent.mkdir(parents=True)
    part.write_bytes(package.data[:left])
    upstream.always("*", Reply(piece=10_000, pause=0.05))
    fetched(tmp_path, upstream, [package], "", without)
    line = re.compile(r"fetch: 0 of 1, ([0-9.]+) k?B( of [0-9.]+ kB)?, ([0-9.]+) (k?)B/s(.*)")
    lines = [x for x in map(line.fullmatch, capsys.readouterr().err.splitlines()) if x]
    some = [(n, x) for n, x in enumerate(lines, 1) if float(x[1]) * 1000 > left]
    assert some
    for number, found in some:
        speed = float(found[3]) * (1000 if found[4] else 1)
        came = float(found[1]) * 1000 - left
        assert speed == pytest.approx(came / (10 * number), rel=0.05, abs=60)
        whole = None if without else f" of {human_size(written.size)}"
        assert (found[2], found[5] == "") == (whole, bool(without))


@pytest.mark.parametrize("bears", [0, 2])
def test_a_machine_that_bears_fewer_says_so_and_nothing_goes_on(
    tmp_path: Path,
    upstream: Upstream,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    bears: int,
) -> None:
    """`ulimit -u`, or a limit of a container; the controls are the runs without one."""
    fetched(tmp_path, upstream, [TinyPackage(name=f"p{number}") for number in range(COUNT)], "")
    options = ["--manifest-path", str(tmp_path)]
    shutil.rmtree(tmp_path / "local-channel")
    left, start = bears, threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        nonlocal left
        left -= thread.name == "download"
        if thread.name == "download" and left < 0:
            raise RuntimeError("can't start new thread")
        start(thread)

    capsys.readouterr()
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        assert tasks.fetch.main(options) == 2
    assert capsys.readouterr().err.endswith(
        "\nerror: this machine: can't start new thread\nhelp: see to it, then run this again\n"
    )
    assert not [each for each in threading.enumerate() if each.name == "download"]
    assert tasks.fetch.main(options) == 0
    assert len(list(tmp_path.glob("local-channel/*/*.conda"))) == COUNT


def test_nothing_goes_on_after_an_interrupt(
    tmp_path: Path, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Control: the run before it, which ends with all that it began."""
    fetched(tmp_path, upstream, [TinyPackage(name="a", padding=300_000)], "")
    shutil.rmtree(tmp_path / "local-channel")
    upstream.always("*", dripping(1000, 0.05))
    going_on: list[bool] = []

    def monotonic() -> float:
        going_on.append(any(each.name == "download" for each in threading.enumerate()))
        if len(going_on) > 8:
            raise KeyboardInterrupt
        return 0.0

    monkeypatch.setattr("scripts.fetch.progress.time", SimpleNamespace(monotonic=monotonic))
    assert tasks.fetch.main(["--manifest-path", str(tmp_path)]) == ExitCode.INTERRUPTED
    assert going_on[-1]
    assert not any(each.name == "download" for each in threading.enumerate())
