"""The task fetch from outside: what it prints, what is on the disk after it, its exit code."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from scripts.channel.part import PartFile
from scripts.channel.users import ChannelUsers, read_users
from scripts.core.errors import ExitCode
from scripts.core.file_lock import try_lock
from scripts.core.report import human_size
from scripts.lock.mirrored import MirroredLock
from scripts.workspace.workspace import Workspace
from tasks import fetch, index
from tests.support.locks import EnvironmentRows, LockRow, PlatformRows, RawRow, write_lock
from tests.support.packages import TinyPackage, WrittenPackage
from tests.support.replies import dripping, held, late, login_page, stalled, status, wrong_bytes
from tests.support.upstream import Upstream

ROOT = Path(__file__).parents[2]
MANIFEST = '[workspace]\nname = "w"\nchannels = ["conda-forge"]\nplatforms = ["linux-64"]\n'


@dataclass(frozen=True)
class World:
    """A workspace whose lock names what an upstream serves."""

    root: Path
    upstream: Upstream
    packages: tuple[WrittenPackage, ...]

    @property
    def channel(self) -> Path:
        """The channel folder."""
        return self.root / "local-channel"

    @property
    def state(self) -> Path:
        """The working state beside it."""
        return self.root / ".pixi-mirror" / "local-channel"

    def lock(self, *rows: LockRow | RawRow) -> None:
        """Write the lock; without rows, of all packages."""
        chosen = rows or tuple(self.row(each) for each in self.packages)
        platform = PlatformRows(name="linux-64", rows=chosen)
        write_lock(self.root / "pixi.lock", (EnvironmentRows(platforms=(platform,)),))

    def row(self, written: WrittenPackage) -> LockRow:
        """Name a package by its URL on the upstream."""
        return LockRow(written=written, channel=f"{self.upstream.url}/ch")

    def fetch(self, *options: str) -> int:
        """Run the task in this process."""
        return fetch.main(["--manifest-path", str(self.root), *options])

    def command(self, *options: str) -> list[str]:
        """Return the command that runs the task in a process of its own."""
        manifest = ("--manifest-path", str(self.root))
        return [sys.executable, "-m", "tasks.fetch", *manifest, *options]

    def files(self) -> dict[str, bytes]:
        """Read every file of the channel folder."""
        return {
            file.relative_to(self.channel).as_posix(): file.read_bytes()
            for file in sorted(self.channel.rglob("*"))
            if file.is_file()
        }

    def expected(self) -> dict[str, bytes]:
        """Read what these files have to be."""
        upstream = self.upstream.folder / "ch"
        return {
            each.path.relative_to(upstream).as_posix(): each.path.read_bytes()
            for each in sorted(self.packages, key=lambda each: each.path)
        }


@pytest.fixture
def world(tmp_path: Path, upstream: Upstream) -> World:
    root = tmp_path / "w"
    root.mkdir()
    (root / "pixi.toml").write_text(MANIFEST, encoding="utf-8")
    packages = tuple(
        package.write(upstream.folder / "ch")
        for package in (
            TinyPackage(name="p0"),
            TinyPackage(name="p1", subdir="linux-64", padding=40_000),
            TinyPackage(name="p2", subdir="linux-64", padding=80_000, extension=".tar.bz2"),
        )
    )
    world = World(root=root, upstream=upstream, packages=packages)
    world.lock()
    return world


def size_of(world: World) -> str:
    return human_size(sum(each.size for each in world.packages))


def test_fetches_all_and_then_nothing(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert world.fetch() == 0
    out, err = capsys.readouterr()
    assert out == f"fetch: 3 artifacts fetched, {size_of(world)}; 0 were there already\n"
    assert err.startswith(f"fetch: 3 to download into local-channel, {size_of(world)}, ")
    assert err.endswith(" free\nfetch: opening 3 artifacts\n")
    assert world.files() == world.expected()
    assert not (world.state / "cache" / "parts").exists()
    requests = len(world.upstream.requests)
    times = {file: file.stat().st_mtime_ns for file in world.root.rglob("*")}
    assert world.fetch() == 0
    assert capsys.readouterr().out == "fetch: nothing to do, 3 artifacts are there\n"
    assert len(world.upstream.requests) == requests
    changed = [file for file, then in times.items() if file.stat().st_mtime_ns != then]
    assert changed == [world.state / "run.lock"]


def test_dry_run_changes_no_byte(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(world.root.rglob("*"))
    assert world.fetch("--dry-run") == 0
    assert capsys.readouterr().out == (
        "would fetch linux-64/p2-1.0-0.tar.bz2\n"
        "would fetch linux-64/p1-1.0-0.conda\n"
        "would fetch noarch/p0-1.0-0.conda\n"
    )
    assert sorted(world.root.rglob("*")) == before
    assert world.upstream.requests == []


def test_a_wrong_file_is_replaced_and_told(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.fetch()
    capsys.readouterr()
    wrong = world.channel / "noarch" / "p0-1.0-0.conda"
    digest = world.packages[0].sha256
    wrong.write_bytes(b"x" * world.packages[0].size)
    short = world.channel / "linux-64" / "p1-1.0-0.conda"
    short.write_bytes(b"short")
    assert world.fetch() == 0
    err = capsys.readouterr().err
    assert (
        "warning: noarch/p0-1.0-0.conda: differs from pixi.lock, replaced "
        f"({sha256(b'x' * world.packages[0].size)}, not {digest})\n"
    ) in err
    assert (
        "warning: linux-64/p1-1.0-0.conda: differs from pixi.lock, replaced "
        f"(5 bytes, not {world.packages[1].size})\n"
    ) in err
    assert world.files() == world.expected()


def sha256(data: bytes) -> str:
    import hashlib

    return hashlib.sha256(data).hexdigest()


def test_one_bad_artifact_stops_no_other(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.upstream.always("*/p1-*", status(404))
    world.upstream.always("*/p2-*", wrong_bytes(world.packages[2].size))
    assert world.fetch() == ExitCode.FINDINGS
    out, err = capsys.readouterr()
    assert out == (
        "fetch: 2 of 3 could not be fetched\n"
        f"fetch: 1 artifact fetched, {human_size(world.packages[0].size)}; "
        "0 were there already\n"
    )
    url = world.upstream.url
    wrong = sha256(b"*" * world.packages[2].size)
    assert err.split("free\n")[1] == (
        "fetch: opening 1 artifact\n"
        "error: linux-64/p1-1.0-0.conda: HTTP 404 Not Found\n"
        f"  from  {url}/ch/linux-64/p1-1.0-0.conda\n"
        "help: `pixi run update-mirror` moves on from what is no longer there; or, if it is"
        " private, give credentials: `pixi auth login HOST --token TOKEN`, or netrc\n"
        "error: linux-64/p2-1.0-0.tar.bz2: sha256 differs from pixi.lock\n"
        f"  expected  {world.packages[2].sha256}\n"
        f"  actual    {wrong}\n"
        f"  from      {url}/ch/linux-64/p2-1.0-0.tar.bz2\n"
        "help: nothing was kept; run `pixi run fetch` again, or `pixi run update-mirror` if the"
        " channel replaced the file\n"
    )
    assert list(world.files()) == ["noarch/p0-1.0-0.conda"]
    world.upstream.behave()
    assert world.fetch() == 0
    assert world.files() == world.expected()


def test_json_says_the_same(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.upstream.always("*/p1-*", status(403))
    assert world.fetch("--json") == ExitCode.USAGE
    document = json.loads(capsys.readouterr().out)
    assert document == {
        "task": "fetch",
        "schema": 1,
        "exit-code": 2,
        "warnings": [],
        "fetched": ["linux-64/p2-1.0-0.tar.bz2", "noarch/p0-1.0-0.conda"],
        "fetched-size": world.packages[0].size + world.packages[2].size,
        "not-tried": 0,
        "opened": 2,
        "replaced": [],
        "there": 0,
        "left-out": {
            "environments": [],
            "platforms": [],
            "empty-environments": [],
            "packages": [],
        },
        "problems": [
            {
                "subject": "linux-64/p1-1.0-0.conda",
                "message": "HTTP 403 Forbidden",
                "details": {"from": f"{world.upstream.url}/ch/linux-64/p1-1.0-0.conda"},
                "help": "if it wants credentials: `pixi auth login HOST --token TOKEN`, or netrc;"
                " else only its keeper can let you have it",
                "code": 2,
            }
        ],
    }


def test_what_cannot_be_mirrored_is_listed(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    git = f"git+https://git.example.org/x.git#{'c' * 40}"
    world.lock(
        world.row(world.packages[0]),
        RawRow(key="pypi", location=git, lines=("name: x", "version: '1.0'")),
        RawRow(key="conda_source", location="mine[12345678] @ ./mine"),
    )
    assert world.fetch("-q") == 0
    assert world.fetch() == 0
    out, err = capsys.readouterr()
    assert out == "fetch: nothing to do, 1 artifact is there\n"
    assert err == (
        "fetch: left out: mine (./mine): a source package, built where it is installed;"
        " in default/linux-64\n"
        f"fetch: left out: x 1.0 ({git}): a PyPI package built from git; in default/linux-64\n"
    )


def test_without_any_digest(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    row = LockRow(
        written=world.packages[0],
        channel=f"{world.upstream.url}/ch",
        without=frozenset({"sha256", "md5"}),
    )
    world.lock(row)
    assert world.fetch() == ExitCode.USAGE
    assert capsys.readouterr().err == (
        "error: noarch/p0-1.0-0.conda: the lock has neither sha256 nor md5 for it\n"
        f"  from  {world.upstream.url}/ch/noarch/p0-1.0-0.conda\n"
        "help: pixi update, or fetch it all the same with --allow-unhashed\n"
    )
    assert world.upstream.requests == []
    assert world.fetch("--allow-unhashed") == 0
    assert list(world.files()) == ["noarch/p0-1.0-0.conda"]


def test_md5_where_the_lock_has_only_that(world: World) -> None:
    row = LockRow(
        written=world.packages[0], channel=f"{world.upstream.url}/ch", without=frozenset({"sha256"})
    )
    world.lock(row)
    assert world.fetch() == 0
    # Control: other bytes of the same size are refused by their md5.
    (world.channel / "noarch" / "p0-1.0-0.conda").unlink()
    world.upstream.always("*/p0-*", wrong_bytes(world.packages[0].size))
    assert world.fetch() == ExitCode.FINDINGS
    assert world.files() == {}


def test_where_it_cannot_fit(
    world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is a mock: a real full one is not to be had without being root."""
    monkeypatch.setattr("scripts.fetch.stage.free_bytes", lambda _: 30_000_000)
    assert world.fetch() == ExitCode.USAGE
    assert capsys.readouterr().err == (
        f"fetch: 3 to download into local-channel, {size_of(world)}, 30.0 MB free\n"
        "error: local-channel: not enough room on this disk\n"
        f"  needed  {size_of(world)} and 33.6 MB to work with\n"
        "  free    30.0 MB\n"
        "help: free some room, or set channel-dir to a folder on a larger disk\n"
    )
    assert world.upstream.requests == []


@pytest.mark.skipif(os.name == "nt", reason="links are for few on Windows")
def test_nothing_is_written_through_a_link(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    world.channel.mkdir()
    (world.channel / "linux-64").symlink_to(outside)
    assert world.fetch() == ExitCode.USAGE
    assert capsys.readouterr().err == (
        f"error: linux-64: a link, through which nothing is written\n  leads to  {outside}\n"
        "help: remove it, then run this again\n"
    )
    assert list(outside.iterdir()) == []
    (world.channel / "linux-64").unlink()
    # Control: a link in place of an artifact is replaced, and its target left as it is.
    victim = outside / "victim"
    victim.write_text("victim", encoding="utf-8")
    (world.channel / "noarch").mkdir()
    (world.channel / "noarch" / "p0-1.0-0.conda").symlink_to(victim)
    assert world.fetch() == 0
    assert world.files() == world.expected()
    assert not (world.channel / "noarch" / "p0-1.0-0.conda").is_symlink()
    assert victim.read_text(encoding="utf-8") == "victim"


def test_a_folder_that_cannot_be_looked_into(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A stand-in for `chmod 0`, which forbids root nothing."""
    assert world.fetch() == 0
    requests, real, artifact = (
        len(world.upstream.requests),
        os.stat,
        world.channel / "linux-64" / "p1-1.0-0.conda",
    )

    def stat(path: Any, *args: Any, **kwargs: Any) -> os.stat_result:
        if Path(path).parent == artifact.parent:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path, *args, **kwargs)

    capsys.readouterr()
    with monkeypatch.context() as patched:
        patched.setattr(os, "stat", stat)
        assert world.fetch() == 2
    assert capsys.readouterr().err == (
        f"error: {artifact}: cannot be read: Permission denied\n"
        "help: see to the disk and its permissions, then run this again\n"
    )
    assert len(world.upstream.requests) == requests
    assert world.fetch() == 0


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="Linux's setpriv is not here")
def test_a_cache_that_may_not_be_read(world: World) -> None:
    """As of another user; root, too, is given no more rights than others."""
    cache = world.state / "cache"
    (cache / "parts").mkdir(parents=True)
    cache.chmod(0)
    rights = "-dac_override,-dac_read_search"
    limited = world.command("-q", "--jobs", "1")  # of two, both may be refused
    if os.geteuid() == 0:
        limited = ["setpriv", f"--inh-caps={rights}", f"--bounding-set={rights}", *limited]
    try:
        done = subprocess.run(limited, cwd=ROOT, capture_output=True, text=True, check=False)
    finally:
        cache.chmod(0o755)
    assert done.returncode == ExitCode.USAGE
    # The first that is tried.
    paths = {f"linux-64/{each.package.file_name}": each.sha256 for each in world.packages}
    path = next(each for each in paths if done.stderr.startswith(f"error: {each}: "))
    part = cache / "parts" / f"{paths[path]}.part"
    assert done.stderr == (
        f"error: {path}: {part}: Permission denied\n"
        f"  from  {world.upstream.url}/ch/{path}\n"
        "help: make the folder writable, or set channel-dir to one that is; then run"
        " `pixi run fetch` again\n"
    )
    # Control: the same command, where it may.
    assert subprocess.run(limited, cwd=ROOT, check=False).returncode == 0
    assert world.files() == world.expected()


@pytest.mark.skipif(os.name == "nt", reason="links are for few on Windows")
@pytest.mark.parametrize(
    ("is_link", "trouble"),
    [(False, "'local-channel' is a file, not a folder"), (True, "there is no such folder: ")],
)
def test_something_else_in_the_channel_folders_place(
    world: World, trouble: str, capsys: pytest.CaptureFixture[str], *, is_link: bool
) -> None:
    """To set `channel-dir` to what it is already would not mend it."""
    if is_link:
        world.channel.symlink_to(world.channel)
    else:
        world.channel.touch()
    assert world.fetch() == 2
    message, _, help_line = capsys.readouterr().err.partition("\n")
    assert message.startswith(f"error: tool.pixi-mirror.channel-dir: {trouble}")
    assert help_line == (
        'help: move away what is there, or name another folder: channel-dir = "FOLDER"\n'
    )
    world.channel.unlink()
    assert world.fetch() == 0


def test_a_folder_in_an_artifacts_place(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    mine = world.channel / "noarch" / "p0-1.0-0.conda" / "mine"
    mine.parent.mkdir(parents=True)
    mine.touch()
    assert world.fetch() == ExitCode.USAGE
    assert capsys.readouterr().err == (
        "error: noarch/p0-1.0-0.conda: a folder is where a file must go\n"
        "help: remove it, then run this again\n"
    )
    assert mine.exists()


def lock_own_file(world: World) -> Path:
    """Lock an artifact of this machine, which is not there yet; return its path."""
    file = world.root / "noarch" / "p0-1.0-0.conda"
    file.parent.mkdir()
    channel = f"{world.upstream.url}/ch"
    world.lock(LockRow(written=world.packages[0], channel=channel, url=file.as_uri()))
    return file


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are POSIX")
def test_a_pipe_for_an_artifact(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    pipe = lock_own_file(world)
    os.mkfifo(pipe)
    assert world.fetch() == ExitCode.USAGE
    assert capsys.readouterr().err.split("free\n")[1] == (
        f"error: noarch/p0-1.0-0.conda: {pipe}: not a file\n"
        f"  from  {pipe.as_uri()}\n"
        "help: put the artifact in its place, or `pixi lock` without it\n"
    )


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="what root cannot read either")
def test_an_artifact_that_cannot_be_read(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    file = lock_own_file(world)
    file.symlink_to("/proc/self/mem")
    assert world.fetch() == ExitCode.USAGE
    assert capsys.readouterr().err.split("free\n")[1] == (
        f"error: noarch/p0-1.0-0.conda: {file}: Input/output error\n"
        f"  from  {file.as_uri()}\n"
        "help: make it readable (`chmod a+r FILE`), or see to its disk, then run `pixi run fetch`"
        " again\n"
    )


@pytest.mark.skipif(os.name == "nt", reason="ulimit is POSIX")
def test_a_disk_that_takes_no_more_ends_the_run(world: World) -> None:
    """A limit on the size of files stands in for a full disk: writing fails in the same way."""
    limited = ["sh", "-c", 'ulimit -f 40; exec "$@"', "sh", *world.command("--jobs", "1")]
    done = subprocess.run(limited, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == ExitCode.USAGE
    errors = done.stderr.split("free\n")[1]
    part = world.state / "cache" / "parts" / f"{world.packages[2].sha256}.part"
    assert errors == (
        f"error: linux-64/p2-1.0-0.tar.bz2: {part}: File too large\n"
        f"  from  {world.upstream.url}/ch/linux-64/p2-1.0-0.tar.bz2\n"
        "help: see to the disk, then run `pixi run fetch` again\n"
    )
    assert world.files() == {}
    assert "fetch: 2 not tried, for the same reason\n" in done.stdout


def test_mirrors_and_secrets(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """What stands in pixi's configuration and in credentials is used, and never shown."""
    world.upstream.authorization = "Bearer tok-SECRET"
    rows = tuple(
        LockRow(written=each, channel="https://conda.example.org/ch") for each in world.packages
    )
    world.lock(*rows)
    config = world.root / ".pixi" / "config.toml"
    config.parent.mkdir()
    config.write_text(
        f'[mirrors]\n"https://conda.example.org" = ["{world.upstream.url}"]\n', encoding="utf-8"
    )
    assert world.fetch("-v") == ExitCode.USAGE  # control: without the token it is refused
    credentials = Path(os.environ["HOME"]) / ".rattler" / "credentials.json"
    credentials.parent.mkdir()
    credentials.write_text('{"127.0.0.1": {"BearerToken": "tok-SECRET"}}', encoding="utf-8")
    assert world.fetch("-v") == 0
    out, err = capsys.readouterr()
    assert "SECRET" not in out + err
    assert world.files() == world.expected()
    kept = b"".join(file.read_bytes() for file in world.state.rglob("*") if file.is_file())
    assert b"SECRET" not in kept


def test_credentials_in_the_lock_stay_out_of_everything_else(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.upstream.authorization = "Basic dXNlcjpodW50ZXIy"  # user:hunter2
    base = world.upstream.url.replace("://", "://user:hunter2@")
    rows = tuple(LockRow(written=each, channel=f"{base}/ch") for each in world.packages)
    world.lock(*rows)
    world.upstream.once("*/p1-*", status(404))
    assert world.fetch("-v", "--layout", "by-channel") == ExitCode.FINDINGS
    assert world.fetch("-v", "--layout", "by-channel") == 0
    out, err = capsys.readouterr()
    assert "hunter2" not in out + err
    assert f"from  http://********@127.0.0.1:{world.upstream.port}/ch/linux-64/p1" in err
    folder = f"127.0.0.1_{world.upstream.port}/ch"
    assert {name.rsplit("/", 2)[0] for name in world.files()} == {folder}
    names = [str(path) for path in world.root.rglob("*")]
    assert not [name for name in names if "hunter2" in name]


def test_a_second_run_at_once_is_refused(world: World) -> None:
    refused = threading.Event()
    world.upstream.always("*", held(refused))
    with subprocess.Popen(world.command(), cwd=ROOT, stderr=subprocess.DEVNULL) as first:
        deadline = time.monotonic() + 20
        while not world.upstream.requests and time.monotonic() < deadline:
            time.sleep(0.02)
        second = subprocess.run(
            world.command(), cwd=ROOT, capture_output=True, text=True, check=False
        )
        refused.set()
        assert first.wait(30) == 0
    assert second.returncode == ExitCode.USAGE
    assert second.stderr == (
        "error: local-channel: another run is at work on it\n"
        f"  process    {first.pid}\n"
        f"  lock file  {world.state / 'run.lock'}\n"
        "help: wait until it has ended, then run this again\n"
    )
    assert world.files() == world.expected()


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_ctrl_c_keeps_what_is_whole_and_ends_soon(world: World) -> None:
    world.upstream.always("*/p2-*", dripping(1000, 0.05))
    world.upstream.always("*/p1-*", late(30))  # a silent server must not hold it up
    with subprocess.Popen(
        world.command(), cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        whole = world.channel / "noarch" / "p0-1.0-0.conda"
        deadline = time.monotonic() + 20
        while not whole.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        assert time.monotonic() - began < 10
    assert process.returncode == ExitCode.INTERRUPTED
    assert out == ""
    assert err.endswith("fetch: interrupted; artifacts already placed are kept\n")
    assert "Traceback" not in err
    assert list(world.files()) == ["noarch/p0-1.0-0.conda"]
    part = world.state / "cache" / "parts" / f"{world.packages[2].sha256}.part"
    assert world.packages[2].path.read_bytes().startswith(part.read_bytes())
    world.upstream.behave()
    assert world.fetch() == 0
    assert world.files() == world.expected()


def test_what_is_there_of_an_artifact_is_not_downloaded_again(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a part too long, or of what no server goes on with, nothing is counted."""
    parts, sizes = world.state / "cache" / "parts", [each.size for each in world.packages]
    parts.mkdir(parents=True)
    for package, count in zip(world.packages, (100, sizes[1] + 1, 0), strict=True):
        data = package.path.read_bytes() + b"x"
        (parts / f"{package.sha256}.part").write_bytes(data[:count])
    left, whole = human_size(sum(sizes) - 100), human_size(sum(sizes))
    assert world.fetch("--dry-run", "--json") == 0
    out, err = capsys.readouterr()
    assert f"fetch: 3 to download into local-channel, {left} (resumes 100 B of {whole}), " in err
    assert (json.loads(out)["size"], json.loads(out)["resumed-size"]) == (sum(sizes) - 100, 100)
    file = world.root / ".pixi" / "config.toml"
    file.parent.mkdir(exist_ok=True)
    mirror = (world.upstream.folder / "ch").as_uri()  # copied, always from the beginning
    file.write_text(f'[mirrors]\n"{world.upstream.url}/ch" = ["{mirror}"]\n', encoding="utf-8")
    assert world.fetch("--dry-run") == 0
    assert f"fetch: 3 to download into local-channel, {whole}, " in capsys.readouterr().err
    file.unlink()
    assert world.fetch() == 0
    assert (
        f"fetch: 3 to download into local-channel, {left} (resumes 100 B of {whole}), "
        in capsys.readouterr().err
    )
    (request,) = [each for each in world.upstream.requests if "/p0-" in each.path]
    assert request.headers["range"] == "bytes=100-"
    assert world.files() == world.expected()


def test_a_long_list_is_cut(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    packages = [TinyPackage(name=f"n{each:02}") for each in range(25)]
    world.lock(*(world.row(each.write(world.upstream.folder / "ch")) for each in packages))
    assert world.fetch("--dry-run") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 21
    assert lines[19:] == ["would fetch noarch/n19-1.0-0.conda", "and 5 more, which -v shows"]
    assert world.fetch("--dry-run", "-v") == 0
    assert len(capsys.readouterr().out.splitlines()) == 25


def test_a_login_page_is_called_one(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.upstream.always("*/p0-*", login_page())
    assert world.fetch() == ExitCode.FINDINGS
    assert (
        "error: noarch/p0-1.0-0.conda: a web page came instead of the artifact (a login page?)\n"
    ) in capsys.readouterr().err


def test_a_file_in_use_stops_no_other(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As on Windows, where another program has a file open; a stand-in, and a shorter wait."""
    monkeypatch.setattr("scripts.core.files._TRY_FOR", 0.1)
    real = Path.replace

    def replace(self: Path, target: Path) -> Path:
        if Path(target).name.startswith("p2-"):
            error = PermissionError(13, "in use", str(self))
            error.winerror = 32  # type: ignore[attr-defined,unused-ignore]
            raise error
        return real(self, target)

    with monkeypatch.context() as refusing:
        refusing.setattr(Path, "replace", replace)
        assert world.fetch("--jobs", "1") == ExitCode.USAGE
    target = world.channel / "linux-64" / "p2-1.0-0.tar.bz2"
    assert capsys.readouterr().err.split("artifacts\n")[1] == (
        f"error: linux-64/p2-1.0-0.tar.bz2: {target}: cannot be replaced, tried for 0.1 s: in use\n"
        f"  from  {world.upstream.url}/ch/linux-64/p2-1.0-0.tar.bz2\n"
        "help: close the program that has it open, then run `pixi run fetch` again\n"
    )
    assert list(world.files()) == ["linux-64/p1-1.0-0.conda", "noarch/p0-1.0-0.conda"]
    requests = len(world.upstream.requests)
    assert world.fetch() == 0
    assert world.files() == world.expected()
    assert len(world.upstream.requests) == requests  # what had come was kept


def test_one_that_another_run_writes_stops_no_other(world: World) -> None:
    path = world.state / "cache" / "parts" / f"{world.packages[2].sha256}.part"
    with PartFile(path, "sha256"):
        assert world.fetch("--jobs", "1") == ExitCode.USAGE
    assert list(world.files()) == ["linux-64/p1-1.0-0.conda", "noarch/p0-1.0-0.conda"]


def test_who_shares_the_channel_is_asked_under_the_lock(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else another workspace could be mirrored here between the answer and the first byte."""
    asked: list[bool] = []
    real = read_users

    def ask(workspace: Workspace, locks: Sequence[MirroredLock]) -> ChannelUsers:
        with workspace.place.lock.open("a+b") as file:
            asked.append(try_lock(file.fileno()))
        return real(workspace, locks)

    monkeypatch.setattr(fetch, "read_users", ask)
    assert world.fetch() == 0
    assert asked == [False]


def test_a_refusal_that_does_not_end_is_not_waited_for(world: World) -> None:
    """Its words are for people, who would wait for the read timeout of an artifact."""
    stalling = dataclasses.replace(
        stalled(4), status=403, headers=(("Content-Type", "text/plain"),), body=b"members only"
    )
    world.upstream.always("*", stalling)
    began = time.monotonic()
    assert world.fetch() == ExitCode.USAGE
    assert time.monotonic() - began < 10


def test_digests_of_other_workspaces_stay(world: World, tmp_path: Path) -> None:
    """What shares the channel is not hashed anew since one of them has fetched."""
    assert (world.fetch(), index.main(["--manifest-path", str(world.root)])) == (0, 0)
    other = tmp_path / "other"
    other.mkdir()
    manifest = MANIFEST.replace('"w"', '"other"')
    settings = f"[tool.pixi-mirror]\nchannel-dir = {json.dumps(str(world.channel))}\n"
    (other / "pixi.toml").write_text(manifest + settings, encoding="utf-8")
    written = TinyPackage(name="mine").write(world.upstream.folder / "ch")
    rows = PlatformRows(name="linux-64", rows=(world.row(written),))
    write_lock(other / "pixi.lock", (EnvironmentRows(platforms=(rows,)),))
    assert fetch.main(["--manifest-path", str(other)]) == 0
    journal = (world.state / "cache" / "digests.jsonl").read_text(encoding="utf-8")
    for path in ("noarch/p0-1.0-0.conda", "linux-64/p1-1.0-0.conda", "noarch/mine-1.0-0.conda"):
        assert f'"{path}", "sha256"' in journal
        assert f'"{path}", "opened"' in journal


def test_a_whole_batch_by_one_child(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what rattler's client alone can ask for: here three artifacts of a bucket."""
    started: list[object] = []
    real = subprocess.Popen

    def popen(*arguments: Any, **options: Any) -> Any:
        started.append(arguments[0])
        return real(*arguments, **options)

    monkeypatch.setattr("scripts.network.rattler.subprocess.Popen", popen)
    (world.upstream.folder / "ch").rename(world.upstream.folder / "bkt")
    options = f'\n[workspace.s3-options.bkt]\nendpoint-url = "{world.upstream.url}"\n'
    options += 'region = "r"\nforce-path-style = true\n'
    (world.root / "pixi.toml").write_text(MANIFEST + options, encoding="utf-8")
    credentials = world.root / "credentials.json"
    monkeypatch.setenv("RATTLER_AUTH_FILE", str(credentials))
    keys = {"access_key_id": "ID", "secret_access_key": "KEY"}
    credentials.write_text(json.dumps({"s3://bkt": {"S3Credentials": keys}}), encoding="utf-8")
    world.lock(*(LockRow(written=each, channel="s3://bkt") for each in world.packages))
    world.upstream.once("*/p1-*", wrong_bytes(world.packages[1].size))
    assert world.fetch() == 0
    assert set(world.files()) == {
        "linux-64/p1-1.0-0.conda",
        "linux-64/p2-1.0-0.tar.bz2",
        "noarch/p0-1.0-0.conda",
    }
    assert len(started) == 1
    assert world.upstream.paths.count("/bkt/linux-64/p1-1.0-0.conda") == 2
