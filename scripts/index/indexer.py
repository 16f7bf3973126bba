"""Find and run the indexer: the program rattler-index, else py-rattler's. Acts."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scripts.core.errors import ExitCode, MirrorError, Problem

PROGRAM: Final = "rattler-index"
_SHOWN: Final = 20  # last lines of the indexer that an error shows


@dataclass(frozen=True, slots=True, kw_only=True)
class Indexer:
    """An indexer of this machine. `program` None: py-rattler.

    `identity` changes when it is exchanged for another version; finding it out starts no process.
    """

    program: Path | None
    identity: str

    @property
    def name(self) -> str:
        """What people call it."""
        return "py-rattler" if self.program is None else PROGRAM


def find_indexer() -> Indexer:
    """Take the program on PATH, else py-rattler.

    Raises the error of exit code 4 where there is neither.
    """
    import shutil

    found = shutil.which(PROGRAM)
    if found is not None:
        program = Path(found)
        status = program.stat()
        return Indexer(
            program=program,
            identity=f"{PROGRAM} {program} {status.st_size} {status.st_mtime_ns}",
        )
    from importlib.metadata import PackageNotFoundError, version

    try:
        return Indexer(program=None, identity=f"py-rattler {version('py-rattler')}")
    except PackageNotFoundError:
        raise MirrorError(
            Problem(
                subject=PROGRAM,
                trouble="neither this program nor py-rattler is installed",
                code=ExitCode.PROGRAM,
                help="pixi add --feature tools rattler-index",
            )
        ) from None


def run_indexer(indexer: Indexer, channel: Path) -> None:
    """Index a channel, keeping the records that are in its repodata.json.

    Raises the error of exit code 4 with the indexer's last lines where it fails. That it did
    what it should is for its caller to see: it may end well without.
    """
    if indexer.program is None:
        _run_py_rattler(channel)
        return
    try:
        done = subprocess.run(
            [str(indexer.program), "fs", str(channel)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
    except OSError as error:
        trouble = f"{indexer.program} cannot be started: {error.strerror}"
        raise _failed(PROGRAM, trouble, "") from None
    if done.returncode != 0:
        said = done.stdout.decode("utf-8", "replace").strip()
        raise _failed(PROGRAM, f"ended with status {done.returncode}", said)


def _run_py_rattler(channel: Path) -> None:
    from scripts.core.rattler_child import RattlerRefusedError, call_rattler

    try:
        call_rattler("index", {"folder": os.fspath(channel)})
    except RattlerRefusedError as error:
        raise _failed("py-rattler (index)", "could not index the channel", str(error)) from None


def _failed(subject: str, trouble: str, said: str) -> MirrorError:
    last = said.splitlines()[-_SHOWN:]
    return MirrorError(
        Problem(
            subject=subject,
            trouble=trouble,
            code=ExitCode.PROGRAM,
            facts=tuple(("said", line) for line in last),
        )
    )
