"""The settings of a mirror: `[tool.pixi-mirror]` of the manifest, and the options over them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from difflib import get_close_matches
from enum import StrEnum
from typing import Any, Final

from scripts.core.errors import MirrorError, usage_error
from scripts.core.layout import Layout
from scripts.core.redact import redact

TABLE: Final = "tool.pixi-mirror"
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class Kind(StrEnum):
    """Why a row of the lock cannot be mirrored; the words are those of `allow-incomplete`."""

    SOURCE = "source"
    PYPI = "pypi"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What `[tool.pixi-mirror]` says; each field is a key there and an option of the tasks.

    `environments` and `platforms` None: all that the lock has. `jobs` None: the default. Platforms
    are named as in the lock, or by their subdir. What a published index no longer names stays
    for `grace`, so that clients at work find it.
    """

    channel_dir: str = "local-channel"
    layout: Layout = Layout.FLAT
    jobs: int | None = None
    environments: tuple[str, ...] | None = None
    exclude_environments: tuple[str, ...] = ()
    platforms: tuple[str, ...] | None = None
    allow_incomplete: frozenset[Kind] = frozenset()
    allow_unhashed: bool = False
    grace: timedelta = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingOverrides:
    """What options say instead of the settings of the same name; None: not given."""

    channel_dir: str | None = None
    layout: Layout | None = None
    jobs: int | None = None
    environments: tuple[str, ...] | None = None
    exclude_environments: tuple[str, ...] | None = None
    platforms: tuple[str, ...] | None = None
    allow_incomplete: frozenset[Kind] | None = None
    allow_unhashed: bool | None = None
    grace: timedelta | None = None


def override(settings: Settings, overrides: SettingOverrides) -> Settings:
    """Lay the options over the settings.

    An environment asked for by option is mirrored though the settings exclude it.
    """
    given = {
        field.name: value
        for field in dataclasses.fields(overrides)
        if (value := getattr(overrides, field.name)) is not None
    }
    if overrides.environments is not None and overrides.exclude_environments is None:
        given["exclude_environments"] = tuple(
            name for name in settings.exclude_environments if name not in overrides.environments
        )
    return dataclasses.replace(settings, **given)


def parse_settings(table: Mapping[str, object], subject: str) -> Settings:
    """Read `[tool.pixi-mirror]`; an unknown key or a wrong value is an error of exit code 2."""
    readers: dict[str, Callable[[object], Any]] = {
        "channel-dir": _folder,
        "layout": _layout,
        "jobs": _jobs,
        "environments": _names,
        "exclude-environments": _texts,
        "platforms": _names,
        "allow-incomplete": _kinds,
        "allow-unhashed": _flag,
        "grace": _duration,
    }
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in readers:
            near = get_close_matches(key, readers, n=1)
            raise usage_error(
                subject,
                f"no such setting: {key!r} in [{TABLE}]",
                help=f"did you mean {near[0]}?" if near else f"known are {', '.join(readers)}",
            )
        try:
            values[key.replace("-", "_")] = readers[key](value)
        except _WrongValueError as error:
            raise _wrong(subject, key, value, error) from None
    return Settings(**values)


class _WrongValueError(Exception):
    """What a value should be, in words; `near` is a known word like the one given."""

    def __init__(self, expected: str, near: str | None = None) -> None:
        super().__init__(expected)
        self.expected = expected
        self.near = near


def _wrong(subject: str, key: str, value: object, error: _WrongValueError) -> MirrorError:
    return usage_error(
        subject,
        f"{TABLE}.{key} is not {error.expected}",
        ("actual", redact(repr(value))),
        help=f"did you mean {error.near}?" if error.near else None,
    )


def _folder(value: object) -> str:
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise _WrongValueError("a folder, relative to the manifest's or absolute")
    return value


def _layout(value: object) -> Layout:
    return Layout(_word(value, tuple(Layout)))


def _kinds(value: object) -> frozenset[Kind]:
    return frozenset(Kind(_word(each, tuple(Kind))) for each in _texts(value))


def _word(value: object, known: tuple[str, ...]) -> str:
    if isinstance(value, str) and value in known:
        return value
    near = get_close_matches(value, known, n=1) if isinstance(value, str) else []
    raise _WrongValueError(f"one of {', '.join(known)}", near[0] if near else None)


def _jobs(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise _WrongValueError("a whole number from 1 up")
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise _WrongValueError("true or false")
    return value


def _duration(value: object) -> timedelta:
    duration = parse_duration(value) if isinstance(value, str) else None
    if duration is None:
        raise _WrongValueError('a duration: "1h", "30m", "0s", "7d"')
    return duration


def parse_duration(text: str) -> timedelta | None:
    """Read a duration as pixi writes one, `1h 30m`; None where it is none."""
    parts = re.findall(r"([0-9]{1,6})\s*([smhdw])\s*", text)
    if not parts or "".join(map("".join, parts)) != re.sub(r"\s", "", text):
        return None
    try:
        return sum((timedelta(**{_UNITS[unit]: int(count)}) for count, unit in parts), timedelta())
    except OverflowError:
        return None


def _texts(value: object) -> tuple[str, ...]:
    if isinstance(value, list):
        texts = tuple(each for each in value if isinstance(each, str))
        if len(texts) == len(value):
            return texts
    raise _WrongValueError("a list of texts")


def _names(value: object) -> tuple[str, ...]:
    texts = _texts(value)
    if not texts:
        raise _WrongValueError("a list with at least one name (leave it out for all)")
    return texts
