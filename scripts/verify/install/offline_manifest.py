"""The manifest of a pixi workspace whose channels are the mirror's own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from scripts.core.artifact import Artifact
from scripts.verify.install.plan_install import Installation
from scripts.workspace.virtual_packages import is_default


def offline_manifest(installation: Installation, folder: Path) -> str:
    """Write it; `folder` is the channel folder.

    It asks for every locked package by version, build and channel, so that pixi solves for the
    locked set. That the requirements alone lead to this set is what the level `solve` proves.
    """
    channels = [(folder / channel).as_uri() for channel in installation.channels]
    lines = [
        "[workspace]",
        'name = "test-offline"',
        f"channels = {_text(channels)}",
        f"platforms = [{_platform(installation)}]",
        "",
        "[dependencies]",
        *(_dependency(artifact, folder) for artifact in installation.artifacts),
    ]
    return "\n".join(lines) + "\n"


def _platform(installation: Installation) -> str:
    """Write the platform: a table where the locked one differs from what pixi assumes."""
    declared = list(_declared(installation))
    if not declared:
        return _text(installation.subdir)
    fields = ", ".join([f"platform = {_text(installation.subdir)}", *declared])
    return f'{{ name = "locked", {fields} }}'


def _declared(installation: Installation) -> Iterator[str]:
    for package in installation.virtual_packages:
        name, _, value = package.partition("=")
        if not is_default(package, installation.subdir):
            yield f"{_text(name)} = {_text(value or '0')}"


def _dependency(artifact: Artifact, folder: Path) -> str:
    record = artifact.conda_record
    fields = {
        "version": f"=={record.version}",
        "build": record.build,
        "channel": (folder / artifact.channel).as_uri(),
    }
    written = ", ".join(f"{key} = {_text(value)}" for key, value in fields.items())
    return f"{_text(record.name)} = {{ {written} }}"


def _text(value: str | list[str]) -> str:
    """Write a TOML string or list of them; what JSON writes is one."""
    return json.dumps(value, ensure_ascii=False)
