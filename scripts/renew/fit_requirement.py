"""One requirement of a manifest beside one locked package. Decides; does no I/O."""

from __future__ import annotations

import os.path
import re
from pathlib import PurePath
from typing import Final
from urllib.parse import unquote

from scripts.core.channel_url import channel_base_url
from scripts.core.redact import redact, without_secrets
from scripts.core.report import Json
from scripts.lock.derive import is_path
from scripts.lock.model import LockedPackage
from scripts.manifest.model import Requirement

# What rattler's MatchSpec.matches leaves aside, as manifest_targets.py writes it.
_ASIDE: Final = re.compile(r'\b(url|fn|subdir)="([^"]*)"')


def is_checked(requirement: Requirement) -> bool:
    """Tell whether a locked package must meet it.

    Not so for what pixi builds, what holds under a condition, and virtual packages.
    """
    return not (
        requirement.is_source or requirement.is_conditional or requirement.name.startswith("__")
    )


def wanted_text(requirement: Requirement) -> str:
    """Write a requirement for people."""
    origin = f" from {requirement.channel}" if requirement.channel else ""
    return redact(requirement.spec + origin)


def match_pair(requirement: Requirement, package: LockedPackage) -> dict[str, Json]:
    """Make the argument of the rattler worker's `matches`."""
    return {"spec": requirement.spec, "record": match_record(package)}


def match_record(package: LockedPackage) -> dict[str, Json]:
    """Make a record of the fields that rattler's MatchSpec.matches compares."""
    return {
        "name": package.name,
        "version": package.version,
        "build": package.build,
        "build_number": package.build_number,
        "subdir": package.subdir,
        "sha256": package.sha256,
        "md5": package.md5,
        "license": package.license,
        "license_family": package.license_family,
        "track_features": package.track_features,
        "flags": package.flags,
    }


def differs_aside(requirement: Requirement, package: LockedPackage, root: PurePath) -> bool:
    """Tell whether channel, URL, file name or subdir is another than the requirement asks for."""
    if requirement.channel is not None and (
        package.channel is None
        or channel_key(requirement.channel, root) != channel_key(package.channel, root)
    ):
        return True
    actual = {
        "url": without_secrets(unquote(package.url)),
        "fn": str(package.file_name),
        "subdir": package.subdir,
    }
    wanted = dict(_ASIDE.findall(requirement.spec))
    if "url" in wanted:
        wanted["url"] = without_secrets(unquote(wanted["url"]))
    return any(actual[key] != value for key, value in wanted.items())


def channel_key(channel: str, root: PurePath) -> str:
    """Reduce a channel to what tells it from others: no secrets, a path as file URL."""
    url = channel_base_url(channel)
    if is_path(url):
        url = PurePath(os.path.normpath(root / url)).as_uri()
    return unquote(without_secrets(url)).rstrip("/")
