"""The task verify: its options and what it prints for programs."""

from __future__ import annotations

import json

import pytest

from tasks import verify
from tests.support.mirrors import CHANNEL, make_mirror, rows
from tests.support.packages import TinyPackage


def _refused(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    with pytest.raises(SystemExit) as caught:
        verify.main(options)
    assert caught.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_words_of_options_are_checked(capsys: pytest.CaptureFixture[str]) -> None:
    assert _refused(capsys, "--level", "files,depth") == (
        "pixi run verify: error: argument --level: 'files,depth' is not of "
        "files, archives, index, closure, solve, install"
    )
    assert _refused(capsys, "--client", "") == (
        "pixi run verify: error: argument --client: '' is not of "
        "rattler, pixi, pixi-offline, conda, micromamba"
    )


def test_json(
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    clock = iter((1.0, 3.5))
    monkeypatch.setattr("scripts.proof.stopwatch.perf_counter", lambda: next(clock))
    root = tmp_path_factory.mktemp("w")
    mirror = make_mirror(root / "workspace")
    package = TinyPackage(name="lib")
    mirror.lock(rows(root / "upstream", (package,)))
    (mirror.folder / "noarch" / "lib-1.0-0.conda").unlink()
    (mirror.folder / "noarch" / "x.txt").write_bytes(b"")
    options = ["--manifest-path", str(mirror.root), "--json", "--level", "files"]
    assert verify.main(options) == 1
    assert json.loads(capsys.readouterr().out) == {
        "task": "verify",
        "exit-code": 1,
        "levels": ["files"],
        "environments": [
            {
                "environment": "default",
                "platform": "linux-64",
                "files": False,
                "install": [],
                "complete": True,
            }
        ],
        "seconds": {"files": 2.5},
        "artifacts": 0,
        "bytes": 0,
        "unhashed": 0,
        "opened": None,
        "closed": None,
        "solved": None,
        "installed-for": None,
        "installed": None,
        "kept": [],
        "kept-bytes": 0,
        "foreign": ["noarch/x.txt"],
        "left-out": {"environments": [], "empty-environments": [], "packages": []},
        "problems": [
            {
                "subject": "noarch/lib-1.0-0.conda",
                "trouble": "is missing",
                "facts": {
                    "from": f"{CHANNEL}/noarch/lib-1.0-0.conda",
                    "used by": "default/linux-64",
                },
                "help": "pixi run fetch",
                "exit-code": 1,
            }
        ],
    }
