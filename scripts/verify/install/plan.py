"""Which environments are to be installed here, and as what machine; of others the wheels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Final

from scripts.core.artifact import Artifact, ArtifactKind
from scripts.core.channel_paths import folder_of_channel
from scripts.core.record import PypiRecord, Record
from scripts.lock.pypi import pypi_artifacts
from scripts.lock.select import Selection
from scripts.verify.findings import EnvironmentPlatform
from scripts.verify.plan import PackageSet, declared_packages, plan_sets
from scripts.verify.python_platform import PythonPlatform, uv_obstacle
from scripts.workspace.resolve import channel_priority
from scripts.workspace.settings import IncompleteKind
from scripts.workspace.virtual_packages import VirtualPackage, virtual_packages

# A lock that declares none of these must not depend on what this machine happens to have.
_HIDDEN: Final = {"CONDA_OVERRIDE_CUDA": ""}


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallJob:
    """One environment to install."""

    place: EnvironmentPlatform
    subdir: str
    channels: tuple[PurePosixPath, ...]
    """Folders as in Artifact, in their order of priority."""
    artifacts: tuple[Artifact, ...]
    asked: tuple[str, ...] = ()
    """The names that the manifest requires, of those that are here."""
    requirements: tuple[str, ...] = ()
    """All that the manifest requires of it, and its channel priority: no program is told of them
    but pixi, which has the manifest."""
    left_out: tuple[IncompleteKind, ...] = ()
    """The kinds of its rows that are in no channel, sorted."""
    missing_source_packages: tuple[str, ...] = ()
    """The names among those that its artifacts depend on."""
    virtual_packages: tuple[str, ...] = ()
    """Those of the locked platform, as written."""
    overrides: tuple[tuple[str, str], ...] = ()
    """The `CONDA_OVERRIDE_*` variables that stand for them."""
    manifest_platform: str | None = None
    """The manifest's name for the platform where several have this subdir, or it is a musl's."""
    pypi: tuple[Artifact, ...] = ()
    """Wheels and sdists, all places of each."""
    builders: tuple[Artifact, ...] = ()
    """Where there are sdists, all that the mirror has: each may be built with any."""
    indexes: tuple[str, ...] = ()
    """Those of its environment."""
    find_links: tuple[str, ...] = ()
    """The pages of its `find-links`."""
    project: tuple[str, ...] = ()
    """The names of its PyPI packages that are folders beside the lock."""
    built_in_place: tuple[str, ...] = ()
    """The names of those that pixi builds with what is in the environment."""
    python_version: str | None = None
    """Of the python among the artifacts; None: there is none."""
    wheels_only: bool = False
    """It is for another machine: just its wheels are installed."""
    uv_platform: str | None = None
    """What uv calls that machine."""
    pypi_obstacle: str | None = None
    """Why its PyPI packages cannot even be tried; None: they can."""

    @property
    def pypi_files(self) -> tuple[Artifact, ...]:
        """Wheels and sdists that are to be installed, each once."""
        first: dict[Record | PypiRecord, Artifact] = {}
        for each in self.pypi:
            if not self.wheels_only or each.kind is ArtifactKind.WHEEL:
                first.setdefault(each.record, each)
        return tuple(first.values())

    @property
    def sdists(self) -> tuple[str, ...]:
        """The names of those that are built where they are installed."""
        return tuple(sorted({x.name for x in self.pypi if x.kind is ArtifactKind.SDIST}))


def not_built(job: InstallJob) -> str:
    """Say what of a job for other machines is built where it is installed; nothing if nothing."""
    return f", not what is built there: {', '.join(job.sdists)}" if job.sdists else ""


def plan_installs(selection: Selection, subdir: str) -> tuple[InstallJob, ...]:
    """Plan every environment on every platform of this subdir; behind them the wheels of others.

    Left out are those without artifacts, and locks with no manifest beside them: nobody says what
    would be installed of it.
    """
    artifacts = {artifact.path: artifact for artifact in selection.artifacts}
    here, wheels = list[InstallJob](), list[InstallJob]()
    for each in plan_sets(selection):
        rows = each.rows
        if each.lock.manifest is None:
            continue
        if rows.platform.subdir == subdir and rows.packages:
            here.append(_job(selection, each, artifacts))
        elif rows.platform.subdir != subdir and rows.pypi:
            wheels.append(_wheels_alone(_job(selection, each, artifacts), each.python))
    return (*here, *wheels)


def _wheels_alone(whole: InstallJob, python: PythonPlatform | str) -> InstallJob:
    """What differs in no wheel, Python or platform is the same but for its place."""
    return InstallJob(
        place=whole.place,
        subdir=whole.subdir,
        channels=(),
        artifacts=(),
        pypi=whole.pypi,
        python_version=whole.python_version,
        overrides=() if isinstance(python, str) else python.uv_variables,
        wheels_only=True,
        uv_platform=None if isinstance(python, str) else python.uv_platform,
        pypi_obstacle=uv_obstacle(python),
    )


def _job(
    selection: Selection, planned: PackageSet, artifacts: Mapping[PurePosixPath, Artifact]
) -> InstallJob:
    rows = planned.rows
    # Where it is from is what this row says: another lock may have the same bytes from elsewhere.
    chosen = tuple(
        replace(artifacts[PurePosixPath(path)], upstream=each.channel, urls=(each.url,))
        for path, each in planned.packages.items()
    )
    pypi = {
        each.path: replace(
            artifacts[each.path], upstream=each.upstream, urls=each.urls, record=record
        )
        for record in rows.pypi
        for each in pypi_artifacts(record)
    }
    has_sdists = any(each.kind is ArtifactKind.SDIST for each in pypi.values())
    python = next((each.version for each in chosen if each.name == "python"), None)
    channels = [folder_of_channel(selection.layout, url) for url in planned.locked.channels]
    platform, name, required = None, None, tuple[str, ...]()
    wanted = [x.own for x in planned.roots if x.own is not None and x.kind == "requires"]
    asked = {each.name.lower() for each in wanted}
    if not isinstance(planned.declared, str):
        manifest, environment, platform = planned.declared
        required = (*map(repr, wanted), channel_priority(manifest, environment))
        # No variable makes pixi take this machine's libc for another one.
        is_musl = any(each.startswith("__musl=") for each in platform.virtual_packages)
        if is_musl or sum(x.subdir == rows.platform.subdir for x in manifest.platforms) > 1:
            name = platform.name
    declared = declared_packages(rows, platform)
    return InstallJob(
        place=planned.place,
        subdir=rows.platform.subdir,
        channels=tuple(dict.fromkeys([*channels, *(each.channel for each in chosen)])),
        artifacts=chosen,
        asked=tuple(sorted({each.name for each in rows.packages if each.name.lower() in asked})),
        requirements=required,
        left_out=tuple(sorted({x.kind for x in rows.unmirrorable if x.kind is not None})),
        missing_source_packages=rows.missing_source_packages,
        virtual_packages=declared,
        overrides=tuple(sorted(overrides_of(virtual_packages(declared)).items())),
        manifest_platform=name,
        pypi=tuple(pypi.values()),
        builders=selection.pypi_artifacts if has_sdists else (),
        indexes=planned.locked.indexes,
        find_links=planned.locked.find_links,
        project=tuple(sorted({x.name.split()[0] for x in rows.unmirrorable if x.kind is None})),
        built_in_place=tuple(
            sorted({x.name for x in rows.pypi if planned.is_built_in_place(x.name)})
        ),
        python_version=python,
        pypi_obstacle="it has no python" if python is None else None,
    )


def overrides_of(packages: Iterable[VirtualPackage]) -> dict[str, str]:
    """Return the variables that make pixi and conda see just these virtual packages."""
    overrides = dict(_HIDDEN)
    for each in packages:
        value = each.build if each.name == "__archspec" else each.version
        if value != "0":  # `__unix=0=0` is there or not, there is nothing to say
            overrides[f"CONDA_OVERRIDE_{each.name.removeprefix('__').upper()}"] = value
    return overrides
