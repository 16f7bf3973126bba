"""The wheel, end to end: built, installed in a clean environment, used as `pixi-mirror`."""

from __future__ import annotations

import email.parser
import os
import shutil
import subprocess
import sys
import tarfile
import textwrap
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.support.architecture import bounds
from tests.support.installed import Installed, build, install
from tests.support.locks import EnvironmentRows, LockRow, PlatformRows, write_lock
from tests.support.packages import TinyPackage
from tests.support.pixi import Pixi, find_pixi, path_without_clients
from tests.support.pixi_workspace import PixiWorkspace
from tests.support.template import ROOT, copy_template, template_files
from tests.support.upstream import Upstream

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
VERSION = PROJECT["version"]
PREFIX = "pixi_mirror/template/"
LISTED = """\
  platforms      Print the platforms that are mirrored, or edit them in pixi.toml
  lock           Renew pixi.lock and say what changed since the channel was last made
  channels       Print each environment's channels in order, and what each serves
  plan           Say what mirror would do: downloads, sizes, gaps; change nothing
  locks          Print the locks that are mirrored, and what each alone adds
  why            Tell which locks have a package, and who needs it
  upstream       Tell what became upstream of what is locked: withdrawn, re-uploaded, newer
  fetch          Download every artifact that pixi.lock names and the channel lacks
  index          Write the channel's repodata from pixi.lock, hotfixes kept
  verify         Prove that the channel is whole and installs with no network
  doctor         Tell whether somebody's pixi.lock would install from a mirror
  mirror         Fetch, index and verify: make the channel that pixi.lock names
  update-mirror  Move the mirrored packages on to newer versions, then make the channel
  diff           Say what changed between locks, snapshots and the channel
  prune          Remove the artifacts that no lock names any more
  snapshots      List what the mirror was like after each run that changed it; forget one
  rollback       Publish the index of an earlier snapshot again
  bundle         Write what brings a channel elsewhere to what is published here
  unbundle       Check a bundle, and bring a channel to what it carries
  receipt        Read every file of a channel, and write what was found
  new            Make a builder repository of your own from this template
  upgrade        Bring a builder's tasks up to another version of pixi-mirror

All take --manifest-path PATH (default: the nearest), --json, -q, -v, --help.
Without NAME it is mirror; before a first mirror it asks, unless --yes is given.
All environments of pixi.lock are mirrored, unless [tool.pixi-mirror] says less.
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this template."""
    return build("wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel in an environment of its own."""
    return install(wheel, tmp_path_factory.mktemp("installed") / "venv")


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """Somebody's folder, with packages of our names in it."""
    folder = tmp_path / "theirs"
    for name in ("tasks", "scripts"):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text("raise SystemExit('not this one')\n")
    return folder


def _contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _wheel_names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as opened:
        return set(opened.namelist())


def test_the_wheel_carries_the_template_as_it_is(wheel: Path, tmp_path: Path) -> None:
    ours = {str(file): ROOT / file for file in template_files()}
    assert {"run", "run.cmd", ".gitignore", "tasks/mirror.py", "tests/conftest.py"} <= ours.keys()
    info = f"pixi_mirror-{VERSION}.dist-info"
    about = {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE"}
    assert _wheel_names(wheel) == {
        *(f"{PREFIX}{name}" for name in ours),
        *(f"{info}/{name}" for name in about),
    }
    with zipfile.ZipFile(wheel) as opened:
        differing = [n for n, file in ours.items() if opened.read(PREFIX + n) != file.read_bytes()]
        mode = opened.getinfo(f"{PREFIX}run").external_attr >> 16
    assert differing == []
    assert os.name == "nt" or mode & 0o111

    # What is made in a copy, and what its owner adds, is not the template's.
    copy = copy_template(tmp_path / "copy")
    for name in ("local-channel/noarch/a", ".venv/a", "notes.txt", "tasks/__pycache__/a.pyc"):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_text("made")
    again = build("wheel", tmp_path / "again", copy)
    assert again.read_bytes() == wheel.read_bytes()
    # The control: a task more is the template's.
    (copy / "tasks" / "more.py").touch()
    more = build("wheel", tmp_path / "more", copy)
    assert _wheel_names(more) - _wheel_names(wheel) == {f"{PREFIX}tasks/more.py"}


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="this copy has no git to compare with")
def test_a_clone_has_what_the_wheel_has() -> None:
    """All that git keeps, or would: a file that it ignores would be missing in a clone."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    kept = {name for name in done.stdout.decode().split("\0") if (ROOT / name).is_file()}
    assert kept == {str(path) for path in template_files()}


def test_the_sdist_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    sdist = build("sdist", tmp_path / "sdist")
    with tarfile.open(sdist) as opened:
        opened.extractall(tmp_path, filter="data")
    again = build("wheel", tmp_path / "again", tmp_path / f"pixi_mirror-{VERSION}")
    assert (again.name, again.read_bytes()) == (wheel.name, wheel.read_bytes())


def test_site_packages_get_one_name_of_ours(installed: Installed) -> None:
    assert installed.added == {"pixi_mirror", f"pixi_mirror-{VERSION}.dist-info"}
    info = installed.site_packages / f"pixi_mirror-{VERSION}.dist-info"
    metadata = email.parser.Parser().parsestr((info / "METADATA").read_text(encoding="utf-8"))
    required = metadata.get_all("Requires-Dist") or []
    assert _specifiers(required) == _specifiers(PROJECT["dependencies"])


def _specifiers(requirements: list[str]) -> dict[str, set[str]]:
    return {name: set(each.split(",")) for name, each in bounds("\n".join(requirements)).items()}


def test_the_template_in_the_wheel_is_whole(installed: Installed, tmp_path: Path) -> None:
    """The rules of CONTRIBUTING.md hold in a copy of it: nothing that they read is missing."""
    copy = shutil.copytree(installed.template, tmp_path / "copy")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "tests/test_architecture.py", "-m", "not needs_pixi"],
        cwd=copy,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_the_demo_runs_in_a_folder_with_tasks_of_its_own(
    installed: Installed, theirs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", path_without_clients())
    before = _contents(installed.template)
    done = installed.run(theirs, "demo", PYTHONPATH=str(theirs))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == (
        "demo: done, the channel was made, verified and used; nothing is left of it"
    )
    assert _contents(installed.template) == before
    # The control: by the short name it is theirs that Python finds.
    command = [sys.executable, "-m", "tasks.demo"]
    by_name = subprocess.run(command, cwd=theirs, capture_output=True, text=True, check=False)
    assert (by_name.stderr, by_name.returncode) == ("not this one\n", 1)


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_the_tasks_are_listed(installed: Installed, theirs: Path, option: str) -> None:
    done = installed.run(theirs, option)
    usage = "usage: pixi-mirror [NAME] [options]    (pixi-mirror NAME --help for its options)\n\n"
    assert (done.stdout, done.stderr, done.returncode) == (usage + LISTED, "", 0)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's full device")
def test_a_list_that_cannot_be_written(installed: Installed) -> None:
    with Path("/dev/full").open("w") as full:
        command = [installed.program, "--help"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.stderr == "error: stdout: cannot be written: No space left on device\n"
    assert done.returncode == 2


@pytest.mark.skipif(os.name == "nt", reason="a shell of POSIX closes the streams")
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed(installed: Installed, closed: str) -> None:
    for argument, code, out, err in (
        ("--version", 0, f"pixi-mirror {VERSION}\n", ""),
        ("nonsense", 2, "", "error: nonsense: there is no such task\n"),
    ):
        command = ["sh", "-c", f'"$@" {closed}', "sh", str(installed.program), argument]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == code
        assert done.stdout == ("" if ">&-" in closed.split() else out)
        assert done.stderr.startswith("" if "2>&-" in closed else err)
        assert err or not done.stderr


@pytest.mark.parametrize("option", ["-V", "--version"])
def test_the_version_is_that_of_the_project(
    installed: Installed, theirs: Path, option: str
) -> None:
    done = installed.run(theirs, option)
    assert (done.stdout, done.returncode) == (f"pixi-mirror {VERSION}\n", 0)


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("update", "there is no such task", "did you mean `pixi-mirror update-mirror`?"),
        ("update_mirror", "there is no such task", "did you mean `pixi-mirror update-mirror`?"),
        ("x", "there is no such task", "`pixi-mirror --help` lists the tasks"),
        ("../tasks/demo", "there is no such task", "`pixi-mirror --help` lists the tasks"),
        ("bench", "there is no such task", "did you mean `pixi-mirror fetch`?"),
        *(
            (name, "there is no such task", "`pixi-mirror --help` lists the tasks")
            for name in ("", "test", "lint")
        ),
    ],
)
def test_what_is_no_task_is_refused(
    installed: Installed, theirs: Path, name: str, message: str, hint: str
) -> None:
    done = installed.run(theirs, name)
    expected = f"error: {name}: {message}\nhelp: {hint}\n"
    assert (done.stdout, done.stderr, done.returncode) == ("", expected, 2)


def test_a_task_s_usage_is_what_can_be_typed(installed: Installed, theirs: Path) -> None:
    done = installed.run(theirs, "update-mirror", "--help")
    assert done.stdout.startswith("usage: pixi-mirror update-mirror [-h] [--manifest-path PATH]")
    refused = installed.run(theirs, "fetch", "--nonsense")
    assert refused.stderr.splitlines()[-1] == (
        "pixi-mirror fetch: error: unrecognized arguments: --nonsense"
    )
    assert (done.returncode, refused.returncode) == (0, 2)


def test_installed_without_what_it_requires(installed: Installed, theirs: Path) -> None:
    """`pip install --no-deps`."""
    (theirs / "pixi.toml").write_text("[workspace]\nchannels = []\nplatforms = []\n")
    hidden = installed.lent.rename(installed.lent.with_suffix(".away"))
    try:
        done = installed.run(theirs, "platforms", "--add", "linux-64")
    finally:
        hidden.rename(installed.lent)
    first, *_, last = done.stderr.splitlines()
    assert first == "error: tomlkit: this Python lacks the module, which the tasks need"
    assert last == "help: install pixi-mirror anew, with all that it requires"
    assert done.returncode == 4


_TWO_ENVIRONMENTS = """\
[tool.pixi.workspace]
name = "theirs"
channels = ["{0}"]
platforms = ["linux-64"]

[tool.pixi.dependencies]
payload = "*"

[tool.pixi.feature.test.dependencies]
checker = "*"

[tool.pixi.environments]
test = {{ features = ["test"], no-default-feature = true }}
"""
_EXCLUDED = '\n[tool.pixi-mirror]\nexclude-environments = ["test"]\n'


@pytest.mark.parametrize(
    ("settings", "mirrored"),
    [("", ["checker", "payload", "python"]), (_EXCLUDED, ["payload", "python"])],
)
def test_a_workspace_without_the_template(
    installed: Installed,
    theirs: Path,
    upstream: Upstream,
    settings: str,
    mirrored: list[str],
) -> None:
    """Every environment of its lock is mirrored; less only where its own manifest says so."""
    text = _TWO_ENVIRONMENTS.format(upstream.url) + settings
    (theirs / "pyproject.toml").write_text(text, encoding="utf-8")
    environments = []
    for environment, names in (("default", ("payload", "python")), ("test", ("checker",))):
        rows = tuple(
            LockRow(written=TinyPackage(name=name).write(upstream.folder), channel=upstream.url)
            for name in names
        )
        platforms = (PlatformRows(name="linux-64", rows=rows),)
        environments.append(
            EnvironmentRows(name=environment, platforms=platforms, channels=(upstream.url,))
        )
    write_lock(theirs / "pixi.lock", environments)
    inside = theirs / "src"
    inside.mkdir()

    early = installed.run(inside, "verify", PATH="")
    assert early.stderr.splitlines()[-1] == "help: pixi-mirror mirror"
    assert early.returncode == 2
    done = installed.run(inside, "mirror", PATH="")
    assert done.returncode == 0, done.stderr
    channel = theirs / "local-channel"
    artifacts = sorted(each.name for each in channel.glob("*/*.conda"))
    assert artifacts == [f"{name}-1.0-0.conda" for name in mirrored]
    elsewhere = installed.run(theirs.parent, "verify", "--manifest-path", str(theirs), PATH="")
    assert elsewhere.returncode == 0, elsewhere.stderr


@pytest.fixture
def pixi(installed: Installed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pixi:
    """The pixi program, with ours beside it on PATH."""
    monkeypatch.setenv("PATH", f"{installed.programs}{os.pathsep}{os.environ['PATH']}")
    return find_pixi(tmp_path / "pixi home")


@pytest.mark.needs_pixi
def test_pixi_runs_it(
    pixi: Pixi, installed: Installed, theirs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = pixi.run(theirs, "mirror", "--help")
    usage = "usage: pixi mirror [NAME] [options]    (pixi mirror NAME --help for its options)\n\n"
    assert (listed.stdout, listed.stderr, listed.returncode) == (usage + LISTED, "", 0)
    assert max(map(len, listed.stdout.splitlines()[-3:])) <= 80
    for arguments in ((), ("--json",), ("--layout", "by-channel")):  # it is the task mirror
        alone = pixi.run(theirs, "mirror", *arguments)
        named = pixi.run(theirs, "mirror", "mirror", *arguments)
        assert (alone.stdout, alone.stderr) == (named.stdout, named.stderr)
        assert "there is no pixi workspace here" in alone.stdout + alone.stderr
        assert (alone.returncode, named.returncode) == (2, 2)
    assert pixi.run(theirs, "mirror", "mirror", "--help").stdout.startswith(
        "usage: pixi mirror mirror [-h]"
    )
    shown = pixi.run(theirs, "mirror", "demo")
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.splitlines()[-1] == (
        "demo: done, the channel was made, verified and used; nothing is left of it"
    )
    wrong = pixi.run(theirs, "mirror", "fetsh")
    message = "error: fetsh: there is no such task\nhelp: did you mean `pixi mirror fetch`?\n"
    assert (wrong.stderr, wrong.returncode) == (message, 2)
    # The control: an extension that is not there.
    assert pixi.run(theirs, "miror", "demo").returncode != 0

    # Where `pixi global install` puts it, to which PATH need not lead.
    monkeypatch.setenv("PATH", os.environ["PATH"].partition(os.pathsep)[2])
    assert pixi.run(theirs, "mirror", "fetsh").stderr != message
    (pixi.home / "bin").mkdir()
    shutil.copy(installed.program, pixi.home / "bin")
    assert pixi.run(theirs, "mirror", "fetsh").stderr == message


_MANIFEST = textwrap.dedent(
    """\
    [workspace]
    name = "theirs"
    channels = ["{channel}"]
    platforms = ["linux-64"]

    [dependencies]
    payload = "*"

    [feature.test.dependencies]
    checker = "*"

    [environments]
    test = ["test"]
    """
)


@pytest.mark.needs_pixi
def test_a_workspace_of_pixi_s_from_its_lock_to_an_update(
    pixi: Pixi, tmp_path: Path, upstream: Upstream
) -> None:
    """PIXI_EXE is not set for an extension: pixi is found on PATH."""
    theirs = PixiWorkspace.make(tmp_path / "workspace", upstream, _MANIFEST)
    theirs.publish(TinyPackage(name="payload"), TinyPackage(name="checker"))

    def run(*arguments: str) -> str:
        done = pixi.run(theirs.root, "mirror", *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def artifacts() -> set[str]:
        return {each.name for each in (theirs.root / "local-channel").glob("*/*.conda")}

    run("lock")
    # Nobody is there to be asked.
    alone = pixi.run(theirs.root, "mirror", "--client", "rattler")
    assert alone.stderr.endswith("\nhelp: pixi mirror --yes --client rattler\n")
    assert (alone.returncode, (theirs.root / "local-channel").exists()) == (2, False)
    assert run("--yes").splitlines()[-1] == (
        "mirror: local-channel holds what pixi.lock names, verified"
    )
    assert artifacts() == {"payload-1.0-0.conda", "checker-1.0-0.conda"}
    theirs.publish(TinyPackage(name="payload", version="2.0"))
    assert "2.0" in run("update-mirror")
    assert artifacts() == {
        "payload-1.0-0.conda",
        "payload-2.0-0.conda",
        "checker-1.0-0.conda",
    }
    run("prune", "--now")
    assert artifacts() == {"payload-2.0-0.conda", "checker-1.0-0.conda"}
    # The lock no longer fits: pixi started us, yet has not renewed it, and so it is looked at.
    manifest = theirs.root / "pixi.toml"
    text = manifest.read_text(encoding="utf-8")
    manifest.write_text(text.replace('payload = "*"', 'payload = "<2"'), encoding="utf-8")
    stale = pixi.run(theirs.root, "mirror", "mirror")
    assert stale.stderr.startswith("error: ")
    assert stale.returncode == 2
