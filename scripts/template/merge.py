"""Merge the template's tables into a builder's pixi.toml."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from scripts.template.compare import Judged, Verdict, judge, versions
from scripts.template.difference import difference
from scripts.template.manifest_units import (
    is_same_value,
    named_unit,
    take_unit,
    unit_digest,
    unit_digests,
    unit_text,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """The manifest's text afterwards, what became of each unit, and what is shown instead."""

    text: str
    is_changed: bool
    judged: tuple[Judged, ...]
    differences: tuple[tuple[str, ...], ...]


def merge_manifest(
    text: str, template: str, base: Mapping[str, str], keep: frozenset[str]
) -> Merged:
    """Take over each unit that the user has not changed; leave the others, and show them.

    One that cannot be put in by whole lines alone, nothing else changed, is left and shown too.
    """
    new = unit_digests(template)
    judged = judge(versions(base, _mine(text, template, base, new), new), keep)
    merged, results, shown = text, [], []
    for each in judged:
        result = each
        if each.verdict is Verdict.TAKEN:
            edited = take_unit(merged, template, named_unit(each.name))
            if edited is None:
                result = Judged(name=each.name, verdict=Verdict.DIFFERS, record=base.get(each.name))
            else:
                merged = edited
        if result.verdict is Verdict.DIFFERS and each.name in keep:
            result = dataclasses.replace(result, verdict=Verdict.YOURS, record=new.get(each.name))
        if result.verdict is Verdict.DIFFERS:
            shown.append(_difference(each.name, text, template))
        results.append(result)
    return Merged(
        text=merged,
        is_changed=merged != text,
        judged=tuple(results),
        differences=tuple(shown),
    )


def _mine(
    text: str, template: str, base: Mapping[str, str], new: Mapping[str, str]
) -> dict[str, str]:
    """Hash the units that the manifest has; what says the same as the template's counts as it."""
    mine = {}
    for name in {*base, *new}:
        unit = named_unit(name)
        found = unit_digest(text, unit)
        if found is not None:
            is_same = name in new and is_same_value(text, template, unit)
            mine[name] = new[name] if is_same else found
    return mine


def _difference(name: str, text: str, template: str) -> tuple[str, ...]:
    sides = [unit_text(each, named_unit(name)) for each in (text, template)]
    mine, new = (None if side is None else side.encode() for side in sides)
    return difference(f"pixi.toml: {name}", mine, new)
