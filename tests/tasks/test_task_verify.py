"""The task verify: its options and what it prints for programs."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from scripts.core.file_lock import file_lock
from scripts.verify.files import check_files
from scripts.verify.findings import LevelResult
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
        "rattler, pixi, pixi-offline, conda, micromamba, uv, pip"
    )


def test_json(
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    clock = iter((1.0, 3.5))
    for stage in ("scripts.verify.stage", "scripts.verify.install.stage"):
        monkeypatch.setattr(f"{stage}.perf_counter", lambda: next(clock))
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
        "schema": 1,
        "exit-code": 1,
        "warnings": [],
        "levels": ["files"],
        "environments": [
            {
                "environment": "default",
                "platform": "linux-64",
                "files": False,
                "install": [],
                "complete": True,
                "proven": {},
            }
        ],
        "seconds": {"files": 2.5},
        "artifacts": 0,
        "bytes": 0,
        "unhashed": 0,
        "opened": None,
        "wrong-records": None,
        "closed": None,
        "solved": None,
        "installed-for": None,
        "sandbox": None,
        "channel-files": {
            "mirrored": {"files": 0, "bytes": 0},
            "index": {"files": 0, "bytes": 0},
            "retained": {"files": 0, "bytes": 0, "paths": []},
            "waiting-for-removal": {"files": 0, "bytes": 0, "paths": []},
            "untracked": {"files": 1, "bytes": 0, "paths": [{"path": "noarch/x.txt", "size": 0}]},
        },
        "still-offered": [],
        "left-out": {
            "environments": [],
            "platforms": [],
            "empty-environments": [],
            "packages": [],
        },
        "problems": [
            {
                "subject": "noarch/lib-1.0-0.conda",
                "message": "is missing",
                "details": {
                    "from": f"{CHANNEL}/noarch/lib-1.0-0.conda",
                    "used by": "default/linux-64",
                },
                "help": "pixi run fetch",
                "code": 1,
            }
        ],
    }


def test_a_folder_called_t_is_told_before_the_disk_leaves(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Conda takes `/t/` and the name behind it for a token, and asks for what is left."""
    token = (
        "has a folder called t in its path: conda takes that and the name behind it for a token, in"
        " file:// URLs, too, and asks without them; rename it, or mount the disk elsewhere"
    )
    for root, layout, channel, expected in (
        ("t/disk", "flat", CHANNEL, f"warning: local-channel: {token}\n"),
        (
            "disk",
            "by-channel",
            "https://conda.example.org/x/t",
            f"warning: local-channel/conda.example.org/x/t: {token}\n",
        ),
        ("no/T/tt", "flat", CHANNEL, ""),
    ):
        mirror = make_mirror(tmp_path / root, layout)
        mirror.lock(rows(tmp_path / "upstream", (TinyPackage(name="lib"),), channel))
        options = ["--manifest-path", str(mirror.root), "--level", "files"]
        assert verify.main(options) == 0
        err = capsys.readouterr().err
        assert err == f"{expected}verify: reading 1 artifact\n"


def test_another_run_is_at_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Or was: what is found then may be what that run had not yet finished."""
    mirror = make_mirror(tmp_path / "workspace")
    mirror.lock(rows(tmp_path / "upstream", (TinyPackage(name="lib"),)))
    (mirror.folder / "noarch" / "lib-1.0-0.conda").unlink()
    options = ["--manifest-path", str(mirror.root), "-q", "--level", "files"]
    lock_file = mirror.workspace.place.lock
    with file_lock(lock_file, "a test"):
        assert verify.main(options) == 2
    assert capsys.readouterr().err.startswith(
        "error: local-channel: another run is at work on it\n"
    )
    assert verify.main(options) == 1
    assert "lib-1.0-0.conda: is missing" in capsys.readouterr().err

    def meanwhile(*arguments: Any, **named: Any) -> LevelResult:
        os.utime(lock_file, (0, 0))
        with file_lock(lock_file, "a test"):
            return check_files(*arguments, **named)

    monkeypatch.setattr("scripts.verify.stage.check_files", meanwhile)
    assert verify.main(options) == 2
    assert capsys.readouterr().err == (
        "error: local-channel: another run was at work on it meanwhile\nhelp: run this again\n"
    )
