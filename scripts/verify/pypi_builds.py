"""What sdists are built with, and the mirror lacks: over there, they cannot be installed.

No lock names it. pixi, uv and pip solve `[build-system] requires` (PEP 518) from the indexes when
they build, unless `no-build-isolation` has them take what is in the environment.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from scripts.channel.digest_cache import DigestCache
from scripts.core.artifact import Artifact, ArtifactKind
from scripts.core.errors import Problem, finding_problem
from scripts.core.record import PypiRecord
from scripts.core.redact import printable, redact
from scripts.index.file_classes import ChannelFiles
from scripts.index.pypi_index import read_build_requires
from scripts.lock.pypi import pypi_artifacts
from scripts.lock.pypi_requirements import ByName, find_candidates, is_met
from scripts.lock.select import Selection
from scripts.verify.findings import EnvironmentPlatform
from scripts.verify.plan import PackageSet, plan_sets
from scripts.verify.python_platform import PythonPlatform, fitting
from scripts.verify.requirements import find_requirements
from scripts.workspace.settings import TABLE, IncompleteKind
from scripts.workspace.workspace import Workspace


def find_unbuildable(
    workspace: Workspace, selection: Selection, account: ChannelFiles
) -> Iterator[tuple[bool, str, Problem, EnvironmentPlatform]]:
    """Yield each requirement that an sdist is built with and the mirror lacks: its name, and where.

    None for places whose markers cannot be evaluated. First comes for whom it is: true is for uv
    and pip, which know nothing of the manifest's `no-build-isolation`, false is for pixi.
    """
    sdists = {x.path: x for x in selection.pypi_artifacts if x.kind is ArtifactKind.SDIST}
    if not sdists:
        return
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
        from_indexes = find_candidates(fitting(mirrored, python), ())
        for record in each.rows.pypi:
            sdist = next(pypi_artifacts(record))
            for_pixi = from_indexes
            if each.is_built_in_place(record.name):
                for_pixi = find_candidates(each.pypi_rows, each.rows.packages)
            for is_isolated, there in ((True, from_indexes), (False, for_pixi)):
                for name, text in _missing(each, requires.get(sdist.path, ()), there, python):
                    yield is_isolated, name, _problem(sdist, name, text), each.place


def _missing(
    each: PackageSet,
    requires: Sequence[str],
    there: ByName,
    python: PythonPlatform,
) -> Iterator[tuple[str, str]]:
    """Yield name and text of each requirement that holds there and that nothing meets."""
    alone = replace(each.rows, pypi=(), pypi_left_out=())
    asked, _ = find_requirements(replace(each, rows=alone, pypi_roots=tuple(requires)), python)
    for one in asked:
        if is_met(one.requirement, there) is False:
            name = one.text if one.requirement is None else one.requirement.name
            yield printable(name), printable(one.text)


def _problem(sdist: Artifact, name: str, text: str) -> Problem:
    return finding_problem(
        f"{sdist.name} {sdist.version}".rstrip(),
        f"cannot be built over there: {name}",
        ("requires", text),
        ("from", redact(sdist.urls[0])),
        help=f"have {name} locked: in a feature whose environment is mirrored,"
        f' or beside it with no-build-isolation = ["{sdist.name}"] under [pypi-options];'
        f' add "{IncompleteKind.BUILD_REQUIRES}" to allow-incomplete under [{TABLE}], if nobody'
        " is to build it there",
    )
