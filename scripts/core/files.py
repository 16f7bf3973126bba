"""Read, hash and replace single files so that nothing half-done is ever visible."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Any, Final, NamedTuple, Self

from scripts.core.errors import MirrorError, usage_error
from scripts.core.scratch import open_scratch_file

CHUNK: Final = 1 << 18  # bytes; large enough that hashing releases the interpreter lock for long


# How Windows refuses a file that another program has open: access denied (about to be deleted, or
# not shared), a sharing or lock violation, a mapped view. No other system sets winerror.
_IN_USE: Final = frozenset({5, 32, 33, 1224})
_LONGEST_OF_WINDOWS: Final = 259  # characters of a path
_LARGEST_JSON: Final = 256 << 20  # bytes; what is known of a file has some 100
_TRY_FOR: Final = 10.0  # seconds; a virus scanner or an indexer lets go sooner


class FileStatus(NamedTuple):
    """What is asked of a file's status; of thousands, an os.stat_result takes thrice as much."""

    st_mode: int
    st_size: int
    st_mtime_ns: int
    st_ino: int

    @classmethod
    def of(cls, status: os.stat_result) -> Self:
        """Take it from the whole status."""
        return cls(status.st_mode, status.st_size, status.st_mtime_ns, status.st_ino)


def exists(path: Path) -> bool:
    """Tell whether something is at a path; raises the OSError where one cannot look.

    So does `Path.exists` until Python 3.13; later it says no, and so do `is_dir` and `is_file`.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def is_dir(path: Path) -> bool:
    """Tell whether a folder is at a path; raises as `exists` does."""
    return exists(path) and path.is_dir()


def is_file(path: Path) -> bool:
    """Tell whether a file is at a path; raises as `exists` does."""
    return exists(path) and path.is_file()


def read_text(path: Path, *, limit: int, what: str) -> str:
    """Read a UTF-8 file of at most `limit` bytes, line ends as they are.

    Raises the error of exit code 2 that names the file where it is missing, a folder, too large
    or not UTF-8.
    """
    try:
        data = read_regular(path, limit)
    except OSError as error:
        if error.errno == errno.EFBIG:
            message = f"larger than any {what} should be ({limit >> 20} MiB)"
            raise usage_error(str(path), message) from None
        raise not_readable(path, what, error) from None
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise usage_error(
            str(path), f"not UTF-8 text (byte {error.start}); a {what} always is"
        ) from None


def regular_status(path: Path) -> os.stat_result:
    """Return the status of a file that is to be read; raises OSError.

    A pipe, on which one would wait forever, and a device, which may have no end, are refused.
    """
    status = path.stat()
    if not S_ISREG(status.st_mode) and not S_ISDIR(status.st_mode):  # that gives the system's error
        raise OSError(errno.EINVAL, "not a file", str(path))
    return status


def read_regular(path: Path, limit: int) -> bytes:
    """Read a file of at most `limit` bytes; raises OSError, EFBIG for a larger one."""
    status = regular_status(path)
    with path.open("rb") as file:
        # Python asks at once for room for all that may come, and Windows sets that much aside.
        data = file.read(min(status.st_size, limit) + 1)
        if len(data) > status.st_size:  # it grows, or nobody knows its size, as below /proc
            data += file.read(limit + 1 - len(data))
    if len(data) > limit:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
    return data


def read_json(path: Path) -> Any:
    """Read JSON that only saves time; None where it is not there, or damaged."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        return json.loads(read_regular(path, _LARGEST_JSON))
    return None


def holds(file: Path, data: bytes) -> bool:
    """Tell whether a file has just these bytes and is not a symbolic link."""
    with contextlib.suppress(OSError):  # none is there, it is larger, or to write it will tell
        return not file.is_symlink() and read_regular(file, len(data)) == data
    return False


def not_readable(path: Path, what: str, error: OSError) -> MirrorError:
    """Make the error for a file that cannot be read."""
    reason = "there is no such file" if isinstance(error, FileNotFoundError) else error.strerror
    return usage_error(str(path), f"cannot read this {what}: {reason}")


@contextlib.contextmanager
def filename_in_errors(path: Path) -> Iterator[None]:
    """Add the path to an OSError that names none, as those of files already open do."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


@contextlib.contextmanager
def disk_errors(path: Path, help: str, done: str = "read or written") -> Iterator[None]:
    """Turn an OSError into the error of exit code 2, with this help: "cannot be `done`".

    It names the file that the OSError does, else `path`.
    """
    try:
        yield
    except BrokenPipeError:  # nobody reads what is printed
        raise
    except OSError as error:
        name = str(error.filename or path)
        raise usage_error(name, f"cannot be {done}: {reason_of(error, name)}", help=help) from error


def reason_of(error: OSError, path: str, system: str = os.name) -> str:
    """Say why the system refused a path; to Windows one that is too long is a missing one."""
    reason = error.strerror or str(error)
    if system == "nt" and isinstance(error, FileNotFoundError) and len(path) > _LONGEST_OF_WINDOWS:
        reason += (
            f" (a path of {len(path)} characters, and Windows takes {_LONGEST_OF_WINDOWS}, unless"
            " LongPathsEnabled is set in its registry)"
        )
    return reason


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a file whole: written beside it under another name, made durable, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        part, file = open_scratch_file(path)
    except OSError as error:  # nobody asked for a file of that name
        error.filename = str(path)
        raise
    try:
        with filename_in_errors(path), file:
            file.write(data)
            file.flush()
            fsync(file.fileno())
            if os.name != "nt":  # still owned, so that nobody clears it
                replace(part, path)
        if os.name == "nt":  # which renames no open file
            replace(part, path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise


def keep_json(path: Path, value: object) -> None:
    """Write JSON that only saves time, for `read_json`; where the disk refuses, it is lost."""
    with contextlib.suppress(OSError, MirrorError):
        write_atomically(path, json.dumps(value).encode())


def write_output(path: Path, data: bytes) -> None:
    """Write a file that an option names, where a link leads; raises the error of exit code 2."""
    try:
        if path.exists() and not path.is_file():  # `/dev/stdout` would be a file from then on
            reason = "a folder" if path.is_dir() else "no file"
            raise usage_error(str(path), f"cannot write this file: it is {reason}")
        write_atomically(Path(os.path.realpath(path)), data)
    except OSError as error:
        raise usage_error(str(path), f"cannot write this file: {error.strerror}") from None


def replace(source: Path, target: Path) -> None:
    """Rename over what is there; tried again while Windows refuses, as another program has it open.

    Raises the error of exit code 2 that names the target where it goes on refusing.
    """
    if os.name == "nt" and target.is_dir():  # refused in the words for what is in use
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
    _while_in_use(lambda: source.replace(target), target, "replaced")


def unlink(path: Path, *, missing_ok: bool = False) -> None:
    """Remove a file; tried again, and refused, as `replace` is."""
    _while_in_use(lambda: path.unlink(missing_ok=missing_ok), path, "removed")


def remove_folder(path: Path) -> None:
    """Remove a folder with all that is in it; tried again, and refused, as `replace` is."""
    import shutil

    _while_in_use(lambda: shutil.rmtree(path), path, "removed")


def _while_in_use(change: Callable[[], object], path: Path, done: str) -> None:
    """Make a change to a file, again and again while another program has it open on Windows."""
    give_up, pause = time.monotonic() + _TRY_FOR, 0.01
    while True:
        try:
            change()
        except OSError as error:
            if getattr(error, "winerror", None) not in _IN_USE:
                error.filename = str(path)  # of a rename, the system names the source
                raise
            if time.monotonic() + pause > give_up:
                raise usage_error(
                    str(path),
                    f"cannot be {done}, tried for {_TRY_FOR:g} s: {error.strerror}",
                    help="close the program that has it open, or make it writable; then run this "
                    "again: it goes on where it stopped",
                ) from None
            time.sleep(pause)
            pause = min(2 * pause, 0.5)
        else:
            return


def fsync(fileno: int) -> None:
    """Flush the file's bytes to the disk itself before returning.

    macOS keeps them in the drive's own cache after `fsync`; F_FULLFSYNC empties that too.
    """
    try:
        import fcntl

        full_sync = getattr(fcntl, "F_FULLFSYNC", None)
    except ImportError:  # Windows, where fsync is FlushFileBuffers
        full_sync = None
    if full_sync is not None:
        with contextlib.suppress(OSError):  # not every file system has it
            fcntl.fcntl(fileno, full_sync)
            return
    os.fsync(fileno)


def fsync_file(path: Path) -> None:
    """Flush a file that has been written, by whomever; Windows needs to write to do so."""
    with filename_in_errors(path), path.open("rb+" if os.name == "nt" else "rb") as file:
        fsync(file.fileno())


def hash_file(path: Path | str, algorithm: str) -> str:
    """Return the hex digest of a file's bytes."""
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123 -- a Path costs as much again
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def hard_link(source: Path | str, target: Path | str) -> None:
    """Make a hard link to the file at `source`; where that is a link, to the file it leads to."""
    is_link = os.path.islink(source)  # noqa: PTH114 -- a Path costs half as much again
    os.link(os.path.realpath(source) if is_link else source, target)


def link_or_copy(source: Path, target: Path) -> None:
    """Give `target` the bytes of `source`: a hard link, or a copy where links are impossible."""
    try:
        hard_link(source, target)
    except FileExistsError:  # to write into it would write into all its other links
        raise
    except OSError:
        import shutil

        shutil.copyfile(source, target)
