"""The parts of pixi.toml that are the template's, each compared by itself.

A unit is a task's table, or one key: a dependency of the tools, an environment other than
`default`, which pixi is needed. The payload, the channels, the platforms and the settings are the
user's, and so is every feature that the template does not have.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from scripts.core.errors import MirrorError, usage_error
from scripts.core.typed_values import load_toml
from scripts.workspace.model import DEFAULT
from scripts.workspace.platforms import MIRROR
from scripts.workspace.toml_lines import (
    Span,
    find_span,
    lines_at,
    spans_of,
    with_key_in,
    with_lines,
    with_table_behind,
    without_lines,
)

Unit = tuple[str, ...]

_FILE: Final = "pixi.toml"
_LONGEST: Final = 500  # characters of a name
_SINGLE: Final = (
    ("workspace", "requires-pixi"),
    ("tool", "pixi-mirror", "exclude-environments"),
)


def units_of(template: str) -> tuple[Unit, ...]:
    """Name the units of a template's manifest, in their order."""
    return tuple(_units(_fields(template)))


def _units(top: Mapping[str, Any]) -> Iterator[Unit]:
    yield from (unit for unit in _SINGLE if _value(top, unit) is not None)
    for feature, table in top.get("feature", {}).items():
        for key, value in table.items() if feature != MIRROR else ():
            if isinstance(value, Mapping):
                yield from (("feature", feature, key, name) for name in value)
            else:
                yield ("feature", feature, key)
    yield from (("environments", name) for name in top.get("environments", {}) if name != DEFAULT)


def unit_name(unit: Unit) -> str:
    """Write a unit as TOML writes its dotted key."""
    import tomlkit

    return tomlkit.key(list(unit)).as_string()


def is_unit_name(name: str) -> bool:
    """Tell whether some template's manifest could have a unit of this name."""
    if len(name) > _LONGEST or re.search(r"[\x00-\x1f\x7f\ud800-\udfff]", name):
        return False
    try:
        unit = named_unit(name)
    except MirrorError:
        return False
    if len(unit) == 2 and unit[0] == "environments":
        return unit[1] != DEFAULT
    is_of_feature = len(unit) in {3, 4} and unit[0] == "feature" and unit[1] != MIRROR
    return is_of_feature or unit in _SINGLE


def named_unit(name: str) -> Unit:
    """Read what `unit_name` wrote; raises the error of exit code 2 for what is no key."""
    # Twice: what holds a value of its own, or a comment, does not end in the one given.
    unit, same = (_key_with(name, value) for value in (0, 1))
    if unit is None or unit != same:
        raise usage_error(_FILE, f"not a dotted key: {name!r}")
    return unit


def _key_with(name: str, value: int) -> Unit | None:
    """Return the one key that has this value once the name is given it; None: there is none."""
    found: Any = load_toml(f"{name} = {value}\n", _FILE).fields
    keys = []
    while isinstance(found, Mapping):
        if len(found) != 1:
            return None
        ((key, found),) = found.items()
        keys.append(key)
    return tuple(keys) if found == value else None


def unit_text(text: str, unit: Unit) -> str | None:
    """Return the lines of a unit, with LF; its value as JSON where it stands otherwise; or None."""
    value = _value(_fields(text), unit)
    if value is None:
        return None
    span = find_span(text, unit)
    if span is None:
        return f"{json.dumps(value, sort_keys=True, default=str)}\n"
    return "".join(f"{line}\n" for line in lines_at(text, span).splitlines())


def unit_digests(template: str) -> dict[str, str]:
    """Return the sha256 of each unit's text, by name."""
    return {unit_name(unit): unit_digest(template, unit) or "" for unit in units_of(template)}


def unit_digest(text: str, unit: Unit) -> str | None:
    """Return the sha256 of a unit's text; None where the manifest has no such unit."""
    found = unit_text(text, unit)
    return None if found is None else hashlib.sha256(found.encode()).hexdigest()


def is_same_value(one: str, other: str, unit: Unit) -> bool:
    """Tell whether two manifests say the same of a unit, however it is written."""
    values = [_value(_fields(text), unit) for text in (one, other)]
    return repr(values[0]) == repr(values[1])


def take_unit(text: str, template: str, unit: Unit) -> str | None:
    """Give a manifest the unit as the template has it, or take it out where that has it not.

    None where that cannot be done by whole lines, with nothing else changed.
    """
    edited = _edited(text, template, unit)
    if edited is None:
        return None
    wanted = copy.deepcopy(dict(_fields(text)))
    _set(wanted, unit, _value(_fields(template), unit))
    try:
        result = load_toml(edited, _FILE).fields
    except MirrorError:
        return None
    return edited if _plain(result) == _plain(wanted) else None


def _edited(text: str, template: str, unit: Unit) -> str | None:
    """Take the lines of the template over; None where one of the two is not in lines of its own."""
    there, source = find_span(text, unit), find_span(template, unit)
    is_there, is_wanted = (_value(_fields(each), unit) is not None for each in (text, template))
    if is_there != (there is not None) or is_wanted != (source is not None):
        return None
    if source is None:
        return text if there is None else without_lines(text, there)
    if there is None:
        return _added(text, template, unit, source)
    is_alike = there.is_table == source.is_table
    return with_lines(text, there, lines_at(template, source)) if is_alike else None


def _added(text: str, template: str, unit: Unit, source: Span) -> str:
    """Put the template's lines where they belong: a key into its table, which may be new too."""
    lines = lines_at(template, source)
    if source.is_table:
        return with_table_behind(text, _neighbour(text, template, source), lines)
    table = find_span(text, unit[:-1])
    if table is not None:
        return with_key_in(text, table, lines)
    header = lines_at(template, _header(template, unit[:-1])).splitlines()[0]
    return with_table_behind(text, _neighbour(text, template, source), f"{header}\n{lines}")


def _header(template: str, path: Unit) -> Span:
    span = find_span(template, path)
    assert span is not None, path  # a key's span is found in its table's alone
    return span


def _neighbour(text: str, template: str, source: Span) -> Span | None:
    """Find the table of the manifest behind which the template has this one; None: none is."""
    before = [span for span in spans_of(template) if span.is_table and span.start < source.start]
    for span in reversed(before):
        found = find_span(text, span.path)
        if found is not None and span.path != source.path[:-1]:
            return found
    return None


@functools.lru_cache(maxsize=4)
def _fields(text: str) -> Mapping[str, Any]:
    """Parse once for all units; nobody changes what is returned."""
    return load_toml(text, _FILE).fields


def _value(top: Mapping[str, Any], unit: Unit) -> Any:
    value: Any = top
    for key in unit:
        if not isinstance(value, Mapping) or key not in value:
            return None
        value = value[key]
    return value


def _set(top: dict[str, Any], unit: Unit, value: Any) -> None:
    table: Any = top
    for key in unit[:-1]:
        table = table.setdefault(key, {})
        if not isinstance(table, dict):
            return  # a value where a table is needed: it cannot be put in
    if value is None:
        table.pop(unit[-1], None)
    else:
        table[unit[-1]] = value


def _plain(value: Any) -> Any:
    """Leave empty tables out, and order: neither says anything here. As text, for `nan`."""
    if isinstance(value, Mapping):
        items = {key: _plain(each) for key, each in value.items()}
        return sorted((key, each) for key, each in items.items() if each != [])
    return repr(value)
