"""The commands of docs/airgap.md, from the builder to a far side without a network and back."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.core.errors import ExitCode
from scripts.keep import unbundle
from scripts.keep.snapshots import read_snapshot_files, read_snapshots
from tests.support.mirrors import Mirror, make_mirror, rows
from tests.support.pixi import path_without_clients
from tests.support.template import ROOT
from tests.tasks.conftest import BOTH, NEW, OLD

pytestmark = [
    pytest.mark.skipif(os.name == "nt", reason="the commands are for a shell of POSIX"),
    pytest.mark.needs_ssh_keygen,
    pytest.mark.needs_coreutils,
]

# Stands for `pixi run`; the lock that an update would write is there already.
PIXI_RUN = """#!/bin/sh
if [ "$1" = update-mirror ]; then cp next.lock pixi.lock; shift; set -- mirror; fi
task=$(echo "$1" | tr - _); shift
exec "{python}" -P -m "tasks.$task" "$@"
"""
PAGE = (ROOT / "docs" / "airgap.md").read_text(encoding="utf-8")
_ID = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{8}")


def _commands(heading: str) -> list[str]:
    """Take the commands out of a section of the page."""
    (section,) = (each for each in PAGE.split("\n## ") if each.startswith(f"{heading}\n"))
    blocks = re.findall(r"^```sh\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    return "".join(blocks).splitlines()


class Followed:
    """Both sides, with folders of ours in place of those that the page names."""

    def __init__(self, root: Path, mirror: Mirror) -> None:
        """Make the folders, and what runs the tasks of this checkout."""
        self.root, self.mirror = root, mirror
        for name in ("home", "media/stick", "srv"):
            (root / name).mkdir(parents=True)
        self.pixi_run = root / "pixi-run"
        self.pixi_run.write_text(PIXI_RUN.format(python=sys.executable), encoding="utf-8")
        self.pixi_run.chmod(0o755)
        alone = ("unshare", "--map-root-user", "--net")
        can = subprocess.run([*alone, "true"], capture_output=True, check=False).returncode == 0
        self.alone = f"{' '.join(alone)} " if can else ""

    def follow(self, heading: str) -> list[str]:
        """Run the commands of a section; return the last line that each said."""
        said = []
        for line in _commands(heading):
            done = self.run(line)
            assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
            said.append((done.stdout.splitlines() or [""])[-1])
        return said

    def run(self, line: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the page; the snapshots that it names are those of here."""
        for folder in ("/media/", "/srv/"):
            line = line.replace(folder, f"{self.root}{folder}")
        for written, our_own in zip(sorted(set(_ID.findall(PAGE))), self.ids(), strict=False):
            line = line.replace(f"rollback {written}", f"rollback {our_own}")
        if line.startswith("python3 "):
            line = f"{self.alone}{sys.executable} {line.removeprefix('python3 ')}"
        line = line.replace("pixi run", str(self.pixi_run))
        home, path = str(self.root / "home"), path_without_clients()
        own = {"HOME": home, "PATH": path, "PYTHONPATH": str(ROOT)}
        return subprocess.run(
            ["sh", "-c", line],
            cwd=self.mirror.root,
            env=os.environ | own,
            capture_output=True,
            text=True,
            check=False,
        )

    def ids(self) -> list[str]:
        """Name the snapshots of the builder, oldest first."""
        return [each.id for each in read_snapshots(self.mirror.workspace.place)]

    def far_digest(self) -> str:
        """Return the content digest of the far side, whose every file is that of the builder."""
        place = self.mirror.workspace.place
        *_, newest = read_snapshots(place)
        for each in read_snapshot_files(place, newest):
            far = self.root / "srv" / "channel" / each.path
            assert far.read_bytes() == (place.folder / each.path).read_bytes()
        state = self.root / "srv" / ".pixi-mirror" / "channel" / "state"
        digest = unbundle.parse_receipt((state / "receipt.json").read_bytes()).digest
        assert digest == newest.content_digest
        return digest


def test_the_page_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    mirror = make_mirror(tmp_path / "workspace")
    for packages, name in (((NEW, BOTH), "next.lock"), ((OLD, BOTH), "pixi.lock")):
        mirror.lock(rows(tmp_path / "upstream", packages))
        if name != "pixi.lock":
            shutil.copy(mirror.root / "pixi.lock", mirror.root / name)
    both = Followed(tmp_path / "sides", mirror)
    assert "--dry-run" in _commands("The first time")[2]
    said = both.follow("The first time")
    assert said[2].replace("would take", "takes") == said[3]
    assert f'"{said[7].partition(" ")[0]}"' in said[6]  # the sha256 of unbundle.py, by hand
    first = both.far_digest()
    both.follow("Every week after that")
    second = both.far_digest()
    both.follow("Back, and forward again")
    assert both.far_digest() == second != first
    assert [each.partition("-")[2] for each in both.ids()] == [
        each[:8] for each in (first, second, first, second)
    ]
    # The control: a stick that somebody has changed.
    label = tmp_path / "sides" / "media" / "stick" / "forward" / "LABEL.txt"
    label.write_bytes(label.read_bytes().replace(b"carries", b"carried"))
    command = next(x for x in _commands("Back, and forward again") if "/forward /srv" in x)
    done = both.run(command)
    assert done.returncode == ExitCode.FINDINGS
    assert "LABEL.txt" in done.stderr
