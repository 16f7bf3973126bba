"""The lines that lead pixi to a mirror, and which of them are there."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from scripts.core.channel_url import ANACONDA
from scripts.core.errors import MirrorError
from scripts.core.layout import Layout
from scripts.doctor.diagnose import PlaceDiagnosis, Standing, Verdict
from scripts.doctor.mirror_place import (
    Consumer,
    MirrorContents,
    MirrorPlace,
    plain_url,
    wanted_channel,
)
from scripts.lock.channels import every_channel
from scripts.network.mirrors import Mirrors, mirror_urls, origin
from scripts.verify.findings import Place

# Nothing of these is to be asked of the mirror.
_NOT_OF_MIRROR: Final = frozenset({Standing.ELSEWHERE, Standing.OUT_OF_REACH})


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """How pixi gets to the mirror.

    `unled` are the environments that pixi would install from elsewhere, `asked` the URLs that it
    would ask now, one of each host. `mirrors` are the pairs that `[mirrors]` lacks, `in_the_way`
    the prefixes there that would still win. `channels` are what a manifest has to say for a
    mirror in a folder, with the environments that want it so.
    `by_mirrors`, `by_lock`: something is led there already by `[mirrors]`, named there by the lock.
    """

    unled: tuple[Place, ...]
    asked: tuple[str, ...]
    mirrors: tuple[tuple[str, str], ...]
    in_the_way: tuple[str, ...]
    channels: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]
    by_mirrors: bool
    by_lock: bool

    @property
    def mirrors_text(self) -> str | None:
        """The lines for pixi's `config.toml`; None where none are missing."""
        if not self.mirrors:
            return None
        lines = (f"{_text(prefix)} = [{_text(url)}]" for prefix, url in self.mirrors)
        return "\n".join(("[mirrors]", *lines))

    @property
    def channels_text(self) -> str | None:
        """The lines for the manifest; None where none are missing."""
        if not self.channels:
            return None
        several = len(self.channels) > 1
        return "\n".join(
            f"channels = [{', '.join(map(_text, urls))}]"
            + (f"  # {', '.join(environments)}" if several else "")
            for urls, environments in self.channels
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lead:
    """One artifact to lead: from `url`, whose channel part is `base`, to `target`."""

    url: str
    target: str
    base: str
    folder: str


def configure(
    consumer: Consumer,
    place: MirrorPlace,
    contents: MirrorContents,
    diagnoses: Sequence[PlaceDiagnosis],
) -> Configuration:
    """Find out whether pixi would ask the mirror, and what is missing where it would not.

    A folder cannot be the target of `[mirrors]` (prefix-dev/pixi#4105): a lock must name it.
    """
    over_http, set_now = place.folder is None, consumer.config.mirrors
    unled: dict[Place, list[_Lead]] = {}
    by_mirrors = False
    for each in diagnoses:
        for verdict in _to_lead(each, place):
            lead = _lead(verdict, place)
            if over_http and _is_led(set_now, lead):
                by_mirrors = by_mirrors or not verdict.inside
            else:
                unled.setdefault(each.place, []).append(lead)
    away = list({lead.url: lead for leads in unled.values() for lead in leads}.values())
    mirrors = _missing(set_now, away, place, contents) if over_http else {}
    rest = [lead for lead in away if not _is_led(_over(set_now, mirrors), lead)]
    return Configuration(
        unled=tuple(unled),
        asked=_asked(set_now, away),
        mirrors=tuple(sorted(mirrors.items())),
        in_the_way=_winners(set_now, rest) if over_http else (),
        channels=() if over_http else _channels(consumer, place, contents, unled),
        by_mirrors=by_mirrors,
        by_lock=any(verdict.inside for each in diagnoses for verdict in each.verdicts),
    )


def _to_lead(diagnosis: PlaceDiagnosis, place: MirrorPlace) -> Iterable[Verdict]:
    """Yield the artifacts that pixi has to be led to; files of a folder it finds by itself."""
    for verdict in diagnosis.verdicts:
        is_file = verdict.inside and place.folder is not None
        if verdict.standing not in _NOT_OF_MIRROR and not is_file:
            yield verdict


def _lead(verdict: Verdict, place: MirrorPlace) -> _Lead:
    parts = urlsplit(verdict.package.url)
    path = parts.path.rsplit("/", 2)[0]
    folder = verdict.path.parent.parent
    return _Lead(
        url=verdict.package.url,
        target=f"{place.shown}/{verdict.path}",
        # What pixi compares has no user and password, but a token in the path.
        base=f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{path}",
        folder=f"{place.shown}/{folder}" if folder.parts else place.shown,
    )


def _is_led(mirrors: Mirrors, lead: _Lead) -> bool:
    """Tell whether pixi would ask for this artifact at its place in the mirror, first of all."""
    try:
        first = mirror_urls(mirrors, lead.url)[0]
    except MirrorError:  # a prefix with an empty list
        return False
    return plain_url(first) == plain_url(lead.target)


def _missing(
    mirrors: Mirrors, away: Iterable[_Lead], place: MirrorPlace, contents: MirrorContents
) -> dict[str, str]:
    """Choose the lines: one for all of conda.anaconda.org where that does, else one a channel."""
    lines: dict[str, str] = {}
    for lead in away:
        is_short = contents.layout is Layout.BY_CHANNEL and lead.base.startswith(f"{ANACONDA}/")
        if is_short and lead.folder == f"{place.shown}{lead.base.removeprefix(ANACONDA)}":
            lines[ANACONDA] = place.shown
        else:
            lines[lead.base] = lead.folder
    with_lines = _over(mirrors, lines)
    for lead in away:
        if not _is_led(with_lines, lead):  # a longer prefix is there already, and wins
            lines[lead.base] = lead.folder
    return lines


def _over(mirrors: Mirrors, lines: dict[str, str]) -> Mirrors:
    """Lay lines over a configuration, key by key, as pixi does."""
    more = {f"{prefix}/": (f"{url}/",) for prefix, url in lines.items()}
    return tuple((dict(mirrors) | more).items())


def _winners(mirrors: Mirrors, rest: Iterable[_Lead]) -> tuple[str, ...]:
    """Name the prefixes that decide about these artifacts whatever is added."""
    found = {
        prefix
        for lead in rest
        for prefix, _ in mirrors
        if origin(prefix) == origin(lead.url)
        and len(prefix) > len(lead.base) + 1
        and plain_url(lead.url).startswith(plain_url(prefix))
    }
    return tuple(sorted(found))


def _asked(mirrors: Mirrors, away: Iterable[_Lead]) -> tuple[str, ...]:
    """Name what pixi asks now: the hosts, or the mirrors that the configuration leads to."""
    found = []
    for lead in away:
        try:
            first = mirror_urls(mirrors, lead.url)[0]
        except MirrorError:
            continue
        found.append(origin(first))
    return tuple(dict.fromkeys(found))


def _channels(
    consumer: Consumer, place: MirrorPlace, contents: MirrorContents, unled: Iterable[Place]
) -> tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]:
    """Give the channels of each environment as folders of the mirror, in their order."""
    wanted = {each.environment for each in unled}
    orders: dict[tuple[str, ...], list[str]] = {}
    for environment in consumer.environments:
        if environment.name in wanted:
            urls = channel_urls(every_channel(environment), consumer, place, contents)
            orders.setdefault(urls, []).append(environment.name)
    return tuple((urls, tuple(names)) for urls, names in orders.items())


def channel_urls(
    channels: Iterable[str], consumer: Consumer, place: MirrorPlace, contents: MirrorContents
) -> tuple[str, ...]:
    """Return the folders of the mirror that stand for channels, each once, in their order."""
    folders = (
        wanted_channel(channel, place, consumer.root, contents.layout) for channel in channels
    )
    return tuple(
        dict.fromkeys(f"{place.shown}/{each}" if each.parts else place.shown for each in folders)
    )


def _text(text: str) -> str:
    """Write a TOML string; what JSON writes is one."""
    return json.dumps(text, ensure_ascii=False)
