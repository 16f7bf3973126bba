"""Complete the record of an old lock's row by what its artifact says.

What the lock says wins: it carries the hotfixes. Versions 6 and 7 say everything.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Final

from scripts.core.record import Record

OLDEST_COMPLETE: Final = 6
"""The first lock version whose rows leave nothing open."""

_FIRST_V4: Final = 4  # before, `noarch` may be the lock reader's guess
_SINGLE: Final = (
    "noarch",
    "license",
    "license_family",
    "timestamp",
    "python_site_packages_path",
)
# The very first locks have none of these, nor size nor timestamp; later, empty means empty.
_MANY: Final = ("constrains", "track_features", "features")


def complete(record: Record, artifact: Record, lock_version: int) -> Record:
    """Fill what the lock's row leaves open from the artifact's own `info/index.json`."""
    missing: dict[str, Any] = {
        key: getattr(artifact, key) for key in _SINGLE if getattr(record, key) is None
    }
    if lock_version < _FIRST_V4 and artifact.noarch is not None:
        missing["noarch"] = artifact.noarch
    if record.timestamp is None and record.size is None:
        missing |= {
            key: getattr(artifact, key) for key in _MANY if getattr(record, key) in (None, ())
        }
    return dataclasses.replace(record, **missing)
