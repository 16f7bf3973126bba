"""The `__main__` of pixi-mirror.pyz: unpack the tool beside it, once, and run a task from there.

Beside it is `.pixi-mirror/tool/SHA256/`, or a temporary folder where nobody may write. From a
folder Python starts faster than from a zip, and the child processes of tasks need one. `run`
starts this under `-I -S`: then the launcher looks after the environment; else it is the one that
Python is in. It needs the standard library alone, and a Python as old as 3.6 can still read it.
"""

import os
import sys
from collections.abc import Iterator

if sys.version_info < (3, 11):  # noqa: UP036  # whatever Python is there may be given this file
    import scripts.launch  # noqa: F401  # which says so, and ends

_USAGE, _INTERRUPTED = 2, 130  # as scripts/core/errors.py
_OLD = 86400  # seconds for which what another version unpacked is left alone


def unpacked(file: str) -> str:
    """Return the folder of the unpacked tool, every file as in the zip; OSError: there is none."""
    import hashlib
    import zipimport

    with open(file, "rb") as opened:
        digest = hashlib.sha256(opened.read()).hexdigest()
    sums = zipimport.zipimporter(file).get_data("files.txt").decode()
    refused = None
    for place in _places(os.path.dirname(file)):
        folder = os.path.join(place, digest)
        try:
            changed = changed_file(folder, sums) if os.path.isdir(folder) else ""
            if changed:
                sys.stderr.write(f"warning: {folder}: unpacked anew, since {changed} was changed\n")
            if changed is not None:
                _unpack(file, folder)
        except OSError as error:
            refused = error
        else:
            return folder
    assert refused is not None
    raise refused


def _places(beside: str) -> Iterator[str]:
    """Name the folders that may hold unpacked tools; the temporary one must be the user's alone."""
    yield os.path.join(beside, ".pixi-mirror", "tool")
    import stat
    import tempfile

    user = os.environ.get("USERNAME", "") if os.name == "nt" else os.getuid()
    place = os.path.join(tempfile.gettempdir(), f"pixi-mirror-{user}")
    os.makedirs(place, mode=0o700, exist_ok=True)
    status = os.lstat(place)
    if os.name != "nt" and (
        not stat.S_ISDIR(status.st_mode) or status.st_uid != user or status.st_mode & 0o022
    ):
        raise PermissionError(1, "is not this user's alone", place)
    yield place


def changed_file(folder: str, sums: str) -> str | None:
    """Name a file that is not as listed, is missing or is one more; None where all are right.

    What Python compiled is passed over.
    """
    import hashlib

    listed = {line[66:]: line[:64] for line in sums.splitlines()}
    there = {"files.txt"}
    for here, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name != "__pycache__"]
        inside = os.path.relpath(here, folder).replace(os.sep, "/")
        there.update(name if inside == "." else f"{inside}/{name}" for name in names)
    different = sorted(there.symmetric_difference({*listed, "files.txt"}))
    for name, digest in listed.items():
        if different:
            break
        with open(os.path.join(folder, name), "rb") as opened:
            if hashlib.sha256(opened.read()).hexdigest() != digest:
                different.append(name)
    return different[0] if different else None


def _unpack(file: str, folder: str) -> None:
    """Unpack beside the folder, then rename: whoever is second takes what the first made."""
    import shutil
    import time
    import zipfile

    place = os.path.dirname(folder)
    os.makedirs(place, exist_ok=True)
    for name in os.listdir(place):
        path = os.path.join(place, name)
        if os.path.getmtime(path) < time.time() - _OLD:
            shutil.rmtree(path, ignore_errors=True)
    part = os.path.join(place, os.urandom(4).hex())
    try:
        with zipfile.ZipFile(file) as zipped:
            zipped.extractall(part)
        if os.path.isdir(folder):
            os.rename(folder, f"{part}.changed")
        os.rename(part, folder)
    except OSError:
        if not os.path.isdir(folder):
            raise
    finally:
        for path in (part, f"{part}.changed"):
            shutil.rmtree(path, ignore_errors=True)


def main() -> int:
    """Unpack, then do what the command line says."""
    file = os.path.realpath(sys.argv[0])
    try:
        sys.path[0] = unpacked(file)
    except OSError as error:
        sys.stderr.write(f"error: {file}: cannot be unpacked: {error.filename}: {error.strerror}\n")
        return _USAGE
    except KeyboardInterrupt:
        return _INTERRUPTED
    if sys.flags.no_site:
        from scripts.launch import launch

        return launch()
    from scripts.extension import main

    return main("pixi run")


if __name__ == "__main__":
    sys.exit(main())
