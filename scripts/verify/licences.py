"""The licences of PyPI packages: no lock has them, so their files are asked, for a report alone.

METADATA says it in one of three ways (Core metadata; PEP 639): `License-Expression` is an SPDX
expression; before that, `License` was free text, often the whole licence, and classifiers named
common ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from scripts.channel.archive import BadArchiveError
from scripts.core.artifact import Artifact
from scripts.index.distribution import metadata_fields, read_distribution

_CLASSIFIER: Final = "License :: "
_LONGEST: Final = 60  # characters of a name of a licence; longer is its text
_UNKNOWN: Final = frozenset({"", "unknown", "none"})


def parse_license(metadata: bytes) -> str | None:
    """Return what METADATA or PKG-INFO says, in one line; None where it says nothing.

    `OSI Approved :: MIT License` of a classifier is written `MIT License`.
    """
    fields = metadata_fields(metadata)
    if said := fields["License-Expression"]:
        return _one_line(said)
    classifiers = fields.get_all("Classifier", ())
    named = [x.rpartition(" :: ")[2] for x in classifiers if x.startswith(_CLASSIFIER)]
    text = (fields["License"] or "").strip()
    is_name = len(text) <= _LONGEST and "\n" not in text and text.lower() not in _UNKNOWN
    if is_name or (text.lower() not in _UNKNOWN and not named):
        return _one_line(text.splitlines()[0])
    return ", ".join(dict.fromkeys(named)) or None


def _one_line(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def read_license(file: Path) -> str | None:
    """Read it from a wheel or an sdist; None where it does not say, or cannot be read."""
    try:
        return parse_license(read_distribution(file).metadata)
    except (BadArchiveError, OSError):  # the level `archives` tells of it
        return None


def with_licenses(folder: Path, artifacts: Iterable[Artifact]) -> Iterator[Artifact]:
    """Fill in what the lock does not have of PyPI packages: the licence, and the file's size."""
    for each in artifacts:
        if each.is_conda:
            yield each
            continue
        file = folder / each.path
        size = file.stat().st_size if file.is_file() else None
        yield replace(each, license=read_license(file), size=size)
