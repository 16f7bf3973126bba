"""Find and run the indexer: the program rattler-index, else py-rattler's."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scripts.core.child_process import program_error, run_program, stderr_tail, timed_out
from scripts.core.errors import MirrorError, usage_error
from scripts.core.files import filename_in_errors
from scripts.core.rattler_child import RattlerRefusedError, call_rattler

PROGRAM: Final = "rattler-index"
_TIMEOUT: Final = 600.0  # seconds, and as many for each artifact: thousands take a few in all
_EACH: Final = 0.1
_MORE_FILES: Final = 256  # open besides those of shards
# As Rust and Python write the system's errors.
_ERROR_NUMBER: Final = re.compile(r"(?:\(os error |\[WinError )(\d+)[)\]]|\[Errno (\d+)\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Indexer:
    """An indexer of this machine. `program` None: py-rattler.

    `identity` changes when it is exchanged for another version; finding it out starts no process.
    """

    program: Path | None
    identity: str


def find_indexer() -> Indexer:
    """Take the program on PATH, else py-rattler.

    Raises the error of exit code 4 where there is neither.
    """
    found = shutil.which(PROGRAM)
    if found is not None:
        status = Path(found).stat()
        identity = f"{PROGRAM} {found} {status.st_size} {status.st_mtime_ns}"
        return Indexer(program=Path(found), identity=identity)
    from importlib import metadata  # takes a while, and only here

    try:
        return Indexer(program=None, identity=f"py-rattler {metadata.version('py-rattler')}")
    except metadata.PackageNotFoundError:
        message = "neither this program nor py-rattler is installed"
        help_ = "pixi add --feature tools rattler-index"
        raise program_error(PROGRAM, message, help=help_) from None


def run_indexer(indexer: Indexer, channel: Path, artifacts: int) -> None:
    """Index a channel of so many artifacts, keeping the records that are in its repodata.json.

    Where the indexer has an option for it, repodata.json.zst is left to the caller: it takes most
    of the time. Raises the error of exit code 4 with the indexer's last lines where it fails, or of
    2 where the disk does. The caller checks the result: it may end well and have dropped records.
    """
    timeout = _TIMEOUT + artifacts * _EACH
    _allow_open_files(2 * artifacts + _MORE_FILES)
    if indexer.program is None:
        try:
            call_rattler("index", {"folder": os.fspath(channel), "zst": False}, timeout=timeout)
        except RattlerRefusedError as error:
            subject, message = "py-rattler (index)", "could not index the channel"
            raise _failed(subject, message, str(error), channel) from None
        return
    program = str(indexer.program)
    try:
        usage = run_program([program, "--help"], os.environ, timeout=timeout).stdout
        options = _without_zst(usage, channel / "index-config.toml")
        done = run_program([program, *options, "fs", str(channel)], os.environ, timeout=timeout)
    except subprocess.TimeoutExpired:
        raise _failed(PROGRAM, timed_out(timeout), "", channel) from None
    if done.returncode != 0:
        said = (done.stdout + done.stderr).decode("utf-8", "replace").strip()
        raise _failed(PROGRAM, f"ended with status {done.returncode}", said, channel)


def _without_zst(usage: bytes, config: Path) -> list[str]:
    """Return the options that turn the zst off: `--write-zst`, or (from 0.30) a configuration."""
    if b"--write-zst" in usage:
        return ["--write-zst", "false"]
    if b"index-config" not in usage:
        return []
    with filename_in_errors(config):
        config.write_text("[index-config]\nwrite-zst = false\n", encoding="utf-8")
    return ["--config", str(config)]


def _allow_open_files(number: int) -> None:
    """Raise the limit of open files, as far as the system allows: rattler opens two for a package.

    Windows has no such limit.
    """
    try:
        import resource
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < number:
        most = number if hard == resource.RLIM_INFINITY else min(number, hard)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _failed(subject: str, message: str, said: str, channel: Path) -> MirrorError:
    """Make the error of a failed indexer; of exit code 2 where it reports one of the system."""
    found = _ERROR_NUMBER.search(said)
    if found is None:
        return program_error(subject, message, said)
    number, trouble = int(found[1] or found[2]), "the disk (df, dmesg)"
    if number == errno.EMFILE:
        trouble = "how many files may be open here, two for each package (ulimit -Hn)"
    reason = os.strerror(number)
    if sys.platform == "win32" and found[1]:  # where they are of its own kind
        reason = ctypes.FormatError(number)
    return usage_error(
        str(channel.parents[1]),  # the scratch folder itself will be gone
        f"{subject} cannot read or write here: {reason}",
        *stderr_tail(said),
        help=f"see to {trouble}, then pixi run index",
    )
