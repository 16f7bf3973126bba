"""Install an environment with the pixi program.

Led to the mirror by `[mirrors]`, with the workspace's own manifest and lock: pixi asks for
upstream's URLs. And `--offline`, from `file://` channels alone, with a manifest that requires just
the locked packages; that the requirements alone lead there is what the level `solve` proves.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from scripts.core import served
from scripts.core.artifact import Artifact
from scripts.core.errors import Problem
from scripts.core.typed_values import toml_string
from scripts.lock.location import is_path, keeps_path
from scripts.lock.update import workspace_copy
from scripts.verify.findings import Client
from scripts.verify.install.attempt import failed
from scripts.verify.install.plan import InstallJob
from scripts.verify.install.sandbox import run_sandboxed, sandbox_environment
from scripts.workspace.settings import Kind
from scripts.workspace.virtual_packages import is_default
from scripts.workspace.workspace import Workspace


class NoMirrorError(ValueError):
    """Why pixi cannot install this environment from the mirror, as a sentence's end."""


def install_by_pixi(
    pixi: Path, workspace: Workspace, job: InstallJob, scratch: Path
) -> tuple[Path, tuple[Problem, ...]]:
    """Install a copy of the workspace below `scratch`; return the prefix and what went wrong.

    `mirrors_for` has said that it can be done.
    """
    home = scratch / "home"
    home.mkdir()
    with workspace_copy(workspace) as manifest:
        copied = manifest.parent / ".pixi"
        copied.mkdir(exist_ok=True)
        platform = job.manifest_platform
        command = [
            *(str(pixi), "install", "--frozen", "--environment", job.place.environment),
            *(("--platform", platform) if platform is not None else ()),
            *("--manifest-path", str(manifest)),
        ]
        request = {
            "folder": str(workspace.place.folder),
            "config": str(copied / "config.toml"),
            "text": render_config(mirrors_for(job), f"http://127.0.0.1:{served.PORT}"),
            "command": command,
        }
        environment = sandbox_environment(home, pixi_variables(job, scratch))
        done = run_sandboxed(
            [sys.executable, "-I", served.__file__], environment, json.dumps(request).encode()
        )
        prefix = scratch / "prefix"
        if done.returncode == 0:
            (copied / "envs" / job.place.environment).rename(prefix)
            return prefix, ()
    return prefix, (failed(job, Client.PIXI, done),)


def install_by_pixi_offline(
    pixi: Path, job: InstallJob, folder: Path, scratch: Path
) -> tuple[Path, tuple[Problem, ...]]:
    """Install a new workspace below the empty folder `scratch`; return the prefix, what went wrong.

    pixi solves for exactly the locked packages, from the channel's own repodata.
    """
    home, manifest = scratch / "home", scratch / "workspace" / "pixi.toml"
    home.mkdir()
    manifest.parent.mkdir()
    manifest.write_text(render_offline_manifest(job, folder), encoding="utf-8")
    done = run_sandboxed(
        [str(pixi), "install", "--offline", "--manifest-path", str(manifest)],
        sandbox_environment(home, pixi_variables(job, scratch)),
    )
    prefix = manifest.parent / ".pixi" / "envs" / "default"
    return prefix, () if done.returncode == 0 else (failed(job, Client.PIXI_OFFLINE, done),)


def pixi_variables(job: InstallJob, scratch: Path) -> dict[str, str]:
    """Make every folder that pixi keeps something in a fresh one."""
    return {
        **dict(job.overrides),
        "PIXI_HOME": str(scratch / "home"),
        "PIXI_CACHE_DIR": str(scratch / "cache"),
        "RATTLER_CACHE_DIR": str(scratch / "cache"),
        "PIXI_NO_CONFIG": "1",
        "NO_COLOR": "1",
        "PIXI_NO_WRAP": "1",
    }


def mirrors_for(job: InstallJob) -> Mapping[str, PurePosixPath]:
    """Map each upstream URL that an environment's locations begin with to a channel's folder.

    Raises NoMirrorError where pixi would have to build, or to ask somebody else.
    """
    if Kind.SOURCE in job.left_out:
        raise NoMirrorError("it has source packages, which pixi would have to build")
    if Kind.PYPI in job.left_out:
        raise NoMirrorError("it has PyPI packages, which are in no conda channel")
    mirrors: dict[str, PurePosixPath] = {}
    for artifact in job.artifacts:
        for url in artifact.urls:
            base = _base(url, artifact)
            if mirrors.setdefault(base, artifact.channel) != artifact.channel:
                raise NoMirrorError(f"{base} would have to lead to two folders")
    return mirrors


def _base(url: str, artifact: Artifact) -> str:
    """Return the channel's part of a location; what follows must be the mirror's own path."""
    parts = urlsplit(url)
    if is_path(url) or parts.scheme == "file":
        raise NoMirrorError("its lock names files, which `[mirrors]` cannot replace")
    if not keeps_path(url, artifact.path):
        raise NoMirrorError(f"{artifact.path} is not at the path that the lock's URL ends in")
    base = parts.path.rsplit("/", 2)[0]
    host = parts.netloc.rpartition("@")[2]  # what pixi compares has no user and password
    return f"{parts.scheme}://{host}{base}"


def render_config(mirrors: Mapping[str, PurePosixPath], server: str) -> str:
    """Write pixi's configuration; `server` is the URL at which the channel folder is served."""
    lines = ["[mirrors]"]
    for base, channel in sorted(mirrors.items()):
        target = server if channel == PurePosixPath() else f"{server}/{channel}"
        lines.append(f"{toml_string(base)} = [{toml_string(target)}]")
    return "\n".join(lines) + "\n"


def render_offline_manifest(job: InstallJob, folder: Path) -> str:
    """Write a manifest whose channels are the mirror's own; `folder` is the channel folder."""
    channels = [(folder / channel).as_uri() for channel in job.channels]
    platform = toml_string(job.subdir)
    if declared := list(_declared(job)):  # the locked platform differs from what pixi assumes
        platform = f'{{ name = "locked", {", ".join([f"platform = {platform}", *declared])} }}'
    lines = [
        "[workspace]",
        'name = "test-offline"',
        f"channels = {toml_string(channels)}",
        f"platforms = [{platform}]",
        "",
        "[dependencies]",
        *(_dependency(artifact, folder) for artifact in job.artifacts),
    ]
    return "\n".join(lines) + "\n"


def _declared(job: InstallJob) -> Iterator[str]:
    for package in job.virtual_packages:
        name, _, value = package.partition("=")
        if not is_default(package, job.subdir):
            yield f"{toml_string(name)} = {toml_string(value or '0')}"


def _dependency(artifact: Artifact, folder: Path) -> str:
    record = artifact.conda_record
    fields = {
        "version": f"=={record.version}",
        "build": record.build,
        "channel": (folder / artifact.channel).as_uri(),
    }
    written = ", ".join(f"{key} = {toml_string(value)}" for key, value in fields.items())
    return f"{toml_string(record.name)} = {{ {written} }}"
