"""The locks that a mirror is made of, each with the manifest beside it."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePath
from typing import Final

from scripts.core.child_process import quoted
from scripts.core.errors import Problem
from scripts.core.redact import printable
from scripts.lock.model import LockedEnvironment, LockFile
from scripts.workspace.model import Manifest
from scripts.workspace.settings import LockEntry, Settings
from scripts.workspace.workspace import LOCK_NAME, Workspace

_RENEWS: Final = re.compile(r"(`?)pixi (run update-mirror|lock|update(?: [\w.-]+)?)\b(`?)")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MirroredLock:
    """One of the locks that are mirrored, by where it is, and what is mirrored of it.

    Each is itself alone: to compare what is in two of them would take long.
    """

    label: str
    """Its workspace's name, else its path; no other lock of the mirror has it."""
    location: str
    """Its path as people see it, relative to this workspace; a URL without secrets."""
    root: Path
    """The folder that its relative paths start from."""
    manifest: Manifest | None
    """The manifest beside it, `file_name` relative to this workspace; None: there is none."""
    file: LockFile
    environments: tuple[LockedEnvironment, ...]
    """What is mirrored of it: environments, each with the platforms chosen; all until `select`."""
    entry: LockEntry | None = None
    """The entry of `locks` that names it; None: it is the workspace's own."""
    kept: datetime | None = None
    """When a remote lock was last confirmed to be as this copy; None: it is a local file."""
    is_outdated: bool = False
    """Whether the manifest beside it is left out, since it no longer fits that."""

    @property
    def manifest_path(self) -> Path | None:
        """The path of the manifest beside it; None: there is none."""
        beside = self.manifest
        return None if beside is None else self.root / PurePath(beside.file_name).name

    @property
    def why_alone(self) -> str | None:
        """Why no manifest says what it is for; None: one does."""
        if self.is_outdated:
            return f"{self.location} no longer fits the manifest beside it"
        return None if self.manifest else f"there is no manifest beside {self.location}"

    def renewing(self, help: str) -> str:
        """Return a help with what renews this lock in place of what renews the workspace's own."""

        def renews(found: re.Match[str]) -> str:
            command = f"pixi {found[2].replace('run update-mirror', 'update')}"
            if self.manifest is None:
                return f"`{command}` where that lock is made"
            return f"{found[1]}{command} --manifest-path {quoted(str(self.root))}{found[3]}"

        return help if self.entry is None else _RENEWS.sub(renews, help)

    @property
    def excluded(self) -> tuple[str, ...]:
        """The environments that are left out, by name."""
        chosen = {each.name for each in self.environments}
        return tuple(each.name for each in self.file.environments if each.name not in chosen)

    @property
    def excluded_platforms(self) -> tuple[str, ...]:
        """The platforms that are left out of environments that are not: `default/win-64`."""
        chosen = {x.name: [rows.platform for rows in x.platforms] for x in self.environments}
        return tuple(
            f"{each.name}/{rows.platform.name}"
            for each in self.file.environments
            for rows in each.platforms
            if each.name in chosen and rows.platform not in chosen[each.name]
        )

    def wanted(self, settings: Settings) -> Settings:
        """Return the workspace's settings with what they say of environments of this lock."""
        if self.entry is None:
            return settings
        return dataclasses.replace(
            settings,
            environments=self.entry.environments,
            exclude_environments=self.entry.exclude_environments,
            platforms=self.entry.platforms,
        )


def with_labels(locks: Sequence[MirroredLock]) -> tuple[MirroredLock, ...]:
    """Give each lock its label: the workspace's name, or its path where another has that, too."""
    said = [None if each.manifest is None else each.manifest.name for each in locks]
    names = [None if each is None else printable(each) for each in said]
    taken = Counter([*names, *(each.location for each in locks)])
    labels: dict[str, MirroredLock] = {}
    for each, name in zip(locks, names, strict=True):
        own = name if name and taken[name] == 1 else each.location
        # Two URLs may differ in what may be a secret.
        others = (x for number in itertools.count(2) if (x := f"{own} ({number})") not in taken)
        labels[next(x for x in itertools.chain((own,), others) if x not in labels)] = each
    return tuple(dataclasses.replace(each, label=label) for label, each in labels.items())


def of_locks(problem: Problem, locks: Sequence[MirroredLock]) -> Problem:
    """Say which locks a problem is of, unless that is the workspace's own, and what renews them."""
    if all(each.entry is None for each in locks):
        return problem
    first = min(locks, key=lambda each: each.entry is not None)  # the own can be renewed here
    details = (*problem.details, ("locked in", ", ".join(each.location for each in locks)))
    help_line = None if problem.help is None else first.renewing(problem.help)
    return dataclasses.replace(problem, details=details, help=help_line)


def workspace_of(lock: MirroredLock, workspace: Workspace) -> Workspace:
    """Return the workspace that a lock is of, mirrored into the channel of this one.

    One with no manifest beside it has none of its own.
    """
    if lock.entry is None or lock.manifest is None:
        return workspace
    return dataclasses.replace(
        workspace,
        root=lock.root,
        manifest_path=lock.root / PurePath(lock.manifest.file_name).name,
        lock_path=lock.root / LOCK_NAME,
        manifest=lock.manifest,
    )
