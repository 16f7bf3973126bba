"""Take typed values out of parsed TOML, YAML or JSON, or say what is wrong with them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Self, TypeVar

from scripts.core.errors import MirrorError, usage_error
from scripts.core.redact import redact

_Value = TypeVar("_Value")
_LONGEST: Final = 19  # digits; more are no size and no version, and may be meant to take long


@dataclass(frozen=True, slots=True)
class Table:
    """A table of a document. In errors `subject` names the document, `where` the table in it."""

    subject: str
    where: str
    fields: Mapping[str, Any]
    noun: ClassVar[str] = "table"

    def path_of(self, key: str) -> str:
        """Name a key with the tables around it: `feature.mirror.platforms`."""
        return f"{self.where}.{key}" if self.where else key

    def wrong(self, key: str, expected: str) -> MirrorError:
        """Make the error for a value that is not what it should be."""
        actual = redact(repr(self.fields.get(key)))
        return usage_error(
            self.subject,
            f"{self.path_of(key)} is not {expected}",
            ("actual", actual if len(actual) < 120 else actual[:117] + "..."),
        )

    def string(self, key: str) -> str | None:
        """Return a string, None where there is none."""
        value: str | None = self._typed(key, str, "a string")
        return value

    def required(self, key: str) -> str:
        """Return a string that must be there."""
        value = self.string(key)
        if not value:
            raise usage_error(self.subject, f"{redact(self.where)} has no {key}")
        return value

    def integer(self, key: str) -> int | None:
        """Return an integer; the lock's YAML is read with every scalar a string."""
        value = self.fields.get(key)
        number = parse_int(value) if isinstance(value, str) else value
        if value is not None and (isinstance(number, bool) or not isinstance(number, int)):
            raise self.wrong(key, "a whole number")
        return number

    def boolean(self, key: str) -> bool:
        """Return true or false; false where there is none."""
        return self._typed(key, bool, "true or false") or False

    def values(self, key: str) -> tuple[Any, ...]:
        """Return a list of anything, empty where there is none."""
        return tuple(self._typed(key, list, "a list") or ())

    def strings(self, key: str) -> tuple[str, ...]:
        """Return a list of strings, empty where there is none."""
        return self._list(key, str, "a list of strings")

    def rows(self, key: str) -> tuple[dict[str, Any], ...]:
        """Return a list of tables, empty where there is none."""
        return self._list(key, dict, f"a list of {self.noun}s")

    def table(self, key: str) -> Self:
        """Return a table, empty where there is none."""
        fields = self._typed(key, Mapping, f"a {self.noun}") or {}
        return dataclasses.replace(self, where=self.path_of(key), fields=fields)

    def tables(self) -> Iterator[tuple[str, Self]]:
        """Return the tables in this one, by name and in order; there may be nothing else."""
        return ((key, self.table(key)) for key in self.fields)

    def _typed(self, key: str, kind: type, expected: str) -> Any:
        value = self.fields.get(key)
        if value is None or isinstance(value, kind):
            return value
        raise self.wrong(key, expected)

    def _list(self, key: str, kind: type, expected: str) -> tuple[Any, ...]:
        values = self._typed(key, list, expected) or ()
        if all(isinstance(each, kind) for each in values):
            return tuple(values)
        raise self.wrong(key, expected)


def typed(value: Any, kind: type[_Value]) -> _Value:
    """Return a value of JSON that is of this type itself; TypeError where it is not.

    To JSON, true is no number.
    """
    if type(value) is not kind:
        raise TypeError(value)
    return value


def parse_int(text: str) -> int | None:
    """Read the digits 0 to 9, and nothing else; None where there is anything else, or too many.

    Python's own `int` and `isdecimal` take the digits of all scripts, signs and underscores.
    """
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _LONGEST else None


def parse_toml(text: str, subject: str) -> Any:
    """Parse TOML 1.1 with tomlkit, as pixi reads it, into its document.

    Raises the error of exit code 2 where it is no TOML, or begins with a byte order mark, which
    pixi does not take either.
    """
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    if text.startswith("\ufeff"):
        raise usage_error(
            subject,
            "begins with a byte order mark, which pixi does not read either",
            help="save it as UTF-8 without BOM",
        )
    try:
        document = tomlkit.parse(text)
        document.unwrap()  # some faults show only here
    except (TOMLKitError, ValueError) as error:
        raise usage_error(subject, f"not TOML: {redact(str(error))}") from None
    except RecursionError:
        raise usage_error(subject, "not TOML: nested too deep") from None
    return document


def load_toml(text: str, subject: str) -> Table:
    """Parse TOML into its top table of plain values.

    tomllib, many times as fast, reads TOML 1.0; the rest, and every fault, is tomlkit's.
    """
    import tomllib

    try:
        return Table(subject, "", tomllib.loads(text))
    except (ValueError, RecursionError):
        return Table(subject, "", parse_toml(text, subject).unwrap())


def toml_string(value: str | Sequence[str]) -> str:
    """Write a TOML string or a list of them; what JSON writes is one."""
    return json.dumps(value, ensure_ascii=False)
