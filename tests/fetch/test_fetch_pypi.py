"""PyPI files as `fetch` brings them: how they are asked for, what their bytes are compared with."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from scripts.core.errors import ExitCode
from tasks import fetch, upstream
from tests.support.locks import EnvironmentRows, PlatformRows, RawRow, write_lock
from tests.support.replies import Reply, status
from tests.support.upstream import Upstream
from tests.support.wheels import PypiRow, TinySdist, TinyWheel, WrittenDistribution

MANIFEST = '[workspace]\nname = "w"\nchannels = []\nplatforms = ["linux-64"]\n'


@dataclass(frozen=True)
class World:
    """A workspace whose lock has rows of PyPI, and an upstream with their files below `/pkgs`."""

    root: Path
    upstream: Upstream
    home: Path

    @property
    def channel(self) -> Path:
        """The channel folder."""
        return self.root / "local-channel"

    @property
    def state(self) -> Path:
        """The working state beside it."""
        return self.root / ".pixi-mirror" / "local-channel"

    @property
    def host(self) -> str:
        """The upstream's name in paths."""
        return f"127.0.0.1_{self.upstream.port}"

    def write(self, package: TinyWheel | TinySdist) -> WrittenDistribution:
        """Put a file on the upstream."""
        return package.write(self.upstream.folder / "pkgs")

    def url(self, written: WrittenDistribution, user: str = "") -> str:
        """Where the upstream has it."""
        scheme, _, rest = self.upstream.url.partition("://")
        return f"{scheme}://{user}{rest}/pkgs/{written.path.name}"

    def row(self, written: WrittenDistribution, user: str = "") -> PypiRow:
        """Name it as a row of an index on the upstream, which `user` (`me:word@`) may see."""
        scheme, _, rest = self.upstream.url.partition("://")
        index = f"{scheme}://{user}{rest}/simple"
        return PypiRow(written=written, index=index, url=self.url(written))

    def lock(self, *rows: PypiRow | RawRow) -> None:
        """Write the lock."""
        platform = PlatformRows(name="linux-64", rows=rows)
        write_lock(self.root / "pixi.lock", (EnvironmentRows(platforms=(platform,)),))

    def configure(self, text: str) -> None:
        """Write pixi's configuration."""
        (self.root / ".pixi").mkdir(exist_ok=True)
        (self.root / ".pixi" / "config.toml").write_text(text, encoding="utf-8")

    def fetch(self, *options: str) -> int:
        """Run the task in this process."""
        return fetch.main(["--manifest-path", str(self.root), *options])

    def files(self) -> dict[str, bytes]:
        """Read every file of the channel folder below `_pypi/files`."""
        folder = self.channel / "_pypi" / "files"
        return {
            file.relative_to(folder).as_posix(): file.read_bytes()
            for file in sorted(folder.rglob("*"))
            if file.is_file()
        }

    def asked(self, method: str) -> list[str]:
        """The paths of the requests of one method."""
        return [each.path for each in self.upstream.requests if each.method == method]


@pytest.fixture
def world(tmp_path: Path, upstream: Upstream, clean_environment: Path) -> World:
    root = tmp_path / "w"
    root.mkdir()
    (root / "pixi.toml").write_text(MANIFEST, encoding="utf-8")
    return World(root, upstream, clean_environment)


def basic(pair: str) -> str:
    return f"Basic {base64.b64encode(pair.encode()).decode()}"


def keyring(world: World, monkeypatch: pytest.MonkeyPatch, script: str) -> Path:
    """Put a program `keyring` on PATH, which notes its arguments in the file returned."""
    folder, log = world.home / "bin", world.home / "keyring.log"
    folder.mkdir()
    program = folder / "keyring"
    program.write_text(f'#!/bin/sh\necho "$@" >> {log}\n{script}\n', encoding="utf-8")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return log


# Sizes, which no lock has.


def test_sizes_are_asked_for_once_and_the_largest_comes_first(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    small = world.write(TinyWheel(name="small"))
    large = world.write(TinyWheel(name="large", files=(("large.py", b"#" * 50_000),)))
    world.lock(world.row(small), world.row(large))
    assert world.fetch("--jobs", "1") == 0
    out, err = capsys.readouterr()
    size = (small.size + large.size) / 1000
    assert err.startswith(
        "asking for the sizes of 2 PyPI packages\n"
        f"fetch: 2 to download into local-channel, {size:.1f} kB, "
    )
    assert out == f"fetch: 2 artifacts fetched, {size:.1f} kB; 0 were there already\n"
    paths = [f"/pkgs/{each.path.name}" for each in (large, small)]
    assert sorted(world.asked("HEAD")) == paths
    assert world.asked("GET") == paths
    assert world.files() == {
        f"{world.host}/pkgs/{each.path.name}": each.path.read_bytes() for each in (large, small)
    }
    assert json.loads((world.state / "cache" / "sizes.json").read_text()) == {
        each.sha256: each.size for each in (small, large)
    }
    # Of those that are there nobody is asked; of one that is gone the size is remembered.
    requests = len(world.upstream.requests)
    assert world.fetch() == 0
    assert len(world.upstream.requests) == requests
    (world.channel / "_pypi" / "files" / world.host / "pkgs" / small.path.name).unlink()
    assert world.fetch() == 0
    assert [each.method for each in world.upstream.requests[requests:]] == ["GET"]


@pytest.mark.parametrize(
    "reply",
    [status(500), Reply(headers=(("Content-Type", "text/html"),)), Reply(gzip=True)],
)
def test_a_server_that_tells_no_size_is_no_error(
    world: World, capsys: pytest.CaptureFixture[str], reply: Reply
) -> None:
    written = world.write(TinyWheel(name="one"))
    world.lock(world.row(written))
    world.upstream.once("/pkgs/*", reply)
    assert world.fetch() == 0
    assert "1 to download into local-channel, 0 B and 1 of unknown size, " in (
        capsys.readouterr().err
    )
    assert [each.method for each in world.upstream.requests] == ["HEAD", "GET"]
    assert list(world.files().values()) == [written.path.read_bytes()]


def test_a_server_that_takes_no_head_tells_a_size_by_get(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    written = world.write(TinyWheel(name="one"))
    world.lock(world.row(written))
    world.upstream.once("/pkgs/*", status(405))
    assert world.fetch() == 0
    size = f"{written.size} B" if written.size < 1000 else f"{written.size / 1000:.1f} kB"
    assert f"1 to download into local-channel, {size}, " in capsys.readouterr().err
    assert [each.method for each in world.upstream.requests] == ["HEAD", "GET", "GET"]


@pytest.mark.parametrize("size", ["3", "9" * 18])
def test_a_wrong_size_is_not_believed(size: str, world: World) -> None:
    written = world.write(TinyWheel(name="one"))
    world.lock(world.row(written))
    world.upstream.once("/pkgs/*", Reply(headers=(("Content-Length", size),)))
    assert world.fetch() == 0
    assert list(world.files().values()) == [written.path.read_bytes()]


def test_a_dry_run_asks_and_writes_nothing(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    written = world.write(TinyWheel(name="one"))
    world.lock(world.row(written))
    before = sorted(world.root.rglob("*"))
    assert world.fetch("--dry-run", "--json") == 0
    assert json.loads(capsys.readouterr().out)["size"] == written.size
    assert sorted(world.root.rglob("*")) == before
    assert [each.method for each in world.upstream.requests] == ["HEAD"]


def test_what_does_not_fit_is_refused_before_the_first_byte(
    world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scripts.fetch.stage.free_bytes", lambda _: 1 << 30)
    written = world.write(TinyWheel(name="one"))
    world.lock(world.row(written))
    world.upstream.once("/pkgs/*", Reply(headers=(("Content-Length", str(16 << 30)),)))
    assert world.fetch() == ExitCode.USAGE
    assert "error: local-channel: not enough room on this disk\n" in capsys.readouterr().err
    assert world.asked("GET") == []


# Who may have them.


def test_what_an_index_url_carries_goes_to_its_host(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = world.write(TinyWheel(name="one")), world.write(TinyWheel(name="two"))
    world.upstream.authorization = basic("me:se cret")
    rows = [world.row(each, user="me:se%20cret@") for each in (one, two)]
    world.lock(*rows)
    assert world.fetch("--jobs", "1", "-v") == 0
    out, err = capsys.readouterr()
    assert len(world.files()) == 2
    assert "cret" not in out + err
    assert "cret" not in "".join(map(str, world.root.rglob("*")))
    sent = [each.headers.get("authorization") for each in world.upstream.requests]
    assert sent[-2:] == [basic("me:se cret")] * 2  # once it was denied, it is sent at once
    # A control: another word.
    world.upstream.authorization = basic("me:other")
    (world.channel / "_pypi" / "files" / world.host / "pkgs" / one.path.name).unlink()
    assert world.fetch() == ExitCode.USAGE
    assert "HTTP 401 Unauthorized" in capsys.readouterr().err


def test_before_v7_the_environment_alone_names_the_index(world: World) -> None:
    written = world.write(TinyWheel(name="one"))
    world.upstream.authorization = basic("me:word")
    for user, code in (("me:other@", ExitCode.USAGE), ("me:word@", 0)):
        row = world.row(written, user)
        world.lock(dataclasses.replace(row, without=frozenset({"index"})))
        assert f"    indexes:\n    - {row.index}\n" in (world.root / "pixi.lock").read_text("utf-8")
        assert world.fetch() == code
    assert list(world.files().values()) == [written.path.read_bytes()]


def test_it_does_not_go_to_another_host(world: World, tmp_path: Path) -> None:
    written = world.write(TinyWheel(name="one"))
    index = f"http://me:secret@localhost:{world.upstream.port}/simple"
    world.lock(PypiRow(written=written, index=index, url=world.url(written)))
    world.upstream.always("/pkgs/*", status(401))
    assert world.fetch() == ExitCode.USAGE
    assert [each for each in world.upstream.requests if "authorization" in each.headers] == []


@pytest.mark.skipif(os.name == "nt", reason="the stand-in is a shell script")
def test_the_program_keyring_has_the_password(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = world.write(TinyWheel(name="one")), world.write(TinyWheel(name="two"))
    world.upstream.authorization = basic("me:from-keyring")
    world.lock(world.row(one, user="me@"), world.row(two, user="me@"))
    host = urlsplit(world.upstream.url).netloc
    log = keyring(world, monkeypatch, f'[ "$2" = {host} ] && echo from-keyring')
    # A control: pixi does not ask it unless it is told to.
    assert world.fetch() == ExitCode.USAGE
    assert not log.exists()
    world.configure('[pypi-config]\nkeyring-provider = "subprocess"\n')
    assert world.fetch() == 0
    assert len(world.files()) == 2
    index = f"{world.upstream.url}/simple"
    assert log.read_text() == f"get {index} me\nget {host} me\n"
    out, err = capsys.readouterr()
    assert "from-keyring" not in out + err


@pytest.mark.skipif(os.name == "nt", reason="the stand-in is a shell script")
@pytest.mark.parametrize(("user", "code"), [("me:word@", 0), ("-h@", 2), ("@", 2), ("me@", 0)])
def test_when_the_program_keyring_is_asked(
    user: str, code: int, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a user without a password, who is no option of it: the last one, the control."""
    written = world.write(TinyWheel(name="one"))
    world.upstream.authorization = basic("me:word")
    world.lock(world.row(written, user=user))
    log = keyring(world, monkeypatch, "echo word")
    world.configure('[pypi-config]\nkeyring-provider = "subprocess"\n')
    assert (world.fetch(), log.exists()) == (code, user == "me@")


@pytest.mark.skipif(os.name == "nt", reason="the stand-in is a shell script")
def test_an_index_wants_the_password_of_the_program_keyring(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its pages, at the URL that has the user alone; the control: pixi does not ask keyring."""
    written = world.write(TinyWheel(name="one"))
    page = world.upstream.folder / "simple" / "one" / "index.html"
    page.parent.mkdir(parents=True)
    page.write_text(
        f'<a href="{world.url(written)}#sha256={written.sha256}">{written.path.name}</a>'
    )
    world.upstream.authorization = basic("me:from-keyring")
    world.lock(world.row(written, user="me@"))
    log = keyring(world, monkeypatch, "echo from-keyring")
    assert upstream.main(["--manifest-path", str(world.root)]) == ExitCode.USAGE
    world.configure('[pypi-config]\nkeyring-provider = "subprocess"\n')
    assert upstream.main(["--manifest-path", str(world.root)]) == 0
    assert log.read_text() == f"get {world.upstream.url}/simple me\n"
    # Or netrc, which pixi asks before.
    world.configure("")
    assert upstream.main(["--manifest-path", str(world.root)]) == ExitCode.USAGE
    (world.home / ".netrc").write_text("machine 127.0.0.1 login me password from-keyring\n")
    assert upstream.main(["--manifest-path", str(world.root)]) == 0
    out, err = capsys.readouterr()
    assert "from-keyring" not in out + err


def test_a_keyring_that_is_not_there_is_told(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written = world.write(TinyWheel(name="one"))
    world.upstream.authorization = basic("me:word")
    world.lock(world.row(written, user="me@"))
    monkeypatch.setenv("PATH", str(world.home))
    world.configure('[pypi-config]\nkeyring-provider = "subprocess"\n')
    assert world.fetch() == ExitCode.USAGE
    assert capsys.readouterr().err.count(
        'warning: keyring-provider = "subprocess" is set, and no program keyring is on PATH\n'
    ) == 1  # fmt: skip


@pytest.mark.skipif(os.name == "nt", reason="the stand-in is a shell script")
@pytest.mark.parametrize(
    ("script", "warning"),
    [
        ("exit 1", "keyring has no password of the user that the lock names for INDEX"),
        ("exec sleep 60", "keyring has not answered within 1 seconds: INDEX"),
    ],
)
def test_a_keyring_that_does_not_help_is_told(
    script: str,
    warning: str,
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Once for all files; nobody waits here for as long as a person may take."""
    monkeypatch.setattr("scripts.network.pypi_auth._TIMEOUT", 1.0)
    one, two = world.write(TinyWheel(name="one")), world.write(TinyWheel(name="two"))
    world.upstream.authorization = basic("me:word")
    world.lock(world.row(one, user="me@"), world.row(two, user="me@"))
    log = keyring(world, monkeypatch, script)
    world.configure('[pypi-config]\nkeyring-provider = "subprocess"\n')
    assert world.fetch() == ExitCode.USAGE
    said = f"warning: {warning}\n".replace("INDEX", f"{world.upstream.url}/simple")
    assert capsys.readouterr().err.count(said) == 1
    assert len(log.read_text().splitlines()) == (3 if "exit" in script else 1)


def test_netrc_and_mirrors_hold_for_pypi(world: World) -> None:
    written = world.write(TinyWheel(name="one"))
    world.upstream.authorization = basic("me:netrc")
    row = PypiRow(written=written, url="https://files.example.org/pkgs/one-1.0-py3-none-any.whl")
    world.lock(row)
    world.configure(f"[mirrors]\n'https://files.example.org' = ['{world.upstream.url}']\n")
    assert world.fetch() == ExitCode.USAGE
    netrc = world.home / ("_netrc" if os.name == "nt" else ".netrc")
    netrc.write_text("machine 127.0.0.1 login me password netrc\n", encoding="utf-8")
    assert world.fetch() == 0
    assert world.files() == {
        "files.example.org/pkgs/one-1.0-py3-none-any.whl": written.path.read_bytes()
    }


# Rows that name a file of this machine.


def test_files_of_this_machine_are_copied(world: World, tmp_path: Path) -> None:
    beside = TinyWheel(name="beside").write(world.root / "wheels")
    links = TinyWheel(name="links", version="1!2.0+own.1").write(tmp_path / "find links")
    world.lock(
        PypiRow(written=beside, index=None, url="./wheels/beside-1.0-py3-none-any.whl"),
        PypiRow(
            written=links, index=links.path.parent.as_uri(), url=links.path.as_uri()
        ),
    )  # fmt: skip
    assert world.fetch() == 0
    assert world.upstream.requests == []
    folder = tmp_path.as_posix().strip("/").replace(":", "_")  # a drive of Windows
    assert world.files() == {
        "local/wheels/beside-1.0-py3-none-any.whl": beside.path.read_bytes(),
        f"local/{folder}/find_links/{links.path.name}": links.path.read_bytes(),
    }


def test_a_file_beside_the_lock_that_changed_is_fetched_anew(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    first = TinyWheel(name="beside").write(world.root / "wheels")
    world.lock(PypiRow(written=first, index=None, url=f"./wheels/{first.path.name}"))
    assert world.fetch() == 0
    second = TinyWheel(name="beside", requires_dist=("other",)).write(world.root / "wheels")
    capsys.readouterr()
    assert world.fetch() == 0
    assert list(world.files().values()) == [second.path.read_bytes()]
    assert (
        f"warning: _pypi/files/local/wheels/{first.path.name}: differs from the file beside the"
        f" lock, replaced ({first.sha256}, not {second.sha256})\n"
    ) in capsys.readouterr().err
    assert not (world.state / "state" / "first-seen.json").exists()


def test_no_update_moves_on_from_a_file_that_the_manifest_names(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """Gone, or another one by now. Control: the row of an index."""
    beside = TinyWheel(name="beside").write(world.root / "wheels")
    gone, other, indexed = (world.write(TinyWheel(name=each)) for each in ("gone", "other", "row"))
    direct = (
        PypiRow(written=each, index=None, url=f"{world.url(each)}#sha256={each.sha256}")
        for each in (gone, other)
    )
    path = PypiRow(written=beside, index=None, url=f"./wheels/{beside.path.name}")
    url = f"{world.upstream.url}/pkgs/lone-1.0-0.conda"
    lines = (f"sha256: {'0' * 64}", "channel: null", "subdir: noarch")
    lone = RawRow(key="conda", location=url, lines=lines)
    world.lock(*direct, path, lone, world.row(indexed))
    for each in (beside, gone, indexed):
        each.path.unlink()
    other.path.write_bytes(b"other")
    assert world.fetch() == ExitCode.USAGE
    found = capsys.readouterr().err.split("error: ")[1:]
    helps = {x.partition("  from ")[2].splitlines()[0].strip(): x.splitlines()[-1] for x in found}
    another = "`pixi lock` (with another URL, path or digest in the manifest)"
    private = "; or, if it is private, give credentials: `pixi auth login HOST --token TOKEN`,"
    moves_on = f"moves on from what is no longer there{private} or netrc"
    wrong = f"nothing was kept; run `pixi run fetch` again, or {another} if the channel replaced"
    assert helps == {
        f"./wheels/{beside.path.name}": (
            f"help: put it back there, or lock what is there now: {another}"
        ),
        f"{world.url(gone)}#sha256={gone.sha256}": f"help: {another} {moves_on}",
        f"{world.url(other)}#sha256={other.sha256}": f"help: {wrong} the file",
        url: f"help: {another} {moves_on}",
        world.url(indexed): f"help: `pixi run update-mirror` {moves_on}",
    }


# Rows without a digest.


def test_a_fragment_has_a_place_of_its_own_and_one_download(world: World) -> None:
    written = world.write(TinyWheel(name="one"))
    url = f"{world.url(written)}#sha256={written.sha256}"
    world.lock(PypiRow(written=written, index=None, url=url))
    assert world.fetch() == 0
    name = f"{world.host}/pkgs/{written.path.name}"
    data = written.path.read_bytes()
    assert world.files() == {name: data, f"{name}#sha256={written.sha256}": data}
    assert world.asked("GET") == [f"/pkgs/{written.path.name}"]
    folder = world.channel / "_pypi" / "files" / world.host / "pkgs"
    assert {each.stat().st_ino for each in folder.iterdir()} == {
        (folder / written.path.name).stat().st_ino
    }


def test_what_is_first_seen_is_compared_ever_after(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    written = world.write(TinyWheel(name="one"))
    first = written.path.read_bytes()
    world.lock(PypiRow(written=written, index=None, url=f"{world.url(written)}#egg=one"))
    # Without the setting it is left out, with the reason.
    assert world.fetch() == 0
    assert "of which the lock has no hash (allow-unhashed takes it)" in capsys.readouterr().err
    assert world.files() == {}
    assert world.fetch("--allow-unhashed") == 0
    name = f"{world.host}/pkgs/{written.path.name}"
    assert world.files() == {name: first, f"{name}#egg=one": first}
    assert world.asked("GET") == [f"/pkgs/{written.path.name}"]
    seen = world.state / "state" / "first-seen.json"
    rows = {f"_pypi/files/{each}": f"sha256:{written.sha256}" for each in world.files()}
    assert json.loads(seen.read_text())["digests"] == rows
    # Upstream replaces it. What is there stays; once it is gone, the other bytes are refused.
    other = first + b"replaced"
    written.path.write_bytes(other)
    assert world.fetch("--allow-unhashed") == 0
    for each in (world.channel / "_pypi" / "files" / world.host / "pkgs").iterdir():
        each.unlink()
    capsys.readouterr()
    assert world.fetch("--allow-unhashed") == ExitCode.FINDINGS
    error = capsys.readouterr().err.partition("error: ")[2]
    assert error.partition("error: ")[0] == (
        f"_pypi/files/{name}: sha256 differs from the one first seen, and pixi.lock has none\n"
        f"  expected  {written.sha256}\n"
        f"  actual    {hashlib.sha256(other).hexdigest()}\n"
        f"  list      {seen}\n"
        f"  from      {world.url(written)}#egg=one\n"
        "help: nothing was kept; if upstream may replace the file, take its row out of that list"
        " and run `pixi run fetch` again; what pins it in the manifest is a `#sha256=…` behind its"
        ' URL, or, of a conda package, `sha256 = "…"` beside it\n'
    )
    assert world.files() == {}
    # As the help says.
    seen.unlink()
    assert world.fetch("--allow-unhashed") == 0
    assert set(world.files().values()) == {other}
