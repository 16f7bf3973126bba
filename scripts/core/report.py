"""What a stage has to say, for people and for programs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import PurePath

from scripts.core.errors import ExitCode, Problem, exit_code_of

Json = None | bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The result of one task: lines for people, data for `--json`, problems for both.

    `data` is what `--json` prints beside the problems; build it with `to_json`. Problems that
    are all the same are shown as one that names `max_shown` of them.
    """

    lines: tuple[str, ...] = ()
    data: Mapping[str, Json] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    max_shown: int = 5

    @property
    def exit_code(self) -> ExitCode:
        """The exit code that these problems ask for."""
        return exit_code_of(self.problems)


def to_json(value: object) -> Json:
    """Turn (nested) dataclasses, tuples, enums and paths into what json can write.

    Field names become kebab-case, as in pixi's settings.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            each.name.replace("_", "-"): to_json(getattr(value, each.name))
            for each in dataclasses.fields(value)
        }
    if isinstance(value, Mapping):
        return {str(key): to_json(each) for key, each in value.items()}
    if isinstance(value, Enum):
        return to_json(value.value)
    if isinstance(value, PurePath):
        return value.as_posix()
    if isinstance(value, (list, tuple, set, frozenset)):
        return [to_json(each) for each in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    msg = f"not for JSON: {type(value).__name__}"
    raise TypeError(msg)


def human_size(size: int) -> str:
    """Write bytes as people read them: `812 B`, `3.4 kB`, `55.0 MB`, `1.2 GB` (powers of ten)."""
    if size < 1000:
        return f"{size} B"
    amount = float(size)
    for unit in ("kB", "MB", "GB"):
        amount /= 1000
        if amount < 999.95:
            return f"{amount:.1f} {unit}"
    return f"{amount / 1000:.1f} TB"


def counted(number: int, noun: str) -> str:
    """Write `1 artifact`, `2 artifacts`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def listed(names: Sequence[str], shown: int) -> str:
    """Write `a, b and 3 more`."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return f"{', '.join(names[:shown])}{more}"
