"""One requirement of a manifest beside one locked package."""

from __future__ import annotations

import os.path
import re
from pathlib import PurePath
from typing import Final
from urllib.parse import unquote

from scripts.core.channel_url import channel_base_url
from scripts.core.redact import redact, without_secrets
from scripts.core.report import Json
from scripts.lock.location import is_path
from scripts.lock.model import LockedPackage
from scripts.workspace.model import Requirement

# What rattler's MatchSpec.matches leaves aside, as parse_targets.py writes it.
_ASIDE: Final = re.compile(r'\b(fn|subdir)="([^"]*)"')


def is_checked(requirement: Requirement) -> bool:
    """Tell whether a locked package must meet it.

    Not so for what pixi builds, what holds under a condition, and virtual packages.
    """
    return not (
        requirement.is_source or requirement.is_conditional or requirement.name.startswith("__")
    )


def wanted_text(requirement: Requirement) -> str:
    """Write a requirement for people."""
    origin = requirement.location or requirement.channel
    return redact(f"{requirement.spec} from {origin}" if origin else requirement.spec)


def match_pair(requirement: Requirement, package: LockedPackage) -> dict[str, Json]:
    """Make the argument of the rattler worker's `matches`."""
    return {"spec": requirement.spec, "record": match_record(package)}


def match_record(package: LockedPackage) -> dict[str, Json]:
    """Make a record of the fields that rattler's MatchSpec.matches compares."""
    return {
        "name": package.name,
        "version": package.record.version,
        "build": package.record.build,
        "build_number": package.record.build_number,
        "subdir": package.record.subdir,
        "sha256": package.record.sha256,
        "md5": package.record.md5,
        "license": package.record.license,
        "license_family": package.record.license_family,
        "track_features": package.record.track_features,
        "flags": package.record.flags,
    }


def differs_aside(requirement: Requirement, package: LockedPackage, root: PurePath) -> bool:
    """Tell whether channel, location, file name or subdir is another than is asked for."""
    if requirement.channel is not None and (
        package.channel is None
        or channel_key(requirement.channel, root) != channel_key(package.channel, root)
    ):
        return True
    if requirement.location is not None and not _is_there(requirement.location, package.url):
        return True
    actual = {"fn": str(package.file_name), "subdir": package.record.subdir}
    return any(actual[key] != value for key, value in _ASIDE.findall(requirement.spec))


def _is_there(wanted: str, actual: str) -> bool:
    """Tell whether the lock's location is that of a manifest.

    pixi locks a path as an absolute one, and the workspace may be reached by more than one: what
    counts is how it ends.
    """
    one, other = _local(wanted), _local(actual)
    if one is None or other is None:
        return without_secrets(unquote(wanted)) == without_secrets(unquote(actual))
    parts = [each for each in _parts(one) if each not in {"..", "~"}]
    return _parts(other)[-len(parts) :] == parts


def _local(location: str) -> str | None:
    """Return the path that a location is, or that a `file://` URL holds; else None."""
    if is_path(location):
        return location
    scheme, _, rest = location.partition("://")
    return unquote(rest) if scheme.lower() == "file" else None


def _parts(path: str) -> list[str]:
    return [each for each in re.split(r"[/\\]", os.path.normpath(path)) if each]


def channel_key(channel: str, root: PurePath) -> str:
    """Reduce a channel to what tells it from others: no secrets, a path as file URL."""
    url = channel_base_url(channel)
    if is_path(url):
        url = PurePath(os.path.normpath(root / url)).as_uri()
    return unquote(without_secrets(url)).rstrip("/")
