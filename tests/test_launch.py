"""`./run` on a template of two files: real virtual environments, made from a wheel on disk."""

from __future__ import annotations

import ast
import errno
import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from scripts import environment, launch
from scripts.core.command import task_parser
from scripts.core.errors import ExitCode, MirrorError, exit_code_of
from tests.support.template import ROOT
from tests.support.upstream import Upstream

pytestmark = pytest.mark.skipif(os.name == "nt", reason="./run is for POSIX; Windows has run.cmd")

_TASK = '''
"""Says where it is and with what, and ends as it is told."""
import json, os, sys, time
import tiny
if "--wait" in sys.argv:
    print("waiting", flush=True)
    time.sleep(60)
print(json.dumps([tiny.VERSION, os.getcwd(), sys.argv[1:]]))
if "--called" in sys.argv:
    print(os.environ["PIXI_MIRROR_RUN"])
sys.exit(7)
'''
_TINY = {
    "tiny.py": "VERSION = '{0}'\n",
    "tiny-{0}.dist-info/METADATA": "Metadata-Version: 2.1\nName: tiny\nVersion: {0}\n",
    "tiny-{0}.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "tiny-{0}.dist-info/RECORD": "",
}


def _write_wheel(folder: Path, version: str) -> None:
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / f"tiny-{version}-py3-none-any.whl", "w") as wheel:
        for name, text in _TINY.items():
            wheel.writestr(name.format(version), text.format(version))


def _write_requirements(template: Path, *lines: str) -> None:
    wheels = f"--no-index\n--find-links {template / 'wheels'}\n"
    (template / "requirements.txt").write_text(wheels + "\n".join(lines) + "\n", encoding="utf-8")


def _copy_launcher(template: Path) -> Path:
    (template / "scripts").mkdir()
    shutil.copy2(ROOT / "run", template)
    for name in ("__init__", "launch", "environment"):
        shutil.copy2(ROOT / "scripts" / f"{name}.py", template / "scripts")
    shutil.copytree(ROOT / "scripts" / "core", template / "scripts" / "core")
    shutil.copy2(ROOT / "pixi.toml", template)
    (template / "tasks").mkdir()
    (template / "tasks" / "__init__.py").touch()
    (template / "tasks" / "update_mirror.py").write_text(_TASK, encoding="utf-8")
    (template / "tasks" / "extra.py").touch()
    for version in ("1.0", "2.0"):
        _write_wheel(template / "wheels", version)
    _write_requirements(template, "tiny<2")
    return template


def _run(template: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    cwd = more.pop("cwd", str(template))
    return subprocess.run(
        [str(template / "run"), *arguments],
        cwd=cwd,
        env=os.environ | more,
        capture_output=True,
        text=True,
        check=False,
    )


def _is_ready(template: Path) -> bool:
    code = "from scripts.environment import TOOLS; print(TOOLS.is_ready())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=template, capture_output=True, text=True, check=True
    )
    return done.stdout == "True\n"


_VERSION = ".".join(map(str, sys.version_info[:3]))


def _path_with_this_python(template: Path) -> str:
    """A PATH on which the Python of this very test is first, whatever others the machine has."""
    python = template / "bin"
    python.mkdir()
    (python / "python3.14").symlink_to(sys.executable)
    return f"{python}{os.pathsep}{os.environ['PATH']}"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A template whose environment `tools` was made by its first run."""
    template = _copy_launcher(tmp_path_factory.mktemp("template"))
    done = _run(template, "update-mirror", PATH=_path_with_this_python(template))
    making = f"making .venv/tools with Python {_VERSION} from requirements.txt (once)\n"
    assert (done.stderr, done.returncode) == (making, 7)
    return template


def test_an_environment_is_made_where_the_current_folder_is_gone(tmp_path: Path) -> None:
    """Pip alone cannot start there. It takes the seconds that making one takes."""
    template = _copy_launcher(tmp_path)
    (tmp_path / "gone").mkdir()
    command = 'cd gone && rmdir ../gone && exec "$0" extra'
    path = _path_with_this_python(template)
    done = subprocess.run(
        ["sh", "-c", command, template / "run"],
        cwd=tmp_path,
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    making = f"making .venv/tools with Python {_VERSION} from requirements.txt (once)\n"
    assert done.stderr.endswith(making)  # a shell may complain of the folder before
    assert done.returncode == 0
    assert _is_ready(template)


def test_a_made_environment_is_used_and_says_nothing(template: Path) -> None:
    done = _run(template, "update-mirror", "--dry-run", "a b")
    expected = f'["1.0", "{template}", ["--dry-run", "a b"]]\n'
    assert (done.stdout, done.stderr, done.returncode) == (expected, "", 7)


def test_pixi_is_never_called(template: Path, tmp_path: Path) -> None:
    """It serves where pixi is, but what `pixi run` needs is not."""
    pixi = tmp_path / "pixi"
    pixi.write_text(f"#!/bin/sh\ntouch {tmp_path}/called\n", encoding="utf-8")
    pixi.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    done = _run(template, "update-mirror", PATH=path)
    assert (done.returncode, (tmp_path / "called").exists()) == (7, False)
    subprocess.run(["pixi"], env={"PATH": path}, check=True)  # the control
    assert (tmp_path / "called").exists()


def test_the_task_learns_how_it_was_called(template: Path) -> None:
    done = _run(template, "update-mirror", "--called", PIXI_MIRROR_RUN="inherited")
    assert done.stdout.splitlines()[1:] == ["./run"]


def test_the_caller_is_left_where_it_stands(template: Path, tmp_path: Path) -> None:
    """Nor is a folder of the caller's taken for ours, nor its PYTHONPATH for the task's."""
    for name in ("tasks", "scripts"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('not this one')\n")
    (tmp_path / "tiny.py").write_text("raise SystemExit('nor this one')\n")
    done = _run(template, "update-mirror", cwd=str(tmp_path), PYTHONPATH=str(tmp_path))
    assert (done.stdout, done.stderr) == (f'["1.0", "{tmp_path}", []]\n', "")


def test_a_signal_reaches_the_task(template: Path) -> None:
    with subprocess.Popen(
        [template / "run", "update-mirror", "--wait"], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"waiting\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == -signal.SIGTERM


def test_run_alone_lists_the_users_tasks_as_pixi_toml_describes_them(template: Path) -> None:
    """What is for who tries this out, or changes it, is a line below."""
    features = tomllib.loads((ROOT / "pixi.toml").read_text(encoding="utf-8"))["feature"]
    tasks = {name: task for name, task in features["tasks"]["tasks"].items() if name != "demo"}
    done = _run(template)
    assert done.stdout.splitlines() == [
        "usage: ./run NAME [options]    (./run NAME --help for its options)",
        "",
        *(f"  {name:13}  {task['description']}" for name, task in tasks.items()),
        "",
        launch.COMMON_OPTIONS,
        "`./run demo` shows the main job; CONTRIBUTING.md has developers' tasks.",
        f"It makes a virtual environment from PyPI, once, in {template}/.venv.",
    ]
    assert (_run(template, "--help").stdout, done.returncode) == (done.stdout, 0)


def test_the_options_that_are_listed_are_those_of_every_task() -> None:
    usage = re.findall(r"--?[a-z-]+", task_parser("any", "any").format_usage())
    listed = re.findall(r"--?[a-z-]+", launch.COMMON_OPTIONS)
    assert ["-h" if each == "--help" else each for each in listed] == [*usage[1:], usage[0]]


def test_tasks_run_where_pixi_toml_cannot_be_read(template: Path) -> None:
    """They say themselves what is wrong with it."""
    manifest = template / "pixi.toml"
    text = manifest.read_text(encoding="utf-8")
    manifest.write_text("[workspace\n", encoding="utf-8")
    try:
        done = _run(template, "update-mirror")
    finally:
        manifest.write_text(text, encoding="utf-8")
    assert (done.stderr, done.returncode) == ("", 7)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("update-miror", "did you mean `./run update-mirror`?"),
        ("demmo", "did you mean `./run demo`?"),
        ("bensh", "did you mean `./run bench`?"),
        ("../scripts/launch", "`./run --help` lists the tasks"),
        ("--init--", "`./run --help` lists the tasks"),
        ("", "`./run --help` lists the tasks"),
    ],
)
def test_an_unknown_task_is_refused(template: Path, name: str, hint: str) -> None:
    done = _run(template, name)
    message = f"error: {name}: there is no such task\nhelp: {hint}\n"
    assert (done.stdout, done.stderr, done.returncode) == ("", message, 2)


def test_what_is_half_made_or_out_of_date_is_not_ready(template: Path) -> None:
    requirements, stamp = template / "requirements.txt", template / ".venv/tools/made-from.txt"
    made_from = stamp.read_text(encoding="utf-8")
    wanted = requirements.read_text(encoding="utf-8")
    assert made_from == f"# python {_VERSION}\n{wanted}"
    assert _is_ready(template)
    try:
        requirements.write_text(f"{wanted}other\n", encoding="utf-8")
        assert not _is_ready(template)
        requirements.write_text(wanted, encoding="utf-8")
        stamp.write_text(made_from.replace(_VERSION, "3.11.0rc1"), encoding="utf-8")
        assert not _is_ready(template)
        stamp.unlink()
        assert not _is_ready(template)
    finally:
        requirements.write_text(wanted, encoding="utf-8")
        stamp.write_text(made_from, encoding="utf-8")
    assert _is_ready(template)


def test_two_at_once_renew_it_once(template: Path) -> None:
    _write_requirements(template, "tiny>=2")
    (template / ".venv" / "tools" / "lib" / "leftover").touch()
    started = [
        subprocess.Popen(
            [template / "run", "update-mirror"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    ended = [process.communicate(timeout=120) for process in started]
    assert {out for out, _ in ended} == {f'["2.0", "{Path.cwd()}", []]\n'}
    assert sorted(err for _, err in ended) == [
        f"making .venv/tools with Python {_VERSION} from requirements.txt (once)\n",
        "waiting for another run that is making .venv/tools\n",
    ]
    assert not (template / ".venv" / "tools" / "lib" / "leftover").exists()


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed(template: Path, closed: str) -> None:
    run = str(template / "run")
    for arguments, code, out, err in (
        ([], 0, "usage: ./run NAME", ""),
        (["nonsense"], 2, "", "error: nonsense: there is no such task\n"),
        (["update-mirror"], 7, '["', ""),
    ):
        done = subprocess.run(
            ["sh", "-c", f'"$@" {closed}', "sh", run, *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code
        assert done.stdout.startswith("" if ">&-" in closed.split() else out)
        assert done.stderr.startswith("" if "2>&-" in closed else err)
        assert err or not done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's full device")
def test_a_list_that_cannot_be_written(template: Path) -> None:
    command = [str(template / "run")]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
        assert done.stderr == "error: stdout: cannot be written: No space left on device\n"
        assert done.returncode == 2
        command.append("nonsense")
        assert subprocess.run(command, stderr=full, check=False).returncode == 2


@pytest.mark.parametrize("is_there", [False, True])
def test_an_index_out_of_reach_is_a_network_error(
    is_there: bool,  # noqa: FBT001
    tmp_path: Path,
) -> None:
    """Port 9 of loopback, which nobody listens on; and a server whose certificate is not trusted.

    Of the latter pip says another thing, and no more where it does not retry.
    """
    copy = _copy_launcher(tmp_path)
    (copy / "requirements.txt").write_text("tiny\n", encoding="utf-8")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(ROOT / "tests" / "data" / "tls" / "server.pem")
    with Upstream(copy / "wheels", tls=context) as secure:
        done = _run(
            copy,
            "update-mirror",
            PATH=_path_with_this_python(copy),
            PIP_INDEX_URL=f"{secure.url if is_there else 'http://127.0.0.1:9'}/simple",
            PIP_RETRIES="0" if is_there else "1",
        )
    first, second, *_, last = done.stderr.splitlines()
    assert first == f"making .venv/tools with Python {_VERSION} from requirements.txt (once)"
    assert second == "error: pip: the package index could not be reached"
    assert last == (
        "help: a proxy is set by HTTPS_PROXY, another index by PIP_INDEX_URL; then try again"
    )
    assert done.returncode == 3
    assert not _is_ready(copy)


def test_trouble_without_a_file_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    def run(_: list[str]) -> int:
        raise OSError(errno.ENOLCK, "No locks available")

    assert launch.run_main(run) == ExitCode.USAGE
    assert capsys.readouterr().err == "error: this machine: No locks available\n"


def test_a_bug_shows_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    def run(_: list[str]) -> int:
        raise KeyError("ours")

    assert launch.run_main(run) == ExitCode.BUG
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert "KeyError: 'ours'" in err


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_who_ends_it_while_it_makes_one_is_told(tmp_path: Path, ending: int) -> None:
    copy = _copy_launcher(tmp_path)
    with subprocess.Popen(
        [copy / "run", "update-mirror"],
        env=os.environ | {"PATH": _path_with_this_python(copy)},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("making .venv/tools with ")
        process.send_signal(ending)
        assert process.stderr.read() == (
            "interrupted; what was half made is made anew the next time\n"
        )
        assert process.wait(10) == ExitCode.INTERRUPTED
    assert not _is_ready(copy)


@pytest.mark.parametrize("is_untried", [False, True])
def test_a_program_that_fails_for_another_reason_shows_its_last_lines(
    is_untried: bool,  # noqa: FBT001
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of a Python that nothing here was tried with, that may be the reason."""
    if is_untried:
        monkeypatch.setattr(environment, "UNTRIED", sys.version_info[:2])
    code = "import sys; [print('line', n) for n in range(24)]; sys.exit(9)"
    with pytest.raises(MirrorError) as failed:
        environment._call("pip", [sys.executable, "-c", code], 0)
    last = "".join(f"\n  said  line {n}" for n in range(4, 24))
    if is_untried:
        last += f"\nhelp: Python {_VERSION} may be too new for a library: install an older one"
        last += " beside it"
    assert str(failed.value) == f"pip: ended with exit code 9{last}"
    assert exit_code_of(failed.value.problems) == ExitCode.PROGRAM


def _launch(template: Path, prelude: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run launch.py behind a line that makes this Python look like another."""
    launcher = str(template / "scripts" / "launch.py")
    code = f"import sys, runpy\n{prelude}\nrunpy.run_path({launcher!r}, run_name='__main__')"
    return subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_python_too_old_says_so_in_a_sentence() -> None:
    done = _launch(ROOT, "sys.version_info = (3, 8, 18, 'final', 0)", "fetch")
    message = (
        f"error: pixi-mirror needs Python 3.11 or newer; this is 3.8.18 ({sys.executable})\n"
        "help: install a newer Python beside it, or use pixi: pixi run mirror\n"
    )
    assert (done.stdout, done.stderr, done.returncode) == ("", message, 4)


def test_a_python_too_old_can_read_the_launcher() -> None:
    source = (ROOT / "scripts" / "launch.py").read_text(encoding="utf-8")
    ast.parse(source, feature_version=(3, 6))
    with pytest.raises(SyntaxError):  # the control: it would notice
        ast.parse("if (x := 1):\n    pass\n", feature_version=(3, 6))
    assert "from __future__ import annotations" not in source  # which 3.6 refuses


def test_a_machine_without_python_says_so_in_a_sentence(tmp_path: Path) -> None:
    template = _copy_launcher(tmp_path)
    done = _run(template, "demo", PATH=str(tmp_path))
    assert done.stderr == (
        "error: pixi-mirror needs Python 3.11 or newer; none is on PATH\n"
        "help: install Python from python.org or your system's packages,"
        " or use pixi: pixi run demo\n"
    )
    assert done.returncode == 4


def test_a_python_that_makes_no_environment_says_why(tmp_path: Path) -> None:
    """As Debian's without python3-venv, whose own words tell what to install."""
    template = _copy_launcher(tmp_path)
    prelude = (
        "import subprocess; run = subprocess.run\n"
        "subprocess.run = lambda command, **more: run(\n"
        "    [sys.executable, '-c', 'raise SystemExit(\"apt install python3-venv\")'], **more)"
    )
    done = _launch(template, prelude, "update-mirror")
    assert done.stderr.splitlines()[1:] == [
        "error: python -m venv: ended with exit code 1",
        "  said  apt install python3-venv",
    ]
    assert (done.stdout, done.returncode) == ("", 4)
    assert not _is_ready(template)
