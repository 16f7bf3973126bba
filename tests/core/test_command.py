"""From arguments over a tiny handler to streams and exit code."""

from __future__ import annotations

import argparse
import errno
import importlib
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.core.command import Handler, run_task, task_parser
from scripts.core.console import Console, Verbosity
from scripts.core.errors import ExitCode, MirrorError, Problem, usage_error
from scripts.core.report import Report
from tests.support.template import ROOT

REQUIREMENTS = (ROOT / "requirements.txt").read_text(encoding="utf-8")
Capture = pytest.CaptureFixture[str]
NAMES = ("SIGTERM", "SIGINT", "SIGHUP")
ENDING = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]


@pytest.fixture(autouse=True)
def _own_handlers() -> Iterator[None]:
    """Give back the handlers that run_task replaces."""
    before = {number: signal.getsignal(number) for number in ENDING}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def run(handler: Handler, *argv: str) -> int:
    return run_task("example", task_parser("example", "show something"), handler, argv)


def good(options: argparse.Namespace, console: Console) -> Report:
    console.note("under way")
    console.detail("a step")
    return Report(lines=("done",), data={"count": 1})


def missing(options: argparse.Namespace, console: Console) -> Report:
    raise usage_error("pixi.lock", "is missing", ("at", "https://u:pw@host/"), help="pixi lock")


def test_a_result(capsys: Capture) -> None:
    assert run(good) == 0
    assert capsys.readouterr() == ("done\n", "under way\n")


def test_quiet(capsys: Capture) -> None:
    assert run(good, "-q") == 0
    assert capsys.readouterr() == ("", "")


def test_verbose(capsys: Capture) -> None:
    assert run(good, "--verbose") == 0
    assert capsys.readouterr() == ("done\n", "under way\na step\n")


def test_json(capsys: Capture) -> None:
    assert run(good, "--json") == 0
    assert capsys.readouterr() == (
        (
            '{\n  "schema": 1,\n  "task": "example",\n  "exit-code": 0,\n  "count": 1,\n'
            '  "warnings": [],\n  "problems": []\n}\n'
        ),
        "under way\n",
    )


@pytest.mark.parametrize(("quiet", "err"), [([], "warning: heed\n"), (["-q"], "")])
def test_warnings_are_in_the_json_too(capsys: Capture, quiet: list[str], err: str) -> None:
    def warned(options: argparse.Namespace, console: Console) -> Report:
        console.warn("heed")
        return Report()

    assert run(warned, "--json", *quiet) == 0
    out, said = capsys.readouterr()
    assert (json.loads(out)["warnings"], said) == (["heed"], err)


def test_an_error_is_sentences(capsys: Capture) -> None:
    assert run(missing, "-q") == 2
    assert capsys.readouterr() == (
        "",
        "error: pixi.lock: is missing\n  at  https://********@host/\nhelp: pixi lock\n",
    )


def test_an_error_as_json(capsys: Capture) -> None:
    assert run(missing, "--json") == 2
    out, err = capsys.readouterr()
    assert err == ""
    assert json.loads(out) == {
        "task": "example",
        "schema": 1,
        "exit-code": 2,
        "warnings": [],
        "problems": [
            {
                "subject": "pixi.lock",
                "message": "is missing",
                "details": {"at": "https://********@host/"},
                "help": "pixi lock",
                "code": 2,
            }
        ],
    }


def test_problems_in_a_report_make_the_exit_code_too(capsys: Capture) -> None:
    problems = (
        Problem(subject="a", message="did not come", code=ExitCode.NETWORK),
        Problem(subject="b", message="is wrong", code=ExitCode.FINDINGS),
    )
    assert run(lambda *_: Report(lines=("half",), problems=problems)) == 1
    assert capsys.readouterr() == ("half\n", "error: a: did not come\nerror: b: is wrong\n")


def test_all_problems_of_one_error_are_told(capsys: Capture) -> None:
    def handler(options: argparse.Namespace, console: Console) -> Report:
        raise MirrorError(
            Problem(subject="a", message="is wrong", code=ExitCode.FINDINGS),
            Problem(subject="b", message="failed", code=ExitCode.PROGRAM),
        )

    assert run(handler) == 4
    assert capsys.readouterr() == ("", "error: a: is wrong\nerror: b: failed\n")


def test_ctrl_c(capsys: Capture) -> None:
    def handler(options: argparse.Namespace, console: Console) -> Report:
        raise KeyboardInterrupt

    assert run(handler) == 130
    note = "example: interrupted\n"
    assert capsys.readouterr() == ("", note)
    assert run(handler, "-q") == 130
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("options", [(), ("-q",), ("--json",)])
def test_a_bug_keeps_its_traceback_but_no_secret(capsys: Capture, options: tuple[str]) -> None:
    def handler(options: argparse.Namespace, console: Console) -> Report:
        raise ValueError("odd: https://user:hunter2@host/")

    assert run(handler, *options) == 70
    out, err = capsys.readouterr()
    assert out == ""
    first, *_, last, plea = err.splitlines()
    assert first == "Traceback (most recent call last):"
    assert f'File "{__file__}"' in err
    assert last == "ValueError: odd: https://********@host/"
    assert plea == "warning: this is a bug of pixi-mirror; please report it with the lines above"
    assert "hunter2" not in err


def test_a_python_without_the_tools() -> None:
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from tasks import channels;"
    workspace = str(ROOT / "tests" / "data" / "cases" / "rich-platforms")
    code += f" sys.exit(channels.main(['--manifest-path', {workspace!r}]))"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (4, "")
    starter = "run" if os.name == "nt" else "./run"
    assert done.stderr == (
        "error: yaml: this Python lacks the module, which the tasks need\n"
        f"  Python  {sys.executable}\n"
        f"help: {starter} NAME, or pixi run NAME: both make an environment that has it\n"
    )


# py-rattler is imported in a child process alone, which says so itself.
REQUIRED = {*re.findall(r"^[a-z0-9-]+", REQUIREMENTS, re.MULTILINE)} - {"py-rattler"}


@pytest.mark.parametrize("name", sorted(REQUIRED))
def test_a_python_without_one_of_the_tools(
    name: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = {"pyyaml": "yaml"}.get(name, name)
    importlib.import_module(module)  # the control: it is what the requirement brings

    def handler(options: argparse.Namespace, console: Console) -> Report:
        importlib.import_module(module)
        return Report()

    assert run(handler) == 0
    monkeypatch.setitem(sys.modules, module, None)
    assert run(handler) == 4
    expected = f"error: {module}: this Python lacks the module, which the tasks need\n"
    assert capsys.readouterr().err.startswith(expected)


@pytest.mark.parametrize("path", ["/x/zstandard/backend_c.so", "/x/zstandard/__init__.py"])
def test_a_tool_that_the_system_refuses(capsys: Capture, path: str) -> None:
    """As on a disk with `noexec`; the control is code of Python that lacks something."""
    said = f"{path}: failed to map segment from shared object"

    def handler(options: argparse.Namespace, console: Console) -> Report:
        raise ImportError(said, name="backend_c", path=path)

    if path.endswith(".py"):
        assert run(handler) == 70
        return
    assert run(handler) == 4
    assert capsys.readouterr().err == (
        f"error: zstandard: cannot be imported\n  said  {said}\nhelp: install zstandard into the"
        " environment of the tasks anew, on no disk that is mounted with noexec\n"
    )


def test_a_module_that_is_none_of_the_tools_is_a_bug(capsys: Capture) -> None:
    def handler(options: argparse.Namespace, console: Console) -> Report:
        raise ModuleNotFoundError("no such thing", name="scripts.nothing")

    assert run(handler) == 70
    assert "this is a bug" in capsys.readouterr().err


def test_a_pipe_that_broke_elsewhere_is_no_success(capsys: Capture) -> None:
    """A connection's or a child's broken pipe says nothing of who reads our output."""

    def handler(options: argparse.Namespace, console: Console) -> Report:
        raise BrokenPipeError(32, "Broken pipe")

    assert run(handler) == 70
    assert "BrokenPipeError: [Errno 32] Broken pipe" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/a/b"), "/a/b: No space left on device"),
        (OSError(errno.EROFS, "Read-only file system"), "this machine: Read-only file system"),
        (
            FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']"),
            "this machine: No usable temporary directory found in ['/tmp']",
        ),
        (RuntimeError("can't start new thread"), "this machine: can't start new thread"),
        (MemoryError(), "this machine: out of memory"),
    ],
)
def test_a_machine_that_can_do_no_more_is_no_bug(
    capsys: Capture, error: Exception, expected: str
) -> None:
    def handler(options: argparse.Namespace, console: Console) -> Report:
        raise error

    assert run(handler) == ExitCode.USAGE
    assert capsys.readouterr() == (
        "",
        f"error: {expected}\nhelp: see to it, then run this again\n",
    )


@pytest.mark.parametrize("error", [RuntimeError("no thread"), RuntimeError(), RecursionError("x")])
def test_other_errors_at_run_time_are_bugs(capsys: Capture, error: Exception) -> None:
    def handler(options: argparse.Namespace, console: Console) -> Report:
        raise error

    assert run(handler) == ExitCode.BUG
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("--jsn",), "unrecognized arguments: --jsn"),
        (("--js",), "unrecognized arguments: --js"),
        (("-q", "-v"), "argument -v/--verbose: not allowed with argument -q/--quiet"),
        (("--manifest-path",), "argument --manifest-path: expected one argument"),
        (("--manifest-path", " "), "argument --manifest-path: a path is needed"),
        (("https://u:p@host/x",), "unrecognized arguments: https://********@host/x"),
        (("https://host/x",), "unrecognized arguments: https://host/x"),
    ],
)
def test_wrong_options(capsys: Capture, argv: tuple[str, ...], message: str) -> None:
    with pytest.raises(SystemExit) as caught:
        run(good, *argv)
    assert caught.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[-1] == f"pixi run example: error: {message}"


def test_the_common_options_reach_the_handler() -> None:
    seen: list[tuple[Path | None, Verbosity, bool]] = []

    def handler(options: argparse.Namespace, console: Console) -> Report:
        seen.append((options.manifest_path, console.verbosity, console.json_wanted))
        return Report()

    assert run(handler, "--manifest-path", "a/pixi.toml", "-v", "--json") == 0
    assert run(handler) == 0
    assert seen == [
        (Path("a/pixi.toml"), Verbosity.VERBOSE, True),
        (None, Verbosity.NORMAL, False),
    ]


TASK = """
import os, signal, sys, time
from pathlib import Path
from scripts.core.command import run_task, task_parser
from scripts.core.report import Report

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a background job

def handler(options, console):
{body}

sys.exit(run_task("example", task_parser("example", "x"), handler, sys.argv[1:]))
"""


def start(body: str, *argv: str) -> subprocess.Popen[bytes]:
    """Start a task in a child process, with pipes for all streams."""
    code = TASK.format(body=textwrap.indent(textwrap.dedent(body), "    "))
    return subprocess.Popen(
        [sys.executable, "-c", code, *argv],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


SLEEPER = """
try:
    print("ready", flush=True)
    time.sleep(60)
finally:
    console.note("cleared up")
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signals for others")
@pytest.mark.parametrize("number", ENDING)
def test_a_signal_ends_a_real_run_with_its_clearing_up_done(number: signal.Signals) -> None:
    with start(SLEEPER) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        child.send_signal(number)
        _, err = child.communicate(timeout=20)
    assert child.returncode == 130
    assert err == b"cleared up\nexample: interrupted\n"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signals for others")
def test_under_nohup_it_goes_on_when_the_terminal_is_closed() -> None:
    ignored = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as the child has it, then
    child = start('print("ready", flush=True)\nprint(sys.stdin.readline())\nreturn Report()')
    signal.signal(signal.SIGHUP, ignored)
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        child.send_signal(signal.SIGHUP)
        out, err = child.communicate(b"goes on", timeout=20)
    assert (child.returncode, out, err) == (0, b"goes on\n", b"")


STUBBORN = """
try:
    print("ready", flush=True)
    time.sleep(60)
finally:
    print("clearing up", flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signals for others")
@pytest.mark.parametrize("number", ENDING)
def test_a_second_signal_ends_it_at_once_and_without_a_traceback(number: signal.Signals) -> None:
    """As where a terminal tells all of a group, and then one of them its child."""
    with start(STUBBORN) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        child.send_signal(signal.SIGINT)
        assert child.stdout.readline() == b"clearing up\n"
        child.send_signal(number)
        _, err = child.communicate(timeout=20)
    assert child.returncode == -number
    assert err == b""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signals for others")
@pytest.mark.parametrize(
    ("program", "first"),
    [(("-m", "tasks.index"), "argparse"), (("-c", "import scripts.extension"), "json")],
)
def test_ctrl_c_while_a_task_still_imports(
    tmp_path: Path, program: tuple[str, str], first: str
) -> None:
    """The modules that are imported before the task begins may take a second on a slow disk."""
    slow = tmp_path / f"{first}.py"  # the first that it imports
    slow.write_text("import time\nprint('ready', flush=True)\ntime.sleep(60)\n", encoding="utf-8")
    command = [sys.executable, *program]
    environ = os.environ | {"PYTHONPATH": str(tmp_path)}
    with subprocess.Popen(
        command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=20)
    assert child.returncode == -signal.SIGINT  # which a shell makes 130
    assert err == b""


def without_a_reader(body: str, stream: str, *argv: str) -> tuple[int, bytes]:
    """Run a task one of whose streams nobody reads; return its exit code and the other stream."""
    with start(f"os.read(0, 1)\n{textwrap.dedent(body)}", *argv) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stderr is not None
        unread, other = child.stdout, child.stderr
        if stream == "stderr":
            unread, other = other, unread
        unread.close()
        child.stdin.write(b"x")  # only now may it print
        child.stdin.close()
        said = other.read()
        return child.wait(timeout=20), said


def test_a_result_that_nobody_reads_is_no_error() -> None:
    """`pixi run … | head`: neither at the last line nor when the interpreter ends."""
    body = "return Report(lines=('a line',) * 100_000)"
    assert without_a_reader(body, "stdout") == (0, b"")
    assert without_a_reader(body, "stdout", "--json") == (0, b"")


def test_the_work_goes_on_though_nobody_reads_the_notes(tmp_path: Path) -> None:
    """`2>&1 | head` must not end a download in its midst, and with exit code 0."""
    done = tmp_path / "done"
    body = f"""
        for step in range(100):
            console.note("a step")
        Path({str(done)!r}).touch()
        return Report(lines=("finished",))
        """
    assert without_a_reader(body, "stderr") == (0, f"finished{os.linesep}".encode())
    assert done.exists()


def shell(line: str, body: str) -> subprocess.CompletedProcess[bytes]:
    """Run a handler of this body in a process that a shell starts as `line` says."""
    code = textwrap.dedent(
        """
        import os, sys
        from scripts.core.command import run_task, task_parser
        from scripts.core.errors import Problem
        from scripts.core.report import Report
        def handler(options, console):
            BODY
        parser = task_parser("example", "show something")
        sys.exit(run_task("example", parser, handler, sys.argv[1:]))
        """
    ).replace("BODY", body)
    command = ["sh", "-c", line, "sh", sys.executable, "-c", code]
    return subprocess.run(command, cwd=ROOT, capture_output=True, check=False)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a full disk")
@pytest.mark.parametrize("options", ["", "--json"])
def test_a_result_that_cannot_be_written(options: str) -> None:
    body = "console.note('under way'); return Report(lines=('done',))"
    done = shell(f'exec "$@" {options} >/dev/full', body)
    assert done.returncode == ExitCode.USAGE
    assert done.stderr == (
        b"under way\nerror: stdout: cannot be written: No space left on device\n"
    )
    # Control: notes that cannot be written are no reason to stop.
    done = shell(f'exec "$@" {options} 2>/dev/full', body)
    assert done.returncode == 0
    assert (b'"task": "example"' if options else b"done\n") in done.stdout


@pytest.mark.skipif(os.name == "nt", reason="a shell of POSIX closes the streams")
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed(tmp_path: Path, closed: str) -> None:
    """A file of ours must not get the number of a stream, nor notes go to stdout."""
    file = tmp_path / "file"
    body = (
        f"opened = open({str(file)!r}, 'wb'); console.note('note'); console.warn('warning');"
        " os.write(1, b'1'); os.write(2, b'2');"
        " problem = Problem(subject='it', message='is wrong', code=1);"
        " return Report(lines=('done',), problems=(problem,))"
    )
    done = shell(f'exec "$@" {closed}', body)
    assert done.returncode == 1
    assert file.read_bytes() == b""
    out, err = b"1done\n", b"note\nwarning: warning\n2error: it: is wrong\n"
    assert done.stdout == (b"" if " >&-" in f" {closed}" else out)
    assert done.stderr == (b"" if "2>&-" in closed else err)


def run_closed(closed: str, cwd: Path, *command: str) -> subprocess.CompletedProcess[bytes]:
    line = ["sh", "-c", f'"$@" {closed}', "sh", *command]
    return subprocess.run(
        line, cwd=cwd, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, check=False
    )


CLOSED = pytest.mark.parametrize("closed", ["", ">&-", "2>&-", "<&-", "<&- >&- 2>&-"])


@pytest.mark.skipif(os.name == "nt", reason="a shell of POSIX closes the streams")
@CLOSED
def test_a_task_whose_streams_are_closed(tmp_path: Path, closed: str) -> None:
    (tmp_path / "pixi.toml").write_text(
        '[workspace]\nchannels = ["conda-forge"]\nplatforms = ["linux-64"]\n', encoding="utf-8"
    )
    task = (sys.executable, "-P", "-m", "tasks.platforms")
    for options, code, out, err in (
        ((), 0, b"default  linux-64\n", b""),
        (("--help",), 0, b"show for which platforms", b""),
        (("--add", "nonsense"), 2, b"", b"nonsense"),
        (("--nonsense",), 2, b"", b"unrecognized arguments: --nonsense"),
    ):
        done = run_closed(closed, tmp_path, *task, *options)
        assert done.returncode == code
        assert out in done.stdout or ">&-" in closed.split()
        assert err in done.stderr or "2>&-" in closed
        assert not done.stderr or code != 0
        assert b"Traceback" not in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="a shell of POSIX closes the streams")
@CLOSED
def test_a_child_of_ours_has_streams_too(tmp_path: Path, closed: str) -> None:
    """py-rattler answers, and a program that we start may write where it likes."""
    code = """
import subprocess, sys
from pathlib import Path
from scripts.core.rattler_child import call_rattler
said = call_rattler("current_platform", {})
echo = "import os; os.fstat(0); os.write(1, b'1'); os.write(2, b'2')"
done = subprocess.run([sys.executable, "-S", "-c", echo])
Path("said").write_text(f"{said} {done.returncode}")
"""
    done = run_closed(closed, tmp_path, sys.executable, "-P", "-c", code)
    assert done.returncode == 0
    subdir, code = (tmp_path / "said").read_text().split()
    assert "-" in subdir
    assert code == "0"
    assert done.stderr == (b"" if "2>&-" in closed else b"2")


def test_problems_that_nobody_reads_still_are_the_exit_code() -> None:
    body = """
        from scripts.core.errors import usage_error
        raise usage_error("it", "is wrong")
        """
    assert without_a_reader(body, "stderr") == (2, b"")
