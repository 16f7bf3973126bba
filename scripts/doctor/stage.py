"""The stage `doctor`: would a lock install from a mirror? Only looks, at repodata alone."""

from __future__ import annotations

import os
from pathlib import Path

from scripts.core.console import Console
from scripts.core.errors import MirrorError, Problem
from scripts.core.report import Report
from scripts.doctor.conda_configuration import (
    CondaSettings,
    compare_conda_configuration,
    read_conda_settings,
)
from scripts.doctor.diagnose import ConfiguredClient, Consumer, diagnose
from scripts.doctor.mirror import MirrorPlace, absolute, read_mirror
from scripts.doctor.pixi_configuration import compare_pixi_configuration
from scripts.doctor.report import Results, make_report
from scripts.lock.read import read_lock
from scripts.lock.select import choose_environments
from scripts.network.configuration import read_pixi_config
from scripts.network.content import local_path
from scripts.network.router import Router
from scripts.verify.install.conda import find_conda
from scripts.workspace.settings import Settings


def doctor(
    lock_path: Path,
    place: MirrorPlace,
    settings: Settings,
    clients: frozenset[ConfiguredClient],
    console: Console,
) -> Report:
    """Answer for the consumer whose lock it is; nothing is written anywhere.

    `settings` say of what in the lock, `clients` for whom. Raises the errors of exit code 2 for a
    lock or a configuration that cannot be read and for a place that is no mirror, and of exit code
    3 where the mirror does not answer.
    """
    consumer = _read_consumer(lock_path, settings, clients)
    root = consumer.lock_path.parent
    console.note(f"doctor: reading the repodata of {place.shown}")
    router = None if place.folder is not None else Router(root / "pixi.toml", os.environ, console)
    mirror = read_mirror(place, root, consumer.environments, consumer.files, router)
    diagnoses = diagnose(consumer, mirror)
    said, error = _read_conda()
    environments = consumer.environments
    return make_report(
        Results(
            consumer=consumer,
            mirror=mirror,
            diagnoses=diagnoses,
            pixi=compare_pixi_configuration(consumer, mirror, diagnoses),
            conda=compare_conda_configuration(said or CondaSettings(), environments, mirror),
            settings=said,
            conda_error=error,
        )
    )


def _read_consumer(
    path: Path, settings: Settings, clients: frozenset[ConfiguredClient]
) -> Consumer:
    path = absolute(path / "pixi.lock" if path.is_dir() else path)  # as pixi writes file locations
    lock = read_lock(path)
    files = ((each.url, local_path(each.url, path.parent)) for each in lock.packages())
    return Consumer(
        lock_path=path,
        lock_version=lock.version,
        environments=choose_environments(lock, settings),
        config=read_pixi_config(path.parent, os.environ),
        clients=clients,
        files=frozenset(url for url, file in files if file is not None and file.is_file()),
        allowed=settings.allow_incomplete,
    )


def _read_conda() -> tuple[CondaSettings | None, Problem | None]:
    """Ask conda, where there is one; that it fails concerns only those who asked about it."""
    conda = find_conda(os.environ)
    if conda is None:
        return None, None
    try:
        return read_conda_settings(conda, os.environ), None
    except MirrorError as error:
        return None, error.problems[0]
