"""`pixi-mirror.pyz`: the same bytes from the same files, and the tasks run from it."""

from __future__ import annotations

import ast
import hashlib
import io
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import time
import tomllib
import zipfile
from pathlib import Path

import pytest

from scripts.core.invocation import TEMPLATE, version
from scripts.pyz import unpacked as unpack
from scripts.template.make_pyz import archive
from tests.support.locks import EnvironmentRows, LockRow, PlatformRows, write_lock
from tests.support.mirrors import forbid
from tests.support.packages import TinyPackage
from tests.support.pixi import path_without_clients
from tests.support.template import ROOT, copy_template
from tests.support.upstream import Upstream

TASKS = tomllib.loads((ROOT / "pixi.toml").read_text(encoding="utf-8"))["feature"]["tasks"]["tasks"]


@pytest.fixture(scope="module")
def tool() -> bytes:
    return archive()


@pytest.fixture
def pyz(tool: bytes, tmp_path: Path) -> Path:
    """The file, in a folder with a blank in its name."""
    path = tmp_path / "my builder" / "pixi-mirror.pyz"
    path.parent.mkdir()
    path.write_bytes(tool)
    return path


def run(
    pyz: Path, *arguments: str, cwd: Path | None = None, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a task as pixi does."""
    return subprocess.run(
        [sys.executable, str(pyz), *arguments],
        cwd=cwd or pyz.parent,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )


def unpacked(pyz: Path) -> Path:
    """Where it unpacks itself."""
    digest = hashlib.sha256(pyz.read_bytes()).hexdigest()
    return pyz.parent / ".pixi-mirror" / "tool" / digest


def test_the_same_files_give_the_same_bytes(tool: bytes, pyz: Path, tmp_path: Path) -> None:
    """A copy made later, and what the file itself unpacked; the control: a line more."""
    copy = copy_template(tmp_path / "copy")
    for path in copy.rglob("*.py"):
        os.utime(path, (1, 1))
    assert archive(copy) == tool
    assert run(pyz, "platforms", "--help").returncode == 0
    assert archive(unpacked(pyz)) == tool
    with (copy / "scripts" / "launch.py").open("a") as file:
        file.write("# more\n")
    assert archive(copy) != tool
    made = tmp_path / "made.pyz"
    command = [sys.executable, "-m", "scripts.template.make_pyz", str(made)]
    subprocess.run(command, cwd=ROOT, check=True)
    assert made.read_bytes() == tool


def test_it_holds_the_tasks_of_a_builder_and_what_they_need(tool: bytes) -> None:
    with zipfile.ZipFile(io.BytesIO(tool)) as zipped:
        names = zipped.namelist()
        assert {info.compress_type for info in zipped.infolist()} == {zipfile.ZIP_STORED}
        assert {info.create_system for info in zipped.infolist()} == {3}  # whose modes count
        assert zipped.getinfo("builder/run").external_attr >> 16 == 0o755
    tasks = {Path(name).stem for name in names if name.startswith("tasks/")}
    assert tasks == {"__init__", *(name.replace("-", "_") for name in TASKS)}
    assert {"__main__.py", "requirements.txt", "LICENSE", "builder/README.md"} <= set(names)
    assert not [name for name in names if name.startswith(("tests/", "bench/", ".", "pixi.lock"))]


@pytest.mark.parametrize(
    ("name", "launcher"), [("run", "scripts/launch.py"), ("run.cmd", "scripts\\launch.py")]
)
def test_run_of_a_builder_starts_the_file_and_is_else_the_templates(
    name: str, launcher: str
) -> None:
    ours, theirs = ((ROOT / folder / name).read_text() for folder in (".", "builder"))
    assert ours.replace(launcher, "pixi-mirror.pyz") == theirs
    assert launcher in ours


def test_every_task_runs_from_the_file(pyz: Path, upstream: Upstream, tmp_path: Path) -> None:
    """Those that need the pixi program say so here; tests with the real one run them all."""
    root, path = pyz.parent, path_without_clients()
    (root / "pixi.toml").write_text(
        f'[workspace]\nname = "a"\nchannels = ["{upstream.url}"]\nplatforms = ["linux-64"]\n'
        '[dependencies]\npayload = "*"\n'
    )
    row = LockRow(written=TinyPackage(name="payload").write(upstream.folder), channel=upstream.url)
    rows = (PlatformRows(name="linux-64", rows=(row,)),)
    environment = EnvironmentRows(name="default", platforms=rows, channels=(upstream.url,))
    write_lock(root / "pixi.lock", [environment])
    ran = {}
    for name, options in (
        *(("platforms", ()), ("channels", ()), ("fetch", ()), ("index", ()), ("verify", ())),
        *(("mirror", ()), ("prune", ("--dry-run",)), ("doctor", ("--lock", "pixi.lock"))),
        *(("demo", ()), ("new", ("../other",)), ("lock", ()), ("update-mirror", ())),
        *(("plan", ()), ("locks", ()), ("why", ("payload",)), ("diff", ()), ("upgrade", ())),
        ("upstream", ()),
        *(("snapshots", ()), ("rollback", ("2",))),
        ("bundle", ("../bundled", "--full")),
        *(("unbundle", ("../bundled", "../far/channel")), ("receipt", ("../far/channel",))),
    ):
        ran[name] = run(pyz, name, *options, PATH=path)
    assert set(ran) == set(TASKS)
    ends = {name: done.returncode for name, done in ran.items() if done.returncode}
    # From a folder pixi installs what it locked there: doctor says no.
    assert ends == {"doctor": 1, "upstream": 2, "lock": 4, "update-mirror": 4, "upgrade": 2}
    assert (root / "local-channel" / "noarch" / "payload-1.0-0.conda").is_file()
    assert ran["demo"].stdout.endswith("; nothing is left of it\n")
    assert (tmp_path / "other" / "pixi-mirror.pyz").read_bytes() == pyz.read_bytes()
    assert "its own tasks run" in ran["upgrade"].stderr
    assert ran["fetch"].stderr.count("warning") == 0


def test_alone_it_lists_its_tasks(pyz: Path) -> None:
    done = run(pyz)
    assert done.stdout.startswith("usage: pixi run NAME [options]")
    assert re.findall(r"\n  ([a-z-]+) ", done.stdout) == [name for name in TASKS if name != "demo"]
    assert run(pyz, "--version").stdout == f"pixi-mirror {version()}\n"
    for name, hint in (
        ("fetsh", "did you mean `pixi run fetch`?"),
        ("x", "`pixi task list` lists the tasks"),
    ):
        wrong = run(pyz, name)
        message = f"error: {name}: there is no such task\nhelp: {hint}\n"
        assert (wrong.stderr, wrong.returncode) == (message, 2)


def test_two_processes_at_once(pyz: Path) -> None:
    command = [sys.executable, str(pyz), "--version"]
    started = [subprocess.Popen(command, stdout=-1, stderr=-1, text=True) for _ in range(6)]
    for process in started:
        out, err = process.communicate(timeout=60)
        assert (out, err, process.returncode) == (f"pixi-mirror {version()}\n", "", 0)
    assert list(unpacked(pyz).parent.iterdir()) == [unpacked(pyz)]


@pytest.mark.parametrize("what", ["changed", "removed", "added"])
def test_an_unpacked_file_that_was_tampered_with_is_noticed(pyz: Path, what: str) -> None:
    run(pyz, "--version")
    file = unpacked(pyz) / "scripts" / ("yaml.py" if what == "added" else "extension.py")
    before = file.read_bytes() if file.exists() else None
    if what == "removed":
        file.unlink()
    else:
        file.write_bytes(b"raise SystemExit('tampered with')\n")
    done = run(pyz, "--version")
    name = file.relative_to(unpacked(pyz)).as_posix()
    assert done.stderr == (f"warning: {unpacked(pyz)}: unpacked anew, since {name} was changed\n")
    assert (done.stdout, done.returncode) == (f"pixi-mirror {version()}\n", 0)
    assert (file.read_bytes() if file.exists() else None) == before
    assert run(pyz, "--version").stderr == ""


def test_a_file_that_was_edited_is_not_run(pyz: Path) -> None:
    """As `zip -u` does it: what the file lists is the tool."""
    with zipfile.ZipFile(pyz) as whole:
        inside = {name: whole.read(name) for name in whole.namelist()}
    inside["scripts/extension.py"] = b"raise SystemExit('tampered with')\n"
    with zipfile.ZipFile(pyz, "w") as edited:
        for name, data in inside.items():
            edited.writestr(name, data)
    done = run(pyz, "--version")
    message = f"error: {pyz}: cannot be unpacked: its files are not those that it lists\n"
    assert (done.stdout, done.stderr, done.returncode) == ("", message, 2)


@pytest.mark.skipif(os.name == "nt", reason="a link needs a privilege there")
def test_a_folder_that_was_linked_into_it_is_noticed(pyz: Path, tmp_path: Path) -> None:
    """It would be taken for a module of Python's own."""
    run(pyz, "--version")
    (tmp_path / "json").mkdir()
    (tmp_path / "json" / "__init__.py").write_text("raise SystemExit('tampered with')\n")
    (unpacked(pyz) / "json").symlink_to(tmp_path / "json")
    done = run(pyz, "--version")
    assert done.stderr == f"warning: {unpacked(pyz)}: unpacked anew, since json was changed\n"
    assert (done.stdout, done.returncode) == (f"pixi-mirror {version()}\n", 0)
    assert not (unpacked(pyz) / "json").exists()
    assert (tmp_path / "json" / "__init__.py").is_file()
    # The control: what Python itself has made there since is no change.
    (unpacked(pyz) / "scripts" / "__pycache__").mkdir(exist_ok=True)
    assert run(pyz, "--version").stderr == ""


def test_a_virus_scanner_that_looks_into_it_is_waited_for(
    pyz: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in, since no other system refuses to rename a folder for an open file in it."""
    real, left = os.rename, [3]

    def rename(source: str, target: str) -> None:
        if left[0]:
            left[0] -= 1
            error = PermissionError(13, "Access is denied", source)
            error.winerror = 5  # type: ignore[attr-defined,unused-ignore]
            raise error
        real(source, target)

    monkeypatch.setattr(os, "rename", rename)
    assert unpack(str(pyz)) == str(unpacked(pyz))
    assert left == [0]
    assert list(unpacked(pyz).parent.iterdir()) == [unpacked(pyz)]


def test_an_earlier_version_goes_a_week_after_its_last_start(pyz: Path, tool: bytes) -> None:
    """The start counts, not the unpacking: a run that began before an upgrade goes on."""
    unused, used = unpacked(pyz).parent / ("0" * 64), unpacked(pyz)
    unused.mkdir(parents=True)
    assert run(pyz, "--version").returncode == 0
    long_ago = time.time() - 8 * 86400
    for folder in (unused, used):
        os.utime(folder, (long_ago, long_ago))
    assert run(pyz, "--version").returncode == 0
    pyz.write_bytes(tool + b"\0")  # which a zip may have behind it
    assert run(pyz, "--version").returncode == 0
    assert {*unpacked(pyz).parent.iterdir()} == {used, unpacked(pyz)}


def test_what_it_has_not_unpacked_stays(pyz: Path) -> None:
    """A channel folder of that name (`unbundle OUT tool`) has its state there."""
    place = unpacked(pyz).parent
    state, part, changed = place / "state", place / "0123abcd", place / "0123abcd.changed"
    for folder in (state, part, changed):
        (folder / "snapshots").mkdir(parents=True)
        os.utime(folder, (1, 1))
    assert run(pyz, "--version").returncode == 0
    assert {*place.iterdir()} == {state, unpacked(pyz)}  # the control: what was left half made goes
    assert (state / "snapshots").is_dir()


@pytest.mark.skipif(os.name == "nt", reason="folders are not read-only there")
def test_where_nobody_may_write_it_unpacks_elsewhere(pyz: Path, tmp_path: Path) -> None:
    """A file in the way stands for a folder that is read-only, which root could write to."""
    (pyz.parent / ".pixi-mirror").write_bytes(b"")
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    for _ in range(2):
        done = run(pyz, "--version", TMPDIR=str(temporary))
        assert (done.stdout, done.stderr) == (f"pixi-mirror {version()}\n", "")
    (place,) = temporary.iterdir()
    assert place.name == f"pixi-mirror-{os.getuid()}"
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    # The control: one that others may write to is not trusted.
    place.chmod(0o777)
    done = run(pyz, "--version", TMPDIR=str(temporary))
    assert done.stderr == (f"error: {pyz}: cannot be unpacked: {place}: is not this user's alone\n")
    assert done.returncode == 2


def test_a_folder_of_the_callers_is_not_taken_for_ours(pyz: Path, tmp_path: Path) -> None:
    for name in ("tasks", "scripts"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('not this one')\n")
    done = run(pyz, "--version", cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert (done.stdout, done.stderr) == (f"pixi-mirror {version()}\n", "")


def test_the_name_of_its_folder_is_no_channels(pyz: Path) -> None:
    (pyz.parent / "pixi.toml").write_text(
        '[workspace]\nname = "a"\nchannels = []\nplatforms = ["linux-64"]\n'
        '[tool.pixi-mirror]\nchannel-dir = "Tool"\n'
    )
    done = run(pyz, "channels")
    assert done.stderr == (
        "error: tool.pixi-mirror.channel-dir: 'Tool' is a name that .pixi-mirror has for something"
        ' else\nhelp: channel-dir = "local-channel"\n'
    )
    assert done.returncode == 2


def test_a_python_too_old_can_read_it() -> None:
    source = (ROOT / "scripts" / "pyz.py").read_text(encoding="utf-8")
    ast.parse(source, feature_version=(3, 6))
    assert "from __future__ import annotations" not in source  # which 3.6 refuses


OLD_STREAM = """
import io, runpy, sys

class Old(io.TextIOWrapper):
    reconfigure = property(lambda self: self.which_it_has_not)

sys.stderr = Old(sys.stderr.buffer)
if sys.argv[2] == "old":
    sys.version_info = (3, 6, 15)
sys.argv[1:] = [sys.argv[1], "--version"]
runpy.run_path(sys.argv.pop(1), run_name="__main__")
"""


@pytest.mark.parametrize("python", ["old", "new"])
def test_a_python_too_old_is_told_so(pyz: Path, python: str) -> None:
    """A stand-in for 3.6, which is hard to come by: its version, and its streams."""
    command = [sys.executable, "-c", OLD_STREAM, str(pyz), python]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if python == "new":  # the control
        assert (done.stdout, done.stderr) == (f"pixi-mirror {version()}\n", "")
        return
    assert (done.stdout, done.returncode) == ("", 4)
    assert done.stderr == (
        f"error: pixi-mirror needs Python 3.11 or newer; this is 3.6.15 ({sys.executable})\n"
        "help: install a newer Python beside it, or use pixi: pixi run mirror\n"
    )


@pytest.mark.skipif(os.name == "nt", reason="./run is for POSIX; Windows has run.cmd")
def test_run_starts_it_and_makes_the_environment_beside_it(tmp_path: Path) -> None:
    """From requirements that need no network: the file of a copy with others."""
    copy = copy_template(tmp_path / "copy")
    (copy / "requirements.txt").write_text("--no-index\n")
    builder = tmp_path / "my builder"
    builder.mkdir()
    (builder / "pixi-mirror.pyz").write_bytes(archive(copy))
    shutil.copy2(ROOT / "builder" / "run", builder)
    alone = subprocess.run(["./run"], cwd=builder, capture_output=True, text=True, check=False)
    assert alone.stdout.startswith("usage: ./run NAME [options]")
    assert alone.stdout.endswith(f"once, in {builder}/.venv.\n")
    assert "CONTRIBUTING" not in alone.stdout  # which a builder has not
    command = [str(builder / "run"), "platforms", "--add", "linux-64"]
    for expected in (1, 0):
        (tmp_path / "pixi.toml").write_text("[workspace]\nchannels = []\nplatforms = []\n")
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.stderr.count("making .venv/tools with Python") == expected
        # Entered: of what is not required there is none.
        assert "error: tomlkit: this Python lacks the module" in done.stderr
        assert done.returncode == 4
    assert (builder / ".venv" / "tools" / "made-from.txt").is_file()


def test_a_folder_that_is_no_template_is_refused(tmp_path: Path) -> None:
    assert archive(TEMPLATE)
    (tmp_path / "pixi.toml").write_text("[workspace]\n")
    command = [sys.executable, "-m", "scripts.template.make_pyz", str(tmp_path / "x")]
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1].endswith(
        f"{tmp_path}: not a template of pixi-mirror: "
        "its pixi.toml has no features `tools` and `tasks`"
    )


def test_what_another_user_alone_may_look_into_was_not_changed(
    pyz: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As root leaves it with `umask 077`; a stand-in, since root may look into all."""
    place = tmp_path / "tmp"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    folder = Path(unpack(str(pyz)))
    there = {path: path.stat().st_ino for path in folder.parent.rglob("*")}
    with monkeypatch.context() as patched:
        forbid(patched, folder, os.scandir, os.listdir)
        assert Path(unpack(str(pyz))).is_relative_to(place)
    assert capsys.readouterr().err == ""
    assert {path: path.stat().st_ino for path in folder.parent.rglob("*")} == there
    assert unpack(str(pyz)) == str(folder)  # the control


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such limits there")
@pytest.mark.parametrize("blocks", [0, 1, 100_000])
def test_what_keeps_it_from_unpacking_is_told(pyz: Path, tmp_path: Path, blocks: int) -> None:
    """A limit of files stands for a disk that is full, or none that may be written to."""
    limit = f'ulimit -f {blocks}; exec "$@"'
    done = subprocess.run(
        ["sh", "-c", limit, "sh", sys.executable, str(pyz), "--version"],
        env=os.environ | {"TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    if blocks == 100_000:  # the control
        assert (done.stdout, done.stderr) == (f"pixi-mirror {version()}\n", "")
        return
    reason = "No usable temporary directory found in \\['/"
    if blocks:
        reason = f"{tmp_path}/pixi-mirror-{os.getuid()}/[0-9a-f]{{64}}: File too large\n$"
    assert re.match(f"error: {pyz}: cannot be unpacked: {reason}", done.stderr)
    assert done.returncode == 2


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such limits there")
def test_what_keeps_it_from_unpacking_anew_is_told(pyz: Path, tmp_path: Path) -> None:
    """Once it was unpacked, and changed in both places."""
    run(pyz, "--version")
    (unpacked(pyz) / "more").touch()
    place = tmp_path / f"pixi-mirror-{os.getuid()}"
    place.mkdir(mode=0o700)
    there = shutil.copytree(unpacked(pyz), place / unpacked(pyz).name)
    done = subprocess.run(
        ["sh", "-c", 'ulimit -f 1; exec "$@"', "sh", sys.executable, str(pyz), "--version"],
        env=os.environ | {"TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    *anew, error = done.stderr.splitlines()
    assert anew == [
        f"warning: {each}: unpacked anew, since more was changed" for each in (unpacked(pyz), there)
    ]
    assert error == f"error: {pyz}: cannot be unpacked: {there}: File too large"
    assert done.returncode == 2
