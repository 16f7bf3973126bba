"""Tell whether the index files of a channel are still those that were made."""

from __future__ import annotations

import hashlib
from pathlib import Path

from scripts.index.contents import ChannelContents


def digest_of_index_files(channel: Path, contents: ChannelContents) -> str:
    """Return one sha256 (hex) of the names and bytes of a channel's index files.

    Every byte is read: a disk may lose a bit and leave a file's size and time as they were.
    """
    read = hashlib.sha256()
    for name, _ in contents.index_files():
        digest = hashlib.sha256((channel / name).read_bytes()).hexdigest()
        read.update(f"{name}\0{digest}\n".encode(errors="surrogateescape"))
    return read.hexdigest()
