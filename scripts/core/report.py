"""The result of a stage, for people and for programs, and how its texts are written."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from pathlib import PurePath
from typing import Final, Protocol

from scripts.core.errors import ExitCode, MirrorError, Problem, exit_code_of

Json = None | bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"]
Line = str | tuple[str, ...]
"""A line for people; or the lines of one list, of which a long one is cut unless `-v` is given."""

_FEW: Final = 3  # names that stand in one line
_NAMES: Final = 5  # names in the middle of a sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The result of one task: lines for people, data for `--json`, problems for both.

    `data` is what `--json` prints beside the problems; build it with `to_json`. `referred_to` are
    the lines that a problem's help refers to: `-q` prints them, too.
    """

    lines: tuple[Line, ...] = ()
    data: Mapping[str, Json] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    referred_to: tuple[str, ...] = ()

    @property
    def exit_code(self) -> ExitCode:
        """The exit code that these problems ask for."""
        return exit_code_of(self.problems)


def attempt(step: Callable[[], Report]) -> Report:
    """Take a step of a task; what it raises is what it reports."""
    try:
        return step()
    except MirrorError as error:
        return Report(problems=error.problems)


def join_reports(one: Report, other: Report) -> Report:
    """Join the reports of two steps of a task, in this order."""
    return Report(
        lines=(*one.lines, *other.lines),
        data={**one.data, **other.data},
        problems=(*one.problems, *other.problems),
        referred_to=(*one.referred_to, *other.referred_to),
    )


def to_json(value: object) -> Json:
    """Turn (nested) dataclasses, tuples, enums, times and paths into what json can write.

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
    if isinstance(value, (PurePath, datetime)):
        return value.as_posix() if isinstance(value, PurePath) else value.isoformat()
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


def size_text(size: int, unknown: int) -> str:
    """Write the bytes that are known, and how many files are of unknown size."""
    return human_size(size) + (f" and {unknown} of unknown size" if unknown else "")


def table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield a line for each row, in columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(padded).rstrip()


def counted(number: int, noun: str) -> str:
    """Write `1 artifact`, `2 artifacts`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


class HasSize(Protocol):
    """Anything of so many bytes."""

    @property
    def size(self) -> int:
        """Bytes."""


def counted_files(files: Sequence[HasSize], noun: str = "file") -> str:
    """Write `3 files, 1.2 MB`."""
    return f"{counted(len(files), noun)}, {human_size(sum(each.size for each in files))}"


def listed(names: Sequence[str], shown: int = _NAMES, where: str = ", in --json") -> str:
    """Write `a, b and 3 more, in --json`; `where` says where all names can be seen."""
    more = f" and {len(names) - shown} more{where}" if len(names) > shown else ""
    return f"{', '.join(names[:shown])}{more}"


def named(before: str, noun: str, names: Sequence[str], after: str = "") -> Line:
    """Write a few names into a sentence; of more their number, and each on a line of its own."""
    if len(names) <= _FEW:
        return f"{before} {', '.join(names)}{after}"
    sentence = f"{before} {counted(len(names), noun)}{after}"
    return (sentence, *(f"  {name}" for name in names))


def flattened(lines: Iterable[Line]) -> Iterator[str]:
    """Yield every single line, those of lists too."""
    for line in lines:
        yield from (line,) if isinstance(line, str) else line
