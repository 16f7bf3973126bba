"""The `[mirrors]` that lead pixi from upstream's URLs to the mirror."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from scripts.core.artifact import Artifact
from scripts.lock.location import is_path, keeps_path
from scripts.verify.install.plan_install import Installation
from scripts.workspace.settings import Kind


class NoMirrorError(ValueError):
    """Why pixi cannot install this environment from the mirror, as a sentence's end."""


def mirrors_for(installation: Installation) -> Mapping[str, PurePosixPath]:
    """Map each upstream URL that an environment's locations begin with to a channel's folder.

    Raises NoMirrorError where pixi would have to build, or to ask somebody else.
    """
    if Kind.SOURCE in installation.left_out:
        raise NoMirrorError("it has source packages, which pixi would have to build")
    if Kind.PYPI in installation.left_out:
        raise NoMirrorError("it has PyPI packages, which are in no conda channel")
    mirrors: dict[str, PurePosixPath] = {}
    for artifact in installation.artifacts:
        for url in artifact.urls:
            base = _base(url, artifact)
            if mirrors.setdefault(base, artifact.channel) != artifact.channel:
                raise NoMirrorError(f"{base} would have to lead to two folders")
    return mirrors


def config_text(mirrors: Mapping[str, PurePosixPath], server: str) -> str:
    """Write pixi's configuration; `server` is the URL at which the channel folder is served."""
    lines = ["[mirrors]"]
    for base, channel in sorted(mirrors.items()):
        target = server if channel == PurePosixPath() else f"{server}/{channel}"
        lines.append(f"{_text(base)} = [{_text(target)}]")
    return "\n".join(lines) + "\n"


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


def _text(text: str) -> str:
    """Write a TOML string; what JSON writes is one."""
    return json.dumps(text, ensure_ascii=False)
