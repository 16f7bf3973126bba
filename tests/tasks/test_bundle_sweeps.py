"""`bundle`, killed at any change of a file or refused it by the disk: said again, it ends the same.

A sample in a normal run; every change with `--deep`.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from scripts.core.errors import ExitCode
from tasks import index
from tests.support.histories import contents
from tests.support.mirrors import make_mirror, rows
from tests.support.packages import TinyPackage
from tests.support.strace import Change, TaskRun, disturb, plain
from tests.tasks.conftest import BOTH, OLD

pytestmark = pytest.mark.needs_strace

KINDS = ("signal=KILL", "error=EIO", "error=ENOSPC")
SAMPLE = 2  # of each kind of trouble, for each form
FORMS = {"folder": (), "volumes": ("--tar", "--volume-size", "5KiB")}


@pytest.fixture
def run(request: pytest.FixtureRequest, tmp_path: Path) -> TaskRun:
    """A bundle to be made of a small mirror, into a folder beside it."""
    if subprocess.run(["strace", "-o", os.devnull, "true"], check=False).returncode != 0:
        pytest.skip("strace may trace nothing here")
    mirror = make_mirror(tmp_path / "w")
    mirror.lock(rows(tmp_path / "upstream", (OLD, BOTH, TinyPackage(name="c"))))
    assert index.main(["-q", "--manifest-path", str(mirror.root)]) == 0
    options = (str(mirror.root / "out"), "--full", *FORMS[request.param])
    run = TaskRun(task="tasks.bundle", options=options, root=mirror.root, scratch=tmp_path / "s")
    run.temporary.mkdir(parents=True)
    return run


@pytest.mark.parametrize("run", FORMS, indirect=True)
def test_any_change_goes_wrong(run: TaskRun, *, deep: bool) -> None:
    out = run.root / "out"
    done, changes = plain(run)
    assert done.returncode == 0, done.stderr
    there, channel = contents(out), contents(run.root / "local-channel")
    ours = [each for each in changes if out in each.shown.parents]
    assert {each.shown.name for each in ours} >= {"SHA256SUMS", "LABEL.txt"}
    chance, met = random.Random(13), 0
    for kind in KINDS:
        for change in ours if deep else chance.sample(ours, SAMPLE):
            met += _goes_wrong(run, change, kind, there)
            assert contents(run.root / "local-channel") == channel
    assert met >= len(KINDS)


def _goes_wrong(run: TaskRun, change: Change, kind: str, there: dict[str, bytes]) -> bool:
    """Have one change go wrong, look at what is left, and run it again."""
    out = run.root / "out"
    shutil.rmtree(out)
    code, said, is_met = disturb(run, change, kind)
    left = contents(out) if out.exists() else {}
    if is_met and kind != "signal=KILL":
        assert code == ExitCode.USAGE, (change, said)
        assert said.startswith("error: "), (change, said)
        assert "Traceback" not in said
    if code != 0:
        assert "bundle.json" not in left or left == there, change
    # What has its name is whole, or its size tells that it is not.
    again, _ = plain(run)
    assert again.returncode == 0, (change, kind, again.stderr)
    assert contents(out) == there, (change, kind)
    return is_met
