"""The options that stand for the settings on every task that uses them."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from scripts.core.layout import Layout
from scripts.core.parse_int import parse_digits
from scripts.workspace.settings import Kind, SettingOverrides, parse_duration

_REPEATABLE: Final = "repeatable, or several with commas between"


def add_setting_options(parser: argparse.ArgumentParser, *names: str) -> None:
    """Add the options of these settings, named as in the manifest (`channel-dir`).

    Lists take a value with commas in it, and may be given several times.
    """
    for name in names:
        _ADDERS[name](parser)


def add_long_setting_options(parser: argparse.ArgumentParser, *names: str) -> None:
    """Add them under the settings' own names alone, for a task in which `-e` is pixi's word."""
    for name in names:
        (_LONG_ADDERS.get(name) or _ADDERS[name])(parser)


def overrides_from(options: argparse.Namespace) -> SettingOverrides:
    """Take what the options say; options that the task does not have count as not given."""
    kinds = _list(options, "allow_incomplete")
    return SettingOverrides(
        channel_dir=getattr(options, "channel_dir", None),
        layout=getattr(options, "layout", None),
        jobs=getattr(options, "jobs", None),
        environments=_list(options, "environments"),
        exclude_environments=_list(options, "exclude_environments"),
        platforms=_list(options, "platforms"),
        allow_incomplete=None if kinds is None else frozenset(Kind(kind) for kind in kinds),
        allow_unhashed=getattr(options, "allow_unhashed", None),
        grace=getattr(options, "grace", None),
    )


def _list(options: argparse.Namespace, name: str) -> tuple[str, ...] | None:
    lists = getattr(options, name, None)
    return None if lists is None else tuple(dict.fromkeys(each for part in lists for each in part))


def _channel_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--channel-dir",
        type=_text,
        metavar="DIR",
        help="the channel folder, relative to the manifest's (default: local-channel)",
    )


def _layout(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--layout",
        type=_layout_of,
        metavar="{" + ",".join(Layout) + "}",
        help="one channel, or a folder for each upstream channel (default: flat)",
    )


def _jobs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--jobs", type=_count, metavar="N", help="downloads at a time (default: 16)"
    )


def _environments(parser: argparse.ArgumentParser, *short: str) -> None:
    parser.add_argument(
        *(*short, "--environments"),
        dest="environments",
        action="append",
        type=_names,
        metavar="ENV",
        help=f"mirror these environments alone ({_REPEATABLE})",
    )


def _exclude_environments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--exclude-environments",
        action="append",
        type=_any_names,
        metavar="ENV",
        help=f"leave these environments out ({_REPEATABLE}; '' for none)",
    )


def _platforms(parser: argparse.ArgumentParser, *short: str) -> None:
    parser.add_argument(
        *(*short, "--platforms"),
        dest="platforms",
        action="append",
        type=_names,
        metavar="PLATFORM",
        help=f"mirror for these platforms alone ({_REPEATABLE})",
    )


def _allow_incomplete(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--allow-incomplete",
        action="append",
        type=_kinds,
        metavar="KIND",
        help=f"do not mind {' or '.join(Kind)} packages, which no channel holds ({_REPEATABLE})",
    )


def _allow_unhashed(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--allow-unhashed",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="take artifacts for which the lock has no hash",
    )


def _grace(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--grace",
        type=_duration,
        metavar="TIME",
        help="how long what the index no longer names stays for clients at work (default: 1h)",
    )


_Adder = Callable[[argparse.ArgumentParser], None]
_ADDERS: Final[dict[str, _Adder]] = {
    "channel-dir": _channel_dir,
    "layout": _layout,
    "jobs": _jobs,
    "environments": lambda parser: _environments(parser, "-e", "--environment"),
    "exclude-environments": _exclude_environments,
    "platforms": lambda parser: _platforms(parser, "-p", "--platform"),
    "allow-incomplete": _allow_incomplete,
    "allow-unhashed": _allow_unhashed,
    "grace": _grace,
}
_LONG_ADDERS: Final[dict[str, _Adder]] = {"environments": _environments, "platforms": _platforms}


def _text(text: str) -> str:
    if not text.strip() or "\0" in text:
        raise argparse.ArgumentTypeError("a folder is needed")
    return text


def _layout_of(text: str) -> Layout:
    if text not in tuple(Layout):
        raise argparse.ArgumentTypeError(f"no such layout: {text!r} ({' or '.join(Layout)})")
    return Layout(text)


def _count(text: str) -> int:
    count = parse_digits(text)
    if not count:
        raise argparse.ArgumentTypeError(f"not a whole number from 1 up: {text!r}")
    return count


def _duration(text: str) -> timedelta:
    duration = parse_duration(text)
    if duration is None:
        raise argparse.ArgumentTypeError(f"no duration: {text!r} (1h, 30m, 0s, 7d)")
    return duration


def _any_names(text: str) -> tuple[str, ...]:
    return tuple(name for each in text.split(",") if (name := each.strip()))


def _names(text: str) -> tuple[str, ...]:
    names = _any_names(text)
    if not names:
        raise argparse.ArgumentTypeError("a name is needed")
    return names


def _kinds(text: str) -> tuple[str, ...]:
    kinds = _any_names(text)
    for kind in kinds:
        if kind not in tuple(Kind):
            raise argparse.ArgumentTypeError(f"no such kind: {kind!r} ({' or '.join(Kind)})")
    return kinds
