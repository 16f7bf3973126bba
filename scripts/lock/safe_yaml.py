"""Turn the text of a lock file into plain values, safely.

Built on the events of PyYAML's C parser: its loader crashes the process on deep nesting, keeps
the last of two equal keys without a word, and reads `1.3_31` as a number.
"""

from __future__ import annotations

import re
import sys
from typing import Any, Final

from scripts.core.errors import usage_error

Node = str | None | list["Node"] | dict[str, "Node"]

_DEEPEST: Final = 50  # levels; real locks have eight
_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
_CONFLICT: Final = re.compile(r"^(<{7}|={7}|>{7})( |$)", re.MULTILINE)
_LFS: Final = "version https://git-lfs.github.com/spec/"


def load_lock_text(text: str, subject: str) -> dict[str, Node]:
    """Parse a lock file's YAML into maps, lists, strings and None (a plain `null`).

    Every other scalar stays a string. Raises the error of exit code 2 for what is no lock at all,
    conflict markers, aliases, duplicate keys, several documents, and deep nesting.
    """
    if text.startswith(_LFS):
        message = "a Git LFS pointer, not the lock file itself"
        raise usage_error(subject, message, help="git lfs pull")
    if _CONFLICT.search(text):
        advice = "git checkout --ours pixi.lock && pixi lock (in a rebase: --theirs)"
        raise usage_error(subject, "holds the conflict markers of an unfinished merge", help=advice)
    import yaml

    too_deep = usage_error(subject, f"nested deeper than {_DEEPEST} levels; no lock file is")
    try:
        root = _build(text, subject)
    except yaml.YAMLError as error:
        if "nesting depth" in str(error):  # libyaml's own limit, from 0.2.6 on
            raise too_deep from None
        problem, mark = getattr(error, "problem", None), getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1})" if mark is not None else ""
        problem = problem or str(error).splitlines()[0]
        raise usage_error(subject, f"not YAML: {problem}{where}") from None
    except RecursionError:  # ours, and that of PyYAML's pure parser, where it has no other
        raise too_deep from None
    if not isinstance(root, dict):
        raise usage_error(subject, "not a pixi lock file: there is no map at its top")
    return root


# One function, since a call per event would double its time.
def _build(document: str, subject: str) -> Node:  # noqa: C901, PLR0912
    """Build the value from the parser's events, one pass, nothing recursive."""
    import yaml

    loader: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
    scalar, mapping, sequence = yaml.ScalarEvent, yaml.MappingStartEvent, yaml.SequenceStartEvent
    ends = (yaml.MappingEndEvent, yaml.SequenceEndEvent)
    top: list[Node] = []
    stack: list[tuple[list[Node] | dict[str, Node], str | None]] = []
    into: list[Node] | dict[str, Node] = top
    key: str | None = None
    event: Any
    for event in yaml.parse(document, loader):
        kind = type(event)
        value: Node
        if kind is scalar:
            text = sys.intern(event.value)  # one object for what stands there thousands of times
            if type(into) is dict and key is None:
                if text in into:
                    raise usage_error(_at(subject, event), f"the key {text!r} is there twice")
                key = text
                continue
            value = None if not event.style and text in _NULLS else text
        elif kind is mapping:
            value = {}
        elif kind is sequence:
            value = []
        elif kind in ends:
            into, key = stack.pop()
            continue
        elif kind is yaml.AliasEvent:
            raise usage_error(_at(subject, event), "an alias; lock files have none")
        else:
            continue
        if type(into) is dict:
            if key is None:
                raise usage_error(_at(subject, event), "a key that is no string")
            into[key] = value
            key = None
        elif into is top and top:
            raise usage_error(_at(subject, event), "a second YAML document in one file")
        else:
            into.append(value)  # type: ignore[union-attr]
        if kind is not scalar:
            stack.append((into, key))
            if len(stack) > _DEEPEST:
                raise RecursionError
            into, key = value, None  # type: ignore[assignment]
    return top[0] if top else None


def _at(subject: str, event: Any) -> str:
    return f"{subject}, line {event.start_mark.line + 1}"
