"""What sdists are built with, and the mirror lacks: over there, they cannot be installed.

No lock names it. pixi, uv and pip solve `[build-system] requires` (PEP 518) from the indexes when
they build, unless `no-build-isolation` has them take what is in the environment.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace

from scripts.channel.digest_cache import DigestCache
from scripts.core.artifact import Artifact, ArtifactKind
from scripts.core.errors import Problem, finding_problem
from scripts.core.record import PypiRecord
from scripts.core.redact import printable, redact
from scripts.index.file_classes import ChannelFiles
from scripts.index.pypi_index import read_build_requires
from scripts.lock.pypi import pypi_artifacts
from scripts.lock.select import Selection
from scripts.verify.findings import EnvironmentPlatform, Finding, grouped
from scripts.verify.plan import PackageSet, plan_sets
from scripts.verify.pypi_closure import ByName, find_asked, find_provided, is_met
from scripts.verify.python_platform import PythonPlatform, wheel_tags
from scripts.workspace.settings import TABLE, Kind
from scripts.workspace.workspace import Workspace


def unbuildable(
    workspace: Workspace, selection: Selection, account: ChannelFiles, allowed: AbstractSet[Kind]
) -> Iterator[Finding]:
    """Make a finding of each requirement that an sdist is built with and the mirror lacks.

    None for places whose markers cannot be evaluated.
    """
    if Kind.BUILD_REQUIRES not in allowed:
        yield from grouped(None, _every_problem(workspace, selection, account))


def _every_problem(
    workspace: Workspace, selection: Selection, account: ChannelFiles
) -> Iterator[tuple[Problem, EnvironmentPlatform]]:
    sdists = {x.path: x for x in selection.pypi_artifacts if x.kind is ArtifactKind.SDIST}
    digests = DigestCache(workspace.place.digests, writes=False)
    requires = {
        path: read_build_requires(workspace.place.folder, each, digests)
        for path, each in sdists.items()
    }
    kept = [x.record for x in (*account.retained, *account.others)]
    mirrored = {
        *(each.pypi_record for each in selection.pypi_artifacts),
        *(each for each in kept if isinstance(each, PypiRecord)),
    }
    for each in plan_sets(selection):
        python = each.python if each.rows.pypi else ""
        if isinstance(python, str):
            continue
        from_indexes = find_provided(_fitting(mirrored, python), ())
        for record in each.rows.pypi:
            sdist = next(pypi_artifacts(record))
            there = from_indexes
            if each.is_built_in_place(record.name):
                there = find_provided(each.pypi_rows, each.rows.packages)
            for problem in _missing(each, sdist, requires.get(sdist.path, ()), there, python):
                yield problem, each.place


def _fitting(records: Iterable[PypiRecord], python: PythonPlatform) -> Iterator[PypiRecord]:
    """Yield what can be installed at a place: sdists, and the wheels whose tags fit."""
    for record in records:
        artifact = next(pypi_artifacts(record))
        with contextlib.suppress(ValueError):  # the level `closure` tells of such a name
            is_sdist = artifact.kind is ArtifactKind.SDIST
            if is_sdist or not python.tags.isdisjoint(wheel_tags(artifact)):
                yield record


def _missing(
    each: PackageSet,
    sdist: Artifact,
    requires: Sequence[str],
    there: ByName,
    python: PythonPlatform,
) -> Iterator[Problem]:
    """Yield a problem for each requirement that holds there and that nothing meets."""
    alone = replace(each.rows, pypi=(), pypi_left_out=())
    asked, _ = find_asked(replace(each, rows=alone, pypi_roots=tuple(requires)), python)
    for one in asked:
        if is_met(one.requirement, there) is False:
            name = one.text if one.requirement is None else one.requirement.name
            yield finding_problem(
                f"{sdist.name} {sdist.version}".rstrip(),
                f"cannot be built over there: {printable(name)}",
                ("requires", printable(one.text)),
                ("from", redact(sdist.urls[0])),
                help=f"have {printable(name)} locked: in a feature whose environment is mirrored,"
                f' or beside it with no-build-isolation = ["{sdist.name}"] under [pypi-options];'
                f' allow-incomplete = ["{Kind.BUILD_REQUIRES}"] under [{TABLE}], if nobody is to'
                " build it there",
            )
