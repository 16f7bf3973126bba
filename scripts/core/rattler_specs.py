"""Read MatchSpecs, into the fields of a manifest too; for `rattler_worker.py` alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

_ANACONDA = "https://conda.anaconda.org/"
# What a manifest calls a field, and what rattler does.
_TEXTS = {
    "version": "version",
    "build": "build",
    "build-number": "build_number",
    "file-name": "file_name",
    "subdir": "subdir",
    "when": "condition",
}
_IN_BRACKETS = {"build-number": "build_number", "file-name": "fn"}


def requirements(arguments: dict[str, Any]) -> list[dict[str, Any]]:
    """Read each text of `specs` leniently, as `pixi add` does.

    Returns for each, in order, its `name` and its `fields` as pixi's manifest has them, or what is
    `refused`: why it is no MatchSpec, or that these fields do not say all that it says.
    """
    return [_requirement(text) for text in arguments["specs"]]


def refusals(arguments: dict[str, Any]) -> dict[str, dict[str, str]]:
    """Say of `specs`, read leniently, and of `versions` which are none, and why."""
    from rattler import MatchSpec, Version

    return {
        "specs": _refused(arguments["specs"], lambda text: MatchSpec(text, strict=False)),
        "versions": _refused(arguments["versions"], Version),
    }


def _refused(texts: Iterable[str], read: Callable[[str], object]) -> dict[str, str]:
    refused = {}
    for text in texts:
        try:
            read(text)
        except Exception as error:  # of many kinds; what it says is the answer
            refused[text] = str(error) or type(error).__name__
    return refused


def _requirement(text: str) -> dict[str, Any]:
    from rattler import MatchSpec

    try:
        spec = MatchSpec(text, strict=False)
    except Exception as error:  # of many kinds; what it says is the answer
        return {"refused": str(error) or type(error).__name__}
    fields = _fields(spec)
    name = spec.name.normalized
    if str(MatchSpec(_written(name, fields), strict=False)) != str(spec):
        return {"refused": "it says more than can be written here"}
    return {"name": name, "fields": fields}


def _fields(spec: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for ours, theirs in _TEXTS.items():
        value = getattr(spec, theirs, None)
        if value:
            fields[ours] = str(value)
    for digest in ("md5", "sha256"):
        if getattr(spec, digest):
            fields[digest] = getattr(spec, digest).hex()
    if getattr(spec, "extras", None):
        fields["extras"] = list(spec.extras)
    if spec.channel is not None:
        url = spec.channel.base_url
        fields["channel"] = url.removeprefix(_ANACONDA).rstrip("/")
    return fields


def _written(name: str, fields: dict[str, Any]) -> str:
    """Write the fields as a MatchSpec again."""
    items = []
    for key, value in fields.items():
        word = _IN_BRACKETS.get(key, key)
        items.append(
            f"{word}=[{','.join(value)}]" if isinstance(value, list) else f'{word}="{value}"'
        )
    return f"{name}[{', '.join(items)}]" if items else name
