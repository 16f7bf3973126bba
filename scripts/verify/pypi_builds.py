"""What sdists are built with, and the mirror lacks: over there, they cannot be installed.

No lock names it. pixi, uv and pip solve `[build-system] requires` (PEP 518) from the indexes when
they build, unless `no-build-isolation` has them take what is in the environment. pixi asks those
that the lock has for the environment, not what single rows name (tried with pixi 0.77).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from scripts.channel.archive import LARGEST_INFO, BadArchiveError
from scripts.channel.digest_cache import DigestCache
from scripts.core.artifact import ArtifactKind
from scripts.core.errors import Problem, finding_problem
from scripts.core.files import read_regular
from scripts.core.record import PypiRecord
from scripts.core.redact import printable, redact, without_secrets
from scripts.index.distribution import PYPROJECT, parse_sdist
from scripts.index.file_classes import ChannelFiles
from scripts.index.pypi_index import read_build_requires
from scripts.lock.location import is_remote, local_path
from scripts.lock.pypi import is_direct, pypi_artifacts
from scripts.lock.pypi_requirements import ByName, find_candidates, is_met, package_label
from scripts.lock.select import Selection
from scripts.verify.findings import ELSEWHERE, EnvironmentPlatform
from scripts.verify.plan import PackageSet, plan_sets
from scripts.verify.python_platform import PythonPlatform, fitting
from scripts.verify.requirements import RequirementInformation, find_requirements
from scripts.workspace.model import DEFAULT_INDEX
from scripts.workspace.settings import TABLE, IncompleteKind
from scripts.workspace.workspace import Workspace

_NO_TIMES = ("passed over", "pages without upload times, by `exclude-newer` of the manifest")


def find_unbuildable(
    workspace: Workspace, selection: Selection, account: ChannelFiles
) -> Iterator[tuple[bool | None, str, Problem, EnvironmentPlatform]]:
    """Yield each requirement that an sdist is built with and nobody finds: its name, and where.

    None for places whose markers cannot be evaluated. First comes for whom it is: true is for uv
    and pip, which know nothing of the manifest and take files of all indexes, false is for pixi,
    None, too, of a folder of the project, which nobody builds here.
    """
    sdists = {x.path: x for x in selection.pypi_artifacts if x.kind is ArtifactKind.SDIST}
    if not (sdists or any(x.pypi_left_out for y in selection.environments for x in y.platforms)):
        return
    digests = DigestCache(workspace.place.digests, writes=False)
    requires = {
        path: read_build_requires(workspace.place.folder, each, digests)
        for path, each in sdists.items()
    }
    kept = (*account.retained, *account.others)
    mirrored = {*selection.pypi_rows, *(row for each in kept for row in each.rows)}
    for each in plan_sets(selection):
        projects = _projects(each) if workspace.settings.pypi else {}
        rows = {x: requires.get(next(pypi_artifacts(x)).path, ()) for x in each.rows.pypi}
        built = {x: needs for x, needs in (rows | projects).items() if needs}
        python = each.python if built else ""
        if isinstance(python, str):
            continue
        fits = [*fitting(mirrored, python)]
        everything = find_candidates(fits, ())
        dated = each.lock.manifest is not None and each.lock.manifest.excludes_newer
        listed = () if dated else each.locked.indexes or (DEFAULT_INDEX,)
        pages = (*listed, *each.locked.find_links)
        indexes = frozenset(map(without_secrets, pages))
        asked = find_candidates((x for x in fits if _is_asked_for(x, indexes)), ())
        for record, needs in built.items():
            in_place, for_pixi = each.is_built_in_place(record.name), asked
            said = () if dated and not in_place else sorted(indexes)
            if in_place:
                for_pixi = find_candidates(each.pypi_rows, each.rows.packages)
            ways = ((True, everything), (False, for_pixi))
            for is_isolated, there in ((None, for_pixi),) if record in projects else ways:
                for name, one in _missing(each, needs, there, python):
                    elsewhere = [] if in_place or dated else _elsewhere(one, fits)
                    problem = _problem(record, name, one.text, elsewhere, said)
                    yield is_isolated, name, problem, each.place


def _projects(each: PackageSet) -> dict[PypiRecord, tuple[str, ...]]:
    """Return the folders of the project, which pixi builds over there, too, and with what."""
    found = dict[PypiRecord, tuple[str, ...]]()
    for record in each.rows.pypi_left_out if each.lock.manifest else ():
        folder = local_path(record.location, each.lock.root)
        with contextlib.suppress(OSError, BadArchiveError):
            if folder is not None and folder.is_dir():  # on a pipe one would wait
                own = folder / PYPROJECT
                files = {PYPROJECT: read_regular(own, LARGEST_INFO)} if own.is_file() else {}
                found[record] = parse_sdist(files).build_requires
    return found


def _is_asked_for(record: PypiRecord, indexes: frozenset[str]) -> bool:
    """Tell whether one of these indexes has it; what says no index may be of any."""
    if record.index is None:
        return is_remote(record.location) and not is_direct(record)
    return not is_remote(record.index) or without_secrets(record.index) in indexes


def _missing(
    each: PackageSet,
    requires: Sequence[str],
    there: ByName,
    python: PythonPlatform,
) -> Iterator[tuple[str, RequirementInformation]]:
    """Yield each requirement that holds there and that nothing meets, with its name."""
    alone = replace(each.rows, pypi=(), pypi_left_out=())
    built = replace(each, rows=alone, pypi_roots=tuple(requires), pypi_overrides={})
    asked, _ = find_requirements(built, python)
    for one in asked:
        if is_met(one.requirement, there) is False:
            yield printable(one.text if one.requirement is None else one.requirement.name), one


def _elsewhere(one: RequirementInformation, rows: Iterable[PypiRecord]) -> list[str]:
    """Say what of these would meet it, and which index has it."""
    found = (x for x in rows if is_met(one.requirement, find_candidates((x,), ())))
    return sorted(f"{package_label(x)} of {redact(x.index or x.location)}" for x in found)


def _problem(
    record: PypiRecord, name: str, text: str, elsewhere: Sequence[str], indexes: Sequence[str]
) -> Problem:
    """Make the finding; `elsewhere` is what the mirror has from others than these indexes.

    None of these: `exclude-newer` has pixi take nothing from a mirror's pages.
    """
    where = f" from {' or '.join(indexes)}" if elsewhere else ""
    where = f"{where}: in a feature whose environment is mirrored, or" if indexes else ""
    return finding_problem(
        f"{record.name} {record.version or ''}".rstrip(),
        f"cannot be built over there: {name}",
        ("requires", printable(text)),
        ("from", redact(record.location)),
        *((ELSEWHERE, each) for each in elsewhere),
        *(() if indexes else (_NO_TIMES,)),
        help=f"have {name} locked{where}"
        f' beside it with no-build-isolation = ["{record.name}"] under [pypi-options];'
        f' add "{IncompleteKind.BUILD_REQUIRES}" to allow-incomplete under [{TABLE}], if nobody'
        " is to build it there",
    )
