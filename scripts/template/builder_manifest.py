"""The pixi.toml of a new builder: what is asked for, checked and written."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from scripts.core.channel_url import channel_base_url, conda_name
from scripts.core.errors import Problem, raise_problems, usage_problem
from scripts.core.rattler_child import call_rattler
from scripts.core.redact import redact, without_secrets
from scripts.core.subdir import check_platform
from scripts.core.typed_values import toml_string
from scripts.lock.location import is_sound_url
from scripts.template.make_pyz import parse_tables, render_tables, toml_key

# What a builder has where nothing else is asked for; the same as the template's own manifest.
CHANNELS: Final = ("conda-forge",)
PLATFORMS: Final = ("linux-64", "osx-arm64", "win-64")
PACKAGES: Final = ("pandas",)

_PIP: Final = 'pip = "*" # conda requires it of every python, and installs none without it'
_ANY: Final = {"version": "*"}
# A channel of conda.anaconda.org, labels included.
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*\Z")
# A URL of something that pixi can ask; quotes and blanks stand in none.
_URL: Final = re.compile(
    r"(?:https?|s3|oci|gcs)://[^\s/\"'\\]+(?:/[^\s\"'\\\[\]]*)?\Z|file:///[^\s\"'\\\[\]]+\Z",
    re.IGNORECASE,
)


Fields = Mapping[str, str | Sequence[str]]
"""What a manifest says of a package, as pixi calls it: `version`, `build`, `channel`, …"""


def read_packages(specs: Sequence[str]) -> dict[str, Fields]:
    """Read MatchSpecs as `pixi add` does, by name.

    Raises the errors of exit code 2 for those that are none, or repeat a package.
    """
    answers = call_rattler("requirements", {"specs": list(specs)})
    assert isinstance(answers, list)
    packages: dict[str, Fields] = {}
    problems = []
    for spec, answer in zip(specs, answers, strict=True):
        name = answer.get("name")
        if name is None:
            reason = redact(str(answer["refused"]).splitlines()[0])
            message = f"no MatchSpec that can be written: {reason}"
            help_ = "pixi run new DIR numpy 'scipy>=1.15,<2'"
            problems.append(_problem(redact(spec) or "PACKAGE", message, help_))
        elif name in packages:
            message = f"asked for twice: {redact(spec)!r} is the second"
            problems.append(_problem(name, message, "one MatchSpec may say both, with a comma"))
        else:
            packages[name] = answer["fields"]
    raise_problems(problems)
    return packages


def render_manifest(
    template: str,
    tables: bytes,
    *,
    name: str,
    channels: Sequence[str] = (),
    platforms: Sequence[str] = (),
    packages: Mapping[str, Fields] = MappingProxyType({}),
    with_pip: bool = True,
) -> str:
    """Fill in the template of a manifest; empty channels, platforms, packages are the defaults.

    The workspace's platforms are a superset of the mirrored ones: the tools have theirs. pip is
    added unless none of the channels has it. Raises the errors of exit code 2, all at once, for
    what cannot become a workspace.
    """
    chosen = tuple(dict.fromkeys(channels)) or CHANNELS
    known = {channel_base_url(each) for each in chosen}
    problems = [each for channel in channels for each in _of_channel(channel)]
    if not name.strip() or not name.isprintable():
        message = f"no name for a workspace: {name!r}"
        problems.insert(0, _problem("--name", message, "name it: --name my-mirror"))
    for package, fields in packages.items():
        channel = fields.get("channel")
        if isinstance(channel, str) and (url := channel_base_url(channel)) not in known:
            shown = conda_name(url)
            message = f"is to come from {shown}, which is no channel of the workspace"
            problems.append(_problem(package, message, f"--channel {shown}"))
    raise_problems(problems)
    mirrored = tuple(dict.fromkeys(platforms)) or PLATFORMS
    for platform in mirrored:
        check_platform(platform)
    payload = dict(packages) or dict.fromkeys(PACKAGES, _ANY)
    lines = [f"{toml_key(package)} = {_requirement(payload[package])}" for package in payload]
    if with_pip and "pip" not in payload and not known.isdisjoint(map(channel_base_url, CHANNELS)):
        lines.append(_PIP)
    features = parse_tables(tables)
    everywhere = dict.fromkeys((*features["tools"]["platforms"], *mirrored))
    return string.Template(template).substitute(
        name=toml_string(name),
        channels=toml_string(chosen),
        platforms=toml_string(mirrored),
        all_platforms=toml_string(tuple(everywhere)),
        packages="\n".join(lines),
        tables=render_tables(features).rstrip("\n"),
    )


def _requirement(fields: Fields) -> str:
    """Write a requirement as `pixi add` does: its version alone, or a table with what it says."""
    if set(fields) <= {"channel"}:
        fields = {**_ANY, **fields}
    if set(fields) == {"version"}:
        return toml_string(fields["version"])
    return f"{{ {', '.join(f'{key} = {toml_string(value)}' for key, value in fields.items())} }}"


def _of_channel(channel: str) -> Iterator[Problem]:
    scheme, mark, rest = channel.partition("://")
    if mark and f"{scheme.lower()}://{rest}" != without_secrets(channel):
        # Of a fragment it is not clear whether it is one: https://me:a#b@host
        shown = f"{scheme}://********" if "#" in channel else redact(channel)
        message = f"holds what should not be in a file that others see: {shown}"
        help_ = "name the channel without it; pixi keeps secrets: pixi auth login HOST"
        yield _problem("--channel", message, help_)
    elif not _NAME.match(channel) and not (_URL.match(channel) and is_sound_url(channel)):
        message = f"neither the name nor the URL of a channel: {channel!r}"
        yield _problem("--channel", message, "--channel conda-forge, or https://…, or file:///…")


def _problem(subject: str, message: str, help_: str) -> Problem:
    return usage_problem(subject, message, help=help_)
