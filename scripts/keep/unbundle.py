"""Check a bundle, and bring a channel to what it carries: with Python 3.8 or newer alone.

A copy of this file lies in every bundle. So it is one module, and imports nothing but the standard
library; `pixi run unbundle` runs this very code. What both sides must agree on is defined here: the
content digest, and how the files of a channel are listed.
"""

from __future__ import annotations

import hashlib
from typing import Iterable, Tuple  # noqa: UP035 - Python 3.8 knows no other


def content_digest(files: Iterable[Tuple[str, int, str]]) -> str:  # noqa: UP006
    """Return the sha256 of a tree of files, given as path, size in bytes and sha256 of each.

    Paths are relative to the channel folder, with `/`. It depends on nothing else: two channels
    with the same files have the same one, wherever and whenever they were made.
    """
    digest = hashlib.sha256()
    for path, size, sha256 in sorted(files, key=lambda each: each[0].encode()):
        digest.update("{}\0{}\0{}\n".format(path, size, sha256).encode())  # noqa: UP032
    return digest.hexdigest()
