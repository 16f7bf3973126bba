"""The settings of a mirror: `[tool.pixi-mirror]` of the manifest, and the options over them.

Each is declared once, in `Settings`; the manifest's table and the options are read from there.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit

from scripts.core.channel_paths import Layout
from scripts.core.errors import did_you_mean, usage_error
from scripts.core.redact import redact
from scripts.core.typed_values import parse_int

TABLE: Final = "tool.pixi-mirror"
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class IncompleteKind(StrEnum):
    """What cannot be mirrored of a lock, or not proven; the words are of `allow-incomplete`."""

    SOURCE = "source"
    PYPI = "pypi"
    BUILD_REQUIRES = "build-requires"
    """What an sdist is built with, which no lock names."""
    WHEEL_RECORD = "wheel-record"
    """A wheel's RECORD that is not right, as upstream has made it."""


_Reader = Callable[[object], Any]  # raises ValueError(what it should be, the help if there is one)


def _folder(value: object) -> str:
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise ValueError("a folder, relative to the manifest's or absolute")
    return value


def _word(value: object, known: type[StrEnum]) -> Any:
    if isinstance(value, str) and value in tuple(known):
        return known(value)
    raise ValueError(f"one of {', '.join(known)}", did_you_mean(str(value), known))


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError("a whole number from 1 up")
    return value


def _flag(value: object) -> bool:
    if value is True or value is False:
        return value
    raise ValueError("true or false")


def _duration(value: object) -> timedelta:
    """Read a duration as pixi writes one, `1h 30m`."""
    text = value if isinstance(value, str) else ""
    if re.fullmatch(r"(\s*[0-9]{1,6}\s*[smhdw])+\s*", text):
        parts = re.findall(r"([0-9]+)\s*([smhdw])", text)
        with contextlib.suppress(OverflowError):  # refused like all else
            return sum((timedelta(**{_UNITS[unit]: int(n)}) for n, unit in parts), timedelta())
    raise ValueError('a duration: "1h", "30m", "0s", "7d"')


def _any_names(value: object) -> tuple[str, ...]:
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return tuple(value)
    raise ValueError("a list of strings")


def _names(value: object) -> tuple[str, ...]:
    names = _any_names(value)
    if not names:
        raise ValueError("a list with at least one name (leave it out for all)")
    return names


def _kinds(value: object) -> frozenset[IncompleteKind]:
    return frozenset(_word(each, IncompleteKind) for each in _any_names(value))


_ENTRY: Final = {
    "environments": _names,
    "exclude-environments": _any_names,
    "platforms": _names,
}


_ENTRIES: Final = "a list of paths, URLs, or tables with one of them"


@dataclass(frozen=True, slots=True, kw_only=True)
class LockEntry:
    """An entry of `locks`: where one lock is, or several, and what of them is mirrored.

    `location` is a path, with `*` and `**` for several, or an http(s) URL. `environments` and
    `platforms` None: all of them.
    """

    location: str
    environments: tuple[str, ...] | None = None
    exclude_environments: tuple[str, ...] = ()
    platforms: tuple[str, ...] | None = None

    @property
    def is_remote(self) -> bool:
        """Tell whether it is a URL."""
        return "://" in self.location


def _lock_entry(value: object) -> LockEntry:
    if isinstance(value, LockEntry):  # read from an option already
        return value
    fields = {"path": value} if isinstance(value, str) else value
    if not isinstance(fields, Mapping):
        raise ValueError(_ENTRIES)  # noqa: TRY004 - as of any wrong value
    wrong = [key for key in fields if key not in {"path", "url", *_ENTRY}]
    if wrong:
        advice = did_you_mean(wrong[0], ("path", "url", *_ENTRY))
        raise ValueError(f"a table of path or url, {', '.join(_ENTRY)}", advice)
    location = fields.get("path", fields.get("url"))
    if not isinstance(location, str) or not location.strip() or "\0" in location:
        raise ValueError(_ENTRIES)
    is_remote = "://" in location
    if ("path" in fields) == ("url" in fields) or ("url" in fields and not is_remote):
        raise ValueError("a table with either a path or a url")
    if is_remote:
        scheme, _, rest = location.partition("://")
        location = f"{scheme.lower()}://{rest}"
        if not _is_http(location):
            raise ValueError("a path, or an http or https URL")
    read = {key.replace("-", "_"): _ENTRY[key](fields[key]) for key in _ENTRY if key in fields}
    return LockEntry(location=location, **read)


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # of a host or port that is none
        return False


def _locks(value: object) -> tuple[LockEntry, ...]:
    if isinstance(value, list):
        return tuple(map(_lock_entry, value))
    raise ValueError(_ENTRIES)


# Readers of lists, which options take with commas.
_LISTS: Final = (_any_names, _names, _kinds, _locks)


def _setting(
    parse: _Reader, *, default: object = None, metavar: str = "", tasks: str, help: str
) -> Any:
    """Declare a setting: `default` as in the manifest (None: not given), the tasks that use it."""
    more = " (repeatable, or several with commas between)" if parse in _LISTS else ""
    metadata = {"parse": parse, "metavar": metavar, "tasks": tasks.split(), "help": help + more}
    value = None if default is None else parse(default)
    return dataclasses.field(default=value, metadata=metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What `[tool.pixi-mirror]` says; each field is a key there and an option of its tasks.

    `environments` and `platforms` None: all that the lock has. `jobs` None: 32. Platforms
    are named as in the lock, or by their subdir. What a published index no longer names stays
    for `grace`, so that clients at work find it. Snapshots older than `keep_snapshots`, and than
    `keep_days` (None: none more), lose their files at the next `prune`.
    """

    channel_dir: str = _setting(
        _folder,
        default="local-channel",
        metavar="DIR",
        tasks="bundle channels diff doctor fetch index lock locks mirror plan prune rollback"
        " snapshots upstream verify why",
        help="the channel folder, relative to the manifest's (default: local-channel)",
    )
    layout: Layout = _setting(  # noqa: RUF009 - it makes a dataclass field
        partial(_word, known=Layout),
        default="flat",
        metavar="{" + ",".join(Layout) + "}",
        tasks="channels fetch index locks mirror plan upstream verify",
        help="one channel, or a folder for each upstream channel (default: flat)",
    )
    jobs: int | None = _setting(
        _count,
        metavar="N",
        tasks="fetch mirror",
        help="downloads at a time (default: 32)",
    )
    locks: tuple[LockEntry, ...] = _setting(
        _locks,
        default=[],
        metavar="PATH",
        tasks="channels diff fetch index locks mirror plan prune upstream verify why",
        help="mirror these locks, too: paths, patterns like '**/pixi.lock', URLs",
    )
    environments: tuple[str, ...] | None = _setting(
        _names,
        metavar="ENV",
        tasks="channels doctor fetch index lock locks mirror plan platforms upstream verify why",
        help="these environments alone",
    )
    exclude_environments: tuple[str, ...] = _setting(
        _any_names,
        default=[],
        metavar="ENV",
        tasks="channels doctor fetch index lock locks mirror plan platforms upstream verify why",
        help="leave these environments out ('' for none)",
    )
    platforms: tuple[str, ...] | None = _setting(
        _names,
        metavar="PLATFORM",
        tasks="channels doctor fetch index lock locks mirror plan upstream verify why",
        help="these platforms alone",
    )
    pypi: bool = _setting(
        _flag,
        default=True,
        tasks="channels doctor fetch index lock locks mirror plan upstream verify why",
        help="mirror the PyPI packages of pixi.lock, too (default)",
    )
    allow_incomplete: frozenset[IncompleteKind] = _setting(
        _kinds,
        default=[],
        metavar="KIND",
        tasks="doctor mirror plan verify",
        help="do not mind what cannot be mirrored, or is wrong upstream: "
        + ", ".join(IncompleteKind),
    )
    allow_unhashed: bool = _setting(
        _flag,
        default=False,
        tasks="fetch locks mirror plan upstream verify",
        help="take artifacts for which the lock has no digest",
    )
    grace: timedelta = _setting(  # noqa: RUF009
        _duration,
        default="1h",
        metavar="TIME",
        tasks="index mirror prune unbundle",
        help="how long what the index no longer names stays for clients at work (default: 1h)",
    )
    keep_snapshots: int = _setting(
        _count,
        default=10,
        metavar="N",
        tasks="prune",
        help="keep the files of so many of the newest snapshots (default: 10)",
    )
    keep_days: int | None = _setting(
        _count,
        metavar="N",
        tasks="prune",
        help="keep those of all snapshots of so many days, too",
    )
    proof_max_age: timedelta = _setting(  # noqa: RUF009
        _duration,
        default="30d",
        metavar="TIME",
        tasks="mirror",
        help="how long what was proven is not proven again (default: 30d)",
    )

    def is_mirrored(self, environment: str) -> bool:
        """Tell whether an environment of this name is mirrored."""
        wanted = self.environments is None or environment in self.environments
        return wanted and environment not in self.exclude_environments

    def is_for(self, *names: str) -> bool:
        """Tell whether a platform is mirrored; `names` are its own and its subdir."""
        return self.platforms is None or not set(names).isdisjoint(self.platforms)


_DECLARED: Final = {each.name.replace("_", "-"): each for each in dataclasses.fields(Settings)}
# What options say instead of the settings of the same name; None: not given.
SettingOverrides = dict[str, Any]


def override(settings: Settings, overrides: Mapping[str, Any]) -> Settings:
    """Lay the options over the settings.

    An environment asked for by option is mirrored though the settings exclude it.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    if "environments" in given and "exclude_environments" not in given:
        given["exclude_environments"] = tuple(
            name for name in settings.exclude_environments if name not in given["environments"]
        )
    return dataclasses.replace(settings, **given)


def parse_settings(table: Mapping[str, object], subject: str) -> Settings:
    """Read `[tool.pixi-mirror]`; an unknown key or a wrong value is an error of exit code 2."""
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in _DECLARED:
            advice = did_you_mean(key, _DECLARED) or f"known are {', '.join(_DECLARED)}"
            raise usage_error(subject, f"no such setting: {key!r} in [{TABLE}]", help=advice)
        try:
            values[_DECLARED[key].name] = _DECLARED[key].metadata["parse"](value)
        except ValueError as error:
            expected, *near = error.args
            actual = ("actual", redact(repr(value)))
            message = f"{TABLE}.{key} is not {expected}"
            raise usage_error(subject, message, actual, help=next(iter(near), None)) from None
    return Settings(**values)


def add_setting_options(parser: argparse.ArgumentParser, task: str, *, short: bool = True) -> None:
    """Add the options of the settings that a task uses, named as in the manifest.

    Lists take a value with commas in it, and may be given several times. `short`: `-e`,
    `--environment`, `-p`, `--platform` too.
    """
    for name, declared in _DECLARED.items():
        setting = declared.metadata
        if task in setting["tasks"]:
            parse = setting["parse"]
            names = [f"-{name[0]}", f"--{name[:-1]}"] if short and parse is _names else []
            how: dict[str, Any] = {"action": argparse.BooleanOptionalAction}
            if parse is not _flag:
                action = "extend" if parse in _LISTS else "store"
                read = partial(_read_option, parse)
                how = {"action": action, "type": read, "metavar": setting["metavar"]}
            parser.add_argument(
                *names, f"--{name}", dest=declared.name, help=setting["help"], **how
            )


def _read_option(parse: _Reader, text: str) -> Any:
    value: object = parse_int(text) if parse is _count else text
    if parse in _LISTS:
        value = [name for each in text.split(",") if (name := each.strip())]
    try:
        return parse(value)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not {error.args[0]}") from None


def overrides_from(options: argparse.Namespace) -> SettingOverrides:
    """Take what the options say; options that the task does not have count as not given."""
    given: SettingOverrides = {}
    for each in _DECLARED.values():
        value = getattr(options, each.name, None)
        if isinstance(value, list):  # of all its options
            value = each.metadata["parse"](list(dict.fromkeys(value)))
        if value is not None:
            given[each.name] = value
    return given
