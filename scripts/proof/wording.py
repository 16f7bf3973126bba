"""Words for people, made of what other programs print. Decides; does no I/O."""

from __future__ import annotations


def printable(text: str) -> str:
    """Replace what would do more to a terminal than show: it may come out of an artifact."""
    return "".join(each if each.isprintable() else "\ufffd" for each in text)
