"""Tell whether the index files of a channel are still those that were made. Acts."""

from __future__ import annotations

import hashlib
from pathlib import Path

from scripts.channel.digests import Fingerprint, boot_id
from scripts.index.contents import ChannelContents
from scripts.index.stamp import IndexFiles


def index_files_of(channel: Path, contents: ChannelContents) -> IndexFiles:
    """Take the fingerprint of a channel's index files; every byte of them is read."""
    read = hashlib.sha256()
    for name, _ in contents.index_files():
        digest = hashlib.sha256((channel / name).read_bytes()).hexdigest()
        read.update(f"{name}\0{digest}\n".encode(errors="surrogateescape"))
    return IndexFiles(contents=read.hexdigest(), statuses=_statuses(contents), boot=boot_id())


def are_unchanged(files: IndexFiles, channel: Path, contents: ChannelContents) -> bool:
    """Tell whether these are the index files of then; they are read only after a reboot."""
    if files.boot is not None and files.boot == boot_id() and files.statuses == _statuses(contents):
        return True
    return files.contents == index_files_of(channel, contents).contents


def _statuses(contents: ChannelContents) -> str:
    lines = hashlib.sha256()
    for name, status in contents.index_files():
        seen = Fingerprint.of(status)
        lines.update(
            f"{name}\0{seen.size}\0{seen.mtime}\0{seen.inode}\n".encode(errors="surrogateescape")
        )
    return lines.hexdigest()
