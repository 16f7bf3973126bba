"""Many artifacts of a server that nobody reaches: soon over, and told once."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.channel.part import part_path
from scripts.core.console import Console
from scripts.core.errors import ExitCode, MirrorError
from scripts.core.report import Report
from scripts.fetch.stage import fetch
from scripts.lock.read import read_lock
from scripts.network.retry import RetryPolicy
from scripts.workspace.settings import SettingOverrides
from scripts.workspace.workspace import open_workspace
from tests.support.locks import EnvironmentRows, LockRow, PlatformRows, write_lock
from tests.support.mirrored import select
from tests.support.packages import TinyPackage
from tests.support.replies import status
from tests.support.upstream import Upstream

MANY = 40
# Each artifact by itself would be at it for minutes; only the silence ends it.
STUBBORN = RetryPolicy(
    total=5000, backoff_factor=0.02, max_backoff=0.04, connect=2, unreachable_after=0.3
)
MANIFEST = '[workspace]\nname = "w"\nchannels = ["conda-forge"]\nplatforms = ["linux-64"]\n'


@pytest.fixture
def nobody() -> Iterator[str]:
    """Give an address where nobody listens, and nobody else can begin to."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


def run(
    root: Path, upstream: Upstream, channel: str, mirrors: str = "", *, whole: int = 0
) -> Report:
    """Fetch many artifacts that the lock says are in this channel."""
    written = [
        TinyPackage(name=f"p{number:02}").write(upstream.folder / "ch") for number in range(MANY)
    ]
    rows = tuple(LockRow(written=each, channel=channel) for each in written)
    platform = PlatformRows(name="linux-64", rows=rows)
    (root / ".pixi").mkdir(parents=True)
    (root / "pixi.toml").write_text(MANIFEST, encoding="utf-8")
    (root / ".pixi" / "config.toml").write_text(mirrors, encoding="utf-8")
    write_lock(root / "pixi.lock", (EnvironmentRows(platforms=(platform,)),))
    workspace = open_workspace(root, SettingOverrides())
    selection = select(read_lock(workspace.lock_path), workspace.settings)
    workspace.place.parts.mkdir(parents=True, exist_ok=True)
    for each in written[MANY - whole :]:
        part_path(workspace.place.parts, each.sha256).write_bytes(each.path.read_bytes())
    return fetch(workspace, selection, Console(), policy=STUBBORN)


def test_what_is_whole_since_an_earlier_run_needs_no_server(
    tmp_path: Path, upstream: Upstream, nobody: str
) -> None:
    report = run(tmp_path / "w", upstream, f"{nobody}/ch", whole=8)
    assert report.lines[0] == f"fetch: {MANY - 8} of {MANY} could not be fetched"
    there = sorted(each.name for each in (tmp_path / "w").rglob("noarch/*.conda"))
    assert there == [f"p{number}-1.0-0.conda" for number in range(MANY - 8, MANY)]


def test_given_up_for_all_and_told_once(
    tmp_path: Path, upstream: Upstream, nobody: str, capsys: pytest.CaptureFixture[str]
) -> None:
    began = time.monotonic()
    report = run(tmp_path / "w", upstream, f"{nobody}/ch")
    assert time.monotonic() - began < 10
    assert report.exit_code is ExitCode.NETWORK
    assert report.lines == (f"fetch: {MANY} of {MANY} could not be fetched",)
    assert len(report.problems) == MANY
    capsys.readouterr()
    Console().report(report)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith(f"error: {MANY} artifacts have the same problem: failed to ")
    assert lines[1:] == [
        "  first  noarch/p00-1.0-0.conda",
        f"  from   {nobody}/ch/noarch/p00-1.0-0.conda",
        "  then   noarch/p01-1.0-0.conda",
        "         noarch/p02-1.0-0.conda",
        "         noarch/p03-1.0-0.conda",
        "         noarch/p04-1.0-0.conda",
        f"         and {MANY - 5} more, which -v shows",
        (
            "help: is there a network, or a proxy to set (http_proxy, `[proxy-config]`)? then"
            " run `pixi run fetch` again"
        ),
    ]


def test_a_mirror_that_is_not_there_stops_nothing(
    tmp_path: Path, upstream: Upstream, nobody: str
) -> None:
    channel = "https://conda.example.org"
    mirrors = f'[mirrors]\n"{channel}" = ["{nobody}/ch", "{upstream.url}/ch"]\n'
    report = run(tmp_path / "w", upstream, channel, mirrors)
    assert report.exit_code is ExitCode.OK
    assert len(list((tmp_path / "w" / "local-channel" / "noarch").iterdir())) == MANY


def test_which_line_of_which_file_led_there(
    tmp_path: Path, upstream: Upstream, nobody: str, capsys: pytest.CaptureFixture[str]
) -> None:
    channel, root = "https://user:hunter2@conda.example.org", tmp_path / "w"
    report = run(root, upstream, channel, f'[mirrors]\n"{channel}/" = ["{nobody}/a/"]\n')
    capsys.readouterr()
    Console().report(report)
    lines = capsys.readouterr().err.splitlines()
    file = root / ".pixi" / "config.toml"
    assert lines[1:4] == [
        "  first    noarch/p00-1.0-0.conda",
        f"  mirrors  https://********@conda.example.org → {nobody}/a (in {file})",
        f"  from     {nobody}/a/noarch/p00-1.0-0.conda",
    ]
    assert {dict(each.details)["mirrors"] for each in report.problems} == {
        f"https://********@conda.example.org → {nobody}/a (in {file})"
    }


def test_of_two_lines_and_two_files_the_one_that_counts_is_named(
    tmp_path: Path, upstream: Upstream, nobody: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And where the line leads to upstream itself, no line is to blame."""
    channel, home = f"{upstream.url}/ch", tmp_path / "home"
    home.mkdir()
    (home / "config.toml").write_text(
        f'[mirrors]\n"{channel}" = ["{nobody}/b", "{channel}"]\n', encoding="utf-8"
    )
    monkeypatch.setenv("PIXI_HOME", str(home))
    upstream.always("*/p03-*", status(404))
    report = run(tmp_path / "w", upstream, channel, '[mirrors]\n"https://x.example" = []\n')
    (problem,) = report.problems
    assert (problem.message, problem.details) == (
        "HTTP 404 Not Found",
        (("from", f"{channel}/noarch/p03-1.0-0.conda"),),
    )
    upstream.behave()
    (home / "config.toml").write_text(f'[mirrors]\n"{channel}" = ["{nobody}/b"]\n', "utf-8")
    report = run(tmp_path / "v", upstream, channel, '[mirrors]\n"https://x.example" = []\n')
    assert {dict(each.details)["mirrors"] for each in report.problems} == {
        f"{channel} → {nobody}/b (in {home / 'config.toml'})"
    }


def test_a_line_without_a_mirror_is_named_with_its_file(tmp_path: Path, upstream: Upstream) -> None:
    channel, root = "https://conda.example.org", tmp_path / "w"
    with pytest.raises(MirrorError) as caught:
        run(root, upstream, channel, f'[mirrors]\n"{channel}" = []\n')
    assert str(caught.value) == (
        f"mirrors.{channel}/: names no mirror, so nothing below it can be fetched\n"
        f"  in  {root / '.pixi' / 'config.toml'}\n"
        "help: name a mirror there, or the prefix itself to ask upstream"
    )


def test_who_answers_badly_is_asked_again_and_again(tmp_path: Path, upstream: Upstream) -> None:
    upstream.once("*/p07-*", *[status(503)] * 20)
    report = run(tmp_path / "w", upstream, f"{upstream.url}/ch")
    assert report.exit_code is ExitCode.OK
    assert upstream.paths.count("/ch/noarch/p07-1.0-0.conda") == 21
