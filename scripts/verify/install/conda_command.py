"""The command that the README documents, for conda and micromamba.

It names what the manifest asks for; beside that stand all locked packages, each with its version,
build and channel, since the channel may hold other answers, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from scripts.core.errors import Problem
from scripts.verify.findings import Client
from scripts.verify.install.plan_install import Installation

NAME: Final = "test-offline"

_PIP: Final = re.compile(r"\bpip\b")


def create_command(
    program: Path, installation: Installation, folder: Path, wanted: Path
) -> Sequence[str]:
    """Return the command; `folder` is the channel folder, `wanted` the file with the specs."""
    channels = [(folder / channel).as_uri() for channel in installation.channels]
    return [
        *(str(program), "create", "-n", NAME),
        *(option for url in channels for option in ("-c", url)),
        *installation.asked,
        *("--offline", "--override-channels"),
        *("--yes", "--quiet", "--file", str(wanted)),
    ]


def fails_for_pip(installation: Installation, problems: Iterable[Problem]) -> bool:
    """Tell whether there is a python and no pip, which is what the program complains of.

    conda and mamba require pip of every python: they add it to its record as they read it
    (conda/core/subdir_data.py), unless their setting `add_pip_as_python_dependency` says false.
    """
    names = {artifact.name for artifact in installation.artifacts}
    is_wanting = "python" in names and "pip" not in names
    return is_wanting and any(_PIP.search(text) for each in problems for _, text in each.facts)


def pip_warning(installation: Installation, client: Client) -> str:
    """Say what a consumer has to do who has no such setting, and what spares him that."""
    return (
        f"{client} wants pip beside every python, and {installation.place} has none: it installs"
        " only with add_pip_as_python_dependency: false (`pixi add pip`, then `pixi run mirror`)"
    )


def wanted_text(installation: Installation, folder: Path) -> str:
    """Write the file of specs, one a line: no other build, of no other channel."""
    return "".join(f"{spec}\n" for spec in _specs(installation, folder))


def _specs(installation: Installation, folder: Path) -> Iterator[str]:
    several = len(installation.channels) > 1
    for artifact in installation.artifacts:
        record = artifact.conda_record
        channel = f"{(folder / artifact.channel).as_uri()}::" if several else ""
        yield f"{channel}{record.name}[version='=={record.version}',build='{record.build}']"
