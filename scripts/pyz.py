"""The `__main__` of pixi-mirror.pyz: unpack the tool beside it, once, and run a task from there.

Beside it is `.pixi-mirror/tool/SHA256/`, or a temporary folder where nobody may write. From a
folder Python starts faster than from a zip, and the child processes of tasks need one. `run`
starts this under `-I -S`: then the launcher looks after the environment; else it is the one that
Python is in. It needs the standard library alone, and a Python as old as 3.6 can still read it.
"""

import hashlib
import os
import sys
from collections.abc import Iterator

if sys.version_info < (3, 11):  # noqa: UP036  # whatever Python is there may be given this file
    import scripts.launch  # noqa: F401  # which says so, and ends

_USAGE, _INTERRUPTED = 2, 130  # as scripts/core/errors.py
_OLD = 7 * 86400  # seconds since its last start for which another version is left alone


def unpacked(file: str) -> str:
    """Return the folder of the unpacked tool, every file as in the zip; OSError: there is none."""
    import zipimport

    digest = _sha256(file)
    sums = zipimport.zipimporter(file).get_data("files.txt").decode()
    refused = OSError(1, "its files are not those that it lists")
    for place in _places(os.path.dirname(file)):
        folder = os.path.join(place, digest)
        try:
            changed = changed_file(folder, sums)
            if changed and os.path.isdir(folder):
                os.listdir(folder)  # what only another user may look into is that one's
                sys.stderr.write(f"warning: {folder}: unpacked anew, since {changed} was changed\n")
            if changed:
                _unpack(file, folder, sums)
            if not changed or changed_file(folder, sums) is None:
                _note_start(folder)
                return folder
        except OSError as error:
            error.filename = error.filename or folder  # a file that is open already has none
            refused = error
    raise refused


def _places(beside: str) -> Iterator[str]:
    """Name the folders that may hold unpacked tools; the temporary one must be the user's alone."""
    yield os.path.join(beside, ".pixi-mirror", "tool")
    import stat
    import tempfile

    user = os.environ.get("USERNAME", "") if os.name == "nt" else os.getuid()
    place = os.path.join(tempfile.gettempdir(), f"pixi-mirror-{user}")
    os.makedirs(place, mode=0o700, exist_ok=True)
    found = os.lstat(place)
    is_mine = stat.S_ISDIR(found.st_mode) and found.st_uid == user and not found.st_mode & 0o022
    if not is_mine and os.name != "nt":
        raise PermissionError(1, "is not this user's alone", place)
    yield place


def changed_file(folder: str, sums: str) -> str | None:
    """Name a file that is not as listed, is missing or is one more; None where all are right.

    So is a folder that none of them is in, which may be a link to another. What Python compiled
    is passed over: it can only be checked by compiling anew, and a start would take twice as long.
    """
    listed = {line[66:]: line[:64] for line in sums.splitlines()}
    homes = {name[:end] for name in listed for end, each in enumerate(name) if each == "/"}
    there = {}
    for here, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name != "__pycache__"]
        for path in (os.path.join(here, name) for name in [*names, *folders]):
            name = path[len(folder) + 1 :].replace(os.sep, "/")
            if name not in homes:
                there[name] = _sha256(path) if os.path.isfile(path) else "no file"
    there.pop("files.txt", None)
    changed = [name for name in {*listed, *there} if listed.get(name) != there.get(name)]
    return min(changed, default=None)


def _note_start(folder: str) -> None:
    """Put the time of this start on the folder, so that no newer version removes it under us."""
    try:  # noqa: SIM105  # contextlib takes long to import
        os.utime(folder)
    except OSError:  # another user's: whoever unpacks beside it is that one
        pass


def _sha256(path: str) -> str:
    with open(path, "rb") as opened:
        return hashlib.sha256(opened.read()).hexdigest()


def _unpack(file: str, folder: str, sums: str) -> None:
    """Unpack beside the folder, then rename: whoever is second takes what the first made.

    What the first made may be running by then, and is moved away only if it is not as listed.
    """
    import shutil
    import time
    import zipfile

    place = os.path.dirname(folder)
    part = os.path.join(place, os.urandom(4).hex())
    waste = [part, f"{part}.changed"]
    try:
        with zipfile.ZipFile(file) as zipped:
            zipped.extractall(part)
        before = time.time() - _OLD
        ours = [each for each in os.scandir(place) if _is_unpacked(each.name)]
        waste += [each.path for each in ours if each.stat().st_mtime < before]
        if os.path.isdir(folder) and changed_file(folder, sums):
            _rename(folder, f"{part}.changed")
        _rename(part, folder)
    except OSError:
        if changed_file(folder, sums):
            raise
    finally:
        for path in waste:
            if path != folder:
                shutil.rmtree(path, ignore_errors=True)


def _is_unpacked(name: str) -> bool:
    """Tell whether something is named as what we unpack: a channel's state may be beside it."""
    digits = name.removesuffix(".changed")
    return len(digits) in {8, 64} and not digits.strip("0123456789abcdef")


def _rename(source: str, target: str) -> None:
    """Rename a folder; again and again while a virus scanner of Windows has a file open."""
    import time

    for left in range(50, -1, -1):
        try:
            os.rename(source, target)
            break
        except OSError as error:
            if getattr(error, "winerror", None) not in {5, 32} or not left:
                raise
        time.sleep(0.1)


def main() -> int:
    """Unpack, then do what the command line says."""
    file = os.path.realpath(sys.argv[0])
    try:
        sys.path[0] = unpacked(file)
    except OSError as error:
        reason = ": ".join(filter(None, (error.filename, error.strerror)))
        sys.stderr.write(f"error: {file}: cannot be unpacked: {reason}\n")
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
