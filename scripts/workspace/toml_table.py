"""Take typed values out of a TOML document, or say what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from scripts.core.errors import MirrorError, usage_error
from scripts.core.redact import redact


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the document with the words that name it in errors (`subject`, `where`)."""

    subject: str
    where: str
    fields: Mapping[str, object]

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

    def text(self, key: str) -> str | None:
        """Return a text, None where there is none."""
        value = self.fields.get(key)
        if value is None or isinstance(value, str):
            return value
        raise self.wrong(key, "a text")

    def texts(self, key: str) -> tuple[str, ...] | None:
        """Return a list of texts, None where there is none."""
        if key not in self.fields:
            return None
        values = self.values(key)
        texts = tuple(each for each in values if isinstance(each, str))
        if len(texts) != len(values):
            raise self.wrong(key, "a list of texts")
        return texts

    def values(self, key: str) -> tuple[object, ...]:
        """Return a list of anything, empty where there is none."""
        value = self.fields.get(key, [])
        if isinstance(value, list):
            return tuple(value)
        raise self.wrong(key, "a list")

    def flag(self, key: str) -> bool:
        """Return true or false; false where there is none."""
        value = self.fields.get(key, False)
        if isinstance(value, bool):
            return value
        raise self.wrong(key, "true or false")

    def table(self, key: str) -> Table:
        """Return a table, empty where there is none."""
        value = self.fields.get(key, {})
        if isinstance(value, Mapping):
            return Table(self.subject, self.path_of(key), value)
        raise self.wrong(key, "a table")

    def tables(self) -> Iterator[tuple[str, Table]]:
        """Return the tables in this one, by name and in order; there may be nothing else."""
        for key in self.fields:
            yield key, self.table(key)


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
