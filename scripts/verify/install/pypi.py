"""How uv and pip are told what to install, from the pages alone that have relative links."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from scripts.channel.archive import BadArchiveError
from scripts.core.artifact import Artifact, ArtifactKind
from scripts.index.distribution import read_distribution
from scripts.index.pypi_pages import INDEX, PAGE
from scripts.lock.pep508 import marker_evaluator, parse_requirement, pypi_name
from scripts.verify.findings import Client
from scripts.verify.install.plan import InstallJob


def pypi_skip_reason(job: InstallJob) -> str | None:
    """Say why uv and pip cannot even be tried, as a sentence's end; None: they can."""
    if job.pypi_obstacle is not None:
        return job.pypi_obstacle
    if unhashed := sorted(each.name for each in job.pypi_files if each.digest is None):
        return f"nobody knows a hash of {', '.join(unhashed)}"
    if job.wheels_only and not job.pypi_files:
        return "it has no wheels, but sdists, which are built where they are installed"
    return None


def missing_build_requires(job: InstallJob, client: Client, folder: Path) -> tuple[str, ...]:
    """Name what the environment's sdists are built with and the mirror has no page of.

    pixi may take it from the environment. `folder` is the channel folder. Of an sdist that cannot
    be read the level `archives` tells.
    """
    missing = set[str]()
    for artifact in job.pypi_files:
        is_in_place = client is Client.PIXI and artifact.name in job.built_in_place
        if artifact.kind is not ArtifactKind.SDIST or is_in_place:
            continue
        try:
            texts = read_distribution(folder / artifact.path).build_requires
        except (OSError, BadArchiveError):
            continue
        python = job.python_version or ""
        environment = (("python_full_version", f"{python}.0"), ("python_version", python))
        holds = marker_evaluator(environment)
        missing |= {
            pypi_name(each.name)
            for each in filter(None, map(parse_requirement, texts))
            if each.marker is None or holds(str(each.marker), "")
        }
    return tuple(sorted(x for x in missing if not (folder / INDEX / x / PAGE).is_file()))


def render_requirements(artifacts: Iterable[Artifact], folder: Path) -> str:
    """Write the file of requirements; one without a version is named by its place."""
    lines = []
    for each in artifacts:
        assert each.digest is not None  # it would not be tried
        wanted = f"{each.name}=={each.version}"
        if not each.version:
            wanted = f"{each.name} @ {(folder / each.path).as_uri()}"
        lines.append(f"{wanted} --hash={each.digest.algorithm}:{each.digest.hex}\n")
    return "".join(sorted(lines))


def pypi_command(
    client: Client, program: Path, job: InstallJob, *, place: Path, wanted: Path, folder: Path
) -> Sequence[str]:
    """Return the command; `place` is the prefix, of wheels alone the folder to put them into."""
    options = [
        *("--no-deps", "--require-hashes", "--index-url", (folder / INDEX).as_uri()),
        *("-r", str(wanted)),
    ]
    if all(each.kind is ArtifactKind.WHEEL for each in job.pypi_files):
        options += ["--only-binary", ":all:"]
    if job.wheels_only:
        assert job.python_version is not None and job.uv_platform is not None  # noqa: PT018
        options += ["--target", str(place), "--python", sys.executable]
        options += ["--python-version", job.python_version, "--python-platform", job.uv_platform]
        return [str(program), "pip", "install", *options]
    python = str(place / ("python.exe" if job.subdir.startswith("win-") else "bin/python"))
    if client is Client.UV:
        return [str(program), "pip", "install", "--python", python, *options]
    start = ["-I", "-m", "pip"] if program == Path(sys.executable) else []
    return [str(program), *start, "--python", python, "install", "--no-cache-dir", *options]
