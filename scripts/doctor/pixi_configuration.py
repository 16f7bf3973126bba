"""The lines that lead pixi to a mirror, and which of them are there."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final
from urllib.parse import urlsplit

from scripts.core.artifact import Artifact
from scripts.core.channel_paths import Layout
from scripts.core.channel_url import ANACONDA, origin
from scripts.core.child_process import quoted
from scripts.core.errors import MirrorError, Problem, finding_problem
from scripts.core.record import PypiRecord
from scripts.core.redact import redact
from scripts.core.report import Json, Line, flattened, named
from scripts.core.subdir import NOARCH
from scripts.core.typed_values import toml_string
from scripts.doctor.diagnose import Availability, Diagnosis, Verdict, all_verdicts
from scripts.doctor.mirror import Mirror, MirrorLocation
from scripts.index.pypi_pages import INDEX, MAPPING, other_bytes
from scripts.index.repodata import REPODATA
from scripts.lock.location import is_remote, plain_url
from scripts.lock.model import LockedEnvironment
from scripts.lock.pypi import is_direct, pypi_artifacts
from scripts.lock.select import every_channel
from scripts.network.auth import Credential, own_credential, read_credentials
from scripts.network.configuration import PixiConfig
from scripts.network.mirrors import Mirrors, mirror_urls
from scripts.verify.findings import EnvironmentPlatform
from scripts.verify.install.mirrors import (
    channel_prefix,
    file_prefix,
    pypi_prefixes,
    without_user,
)
from scripts.workspace.model import DEFAULT_INDEX

# Nothing of these is to be asked of the mirror.
_NOT_OF_MIRROR: Final = frozenset(
    {Availability.ELSEWHERE, Availability.NOT_BESIDE, Availability.NOT_MIRRORABLE}
)

_TOKEN: Final = "(in place of ******** write the token that the lock has there)"  # noqa: S105
_LEADS_NOWHERE: Final = "nothing in pixi's configuration leads to this mirror"
_LEADS_ELSEWHERE: Final = "pixi's configuration leads elsewhere, or not everywhere it should"
_TAKE_AWAY: Final = "; and take away what overrides them"
_UPSTREAM: Final = "names upstream's URLs, for which no folder can stand in"
_NOT_LED: Final = "pixi is not led to this mirror"
_LOCKED_THERE: Final = "from a folder pixi takes only what was locked there"
_OF_DEPENDENCIES: Final = "and in place of each `channel` that a dependency has"
_WITHOUT_MIRRORS: Final = (
    f"for who cannot use [mirrors], in [workspace] of the manifest, {_OF_DEPENDENCIES}:"
)
_OTHER_INDEXES: Final = (
    "before `pixi lock`, take out of the manifest each `index-url`, `extra-index-urls`,"
    " `find-links` and `index` that names:"
)
_DIRECT_URLS: Final = (
    'before `pixi lock`, write a version, like "==1.0", in place of the manifest\'s `url` of:'
)
_SERVED: Final = "http://127.0.0.1:8000"  # on the consumer's own machine, by Python's server


@dataclass(frozen=True, slots=True, kw_only=True)
class Redirection:
    """How a client gets to the mirror: lines to print, what is wrong, and `data` for `--json`.

    `not_redirected` are the environments that it would not install from there; None: nobody can
    tell. `reason` says why in a few words, where there are some or nobody can.
    """

    lines: tuple[str, ...]
    problems: tuple[Problem, ...]
    data: Mapping[str, Json]
    not_redirected: frozenset[EnvironmentPlatform] | None
    reason: str = ""


def compare_pixi_configuration(
    config: PixiConfig,
    lock_path: Path,
    environments: Sequence[LockedEnvironment],
    mirror: Mirror,
    diagnoses: Sequence[Diagnosis],
) -> Redirection:
    """Find out whether pixi would ask the mirror, and what is missing where it would not.

    A folder cannot be the target of `[mirrors]` (prefix-dev/pixi#4105): a lock must name it.
    """
    places, away = _led_away(config.mirrors, mirror, diagnoses)
    asked = (_first_asked(config.mirrors, url) for url in away)
    details = [("asked now", each) for each in dict.fromkeys(origin(x) for x in asked if x)]
    details += [("read", each) for each in config.files]
    needed_by = ("needed by", ", ".join(map(str, places)))
    data: dict[str, Json] = {"read": config.files}
    data |= {"pixi-config": None, "overridden-by": (), "manifest": None}
    lines, problems, take_away = tuple[str, ...](), tuple[Problem, ...](), ""
    edits = tuple[str, ...]()
    file = str(lock_path.parent / ".pixi" / "config.toml")
    if away:
        pasted, overridden_by = _lines_to_paste(
            config.mirrors, away.values(), environments, _served(mirror)
        )
        data |= {"pixi-config": pasted, "overridden-by": overridden_by}
        lines = _configured(file, pasted, mirror)
        channels = _channels_to_paste(environments, places, mirror)
        if any(isinstance(each.package, PypiRecord) for each in away.values()):
            channels = (*channels, *_pypi_to_paste(environments, mirror))
            edits = tuple(flattened(_edits_before(environments, mirror)))
            if mirror.is_http:
                lines = (*lines, _WITHOUT_MIRRORS, *("", *channels, "", *edits), "then `pixi lock`")
        details += [*(("overridden by", each) for each in overridden_by), needed_by]
        take_away = _TAKE_AWAY if overridden_by else ""
    if away and mirror.is_http:
        message = _LEADS_ELSEWHERE if config.mirrors else _LEADS_NOWHERE
        help_line = f"the lines above, in {file}{take_away}"
        problems = (finding_problem("[mirrors]", message, *details, help=help_line),)
    elif away:
        data |= {"manifest": "\n".join(channels)}
        lines = (*_from_folder(mirror, lines, channels, diagnoses), *edits)
        help_line = f"the lines above{take_away}"
        problems = (finding_problem(lock_path, _UPSTREAM, *details, help=help_line),)
    elif any(each.inside for each in all_verdicts(diagnoses)):
        lines = ("pixi: the lock names this mirror itself, and nothing leads away from it",)
    elif any(_asks_mirror(mirror, each) for each in diagnoses):
        lines = (f"pixi: led to this mirror by [mirrors]; read: {', '.join(config.files)}",)
    reason = _NOT_LED if mirror.is_http else _LOCKED_THERE
    for why, problem in _http_problems(config, mirror, diagnoses):
        places |= dict.fromkeys(each.place for each in diagnoses if _asks_mirror(mirror, each))
        reason = f"{_NOT_LED}, and {why}" if away else f"pixi {why}"
        problems = (*problems, problem)
    return Redirection(
        lines=(*lines, *_secrets_sent(diagnoses)),
        problems=problems,
        data=data,
        not_redirected=frozenset(places),
        reason=reason,
    )


def _asks_mirror(mirror: Mirror, diagnosis: Diagnosis) -> bool:
    return any(_is_asked_for(mirror, each) for each in diagnosis.verdicts)


def _is_asked_for(mirror: Mirror, verdict: Verdict) -> bool:
    """Tell whether it is to be asked of the mirror: nothing of PyPI is, where that has no pages."""
    is_of_none = isinstance(verdict.package, PypiRecord) and not mirror.has_pages
    return verdict.availability not in _NOT_OF_MIRROR and not is_of_none


def _http_problems(
    config: PixiConfig, mirror: Mirror, diagnoses: Iterable[Diagnosis]
) -> Iterator[tuple[str, Problem]]:
    """Yield what keeps pixi from a mirror over HTTP though it were led there, and why, in short.

    pixi sends the user and password of a URL in the lock, and nothing of those in `[mirrors]`
    (0.77), but a token there; whether it finds them in a keyring nobody knows here.
    """
    location, said_by = mirror.location, config.offline_by
    if not mirror.is_http:
        return
    if said_by:
        message = "makes pixi offline, which forbids HTTP, to this mirror and on loopback too"
        help_ = "unset PIXI_OFFLINE" if said_by == "PIXI_OFFLINE" else "offline = false there"
        yield "is offline", finding_problem(said_by, message, help=help_)
    asked = [x for x in all_verdicts(diagnoses) if _is_asked_for(mirror, x)]
    if redact(location.url) == location.url or all(_brings_login(config.mirrors, x) for x in asked):
        return
    known = read_credentials(config, os.environ)
    if not known.keyring and known.for_url(location.shown) == Credential():
        message, option = "pixi has no token for it", "--conda-token TOKEN"
        if own_credential(location.url) is not None:
            message = "pixi has no user and password for it, and takes none from [mirrors]"
            option = "--username USER --password PASSWORD, or netrc"
        help_ = f"pixi auth login {urlsplit(location.shown).hostname} {option}"
        yield "is not logged in there", finding_problem(location.shown, message, help=help_)


def _brings_login(mirrors: Mirrors, verdict: Verdict) -> bool:
    """Tell whether the URL that pixi asks for has a token, or in the lock a user, in it."""
    url = _first_asked(mirrors, verdict.url) or verdict.url
    url = url if verdict.inside else without_user(url)
    return redact(url) != url


def _led_away(
    mirrors: Mirrors, mirror: Mirror, diagnoses: Iterable[Diagnosis]
) -> tuple[dict[EnvironmentPlatform, None], dict[str, Verdict]]:
    """Find the places and, by URL, the artifacts for which pixi would not ask this mirror."""
    places: dict[EnvironmentPlatform, None] = {}
    away: dict[str, Verdict] = {}
    for diagnosis in diagnoses:
        for each in diagnosis.verdicts:
            # Files of a folder that the lock names pixi finds by itself.
            if not _is_asked_for(mirror, each) or (each.inside and not mirror.is_http):
                continue
            if not (mirror.is_http and _is_redirected(mirrors, each.url, each.path, mirror)):
                places[diagnosis.place] = None
                away[each.url] = each
    return places, away


def _configured(file: str, pasted: str, mirror: Mirror) -> tuple[str, ...]:
    """Say where the lines of `[mirrors]` go; for a folder it is the second step."""
    into = "for pixi, into" if mirror.is_http else "and into"
    return (
        f"{into} {file} (in its [mirrors], where it has them already):",
        *("", *pasted.splitlines(), ""),
        *([_TOKEN] if redact(pasted) != pasted else []),
        "then `pixi install --frozen`, without --offline: that forbids HTTP, loopback too",
    )


def _served(mirror: Mirror) -> Mirror:
    """Return it as it is over HTTP: a folder once Python's own server serves it."""
    if mirror.is_http:
        return mirror
    return dataclasses.replace(mirror, location=MirrorLocation(folder=None, url=_SERVED))


def _from_folder(
    mirror: Mirror,
    configured: Sequence[str],
    channels: Sequence[str],
    diagnoses: Sequence[Diagnosis],
) -> tuple[str, ...]:
    """Say how pixi gets to a folder: with this lock over HTTP, or by a lock made from the folder.

    The first is no way where a location of the lock cannot be replaced.
    """
    served, way = tuple[str, ...](), "for pixi"
    if all(x.availability is not Availability.NOT_MIRRORABLE for x in all_verdicts(diagnoses)):
        host, _, port = _SERVED.removeprefix("http://").partition(":")
        folder = quoted(str(mirror.location.folder))
        served = (
            f"{way}, the first way, with this pixi.lock unchanged: serve the folder,",
            *("", f"python -m http.server --bind {host} -d {folder} {port}", ""),
            *configured,
        )
        way += ", the second way"
    return (
        *served,
        f"{way}, with a lock made from the folder: as the manifest's channels, {_OF_DEPENDENCIES},",
        *("", *channels, ""),
        "then `pixi lock` and `pixi install --frozen --offline`",
    )


def _channels_to_paste(
    environments: Sequence[LockedEnvironment], places: Iterable[EnvironmentPlatform], mirror: Mirror
) -> tuple[str, ...]:
    names = {each.environment for each in places}
    return lines_by_order(
        (each for each in environments if each.name in names),
        lambda urls: f"channels = [{', '.join(map(toml_string, mirror.urls_of(urls)))}]",
    )


def _pypi_to_paste(environments: Iterable[LockedEnvironment], mirror: Mirror) -> Iterator[str]:
    """Write what `pixi lock` needs beside the channels, to take PyPI packages from the mirror."""
    folder = mirror.location.folder
    place = mirror.url_of(MAPPING) if folder is None else str(folder / MAPPING)
    # What the mapping leaves to pixi, it guesses of what it takes for conda-forge alone.
    guess = "same-name-heuristic = true"
    table = f'{{ mapping-mode = "replace", location = {toml_string(place)}, {guess} }}'
    every = dict.fromkeys(
        url for each in environments for url in mirror.urls_of(every_channel(each))
    )
    yield f"pypi-options = {{ index-url = {toml_string(mirror.url_of(INDEX))} }}"
    yield f"conda-pypi-map = {{ {', '.join(f'{toml_string(x)} = {table}' for x in every)} }}"


def _edits_before(environments: Iterable[LockedEnvironment], mirror: Mirror) -> Iterator[Line]:
    """Say what of the manifest leads away from the pages of the mirror, as far as a lock tells.

    And where those pages may lead to other bytes than the lock's.
    """
    every = list(environments)
    records = [record for each in every for rows in each.platforms for record in rows.pypi]
    pages = (x for each in every for x in (*each.indexes, *each.find_links))
    found = (*pages, *(x.index for x in records))
    outside = (x for x in found if x and is_remote(x) and mirror.path_inside(x) is None)
    indexes = set(map(redact, outside))
    direct = {x.name for x in records if is_direct(x) and mirror.path_inside(x.location) is None}
    if indexes - {DEFAULT_INDEX}:
        yield named(_OTHER_INDEXES, "index URL", sorted(indexes))
    if direct:
        yield named(_DIRECT_URLS, "package", sorted(direct))
    yield from (f"warning: {each}" for each in other_bytes(mirror.pypi.values()))


def _secrets_sent(diagnoses: Iterable[Diagnosis]) -> tuple[str, ...]:
    """Warn of what pixi hands to a mirror: the user and password of a URL in the lock."""
    found = dict[str, None]()
    for each in (x for x in all_verdicts(diagnoses) if not x.inside):
        urls = [each.url.rsplit("/", 2)[0]]
        if isinstance(each.package, PypiRecord):
            urls = [each.package.index or "", each.package.location]
        found |= {redact(url): None for url in urls if "@" in urlsplit(url).netloc}
    return tuple(
        f"warning: the lock has a user or password for {each}, which pixi sends to whatever"
        " [mirrors] names in its place"
        for each in found
    )


def _first_asked(mirrors: Mirrors, url: str) -> str | None:
    try:
        return mirror_urls(mirrors, url)[0]
    except MirrorError:  # a prefix with an empty list
        return None


def _is_redirected(mirrors: Mirrors, url: str, path: PurePosixPath, mirror: Mirror) -> bool:
    """Tell whether pixi would ask for this URL at its place in the mirror, first of all."""
    first = _first_asked(mirrors, url)
    return first is not None and plain_url(first) == plain_url(mirror.url_of(path))


def _lines_to_paste(
    mirrors: Mirrors,
    away: Collection[Verdict],
    environments: Sequence[LockedEnvironment],
    mirror: Mirror,
) -> tuple[str, list[str]]:
    """Return what leads there, and the prefixes in `[mirrors]` that decide whatever is added.

    One line for all of conda.anaconda.org where that does, else one a channel.
    """
    shown, overridden_by = mirror.location.shown, set[str]()
    conda = {x.url: x.path for x in away if not isinstance(x.package, PypiRecord)}
    asked = _channel_indexes(environments, mirror)
    conda |= {url: path for url, path in asked if not _is_redirected(mirrors, url, path, mirror)}
    found = [(url, path, channel_prefix(url), path.parents[1]) for url, path in conda.items()]
    artifacts = list[Artifact]()
    for each in away:
        if isinstance(each.package, PypiRecord):
            found.append((each.url, each.path, *file_prefix(without_user(each.url), each.path)))
            artifacts += pypi_artifacts(each.package)
    indexes = [url for each in environments for url in each.indexes]
    links = [url for each in environments for url in each.find_links]
    lines = {x: mirror.url_of(y) for x, y in pypi_prefixes(artifacts, indexes, links).items()}
    for _, _, base, folder in found:
        target = mirror.url_of(folder)
        is_short = mirror.layout is Layout.BY_CHANNEL and base.startswith(f"{ANACONDA}/")
        if is_short and target == f"{shown}{base.removeprefix(ANACONDA)}":
            lines[ANACONDA] = shown
        else:
            lines[base] = target
    with_lines = _over(mirrors, lines)
    for url, path, base, folder in found:
        if not _is_redirected(with_lines, url, path, mirror):  # a longer prefix is there, and wins
            lines[base] = mirror.url_of(folder)
            plain = plain_url(url)
            longer = (each for each, _ in mirrors if len(each) > len(base) + 1)
            overridden_by |= {redact(each) for each in longer if plain.startswith(plain_url(each))}
    rows = (f"{toml_string(base)} = [{toml_string(url)}]" for base, url in sorted(lines.items()))
    return "\n".join(("[mirrors]", *rows)), sorted(overridden_by)


def _channel_indexes(
    environments: Iterable[LockedEnvironment], mirror: Mirror
) -> Iterator[tuple[str, PurePosixPath]]:
    """Yield what `pixi lock` asks of each channel, unused ones too, and its path in the mirror."""
    for channel in (url for each in environments for url in each.channels):
        folder, url = mirror.folder_of(channel), f"{channel.rstrip('/')}/{NOARCH}/{REPODATA}"
        if is_remote(channel) and folder in mirror.channels and mirror.path_inside(url) is None:
            yield url, folder / NOARCH / REPODATA


def _over(mirrors: Mirrors, lines: Mapping[str, str]) -> Mirrors:
    """Lay lines over a configuration, key by key, as pixi does."""
    more = {f"{prefix}/": (f"{url}/",) for prefix, url in lines.items()}
    return tuple((dict(mirrors) | more).items())


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
