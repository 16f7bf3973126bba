"""py-rattler in a child process: what it answers, what it refuses, how it may die."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import rattler

from scripts.core import rattler_child
from scripts.core.console import Console
from scripts.core.errors import ExitCode, MirrorError
from scripts.core.rattler_child import RattlerRefusedError, call_rattler
from scripts.core.report import Report
from tests.support.packages import TinyPackage


def test_the_real_worker_answers() -> None:
    specs = ["x 0.1 h", "=1.2", "Foo", "é", ""]
    expected = {}
    for text in specs:
        try:
            expected[text] = str(rattler.MatchSpec(text))
        except Exception:
            expected[text] = text
    assert call_rattler("normalise", {"specs": specs}) == expected
    assert expected["é"] == "é"  # control: one that rattler does not take


def test_the_encoding_that_the_user_chose_is_not_the_childs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "utf-16")
    assert call_rattler("normalise", {"specs": ["é"]}) == {"é": "é"}


def test_a_child_that_cannot_be_started(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")
    with pytest.raises(MirrorError) as caught:
        call_rattler("normalise", {"specs": []}, wrapper=(missing,))
    assert caught.value.problems[0].code is ExitCode.PROGRAM
    reason = os.strerror(2)
    if os.name != "nt":  # where the error does not name the file
        assert str(caught.value) == (
            "py-rattler (normalise): ended with status 126 and no result\n"
            f"  said  {missing}: cannot be started: {reason}"
        )


def test_the_real_worker_indexes(tmp_path: Path) -> None:
    written = TinyPackage(name="one").write(tmp_path)
    assert call_rattler("index", {"folder": str(tmp_path)}) is None
    repodata = json.loads((tmp_path / "noarch" / "repodata.json").read_bytes())
    assert repodata["packages.conda"]["one-1.0-0.conda"]["sha256"] == written.sha256


def test_what_rattler_refuses(tmp_path: Path) -> None:
    TinyPackage(name="one").write(tmp_path)
    (tmp_path / "noarch" / "._x-1.0-0.conda").write_bytes(b"from macOS")
    with pytest.raises(RattlerRefusedError, match=r"\w"):
        call_rattler("index", {"folder": str(tmp_path)})


def test_an_unknown_function_is_refused() -> None:
    with pytest.raises(RattlerRefusedError, match=r"^'no_such'$"):
        call_rattler("no_such", {})


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Name the module that is run as the worker.

    A stand-in, since the real one crashes at random or not at all.
    """
    folder = tmp_path / "scripts" / "core"
    folder.mkdir(parents=True)
    (tmp_path / "scripts" / "__init__.py").touch()
    (folder / "__init__.py").touch()
    monkeypatch.setattr(rattler_child, "TEMPLATE", tmp_path)
    return folder / "rattler_worker.py"


GOOD = 'import os, sys; print(\'{"rattler": {"result": [1, null]}}\', flush=True)\n'


def failure(worker: Path, code: str) -> MirrorError:
    worker.write_text(code, encoding="utf-8")
    with pytest.raises(MirrorError) as caught:
        call_rattler("install", {})
    [problem] = caught.value.problems
    assert problem.code is ExitCode.PROGRAM
    return caught.value


def test_the_stand_in_gets_arguments_and_environment(worker: Path) -> None:
    worker.write_text(
        "import json, os, sys\n"
        "answer = [sys.argv[1], json.load(sys.stdin), os.environ['A'], 'HOME' in os.environ]\n"
        "print(json.dumps({'rattler': {'result': answer}}))\n"
    )
    environment = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT") if name in os.environ}
    answer = call_rattler("create", {"a": ["é"]}, {**environment, "A": "b"})
    assert answer == ["create", {"a": ["é"]}, "b", False]


@pytest.mark.parametrize("end", ["os._exit(134)", "os.abort()", "sys.exit(1)", "1 / 0"])
def test_a_result_is_believed_though_the_exit_went_wrong(worker: Path, end: str) -> None:
    worker.write_text(GOOD + end, encoding="utf-8")
    assert call_rattler("index", {}) == [1, None]


def test_words_of_rattler_around_the_result_are_passed_over(worker: Path) -> None:
    code = f"print('{{\"rattler\": nonsense')\nprint('wörds')\n{GOOD}print('more')\n"
    worker.write_text(code, encoding="utf-8")
    assert call_rattler("index", {}) == [1, None]


@pytest.mark.parametrize("end", ["", "os._exit(134)"])
def test_a_refusal_is_rattlers_own_message(worker: Path, end: str) -> None:
    worker.write_text(
        f'import os; print(\'{{"rattler": {{"error": "no: x"}}}}\', flush=True)\n{end}'
    )
    with pytest.raises(RattlerRefusedError, match=r"^no: x$"):
        call_rattler("index", {})


def test_a_worker_that_hangs_is_ended(worker: Path) -> None:
    worker.write_text("import time; time.sleep(600)", encoding="utf-8")
    with pytest.raises(MirrorError) as caught:
        call_rattler("install", {}, timeout=1)
    assert str(caught.value) == (
        "py-rattler (install): was ended, since it had not finished after 0 minutes\n"
        "help: see whether this machine, or a disk of it, hangs; then run this again"
    )
    assert caught.value.problems[0].code is ExitCode.PROGRAM


@pytest.mark.skipif(os.name == "nt", reason="a current folder cannot be removed there")
def test_a_current_folder_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    written = TinyPackage(name="one").write(tmp_path)
    call_rattler("index", {"folder": str(tmp_path)})
    repodata = json.loads((tmp_path / "noarch" / "repodata.json").read_bytes())
    assert repodata["packages.conda"]["one-1.0-0.conda"]["sha256"] == written.sha256


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_worker_that_is_killed(worker: Path) -> None:
    assert str(failure(worker, "import os; os.kill(os.getpid(), 9)")) == (
        "py-rattler (install): ended with status -9 and no result"
    )


def test_a_worker_that_ends_without_a_result_is_shown_by_its_last_lines(worker: Path) -> None:
    code = "import sys; print(*range(30), sep='\\n', file=sys.stderr); sys.exit(3)"
    lines = "".join(f"\n  said  {number}" for number in range(10, 30))
    assert str(failure(worker, code)) == (
        f"py-rattler (install): ended with status 3 and no result{lines}"
    )


@pytest.mark.parametrize("answer", ["", "{}", '{"rattler": {}}', '{"rattler": {"result": [1, "a'])
def test_no_answer_or_half_of_one_is_no_result(worker: Path, answer: str) -> None:
    error = failure(worker, f"print({answer!r}, end='')")
    assert str(error) == "py-rattler (install): ended with status 0 and no result"


def test_no_secret_of_its_last_words_is_shown(
    worker: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = "import sys; print('a', 'at https://u:hunter2@h/', sep='\\n', file=sys.stderr)"
    report = Report(problems=failure(worker, code).problems)
    Console().report(report)
    Console(json_wanted=True).end("index", report)
    out, err = capsys.readouterr()
    assert err == (
        "error: py-rattler (install): ended with status 0 and no result\n"
        "  said  a\n"
        "  said  at https://********@h/\n"
    )
    [problem] = json.loads(out)["problems"]
    assert problem["details"] == {"said": "a\nat https://********@h/"}
