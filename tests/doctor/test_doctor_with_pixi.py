"""What the doctor prints, pasted as it is, makes the real pixi install from the mirror."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

from scripts.core.rattler_child import call_rattler
from tasks import doctor
from tests.support.locks import EnvironmentRows, LockRow, PlatformRows, write_lock
from tests.support.mirrors import CHANNEL, make_mirror
from tests.support.packages import TinyPackage
from tests.support.pixi import Pixi, find_pixi
from tests.support.upstream import Upstream

pytestmark = pytest.mark.needs_pixi

NOBODY = "http://127.0.0.1:9"
OTHER = "https://conda.anaconda.org/nvidia/label/cuda-1"


def _here() -> str:
    return str(call_rattler("current_platform", {}))


def _consumer(root: Path, rows: tuple[LockRow, ...]) -> Path:
    """Write the manifest and the lock of a workspace that wants them all."""
    root.mkdir()
    channels = ", ".join(f'"{url}"' for url in dict.fromkeys(row.channel for row in rows))
    names = "".join(f'{row.written.package.name} = "*"\n' for row in rows)
    (root / "pixi.toml").write_text(
        f'[workspace]\nname = "w"\nchannels = [{channels}]\nplatforms = ["{_here()}"]\n\n'
        f"[dependencies]\n{names}",
        encoding="utf-8",
    )
    platforms = (PlatformRows(name=_here(), rows=rows),)
    write_lock(root / "pixi.lock", (EnvironmentRows(platforms=platforms),))
    return root


def _mirrored(root: Path, layout: str, channels: tuple[str, ...]) -> tuple[Path, Path]:
    """Make a mirror of one package of each channel, and its consumer; return both folders."""
    names = ("one", "two")
    rows = tuple(
        LockRow(
            written=TinyPackage(name=name, subdir=_here()).write(root / "packages"), channel=url
        )
        for name, url in zip(names, channels, strict=True)
    )
    mirror = make_mirror(root / "mirror", layout)
    (mirror.root / "pixi.toml").write_text(
        '[workspace]\nname = "w"\nchannels = []\nplatforms = ["linux-64"]\n\n'
        f'[tool.pixi-mirror]\nlayout = "{layout}"\n',
        encoding="utf-8",
    )
    mirror.lock(rows)
    mirror.index()
    return mirror.folder, _consumer(root / "consumer", rows)


def _pasted(out: str) -> str:
    """Take what stands between the blank lines."""
    return out.split("\n\n")[1] + "\n"


def _installed(consumer: Path) -> set[str]:
    folder = consumer / ".pixi" / "envs" / "default" / "conda-meta"
    return {file.name.partition("-")[0] for file in folder.glob("*-*.json")}


def _serve(upstream: Upstream, folder: Path) -> str:
    upstream.folder.rmdir()
    shutil.copytree(folder, upstream.folder)
    return upstream.url


@pytest.fixture
def pixi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pixi:
    """The program with an empty home and cache, and no way off this machine."""
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, NOBODY)
    monkeypatch.setenv("PIXI_HOME", str(tmp_path / "home"))
    return find_pixi(tmp_path / "home")


def _paste_and_install(
    consumer: Path, mirror: str, pixi: Pixi, capsys: pytest.CaptureFixture[str]
) -> None:
    """Put what is printed into PIXI_HOME; then the doctor and pixi both say yes."""
    options = ["--lock", str(consumer / "pixi.lock"), "--mirror", mirror]
    capsys.readouterr()
    assert doctor.main(options) == 1
    pixi.configure(_pasted(capsys.readouterr().out))
    assert doctor.main(options) == 0
    out = capsys.readouterr().out
    assert f"pixi: led to this mirror by [mirrors]; read: {pixi.home / 'config.toml'}\n" in out
    done = pixi.run(consumer, "install", "--frozen")
    assert done.returncode == 0, done.stderr
    assert _installed(consumer) == {"one", "two"}


@pytest.mark.parametrize("layout", ["flat", "by-channel"])
def test_the_lines_lead_pixi_to_the_mirror(
    layout: str, tmp_path: Path, upstream: Upstream, pixi: Pixi, capsys: pytest.CaptureFixture[str]
) -> None:
    """Upstream is a server that has nothing, so that all must come from the mirror."""
    (tmp_path / "nothing").mkdir()
    with Upstream(tmp_path / "nothing") as empty:
        channels = (f"{empty.url}/conda-forge", f"{empty.url}/nvidia/label/cuda-1")
        folder, consumer = _mirrored(tmp_path, layout, channels)
        mirror = _serve(upstream, folder)
        before = pixi.run(consumer, "install", "--frozen")
        assert "404" in before.stderr  # the control
        assert _installed(consumer) == set()
        shutil.rmtree(consumer / ".pixi", ignore_errors=True)
        empty.requests.clear()
        _paste_and_install(consumer, mirror, pixi, capsys)
        assert empty.paths == []


def test_the_lines_lead_pixi_lock_to_a_channel_that_nothing_is_locked_from(
    tmp_path: Path, upstream: Upstream, pixi: Pixi, capsys: pytest.CaptureFixture[str]
) -> None:
    channels = (CHANNEL, f"{NOBODY}/quiet")
    folder, consumer = _mirrored(tmp_path, "by-channel", channels)
    manifest, lock = consumer / "pixi.toml", consumer / "pixi.lock"
    manifest.write_text(manifest.read_text(encoding="utf-8").replace('two = "*"\n', ""))
    row = LockRow(written=TinyPackage(name="one", subdir=_here()).write(tmp_path), channel=CHANNEL)
    platforms = (PlatformRows(name=_here(), rows=(row,)),)
    write_lock(lock, (EnvironmentRows(platforms=platforms, channels=channels),))
    assert doctor.main(["--lock", str(lock), "--mirror", _serve(upstream, folder)]) == 1
    pasted = _pasted(capsys.readouterr().out)
    lines = [x for x in pasted.splitlines(keepends=True) if "quiet" not in x]
    for given, code in (("".join(lines), 1), (pasted, 0)):
        pixi.configure(given)
        lock.unlink(missing_ok=True)
        done = pixi.run(consumer, "lock")
        assert done.returncode == code, done.stderr


def test_one_line_does_for_conda_anaconda_org(
    tmp_path: Path, upstream: Upstream, pixi: Pixi, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, consumer = _mirrored(tmp_path, "by-channel", (CHANNEL, OTHER))
    _paste_and_install(consumer, _serve(upstream, folder), pixi, capsys)
    written = (pixi.home / "config.toml").read_text(encoding="utf-8")
    assert written == f'[mirrors]\n"https://conda.anaconda.org" = ["{upstream.url}"]\n'


@pytest.mark.usefixtures("no_keyring")
def test_pixi_takes_no_user_from_its_mirrors(
    tmp_path: Path, upstream: Upstream, pixi: Pixi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Led there with a user and password in the URL, it is denied; with netrc it installs."""
    folder, consumer = _mirrored(tmp_path, "flat", (CHANNEL, CHANNEL))
    mirror = _serve(upstream, folder)
    upstream.authorization = "Basic dXNlcjp3b3Jk"
    place, netrc = mirror.replace("://", "://user:word@"), tmp_path / "netrc"
    netrc.write_text("", encoding="utf-8")
    monkeypatch.setenv("NETRC", str(netrc))
    pixi.configure(f'[mirrors]\n"{CHANNEL}" = ["{place}"]\n')
    options = ["--lock", str(consumer / "pixi.lock"), "--mirror", place]
    assert doctor.main(options) == 1
    assert "401" in pixi.run(consumer, "install", "--frozen").stderr
    netrc.write_text("machine 127.0.0.1 login user password word\n", encoding="utf-8")
    assert doctor.main(options) == 0
    done = pixi.run(consumer, "install", "--frozen")
    assert done.returncode == 0, done.stderr
    assert _installed(consumer) == {"one", "two"}


def test_a_pixi_that_is_offline_asks_no_mirror(
    tmp_path: Path, upstream: Upstream, pixi: Pixi, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the doctor says of a setting, pixi does: refuse, and install without it."""
    folder, consumer = _mirrored(tmp_path, "by-channel", (CHANNEL, OTHER))
    ask = ["--lock", str(consumer / "pixi.lock"), "--mirror", _serve(upstream, folder)]
    config = pixi.home / "config.toml"
    config.write_text(f'[mirrors]\n"https://conda.anaconda.org" = ["{upstream.url}"]\n')
    own = consumer / ".pixi" / "config.toml"
    own.parent.mkdir()
    for offline, code in (("true", 1), ("false", 0)):
        own.write_text(f"offline = {offline}\n", encoding="utf-8")
        assert doctor.main(ask) == code
        assert (f"error: {own}: makes pixi offline" in capsys.readouterr().err) == bool(code)
        done = pixi.run(consumer, "install", "--frozen")
        assert done.returncode == code
        assert ("offline" in done.stderr) == bool(code)
    assert _installed(consumer) == {"one", "two"}


@pytest.mark.parametrize("layout", ["flat", "by-channel"])
def test_the_lines_lead_pixi_from_a_bucket(
    layout: str, tmp_path: Path, upstream: Upstream, pixi: Pixi, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither the bucket nor the registry is there, so that all must come from the mirror."""
    channels = ("s3://bucket/team", "oci://registry.example.org/team")
    folder, consumer = _mirrored(tmp_path, layout, channels)
    _paste_and_install(consumer, _serve(upstream, folder), pixi, capsys)


@pytest.mark.parametrize("layout", ["flat", "by-channel"])
def test_a_folder_that_is_served_as_printed(
    layout: str, tmp_path: Path, pixi: Pixi, capsys: pytest.CaptureFixture[str]
) -> None:
    """The lock unchanged, all of it from a server that the printed command starts."""
    folder, consumer = _mirrored(tmp_path, layout, (CHANNEL, OTHER))
    lock = (consumer / "pixi.lock").read_bytes()
    options = ["--lock", str(consumer / "pixi.lock"), "--mirror"]
    capsys.readouterr()
    assert doctor.main([*options, str(folder)]) == 1
    _, command, _, lines, *_ = capsys.readouterr().out.split("\n\n")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    python, *arguments = shlex.split(command, posix=os.name != "nt")
    assert (python, arguments.pop()) == ("python", "8000")
    # Control: a folder is no target of [mirrors].
    pixi.configure(lines.replace("http://127.0.0.1:8000", folder.as_uri()))
    assert pixi.run(consumer, "install", "--frozen").returncode != 0
    assert _installed(consumer) == set()
    pixi.configure(lines.replace("8000", port))
    server = subprocess.Popen([sys.executable, *arguments, port], stderr=subprocess.DEVNULL)
    try:
        _wait_for(int(port))
        assert doctor.main([*options, f"http://127.0.0.1:{port}"]) == 0
        done = pixi.run(consumer, "install", "--frozen")
    finally:
        server.terminate()
        server.wait()
    assert done.returncode == 0, done.stderr
    assert _installed(consumer) == {"one", "two"}
    assert (consumer / "pixi.lock").read_bytes() == lock


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.05)
    pytest.fail("the server did not start")


@pytest.mark.parametrize("layout", ["flat", "by-channel"])
def test_the_channels_of_a_folder(
    layout: str, tmp_path: Path, pixi: Pixi, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, consumer = _mirrored(tmp_path, layout, (CHANNEL, OTHER))
    options = ["--lock", str(consumer / "pixi.lock"), "--mirror", str(folder)]
    capsys.readouterr()
    assert doctor.main(options) == 1
    *_, said, line, _ = capsys.readouterr().out.split("\n\n")
    assert "as the manifest's channels, and in place of each `channel` that a" in said
    manifest, own = consumer / "pixi.toml", tomllib.loads(line)["channels"][-1]
    lines = manifest.read_text(encoding="utf-8").splitlines(keepends=True)
    text = "".join(f"{line}\n" if each.startswith("channels = ") else each for each in lines)
    text = text.replace('two = "*"', f'two = {{ version = "*", channel = "{OTHER}" }}')
    manifest.write_text(text, encoding="utf-8")
    assert "unavailable channel" in pixi.run(consumer, "lock", "--offline").stderr  # the control
    manifest.write_text(text.replace(OTHER, own), encoding="utf-8")
    assert pixi.run(consumer, "install", "--frozen", "--offline").returncode != 0  # not locked yet
    shutil.rmtree(consumer / ".pixi", ignore_errors=True)

    (consumer / "pixi.lock").unlink()
    locked = pixi.run(consumer, "lock", "--offline")
    assert locked.returncode == 0, locked.stderr
    assert doctor.main(options) == 0
    assert "pixi: the lock names this mirror itself" in capsys.readouterr().out
    done = pixi.run(consumer, "install", "--frozen", "--offline")
    assert done.returncode == 0, done.stderr
    assert _installed(consumer) == {"one", "two"}
