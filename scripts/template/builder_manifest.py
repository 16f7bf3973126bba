"""The template's pixi.toml as a new builder gets it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from scripts.core.channel_url import channel_base_url
from scripts.core.errors import MirrorError, usage_error
from scripts.core.typed_values import load_toml, parse_toml
from scripts.template.wishes import PackageWish, Wishes, check_wishes
from scripts.workspace.parse import parse_manifest
from scripts.workspace.platforms import set_platforms
from scripts.workspace.toml_lines import find_span, lines_at, with_lines, without_lines

_FILE = "pixi.toml"
_PAYLOAD = ("dependencies",)
_PIP = (*_PAYLOAD, "pip")


def builder_manifest(text: str, wishes: Wishes, unwanted_tasks: Iterable[str]) -> str:
    """Set name, channels, platforms and packages; take the tasks out that a builder has not.

    The workspace's platforms stay a superset of the mirrored ones. The template's pip stays, too,
    unless no channel is left that it may come from. All else stays as it stands, byte for byte.
    Raises the errors of exit code 2 for wishes that cannot be.
    """
    manifest = parse_manifest(text, name=_FILE)
    known = {channel.url for channel in manifest.channels}
    check_wishes(wishes, known)
    wished = {channel_base_url(each) for each in wishes.channels} or known
    pip = find_span(text, _PIP)
    if pip is not None and not (wishes.with_pip and known & wished):
        text = without_lines(text, pip)
    text = _with_value(text, ("workspace", "name"), wishes.name)
    if wishes.channels:
        # The tools take theirs from conda-forge first, whatever these are: [feature.tools].
        unique = tuple(dict.fromkeys(wishes.channels))
        document = parse_toml(text, _FILE)
        channels = document["workspace"]["channels"]
        channels.clear()
        channels.extend(unique)
        text = document.as_string()
    if wishes.platforms:
        text = set_platforms(text, wishes.platforms, name=_FILE).text
    if wishes.packages:
        text = _with_packages(text, wishes.packages)
    return without_tasks(text, unwanted_tasks)


def without_tasks(text: str, names: Iterable[str]) -> str:
    """Take tasks out, whichever feature has them; a name that none has is passed over."""
    unwanted = set(names)
    features = load_toml(text, _FILE).table("feature")
    for feature, table in features.tables():
        for name in unwanted.intersection(table.table("tasks").fields):
            span = find_span(text, ("feature", feature, "tasks", name))
            if span is None:
                raise _not_as_expected(f"feature.{feature}.tasks.{name}")
            text = without_lines(text, span)
    return text


def package_line(package: PackageWish) -> str:
    """Write a requirement as `pixi add` does: its version alone, or a table with what it says."""
    fields = dict(package.fields)
    if not set(fields) - {"version"}:
        return _line(package.name, fields.get("version", "*"))
    table = {"version": "*", **fields} if set(fields) == {"channel"} else fields
    return _line(package.name, table)


def _with_packages(text: str, packages: Sequence[PackageWish]) -> str:
    """Put other packages in the place of the template's, all but its pip."""
    span, pip = find_span(text, _PAYLOAD), find_span(text, _PIP)
    if span is None:
        raise _not_as_expected(".".join(_PAYLOAD))
    lines = "".join(package_line(package) for package in packages)
    if pip is not None and _PIP[-1] not in {package.name for package in packages}:
        lines += lines_at(text, pip)
    return with_lines(text, span, f"[dependencies]\n{lines}")


def _with_value(text: str, path: tuple[str, ...], value: str) -> str:
    span = find_span(text, path)
    if span is None:
        raise _not_as_expected(".".join(path))
    edited = with_lines(text, span, _line(path[-1], value))
    parse_toml(edited, _FILE)
    return edited


def _line(key: str, value: Any) -> str:
    """Write one key and its value; tomlkit knows how both are quoted."""
    import tomlkit

    document = tomlkit.document()
    if isinstance(value, dict):
        table = tomlkit.inline_table()
        for name, each in value.items():
            table[name] = list(each) if isinstance(each, tuple) else each
        return f"{tomlkit.key(key).as_string()} = {{ {table.as_string()[1:-1]} }}\n"
    document[key] = value
    return document.as_string()


def _not_as_expected(where: str) -> MirrorError:
    return usage_error(_FILE, f"the template's manifest has no {where} that can be edited")
