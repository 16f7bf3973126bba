"""What goes to which stream, how loud, in which colours; and that no secret gets there."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts.core.console import Console, Verbosity
from scripts.core.errors import ExitCode, Problem
from scripts.core.report import Json, Report
from tests.support.template import ROOT

SECRET = "https://user:hunter2@host/t/tok-SECRET/a?sig=SIGNED"
HIDDEN = "https://********@host/t/********/a?********"

Capture = pytest.CaptureFixture[str]


def say_everything(console: Console) -> None:
    console.result("result")
    console.note("note")
    console.detail("detail")
    console.warn("warn")
    problem = Problem(subject="it", message="is wrong", code=ExitCode.FINDINGS, help="mend it")
    console.report(Report(problems=(problem,)))


PROBLEM = "error: it: is wrong\nhelp: mend it\n"


@pytest.mark.parametrize(
    ("verbosity", "out", "err"),
    [
        (Verbosity.QUIET, "", PROBLEM),
        (Verbosity.NORMAL, "result\n", f"note\nwarning: warn\n{PROBLEM}"),
        (Verbosity.VERBOSE, "result\n", f"note\ndetail\nwarning: warn\n{PROBLEM}"),
    ],
)
def test_streams_and_loudness(capsys: Capture, verbosity: Verbosity, out: str, err: str) -> None:
    say_everything(Console(verbosity=verbosity))
    assert capsys.readouterr() == (out, err)


def test_json_takes_the_place_of_the_result_alone(capsys: Capture) -> None:
    say_everything(Console(json_wanted=True))
    assert capsys.readouterr() == ("", f"note\nwarning: warn\n{PROBLEM}")


def test_nobody_watches_a_pipe(capsys: Capture) -> None:
    assert not Console(verbosity=Verbosity.VERBOSE).is_terminal


def problem_with_secrets() -> Problem:
    return Problem(
        subject=SECRET,
        message=f"not from {SECRET}",
        code=ExitCode.NETWORK,
        details=(("from", SECRET), ("said", "one"), ("said", f"two {SECRET}")),
        help=f"curl {SECRET}",
    )


def test_secrets_are_hidden_in_every_text(capsys: Capture) -> None:
    console = Console(verbosity=Verbosity.VERBOSE)
    for say in (console.result, console.note, console.detail, console.warn, console.bug):
        say(SECRET)
    console.report(Report(lines=(SECRET,), problems=(problem_with_secrets(),)))
    out, err = capsys.readouterr()
    assert out == f"{HIDDEN}\n{HIDDEN}\n"
    assert err == (
        f"{HIDDEN}\n{HIDDEN}\nwarning: {HIDDEN}\n{HIDDEN}\n"
        "warning: this is a bug of pixi-mirror; please report it with the lines above\n"
        f"error: {HIDDEN}: not from {HIDDEN}\n"
        f"  from  {HIDDEN}\n"
        "  said  one\n"
        f"  said  two {HIDDEN}\n"
        f"help: curl {HIDDEN}\n"
    )


def test_secrets_are_hidden_in_the_json_document(capsys: Capture) -> None:
    data: dict[str, Json] = {
        "channel": SECRET,
        "rows": [{"url": SECRET, SECRET: 1}],
        "size": 7,
        "none": None,
    }
    report = Report(data=data, problems=(problem_with_secrets(),))
    Console(json_wanted=True).end("example", report)
    out, err = capsys.readouterr()
    assert err == ""
    assert json.loads(out) == {
        "task": "example",
        "schema": 1,
        "exit-code": 3,
        "warnings": [],
        "channel": HIDDEN,
        "rows": [{"url": HIDDEN, HIDDEN: 1}],
        "size": 7,
        "none": None,
        "problems": [
            {
                "subject": HIDDEN,
                "message": f"not from {HIDDEN}",
                "details": {"from": HIDDEN, "said": f"one\ntwo {HIDDEN}"},
                "help": f"curl {HIDDEN}",
                "code": 3,
            }
        ],
    }


def test_json_is_the_same_in_every_code_page(capsys: Capture) -> None:
    Console(json_wanted=True).end("x", Report(data={"path": "é → \udcff"}))
    out, _ = capsys.readouterr()
    assert out.isascii()
    assert json.loads(out)["path"] == "é → \udcff"


def test_a_name_does_not_steer_the_terminal(capsys: Capture) -> None:
    console = Console()
    console.result("a\x1b]0;title\x07b\rc\td")
    problem = Problem(subject="\x1b[2J", message="x\x9b", code=ExitCode.FINDINGS)
    console.report(Report(problems=(problem,)))
    assert capsys.readouterr() == (
        "a\\x1b]0;title\\x07b\\rc\td\n",
        "error: \\x1b[2J: x\\x9b\n",
    )


@pytest.mark.parametrize(
    ("character", "shown"),
    [
        ("\u202e", r"\u202e"),  # turns the line around
        ("\u2066", r"\u2066"),
        ("\u200b", r"\u200b"),  # has no width
        ("\u2028", r"\u2028"),  # begins a line for some
        ("\u2029", r"\u2029"),
        ("\x85", r"\x85"),
        ("\udcff", r"\udcff"),  # of a file name that is no UTF-8
        ("\u00e9\u3000\U0001f40d", "\u00e9\u3000\U0001f40d"),  # control: these just show
    ],
)
def test_nothing_hides_in_a_line(capsys: Capture, character: str, shown: str) -> None:
    """Nor does it hide a secret: what ends a line must not end the URL that it is in."""
    Console().result(f"https://user:hunter{character}2@host/{character}")
    assert capsys.readouterr().out == f"https://********@host/{shown}\n"


PAINT = """
import sys
from scripts.core.console import Console
from scripts.core.errors import ExitCode, Problem
from scripts.core.report import Report
console = Console()
console.warn("help: warn")
problem = Problem(subject="help: it", message="is", code=ExitCode.FINDINGS, help="help: mend")
console.report(Report(problems=(problem,)))
console.result(str(console.is_terminal))
"""


def on_a_terminal(**environment: str) -> tuple[bytes, bytes]:
    """Run PAINT with its stderr on a real terminal; return both streams."""
    import pty

    ours, theirs = pty.openpty()
    try:
        done = subprocess.run(
            [sys.executable, "-c", PAINT],
            cwd=ROOT,
            env=os.environ | {"TERM": "xterm"} | environment,
            stdout=subprocess.PIPE,
            stderr=theirs,
            check=True,
        )
    finally:
        os.close(theirs)
    said = b""
    with os.fdopen(ours, "rb", buffering=0) as terminal, contextlib.suppress(OSError):
        while chunk := terminal.read(4096):  # EIO, on Linux, is its end
            said += chunk
    return done.stdout, said


@pytest.mark.skipif(os.name == "nt", reason="Windows has no pty")
def test_a_terminal_gets_colours() -> None:
    out, err = on_a_terminal()
    assert out == b"True\n"
    assert err == (
        b"\x1b[33mwarning:\x1b[0m help: warn\r\n"
        b"\x1b[31merror:\x1b[0m help: it: is\r\n"
        b"\x1b[36mhelp:\x1b[0m help: mend\r\n"
    )


@pytest.mark.skipif(os.name == "nt", reason="Windows has no pty")
@pytest.mark.parametrize("asked", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_color_is_honoured_on_a_terminal(asked: dict[str, str]) -> None:
    out, err = on_a_terminal(**asked)
    assert out == b"True\n"
    assert err == b"warning: help: warn\r\nerror: help: it: is\r\nhelp: help: mend\r\n"
    assert b"\x1b[" in on_a_terminal(NO_COLOR="")[1]  # control: an empty one asks for nothing


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a full disk")
def test_a_result_that_cannot_be_written_is_an_error() -> None:
    """A full disk under `> file` must not pass for a report that was printed."""
    code = "from scripts.core.console import Console; Console().result('x')"
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode != 0
    assert b"stdout: cannot be written: No space left on device" in done.stderr


def test_the_schema_describes_every_row(schema: Any) -> None:
    """An object of any keys, or a list of anything, would hold of whatever is printed."""
    assert list(_undescribed(schema.schema, "")) == []
    assert list(_undescribed({"rows": {"type": "array", "items": {"type": "object"}}}, "")) == [
        "/rows/items"
    ]


def _undescribed(node: Any, path: str) -> Iterator[str]:
    if isinstance(node, list):
        node = dict(enumerate(node))
    if not isinstance(node, dict):
        return
    keys = {"object": ("properties", "additionalProperties"), "array": ("items",)}
    kinds = node.get("type", ())
    for kind in [kinds] if isinstance(kinds, str) else kinds if isinstance(kinds, list) else ():
        if kind in keys and not any(node.get(key) is not None for key in keys[kind]):
            yield path
    for key, each in node.items():
        yield from _undescribed(each, f"{path}/{key}")
