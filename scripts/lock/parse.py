"""The text of a pixi.lock, versions 1 to 7, as a LockFile.

Follows rattler_lock (src/parse/): a version above 7 is refused, unknown keys are ignored.
"""

from __future__ import annotations

from typing import Final

from scripts.core.errors import usage_error
from scripts.core.parse_int import parse_digits
from scripts.lock.model import LockFile
from scripts.lock.parse_v1 import parse_v1
from scripts.lock.parse_v4 import parse_v4
from scripts.lock.yaml_text import load_lock_text

NEWEST: Final = 7


def parse_lock(text: str, subject: str) -> LockFile:
    """Parse a whole lock file; `subject` names it in errors (all of exit code 2)."""
    document = load_lock_text(text, subject)
    written = document.get("version")
    version = parse_digits(written) if isinstance(written, str) else None
    if version is None:
        raise usage_error(
            subject, "not a pixi lock file: it has no version number", help="pixi lock"
        )
    if version > NEWEST:
        raise usage_error(
            subject,
            f"lock file version {version} is newer than this pixi-mirror knows",
            ("known", f"1 to {NEWEST}"),
            help="update pixi-mirror, or write the lock with an older pixi",
        )
    if version < 1:
        raise usage_error(subject, f"there is no lock file version {version}", help="pixi lock")
    if version <= 3:
        return parse_v1(document, version, subject)
    return parse_v4(document, version, subject)
