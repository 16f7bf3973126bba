"""Trouble of this machine is no finding against the channel; controls: the channel is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scripts.core.child_process import run_program
from scripts.core.report import human_size
from scripts.verify.install.sandbox import Sandbox
from tests.support.conda_standin import standin
from tests.support.locks import EnvironmentRows, LockRow, PlatformRows
from tests.support.mirrors import CHANNEL
from tests.support.packages import TinyPackage
from tests.support.pixi import path_without_clients
from tests.support.template import ROOT
from tests.support.terminal import unbroken
from tests.support.verified import World, elsewhere, here

INSTALL = ("--level", "install", "-e", "small")
LIB = "noarch/lib-1.0-0.tar.bz2"

posix_scripts = pytest.mark.skipif(os.name == "nt", reason="programs here are shell scripts")


# What a program does that is asked for its version, and what is said of it.
def _program(folder: Path, name: str, text: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a shell script on PATH, and no client beside it."""
    program = folder / "bin" / name
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{text}", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{path_without_clients()}")
    return program


BROKEN = {
    "exits": ("echo 'no module named conda' >&2\nexit 1\n", "ended with exit code 1"),
    "crashes": ("kill -SEGV $$\n", "was ended by SIGSEGV"),
    "hangs": ("sleep 60\n", "did not end within 0.5 s"),
}


@posix_scripts
@pytest.mark.parametrize(
    "case", ["conda exits", "conda crashes", "conda hangs", "micromamba exits", "pixi hangs"]
)
def test_a_client_that_does_not_start(
    case: str,
    world: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The others' proofs go on."""
    name, _, how = case.partition(" ")
    text, said = BROKEN[how]
    program = _program(tmp_path, name, text, monkeypatch)
    monkeypatch.setattr("scripts.core.child_process._VERSION_TIMEOUT", 0.5)
    message = f"this program does not start: `{name} --version` {said}"
    words = "  said     no module named conda\n" if how == "exits" else ""
    report = tmp_path / "report.md"
    assert world.loud(*INSTALL, "--report", str(report)) == 4
    out, err = capsys.readouterr()
    assert out.splitlines()[0] == f"small  {here()}  install ✓ (py-rattler)"
    assert f"\nnot installed by {name}: small/{here()}; {name}: {message}\n" in out
    assert err == (
        f"verify: installing small/{here()} with py-rattler\n"
        f"error: {name}: {message}\n  program  {program}\n{words}"
        "help: install it anew, or leave it out: pixi run verify --client rattler\n"
    )
    told = report.read_text(encoding="utf-8")
    assert "\nNothing was found wrong, but not all could be looked at" in told.replace("– ", "")  # noqa: RUF001
    assert "## Findings\n\nNone.\n" in told
    assert f"\n{name}: {message}\n" in told


@posix_scripts
def test_all_that_is_asked_for_does_not_start(
    world: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    program = tmp_path / "bin" / "conda"
    program.parent.mkdir()
    program.write_text("#!/nowhere\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    assert world.loud(*INSTALL, "--client", "conda", "--json") == 4
    result = json.loads(capsys.readouterr().out)
    (row,) = result["environments"]
    assert [each["installed"] for each in row["install"]] == [None]
    assert row["complete"] is True
    assert [each["code"] for each in result["problems"]] == [4]

    # Also where nothing is to be installed here.
    assert world.verify("--level", "install", "-p", elsewhere(), "--client", "conda") == 4
    capsys.readouterr()

    # The channel's own faults are told beside it.
    (world.folder / LIB).unlink()
    assert world.verify(*INSTALL, "--client", "conda,rattler") == 4
    err = capsys.readouterr().err
    assert f"error: small/{here()}: py-rattler cannot install it from the channel alone\n" in err
    assert "error: conda: this program does not start: `conda --version` ended with exit" in err


@posix_scripts
@pytest.mark.parametrize("name", ["conda", "micromamba"])
def test_a_client_that_is_killed(
    name: str,
    world: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As by a system that is out of memory."""
    standin(tmp_path / "bin", name, monkeypatch, "killed")
    assert world.loud(*INSTALL, "--client", f"{name},rattler") == 4
    out, err = capsys.readouterr()
    assert out.splitlines()[0] == f"small  {here()}  install ✓ (py-rattler)"
    message = f"was ended by SIGKILL while it installed small/{here()}"
    assert f"not installed by {name}: small/{here()}; {name}: {message}\n" in out
    assert err.endswith(
        f"error: {name}: {message}\n"
        "help: see to this program, then pixi run verify --level install\n"
    )


@posix_scripts
def test_pixi_is_killed_behind_its_server(
    world: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The program that serves the channel to it ends as it ends."""
    text = '[ "$1" = --version ] && echo pixi 0.77.0 && exit 0\nkill -KILL $$\n'
    _program(tmp_path, "pixi", text, monkeypatch)
    assert world.verify(*INSTALL, "--client", "pixi") == 4
    assert capsys.readouterr().err == (
        f"error: pixi: was ended by SIGKILL while it installed small/{here()}\n"
        "help: see to this program, then pixi run verify --level install\n"
    )


@posix_scripts
def test_a_client_that_hangs_while_it_installs(
    world: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = '[ "$1" = --version ] && echo conda 26.7.0 && exit 0\nexec sleep 60\n'
    _program(tmp_path, "conda", text, monkeypatch)
    monkeypatch.setattr("scripts.verify.install.sandbox.TIMEOUT", 1.0)
    assert world.verify(*INSTALL, "--client", "conda") == 4
    assert capsys.readouterr().err == (
        f"error: conda: was ended by SIGKILL while it installed small/{here()}\n"
        "  said  was ended, since it had not finished after 0 minutes\n"
        "help: see to this program, then pixi run verify --level install\n"
    )


@posix_scripts
@pytest.mark.parametrize(
    "said",
    [
        "Too many open files (os error 24)",
        "HTTP status server error (500 cannot be read: Too many open files) for url (http://x)",
        "OSError: [Errno 5] Input/output error: 'lib-1.0-0.tar.bz2'",
        "there is no such package",  # the control
    ],
)
def test_a_client_that_tells_of_this_machine(
    said: str,
    world: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = f'[ "$1" = --version ] && echo conda 26.7.0 && exit 0\necho "{said}" >&2; exit 1\n'
    _program(tmp_path, "conda", text, monkeypatch)
    is_refusal = "no such package" in said
    assert world.verify(*INSTALL, "--client", "conda,rattler") == (1 if is_refusal else 2)
    message = (
        "conda cannot install it from the channel alone"
        if is_refusal
        else "trouble of this machine kept conda from installing it"
    )
    what = "pixi run verify --level files,index"
    assert capsys.readouterr().err == (
        f"error: small/{here()}: {message}\n  said  {said}\n"
        f"help: {what if is_refusal else 'see to it, then pixi run verify --level install'}\n"
    )


@posix_scripts
def test_too_few_files_may_be_open(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever of them is the one too many, of py-rattler or of the server beside it."""
    limit = ("sh", "-c", 'ulimit -n 14; exec "$@"', "sh")
    monkeypatch.setattr(
        "scripts.verify.install.clients.sandbox", lambda: Sandbox(command=limit, description="")
    )
    assert world.verify(*INSTALL, "--client", "rattler") in {2, 4}


@pytest.mark.parametrize("level", ["closure", "solve", "install"])
def test_a_rattler_that_dies(
    level: str, world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A stand-in for the child: nobody can tell the real one when to die."""
    child = "scripts.core.rattler_child.run_program"

    def dying(command: list[str], *more: Any, **options: Any) -> subprocess.CompletedProcess[bytes]:
        functions = {"closure": "prove_closed", "solve": "solve", "install": "install"}
        if command[-1] == functions[level]:
            return subprocess.CompletedProcess(command, -9, b"", b"")
        return run_program(command, *more, **options)

    monkeypatch.setattr(child, dying)
    assert world.loud("--client", "rattler", "-e", "small") == 4
    out, err = capsys.readouterr()
    marks = "".join(
        f"  {each} {'–' if each == level else '✓'}"  # noqa: RUF001
        for each in ("files", "archives", "index", "closure", "solve")
    )
    installed = "–" if level == "install" else "✓ (py-rattler)"  # noqa: RUF001
    assert unbroken(out).splitlines()[0] == f"small  {here()}{marks}  install {installed}"
    assert "ended with status -9 and no result" in err
    assert "cannot" not in err


@pytest.mark.needs_mount
@pytest.mark.parametrize(
    "client",
    [
        "rattler",
        pytest.param("pixi", marks=pytest.mark.needs_pixi),
        pytest.param("pixi-offline", marks=pytest.mark.needs_pixi),
        pytest.param("conda", marks=pytest.mark.needs_conda),
    ],
)
def test_a_temporary_disk_that_is_full(client: str, world: World, tmp_path: Path) -> None:
    """Nothing is found wrong with the channel, and how much there was is said."""
    large = TinyPackage(name="large", subdir=here(), files=(("share/a", bytes(3_000_000)),))
    row = LockRow(written=large.write(world.folder), channel=CHANNEL)
    world.lock(EnvironmentRows(name="small", platforms=(PlatformRows(name=here(), rows=(row,)),)))
    world.mirror.index()
    needed = f"more than the {human_size(row.written.size)} of its artifacts"
    done = _on_disk(tmp_path / "disk", "1m", world, "--client", client)
    assert done.returncode == 2, done.stderr
    assert done.stderr == (
        f"error: {tmp_path / 'disk'}: this disk has no room to install small/{here()}\n"
        f"  needed  {needed}\n  free    1.0 MB\n"
        "help: TMPDIR=/a/folder/with/room pixi run verify\n"
    )
    assert _on_disk(tmp_path / "disk", "64m", world, "--client", client).returncode == 0


@pytest.mark.needs_mount
def test_a_temporary_disk_with_no_room_at_all(world: World, tmp_path: Path) -> None:
    """Hardly for a folder; the levels that need none are told all the same."""
    levels = "files,index,closure,solve,install"
    done = _on_disk(tmp_path / "disk", "8k", world, "--json", "--client", "rattler", level=levels)
    assert done.returncode == 2, done.stderr
    result = json.loads(done.stdout)
    (row,) = result["environments"]
    assert [row[level] for level in ("files", "index", "closure", "solve")] == [True] * 4
    (attempt,) = row["install"]
    where = f"{tmp_path / 'disk'}: this disk has no room to install small/{here()}"
    assert (attempt["installed"], attempt["skip-reason"]) == (None, where)
    assert [each["code"] for each in result["problems"]] == [2]


@pytest.mark.needs_mount
@pytest.mark.parametrize("size", ["64m,noexec", "64m"])
@pytest.mark.parametrize("starts", ["$TMPDIR/python", "/nowhere", "/dev/null"])
def test_a_temporary_disk_from_which_no_program_starts(
    starts: str,
    size: str,
    world: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As hardened machines have it. The controls: without it, and a program of another place."""
    text = '[ "$1" = --version ] && echo conda 26.7.0 && exit 0\n'
    text += 'echo "exit 1" > "$TMPDIR/python"; chmod +x "$TMPDIR/python"\n'
    _program(tmp_path, "conda", f'{text}"{starts}"; exit 1\n', monkeypatch)
    disk = tmp_path / "disk"
    done = _on_disk(disk, size, world, "--client", "conda")
    head, *_, help_ = done.stderr.splitlines()
    if size == "64m,noexec" and starts != "/nowhere":
        assert done.returncode == 2
        message = "trouble of this machine kept conda from installing it"
        assert help_ == "help: TMPDIR=/a/folder/without/noexec pixi run verify --level install"
        file = starts.replace("$TMPDIR", str(disk))
        assert f"{file}: Permission denied\n" in done.stderr
    else:
        assert done.returncode == 1
        message = "conda cannot install it from the channel alone"
        assert help_ == "help: pixi run verify --level files,index"
    assert head == f"error: small/{here()}: {message}"


def _on_disk(
    disk: Path, size: str, world: World, *options: str, level: str = "install"
) -> subprocess.CompletedProcess[str]:
    """Run verify with TMPDIR on a disk of its own; it is gone with the namespace."""
    disk.mkdir(exist_ok=True)
    script = f'mount -t tmpfs -o size={size} none "$0" && exec "$@"'
    task = [sys.executable, "-P", "-m", "tasks.verify", "--manifest-path", str(world.mirror.root)]
    task += ["-q", "--level", level, "-e", "small", *options]
    wrapper = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, str(disk)]
    return subprocess.run(
        [*wrapper, *task],
        env=dict(os.environ) | {"TMPDIR": str(disk), "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
