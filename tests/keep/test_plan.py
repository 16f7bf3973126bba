"""`pixi run plan`: it says what `fetch --dry-run` and `mirror` then do, and changes nothing."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from scripts.core.errors import ExitCode
from scripts.core.report import human_size
from tasks import diff, fetch, mirror, plan, prune
from tests.support.locks import EnvironmentRows, LockRow, PlatformRows, RawRow, write_lock
from tests.support.packages import TinyPackage, WrittenPackage
from tests.support.replies import Reply, status
from tests.support.upstream import Upstream
from tests.support.wheels import PypiRow, TinySdist, TinyWheel

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "json.schema.json").read_text("utf-8"))
MANIFEST = """\
[workspace]
name = "w"
channels = ["{channel}"]
platforms = ["linux-64", "win-64"]

[feature.b]

[environments]
b = ["b"]
"""
GAP = RawRow(
    key="pypi",
    location="git+https://me:secret@git.example.org/g.git#0a1b",
    lines=("name: g", "version: '1'"),
)


@dataclass(frozen=True)
class World:
    """A workspace of two environments with artifacts of both kinds, and its upstream."""

    root: Path
    upstream: Upstream
    capsys: pytest.CaptureFixture[str]
    conda: tuple[WrittenPackage, ...]
    pypi: tuple[PypiRow, ...]

    @property
    def channel(self) -> str:
        """The upstream channel."""
        return f"{self.upstream.url}/ch"

    def lock(self, *more: RawRow, without: str = "") -> None:
        """Write the lock: `default` has it all on linux-64, `b` one of each on win-64."""
        rows = [
            LockRow(written=each, channel=self.channel)
            for each in self.conda
            if each.package.name != without
        ]
        linux = PlatformRows(name="linux-64", rows=(*rows, *self.pypi, *more))
        windows = PlatformRows(name="win-64", rows=(rows[0], self.pypi[0]))
        environments = (
            EnvironmentRows(name="b", platforms=(windows,)),
            EnvironmentRows(name="default", platforms=(linux, PlatformRows(name="win-64"))),
        )
        write_lock(self.root / "pixi.lock", environments)

    def plan(self, *options: str, code: int = 0) -> tuple[str, str]:
        """Run the task; return stdout and stderr."""
        self.capsys.readouterr()
        assert plan.main(["--manifest-path", str(self.root), *options]) == code
        return self.capsys.readouterr()

    def document(self, *options: str, code: int = 0) -> Any:
        """Run the task with `--json`."""
        return json.loads(self.plan("--json", *options, code=code)[0])

    def run(self, task: Any, *options: str) -> Any:
        """Run another task with `--json`."""
        self.capsys.readouterr()
        assert task.main(["--manifest-path", str(self.root), "--json", *options]) == 0
        return json.loads(self.capsys.readouterr().out)

    def mirror(self) -> Any:
        """Mirror it; that all of it is proven is for other tests."""
        return self.run(mirror, "--level", "files", "--allow-incomplete", "pypi")

    def snapshot(self) -> dict[Path, tuple[int, bytes]]:
        """Return all that is below the workspace."""
        return {
            each: (each.stat().st_mtime_ns, each.read_bytes() if each.is_file() else b"")
            for each in self.root.rglob("*")
        }


@pytest.fixture
def world(tmp_path: Path, upstream: Upstream, capsys: pytest.CaptureFixture[str]) -> World:
    root, folder = tmp_path / "w", upstream.folder / "pkgs"
    root.mkdir()
    manifest = MANIFEST.format(channel=f"{upstream.url}/ch")
    (root / "pixi.toml").write_text(manifest, encoding="utf-8")
    conda = (
        TinyPackage(name="c0").write(upstream.folder / "ch"),
        TinyPackage(name="c1", subdir="linux-64", padding=40_000).write(upstream.folder / "ch"),
    )
    wheel, sdist = TinyWheel(name="w1").write(folder), TinySdist(name="s1").write(folder)
    direct = TinyWheel(name="d1").write(folder)
    beside = TinyWheel(name="l1").write(root / "wheels")
    url, index = upstream.url, f"{upstream.url.replace('://', '://me:secret@')}/simple"
    pypi = (
        PypiRow(written=wheel, index=index, url=f"{url}/pkgs/{wheel.path.name}"),
        PypiRow(written=sdist, index=index, url=f"{url}/pkgs/{sdist.path.name}"),
        PypiRow(
            written=direct,
            index=None,
            url=f"{url}/pkgs/{direct.path.name}#sha256={direct.sha256}",
        ),
        PypiRow(written=beside, index=None, url=f"./wheels/{beside.path.name}"),
    )
    world = World(root, upstream, capsys, conda, pypi)
    world.lock()
    return world


def test_it_agrees_with_the_dry_run_and_with_mirror(world: World) -> None:
    planned = world.document()
    dry = world.run(fetch, "--dry-run")
    del dry["task"], dry["schema"], dry["exit-code"], dry["problems"]
    assert {key: planned[key] for key in dry} == dry
    free = planned["free"] - planned["free-after"]
    assert (
        free
        == planned["size"]
        == sum(each.size for each in world.conda) + sum(row.written.size for row in world.pypi)
    )
    done = world.mirror()
    fetched = done["fetch"]
    assert fetched["fetched-size"] == planned["size"]
    assert fetched["fetched"] == sorted(planned["to-download"] + planned["same-bytes"])
    assert len(planned["same-bytes"]) == 1
    # Then nothing is left to do.
    after = world.document()
    assert (after["to-download"], after["same-bytes"], after["size"]) == ([], [], 0)
    assert after["there"] == len(fetched["fetched"])
    first, there, _ = world.plan()[0].splitlines()
    assert first == "nothing to download into local-channel"
    size = human_size(after["there-size"])
    assert there == f"there already: {len(fetched['fetched'])} artifacts, {size}"
    sizes = {each["path"]: each["size"] for each in planned["largest"]}
    assert after["there-size"] == planned["size"] + sizes[
        planned["same-bytes"][0].partition("#")[0]
    ]  # fmt: skip


def test_what_will_be_retained_is_what_is_retained_then(world: World) -> None:
    world.mirror()
    world.lock(without="c1")
    planned = world.document()
    assert planned["retained"] == {
        "files": 1,
        "bytes": world.conda[1].size,
        "paths": [{"path": "linux-64/c1-1.0-0.conda", "size": world.conda[1].size}],
    }
    assert "; `pixi run prune` after `pixi run mirror` removes them\n" in world.plan()[0]
    assert world.run(prune, "--dry-run")["dropped"] == []
    done = world.mirror()
    assert done["verify"]["channel-files"]["retained"] == planned["retained"]
    assert world.run(prune, "--dry-run")["dropped"] == planned["retained"]["paths"]


def test_it_changes_no_byte_and_may_ask_nobody(world: World) -> None:
    before = world.snapshot()
    world.plan()
    assert world.snapshot() == before
    assert {each.method for each in world.upstream.requests} == {"HEAD"}
    count = len(world.upstream.requests)
    assert count == 3  # of what lies beside the lock nobody is asked
    out, _ = world.plan("--offline")
    assert len(world.upstream.requests) == count
    known = sum(each.size for each in world.conda) + world.pypi[-1].written.size
    assert out.startswith(
        f"6 to download into local-channel, {human_size(known)} and 3 of unknown size, 1 with the"
        " same bytes as another, "
    )
    # Neither does one that follows a mirror.
    world.mirror()
    before = world.snapshot()
    count = len(world.upstream.requests)
    world.plan()
    assert world.snapshot() == before
    assert len(world.upstream.requests) == count


def test_diff_sums_the_sizes_that_servers_told_and_counts_those_that_none_has(
    world: World,
) -> None:
    earlier, rows = world.root / "earlier.lock", world.pypi
    no_rows = EnvironmentRows(name="default", platforms=(PlatformRows(name="linux-64"),))
    write_lock(earlier, (no_rows,))
    known = sum(each.size for each in world.conda)
    unasked = world.run(diff, str(earlier), "lock")["to-carry"]
    assert (unasked["bytes"], unasked["of-unknown-size"]) == (known, len(rows))
    world.mirror()  # it asks, and keeps what it was told
    told = world.run(diff, str(earlier), "lock")["to-carry"]
    known += sum(each.written.size for each in rows)
    assert (told["bytes"], told["of-unknown-size"]) == (known, 0)


def test_what_people_read(world: World) -> None:
    world.lock(GAP)
    out, err = world.plan(code=ExitCode.FINDINGS)
    c0, c1 = (each.size for each in world.conda)
    w1, s1, d1, l1 = (row.written.size for row in world.pypi)
    head, *lines = out.splitlines()
    total = human_size(c0 + c1 + w1 + s1 + d1 + l1)
    assert head.startswith(
        f"6 to download into local-channel, {total}, 1 with the same bytes as another, "
    )
    url, host = world.upstream.url, f"127.0.0.1_{world.upstream.port}"
    name, shown = f"{url}/simple", GAP.location.replace("me:secret", "********")
    sized = sorted(
        (
            (c0, "noarch/c0-1.0-0.conda"),
            (c1, "linux-64/c1-1.0-0.conda"),
            *(
                (row.written.size, f"_pypi/files/{host}/pkgs/{row.written.path.name}")
                for row in world.pypi[:3]
            ),
            (l1, f"_pypi/files/local/wheels/{world.pypi[3].written.path.name}"),
        ),
        key=lambda each: (-each[0], each[1]),
    )
    assert lines[:-1] == [
        "by channel:",
        f"  {'files of this machine'.ljust(len(name))}  1 artifact, {human_size(l1)}",
        f"  {url.ljust(len(name))}  1 artifact, {human_size(d1)}",
        f"  {(url + '/ch').ljust(len(name))}  2 artifacts, {human_size(c0 + c1)}",
        f"  {name}  2 artifacts, {human_size(w1 + s1)}",
        "by subdir:",
        f"  PyPI      4 artifacts, {human_size(w1 + s1 + d1 + l1)}",
        f"  linux-64  1 artifact, {human_size(c1)}",
        f"  noarch    1 artifact, {human_size(c0)}",
        "by environment:",
        f"  b        2 artifacts, {human_size(c0 + w1)}",
        f"  default  6 artifacts, {total}",
        "the largest:",
        *(f"  {human_size(size).rjust(8)}  {path}" for size, path in sized),
        "there already: 0 artifacts, 0 B",
        f"left out: g 1 ({shown}): a PyPI package built from git; in default/linux-64",
    ]
    assert lines[-1].startswith("room left after it: ")
    assert "secret" not in out + err


def test_the_mapping_is_what_somebody_can_approve(world: World, tmp_path: Path) -> None:
    file = tmp_path / "mapping.json"
    out, _ = world.plan("--mapping", str(file))
    assert out.endswith(f"mapping: {file}, 7 URLs\n")
    assert world.document()["mapping"] is None
    assert world.document("--mapping", str(file))["mapping"] == str(file)
    document = json.loads(file.read_text("utf-8"))
    jsonschema.validate(document, {**SCHEMA["$defs"]["mapping"], "$defs": SCHEMA["$defs"]})
    assert "secret" not in file.read_text("utf-8")
    rows = {row["path"]: row for row in document["artifacts"]}
    url, host = world.upstream.url, f"127.0.0.1_{world.upstream.port}"
    w1 = world.pypi[0].written
    assert rows[f"_pypi/files/{host}/pkgs/{w1.path.name}"] == {
        "url": f"{url}/pkgs/{w1.path.name}",
        "path": f"_pypi/files/{host}/pkgs/{w1.path.name}",
        "name": "w1",
        "version": "1.0",
        "kind": "wheel",
        "size": w1.size,
        "sha256": w1.sha256,
        "md5": None,
    }
    c0 = world.conda[0]
    assert rows["noarch/c0-1.0-0.conda"] == {
        "url": f"{url}/ch/noarch/c0-1.0-0.conda",
        "path": "noarch/c0-1.0-0.conda",
        "name": "c0",
        "version": "1.0",
        "kind": "conda",
        "size": c0.size,
        "sha256": c0.sha256,
        "md5": c0.md5,
    }
    world.mirror()
    # What came is what was approved; and when all of it is there, the list is the same.
    folder = world.root / "local-channel"
    assert {path: (folder / path).stat().st_size for path in rows} == {
        path: row["size"] for path, row in rows.items()
    }
    world.plan("--offline", "--mapping", str(file))
    assert json.loads(file.read_text("utf-8")) == document
    # It never lands in the channel.
    _, err = world.plan("--mapping", str(folder / "mapping.json"), code=ExitCode.USAGE)
    assert "would be in the channel, in which plan changes nothing" in err


def test_a_server_that_is_silent_or_refuses_is_no_error(world: World) -> None:
    world.upstream.always("/pkgs/*", status(405))
    assert world.document()["unknown-sizes"] == 3


def test_what_does_not_fit_is_told_with_the_plan(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for room in ("keep.plan", "fetch.stage"):
        monkeypatch.setattr(f"scripts.{room}.free_bytes", lambda _: 1 << 30)
    world.upstream.always("/pkgs/w1*", Reply(headers=(("Content-Length", str(10**10)),)))
    out, err = world.plan(code=ExitCode.USAGE)
    assert out.endswith("room left after it: 0 B\n")
    assert "error: local-channel: not enough room on this disk\n" in err


def test_a_file_of_this_machine_that_is_gone_is_told_as_fetch_tells_it(world: World) -> None:
    """The control is in every other test: it is there."""
    beside = world.pypi[-1].written.path
    beside.unlink()
    _, told = world.plan("--offline", "-q", code=ExitCode.USAGE)
    problem, _, help_line = told.partition("help: ")
    assert problem == (
        f"error: _pypi/files/local/wheels/{beside.name}: {beside}: No such file or directory\n"
        f"  from  ./wheels/{beside.name}\n"
    )
    assert help_line == (
        "put it back there, or lock what is there now: `pixi lock` (with another URL, path or"
        " digest in the manifest)\n"
    )
    for options in (["-q", "--dry-run"], ["-q"]):
        assert fetch.main(["--manifest-path", str(world.root), *options]) == ExitCode.USAGE
        assert world.capsys.readouterr().err == told


def test_a_gap_is_a_finding_as_it_is_for_mirror(world: World) -> None:
    """Whoever plans in a script is told before the first byte what would fail after the last."""
    world.lock(GAP)
    _, err = world.plan("-q", code=ExitCode.FINDINGS)
    shown = GAP.location.replace("me:secret", "********")
    assert err == (
        "error: g 1: is not mirrored: a PyPI package built from git\n"
        f"  from     {shown}\n"
        "  used by  default/linux-64\n"
        'help: add "pypi" to allow-incomplete under [tool.pixi-mirror], if that will do\n'
    )
    where = ["--manifest-path", str(world.root), "-q", "--level", "files"]
    assert mirror.main(where) == ExitCode.FINDINGS
    assert world.capsys.readouterr().err == err
    # The control: what may be missing fails neither.
    world.plan("--allow-incomplete", "pypi")
    assert mirror.main([*where, "--allow-incomplete", "pypi"]) == 0


def test_gaps_are_told_once_and_before_the_first_byte(world: World) -> None:
    world.lock(GAP)
    world.capsys.readouterr()
    options = ("--level", "files", "--allow-incomplete", "pypi")
    assert mirror.main(["--manifest-path", str(world.root), *options]) == 0
    out, err = world.capsys.readouterr()
    lines = [line for line in err.splitlines() if "left out: g 1" in line]
    assert len(lines) == 1
    assert "left out" not in out
    told = err.splitlines()
    assert told.index(lines[0]) < next(i for i, x in enumerate(told) if " to download into " in x)
