"""What somebody wants of a new builder, checked before anything is made."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from scripts.core.channel_url import channel_base_url
from scripts.core.errors import ExitCode, MirrorError, Problem
from scripts.core.redact import redact, without_secrets
from scripts.lock.location import is_sound_url

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# A channel of conda.anaconda.org, labels included.
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*\Z")
# A URL of something that pixi can ask; quotes and blanks stand in none.
_URL: Final = re.compile(
    r"(?:https?|s3|oci|gcs)://[^\s/\"'\\]+(?:/[^\s\"'\\\[\]]*)?\Z|file:///[^\s\"'\\\[\]]+\Z",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """A builder's name, and its channels, platforms and packages; empty: those of the template.

    `packages` are requirements; `channels` are names or URLs, in the order of their priority.
    `with_pip`: pip comes along, which conda requires of every python.
    """

    name: str
    channels: tuple[str, ...] = ()
    platforms: tuple[str, ...] = ()
    packages: tuple[PackageWish, ...] = ()
    with_pip: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageWish:
    """A package and what a manifest says of it: its fields as pixi calls them, in order.

    `text` is how it was asked for.
    """

    text: str
    name: str
    fields: tuple[tuple[str, str | tuple[str, ...]], ...] = ()

    @property
    def channel(self) -> str | None:
        """The one channel that it is to come from, as a name or a URL."""
        return next((str(value) for key, value in self.fields if key == "channel"), None)


def check_wishes(wishes: Wishes, template_channels: Iterable[str]) -> None:
    """Refuse what could not become a workspace, all of it at once, with exit code 2.

    `template_channels` are base URLs: what is there where no channel is asked for. Platforms are
    judged where they are written.
    """
    problems = [*_of_name(wishes.name), *_of_channels(wishes.channels)]
    known = {channel_base_url(each) for each in wishes.channels} or set(template_channels)
    problems += _of_packages(wishes.packages, known)
    if problems:
        raise MirrorError(*problems)


def _of_name(name: str) -> Iterable[Problem]:
    if not name.strip() or _CONTROL.search(name):
        help_ = "name it: --name my-mirror"
        yield _problem("--name", f"no name for a workspace: {name!r}", help_)


def _of_channels(channels: Sequence[str]) -> Iterable[Problem]:
    for channel in channels:
        yield from _of_channel("--channel", channel)


def _of_channel(subject: str, channel: str) -> Iterable[Problem]:
    scheme, mark, rest = channel.partition("://")
    if mark and f"{scheme.lower()}://{rest}" != without_secrets(channel):
        yield _problem(
            subject,
            f"holds what should not be in a file that others see: {_shown(channel)}",
            "name the channel without it; pixi keeps secrets: pixi auth login HOST",
        )
    elif not _NAME.match(channel) and not (_URL.match(channel) and is_sound_url(channel)):
        yield _problem(
            subject,
            f"neither the name nor the URL of a channel: {channel!r}",
            "--channel conda-forge, or https://…, or file:///…",
        )


def _shown(channel: str) -> str:
    """Hide what is secret, a fragment too; where it is not clear what is host, all but the scheme.

    `https://me:a#b@host` is such a one.
    """
    whole, mark, fragment = channel.partition("#")
    if "@" in fragment:
        return f"{channel.partition('://')[0]}://********"
    return f"{redact(whole)}#********" if mark else redact(channel)


def _of_packages(packages: Sequence[PackageWish], known: set[str]) -> Iterable[Problem]:
    seen: dict[str, str] = {}
    for package in packages:
        if package.name in seen:
            trouble = f"asked for twice: {seen[package.name]!r} and {package.text!r}"
            yield _problem(package.name, trouble, "one MatchSpec may say both, with a comma")
        seen[package.name] = package.text
        if package.channel is None:
            continue
        wrong = tuple(_of_channel(package.name, package.channel))
        yield from wrong
        if not wrong and channel_base_url(package.channel) not in known:
            yield _problem(
                package.name,
                f"is to come from {package.channel}, which is no channel of the workspace",
                f"--channel {package.channel}",
            )


def _problem(subject: str, trouble: str, help_: str) -> Problem:
    return Problem(subject=subject, trouble=trouble, code=ExitCode.USAGE, help=help_)
