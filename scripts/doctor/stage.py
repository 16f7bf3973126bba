"""The stage `doctor`: would a lock install from a mirror? Only looks, at repodata alone."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scripts.core.console import Console
from scripts.core.report import Report
from scripts.doctor.conda_configuration import configure_conda
from scripts.doctor.condarc_files import read_condarc
from scripts.doctor.configuration import configure
from scripts.doctor.contents import read_contents
from scripts.doctor.diagnose import diagnose
from scripts.doctor.mirror_place import Asking, Consumer, MirrorPlace
from scripts.doctor.report import Results, make_report
from scripts.doctor.source import FolderSource, HttpSource, Source, absolute
from scripts.lock.model import LockFile
from scripts.lock.read import read_lock
from scripts.lock.select import choose_environments
from scripts.network.configuration import System, home_of, read_pixi_config
from scripts.network.local_file import local_path
from scripts.network.router import Router
from scripts.workspace.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Which lock, of what in it (`environments`, `platforms`, `allow_incomplete`), for whom."""

    lock_path: Path
    settings: Settings
    clients: frozenset[Asking] = frozenset({Asking.PIXI})


def doctor(question: Question, place: MirrorPlace, console: Console) -> Report:
    """Answer for the consumer whose lock it is; nothing is written anywhere.

    Raises the errors of exit code 2 for a lock or a configuration that cannot be read and for a
    place that is no mirror, and of exit code 3 where the mirror does not answer.
    """
    consumer = _consumer(question)
    console.note(f"doctor: reading the repodata of {place.shown}")
    with _source(place, consumer, console) as source:
        contents = read_contents(source, place, consumer)
    diagnoses = diagnose(consumer, place, contents)
    return make_report(
        Results(
            consumer=consumer,
            place=place,
            contents=contents,
            diagnoses=diagnoses,
            configuration=configure(consumer, place, contents, diagnoses),
            conda=configure_conda(consumer, place, contents),
        )
    )


def _consumer(question: Question) -> Consumer:
    path = question.lock_path
    if path.is_dir():
        path /= "pixi.lock"
    path = absolute(path)  # as pixi writes the locations of files
    lock = read_lock(path)
    return Consumer(
        lock_path=path,
        lock_version=lock.version,
        environments=choose_environments(lock, question.settings),
        config=read_pixi_config(path.parent, os.environ),
        condarc=read_condarc(os.environ, System(platform=sys.platform, home=home_of(os.environ))),
        clients=question.clients,
        files=frozenset(_files(lock, path.parent)),
        allowed=question.settings.allow_incomplete,
    )


def _files(lock: LockFile, root: Path) -> Iterator[str]:
    """Yield the locations of the lock that name a file which is there."""
    for package in lock.packages():
        path = local_path(package.url, root)
        if path is not None and path.is_file():
            yield package.url


@contextlib.contextmanager
def _source(place: MirrorPlace, consumer: Consumer, console: Console) -> Iterator[Source]:
    """Open the mirror; over HTTP in the ways that the consumer has set."""
    if place.folder is not None:
        yield FolderSource(place.folder)
        return
    router = Router(consumer.root / "pixi.toml", os.environ, console)
    with contextlib.closing(HttpSource(place, router)) as source:
        yield source
