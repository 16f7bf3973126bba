"""Take typed values out of one row of a lock file, or say what is wrong with it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from scripts.core.errors import MirrorError, usage_error
from scripts.core.parse_int import parse_digits
from scripts.core.record import NoArch, RunExports
from scripts.core.redact import redact
from scripts.lock.yaml_text import Node

_HEX: Final = {"sha256": re.compile(r"[0-9a-f]{64}\Z"), "md5": re.compile(r"[0-9a-f]{32}\Z")}
# rattler_lock/src/utils/serde/timestamp.rs: up to here it is seconds, above milliseconds.
_LAST_SECOND: Final = 253402300799


@dataclass(frozen=True, slots=True)
class Row:
    """A map of the lock with the words that name it in errors (`subject`, `what`)."""

    subject: str
    what: str
    fields: dict[str, Node]

    def wrong(self, key: str, expected: str) -> MirrorError:
        """Make the error for a field that is not what it should be."""
        actual = redact(repr(self.fields.get(key)))
        return usage_error(
            self.subject,
            f"{key} of {redact(self.what)} is not {expected}",
            ("actual", actual if len(actual) < 120 else actual[:117] + "..."),
        )

    def text(self, key: str) -> str | None:
        """Return a text, None where the row has none."""
        value = self.fields.get(key)
        if value is None or isinstance(value, str):
            return value
        raise self.wrong(key, "a text")

    def needed(self, key: str) -> str:
        """Return a text that must be there."""
        value = self.text(key)
        if not value:
            raise usage_error(self.subject, f"{redact(self.what)} has no {key}")
        return value

    def integer(self, key: str) -> int | None:
        """Return a whole number from zero up."""
        value = self.fields.get(key)
        if value is None:
            return None
        number = parse_digits(value) if isinstance(value, str) else None
        if number is None:
            raise self.wrong(key, "a whole number")
        return number

    def timestamp(self) -> int | None:
        """Return the timestamp in milliseconds."""
        value = self.integer("timestamp")
        return value * 1000 if value is not None and value <= _LAST_SECOND else value

    def hex_digest(self, key: str, algorithm: str) -> str | None:
        """Return a digest in lower case; an empty one counts as none."""
        value = self.text(key)
        if not value:
            return None
        value = value.lower()
        if not _HEX[algorithm].match(value):
            raise self.wrong(key, f"a {algorithm} in hex")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of texts, empty where there is none."""
        value = self.fields.get(key)
        if value is None:
            return ()
        if isinstance(value, list):
            texts = tuple(each for each in value if isinstance(each, str))
            if len(texts) == len(value):
                return texts
        raise self.wrong(key, "a list of texts")

    def one_or_many(self, key: str) -> tuple[str, ...]:
        """Return a list that old versions write as one text with blanks."""
        value = self.fields.get(key)
        if isinstance(value, str):
            return tuple(value.replace(",", " ").split())
        return self.texts(key)

    def rows(self, key: str) -> tuple[dict[str, Node], ...]:
        """Return a list of maps, empty where there is none."""
        value = self.fields.get(key)
        if value is None:
            return ()
        if isinstance(value, list):
            maps = tuple(each for each in value if isinstance(each, dict))
            if len(maps) == len(value):
                return maps
        raise self.wrong(key, "a list of maps")

    def table(self, key: str) -> dict[str, Node]:
        """Return a map, empty where there is none."""
        value = self.fields.get(key)
        if value is None:
            return {}
        if isinstance(value, dict):
            return value
        raise self.wrong(key, "a map")

    def noarch(self) -> NoArch | None:
        """Return the kind of noarch; `true` means generic, as rattler reads it."""
        value = self.text("noarch")
        if value == "python":
            return "python"
        if value in {"generic", "true"}:
            return "generic"
        if value in {None, "false"}:
            return None
        raise self.wrong("noarch", "python or generic")

    def run_exports(self) -> RunExports | None:
        """Return the run exports; None where they are unknown, empty where known to be none."""
        if self.fields.get("run_exports") is None:
            return None
        table = Row(self.subject, f"run_exports of {self.what}", self.table("run_exports"))
        return RunExports(
            weak=table.texts("weak"),
            strong=table.texts("strong"),
            noarch=table.texts("noarch"),
            weak_constrains=table.texts("weak_constrains"),
            strong_constrains=table.texts("strong_constrains"),
        )

    def extra_depends(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """Return the optional requirements by extra."""
        if self.fields.get("extra_depends") is None:
            return ()
        fields = self.table("extra_depends")
        table = Row(self.subject, f"extra_depends of {self.what}", fields)
        return tuple((name, table.texts(name)) for name in fields)
