"""The lines that lead pixi to a mirror, and which of them are there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from scripts.core.channel_url import ANACONDA
from scripts.core.errors import MirrorError
from scripts.core.layout import Layout
from scripts.core.typed_values import toml_string
from scripts.doctor.diagnose import Availability, Consumer, Diagnosis, Verdict
from scripts.doctor.mirror import Mirror, plain_url
from scripts.lock.model import LockedEnvironment
from scripts.lock.select import every_channel
from scripts.network.mirrors import Mirrors, mirror_urls, origin
from scripts.verify.findings import EnvironmentPlatform

# Nothing of these is to be asked of the mirror.
_NOT_OF_MIRROR: Final = frozenset({Availability.ELSEWHERE, Availability.NOT_MIRRORABLE})


@dataclass(frozen=True, slots=True, kw_only=True)
class PixiConfiguration:
    """How pixi gets to the mirror.

    `not_redirected` are the environments that pixi would install from elsewhere, `asked` the
    hosts that it would ask now. `config` are the lines that `[mirrors]` lacks, `overridden_by` the
    prefixes there that would still win. `manifest` is what a manifest has to say for a mirror in a
    folder. `by_mirrors`, `by_lock`: something is led there already by `[mirrors]`, named there by
    the lock.
    """

    not_redirected: tuple[EnvironmentPlatform, ...]
    asked: tuple[str, ...]
    config: str | None
    manifest: str | None
    overridden_by: tuple[str, ...]
    by_mirrors: bool
    by_lock: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Redirect:
    """One artifact to lead: from `url`, whose channel part is `base`, to `target`.

    `folder` is the URL of its channel in the mirror.
    """

    url: str
    target: str
    base: str
    folder: str


def compare_pixi_configuration(
    consumer: Consumer, mirror: Mirror, diagnoses: Sequence[Diagnosis]
) -> PixiConfiguration:
    """Find out whether pixi would ask the mirror, and what is missing where it would not.

    A folder cannot be the target of `[mirrors]` (prefix-dev/pixi#4105): a lock must name it.
    """
    over_http, set_now = mirror.place.folder is None, consumer.config.mirrors
    not_redirected: dict[EnvironmentPlatform, None] = {}
    away: dict[str, _Redirect] = {}
    by_mirrors = False
    for diagnosis in diagnoses:
        for verdict in diagnosis.verdicts:
            # Files of a folder that the lock names pixi finds by itself.
            if verdict.availability in _NOT_OF_MIRROR or (verdict.inside and not over_http):
                continue
            redirect = _redirect(verdict, mirror)
            if over_http and _is_redirected(set_now, redirect):
                by_mirrors = by_mirrors or not verdict.inside
            else:
                not_redirected[diagnosis.place] = None
                away[redirect.url] = redirect
    lines = _missing(set_now, away.values(), mirror) if over_http else {}
    with_lines = _over(set_now, lines)
    rest = [each for each in away.values() if not _is_redirected(with_lines, each)]
    names = {each.environment for each in not_redirected}
    manifest = lines_by_order(
        (each for each in consumer.environments if each.name in names),
        lambda channels: f"channels = [{', '.join(map(toml_string, mirror.urls_of(channels)))}]",
    )
    rows = sorted(lines.items())
    pairs = (f"{toml_string(prefix)} = [{toml_string(url)}]" for prefix, url in rows)
    return PixiConfiguration(
        not_redirected=tuple(not_redirected),
        asked=_asked(set_now, away.values()),
        config="\n".join(("[mirrors]", *pairs)) if lines else None,
        manifest=None if over_http else "\n".join(manifest) or None,
        overridden_by=_winners(set_now, rest) if over_http else (),
        by_mirrors=by_mirrors,
        by_lock=any(verdict.inside for each in diagnoses for verdict in each.verdicts),
    )


def _redirect(verdict: Verdict, mirror: Mirror) -> _Redirect:
    parts = urlsplit(verdict.package.url)
    return _Redirect(
        url=verdict.package.url,
        target=mirror.url_of(verdict.path),
        # What pixi compares has no user and password, but a token in the path.
        base=f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rsplit('/', 2)[0]}",
        folder=mirror.url_of(verdict.path.parent.parent),
    )


def _is_redirected(mirrors: Mirrors, redirect: _Redirect) -> bool:
    """Tell whether pixi would ask for this artifact at its place in the mirror, first of all."""
    first = _first_asked(mirrors, redirect)
    return first is not None and plain_url(first) == plain_url(redirect.target)


def _first_asked(mirrors: Mirrors, redirect: _Redirect) -> str | None:
    try:
        return mirror_urls(mirrors, redirect.url)[0]
    except MirrorError:  # a prefix with an empty list
        return None


def _missing(mirrors: Mirrors, away: Iterable[_Redirect], mirror: Mirror) -> dict[str, str]:
    """Choose the lines: one for all of conda.anaconda.org where that does, else one a channel."""
    lines: dict[str, str] = {}
    shown = mirror.place.shown
    for each in away:
        is_short = mirror.layout is Layout.BY_CHANNEL and each.base.startswith(f"{ANACONDA}/")
        if is_short and each.folder == f"{shown}{each.base.removeprefix(ANACONDA)}":
            lines[ANACONDA] = shown
        else:
            lines[each.base] = each.folder
    with_lines = _over(mirrors, lines)
    for each in away:
        if not _is_redirected(with_lines, each):  # a longer prefix is there already, and wins
            lines[each.base] = each.folder
    return lines


def _over(mirrors: Mirrors, lines: dict[str, str]) -> Mirrors:
    """Lay lines over a configuration, key by key, as pixi does."""
    more = {f"{prefix}/": (f"{url}/",) for prefix, url in lines.items()}
    return tuple((dict(mirrors) | more).items())


def _winners(mirrors: Mirrors, rest: Iterable[_Redirect]) -> tuple[str, ...]:
    """Name the prefixes that decide about these artifacts whatever is added."""
    found = {
        prefix
        for each in rest
        for prefix, _ in mirrors
        if origin(prefix) == origin(each.url)
        and len(prefix) > len(each.base) + 1
        and plain_url(each.url).startswith(plain_url(prefix))
    }
    return tuple(sorted(found))


def _asked(mirrors: Mirrors, away: Iterable[_Redirect]) -> tuple[str, ...]:
    """Name the hosts that pixi asks now: upstream's, or those that the configuration names."""
    firsts = (_first_asked(mirrors, each) for each in away)
    return tuple(dict.fromkeys(origin(each) for each in firsts if each is not None))


def lines_by_order(
    environments: Iterable[LockedEnvironment], write: Callable[[tuple[str, ...]], str]
) -> tuple[str, ...]:
    """Write a line for each order of channels; several name the environments that have it."""
    orders: dict[str, list[str]] = {}
    for each in environments:
        orders.setdefault(write(every_channel(each)), []).append(each.name)
    if len(orders) == 1:
        return tuple(orders)
    return tuple(f"{line}  # {', '.join(names)}" for line, names in orders.items())
