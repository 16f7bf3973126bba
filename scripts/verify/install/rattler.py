"""Install an environment with py-rattler, by the mirror's own records.

As most consumers do: over HTTP, by the shards. The records that `file://` gives must be there too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from scripts.core.artifact import Artifact
from scripts.core.errors import MirrorError, Problem
from scripts.core.program import stderr_tail
from scripts.core.rattler_child import RattlerRefusedError, call_rattler
from scripts.core.report import Json
from scripts.verify.findings import Client
from scripts.verify.install.attempt import client_crashed, refused
from scripts.verify.install.plan import InstallJob
from scripts.verify.install.sandbox import sandbox, sandbox_environment


def this_subdir() -> str:
    """Return the subdir of this machine, as py-rattler sees it."""
    return str(call_rattler("current_platform", {}))


def install_by_rattler(
    job: InstallJob, folder: Path, scratch: Path
) -> tuple[Path, tuple[Problem, ...]]:
    """Install into a prefix below the empty folder `scratch`; return it and what went wrong."""
    prefix = scratch / "prefix"
    arguments: dict[str, Json] = {
        "folder": str(folder),
        "subdirs": list(_subdirs(job.artifacts)),
        "prefix": str(prefix),
        "cache": str(scratch / "cache"),
    }
    environment = sandbox_environment(scratch / "home", dict(job.overrides))
    details: Sequence[tuple[str, str]]
    try:
        missing = call_rattler("install", arguments, environment, sandbox().command)
        assert isinstance(missing, list)
        details = [("no record of", str(path)) for path in missing]
    except RattlerRefusedError as error:
        details = stderr_tail(str(error))
    except MirrorError as error:  # it died without an answer
        (died,) = error.problems
        return prefix, (client_crashed(job, Client.RATTLER, died.message, died.details),)
    if details:
        return prefix, (refused(job, Client.RATTLER, details),)
    return prefix, ()


def _subdirs(artifacts: Sequence[Artifact]) -> Iterator[Json]:
    """Say for each subdir which artifacts of it are wanted."""
    by_subdir: dict[PurePosixPath, list[Artifact]] = {}
    for artifact in artifacts:
        by_subdir.setdefault(artifact.path.parent, []).append(artifact)
    for path, some in sorted(by_subdir.items()):
        yield {
            "path": str(path),
            "names": sorted({each.name for each in some}),
            "files": [each.path.name for each in some],
        }
