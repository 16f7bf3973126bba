"""`./run test` and `./run lint` themselves."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from tasks import bench
from tests.support.template import ROOT

_OLDEST = "0.25.0"
_HERE = version("py-rattler")


def _test(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tasks.test", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def one_test(tmp_path: Path) -> Path:
    """A test that passes, one that fails, and settings of their own, outside of the template."""
    (tmp_path / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    file = tmp_path / "test_two.py"
    file.write_text("def test_a(): pass\ndef test_b(): assert False\n", encoding="utf-8")
    return file


def test_arguments_go_to_pytest_and_its_answer_comes_back(one_test: Path) -> None:
    options = ("-c", str(one_test.parent / "pytest.ini"), str(one_test), "-p", "no:cacheprovider")
    passed = _test(*options, "-k", "test_a")
    python = ".".join(map(str, sys.version_info[:3]))
    assert passed.stderr == f"testing with py-rattler {_HERE}, python {python}\n"
    assert "= 1 passed, 1 deselected in " in passed.stdout.splitlines()[-1]
    assert passed.returncode == 0

    failed = _test(*options, "--json")
    answer = json.loads(failed.stdout)
    assert (answer["py-rattler"], answer["exit-code"], failed.returncode) == (_HERE, 1, 1)
    assert [each["message"] for each in answer["problems"]] == ["some tests failed"]

    odd = _test(*options, "--no-such-option")
    assert odd.stderr.endswith("error: pytest: did not understand its options\n")
    assert odd.returncode == 2

    none = _test(*options, "-k", "test_c")
    assert none.stderr.endswith("error: pytest: found no test to run\n")
    assert none.returncode == 2


def test_a_bench_needs_its_peers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", os.devnull)
    assert bench.main([]) == 4
    said = "error: curl and sha256sum: not on PATH; everything is measured against it\n"
    assert capsys.readouterr() == ("", said)


def test_a_sweep_is_told_to_be_deep(tmp_path: Path) -> None:
    """By the option alone; what it is passed on to is the conftest of all tests."""
    (tmp_path / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    shutil.copyfile(ROOT / "tests" / "conftest.py", tmp_path / "conftest.py")
    file = tmp_path / "test_deep.py"
    file.write_text("def test_deep(deep): assert deep\n", encoding="utf-8")
    options = ("-c", str(tmp_path / "pytest.ini"), str(file), "-p", "no:cacheprovider")
    assert _test(*options, "--deep").returncode == 0
    assert _test(*options).returncode == 1  # control


@pytest.mark.skipif(_HERE == _OLDEST, reason="the oldest py-rattler is here")
def test_oldest_is_refused_where_a_newer_py_rattler_is_tested() -> None:
    done = _test("--oldest")
    assert (done.stdout, done.returncode) == ("", 2)
    assert done.stderr == (
        "error: py-rattler: not the oldest that is allowed\n"
        f"  oldest  {_OLDEST}\n"
        f"  here    {_HERE}\n"
        "help: ./run test --oldest\n"
    )


@pytest.mark.skipif(_HERE != _OLDEST, reason="a newer py-rattler is here")
def test_oldest_is_tested_where_it_is() -> None:
    done = _test("--oldest", "--version")
    assert (done.stdout, done.returncode) == (f"pytest {pytest.__version__}\n", 0)
