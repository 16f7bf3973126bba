"""Make the channel folder and its state folder, on one file system."""

from __future__ import annotations

from pathlib import Path

from scripts.core.channel_paths import ChannelPlace
from scripts.core.errors import usage_error
from scripts.core.files import write_atomically
from scripts.core.scratch import clear_scratch


def prepare(place: ChannelPlace) -> None:
    """Make both folders where they are missing.

    Raises an error of exit code 2 where they cannot be made, or lie on two file systems: a file
    could then not appear in the channel by a rename.
    """
    try:
        place.folder.mkdir(parents=True, exist_ok=True)
        for each in (place.state, place.cache):
            each.mkdir(parents=True, exist_ok=True)
        clear_scratch(place.folder)  # a probe of a killed run
        ignore = place.root.parent / ".gitignore"
        if not ignore.exists():  # working state is not to be committed, whatever repository it is
            write_atomically(ignore, b"*\n")
    except OSError as error:
        raise usage_error(
            str(error.filename or place.folder),
            f"cannot make the channel folder: {error.strerror}",
            help="set channel-dir to a folder you may write to",
        ) from None
    if place.folder.stat().st_dev != place.state.stat().st_dev:
        raise usage_error(
            str(place.folder),
            "is a disk of its own, and nothing beside it is on that disk",
            ("working state", str(place.root)),
            help=f"set channel-dir to a folder on that disk: {place.folder / 'channel'}",
        )


def clear_staging(place: ChannelPlace) -> None:
    """Clear away where an index was made; what cannot be removed now is removed by a later run."""
    if place.staging.exists():
        import shutil

        shutil.rmtree(place.staging, ignore_errors=True)


def free_bytes(folder: Path) -> int:
    """Return the free room on the disk of a folder, or of the nearest one above that exists."""
    import shutil

    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
