"""Names of conda artifacts, `name-version-build.ext` (CEP 26, CEP 35)."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from typing import Final

EXTENSIONS: Final = (".conda", ".tar.bz2")

# Looser than CEP 26 (old channels have capitals), yet nothing that could leave a folder or mean
# something to a file system: no slash, backslash, colon, control character or leading dot.
_PART: Final = "[A-Za-z0-9_.+!~=]+"
_ARTIFACT: Final = re.compile(
    rf"([A-Za-z0-9_][A-Za-z0-9_.+!~=-]*)-({_PART})-({_PART})(\.conda|\.tar\.bz2)"
).fullmatch
_LONGEST: Final = 255  # bytes that common file systems take for one name


@dataclass(frozen=True, slots=True, kw_only=True)
class FileName:
    """The parts of an artifact's file name; `extension` keeps its dot."""

    name: str
    version: str
    build: str
    extension: str

    @property
    def distribution(self) -> str:
        """The distribution string: the file name without its extension."""
        return f"{self.name}-{self.version}-{self.build}"

    def __str__(self) -> str:
        """The file name itself."""
        return self.distribution + self.extension


def is_archive_name(text: str) -> bool:
    """Tell whether a name has the extension of a conda artifact."""
    return text.endswith(EXTENSIONS)


def is_artifact_name(text: str) -> bool:
    """Tell whether a file name is that of an artifact, `name-version-build.ext`."""
    return len(text) <= _LONGEST and _ARTIFACT(text) is not None


def parse_file_name(text: str) -> FileName | None:
    """Split a file name from the right into name, version and build; None: it is no artifact's."""
    found = _ARTIFACT(text) if len(text) <= _LONGEST else None
    if found is None:
        return None
    name, version, build, extension = map(sys.intern, found.groups())  # many have the same
    return FileName(name=name, version=version, build=build, extension=extension)
