"""Show what the user has beside what the newer template has."""

from __future__ import annotations

import difflib


def difference(name: str, mine: bytes | None, new: bytes | None) -> tuple[str, ...]:
    """Return a unified diff that leads from the user's to the template's, line by line.

    Where one side is no UTF-8 text, or nothing but the ends of lines differs, it says so.
    """
    sides = [_lines(data) for data in (mine, new)]
    mine_lines, new_lines = sides
    if mine_lines is None or new_lines is None:
        return (f"{name}: no text; the two differ",)
    yours = f"{name} (yours)" if mine is not None else "/dev/null"
    theirs = f"{name} (template)" if new is not None else "/dev/null"
    lines = difflib.unified_diff(mine_lines, new_lines, yours, theirs, lineterm="")
    return tuple(lines) or (f"{name}: the two differ in the ends of their lines alone",)


def _lines(data: bytes | None) -> list[str] | None:
    if data is None:
        return []
    try:
        return data.decode("utf-8").splitlines()
    except UnicodeDecodeError:
        return None
