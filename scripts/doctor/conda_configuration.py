"""What leads conda to a mirror, and whether it is there: `conda config` is asked."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from scripts.core.channel_paths import Layout
from scripts.core.channel_url import ANACONDA, conda_name, origin
from scripts.core.child_process import describe_exit, program_error, run_program
from scripts.core.errors import MirrorError, Problem, finding_problem
from scripts.core.redact import redact, without_secrets
from scripts.core.subdir import NOARCH
from scripts.doctor.diagnose import Diagnosis
from scripts.doctor.mirror import Mirror
from scripts.doctor.pixi_configuration import Redirection, lines_by_order
from scripts.index.repodata import REPODATA
from scripts.lock.location import is_no_url, is_path, plain_url
from scripts.lock.model import LockedEnvironment
from scripts.lock.select import every_channel
from scripts.network.auth import own_credential
from scripts.verify.findings import Client
from scripts.verify.install.clients import find_program

_ADD_PIP: Final = "add_pip_as_python_dependency"
_ALIAS: Final = "channel_alias"
_NAMING: Final = ("custom_channels", "custom_multichannels")
_KEYS: Final = ("channels", "default_channels", *_NAMING, _ALIAS, _ADD_PIP)
# By these conda refuses what it is led to.
_ALLOWED, _DENIED, _OFFLINE = "allowlist_channels", "denylist_channels", "offline"
_ONLY_TAR_BZ2, _FILE_NAMES = "use_only_tar_bz2", "repodata_fns"
_SHARDS: Final = "repodata_use_shards"  # since conda 26
_NOT_LED: Final = "conda is not led to this mirror"
_REFUSED: Final = "conda refuses this mirror"
_NO_PIP: Final = "conda adds pip, which is not there"
_READABLE: Final = 6  # the version of pixi.lock that conda-lockfiles (0.2.2) takes, and no other
_TIMEOUT: Final = 60  # seconds; a cold start takes a few


@dataclass(frozen=True, slots=True, kw_only=True)
class CondaSettings:
    """What `conda config --show` says of channels; by default, what conda does by itself.

    `custom` are the URLs of names, `multiple` of names for several. `sources` are the files, or
    `CONDA_CHANNELS` and its like, that say something of all this. `repodata` is the first file
    that it reads of a subdir.
    """

    channels: tuple[str, ...] = ()
    alias: str = ANACONDA
    custom: Mapping[str, str] = field(default_factory=dict)
    multiple: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    adds_pip: bool = True
    allowed: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()
    is_offline: bool = False
    only_tar_bz2: bool = False
    repodata: str = REPODATA
    sources: tuple[str, ...] = ()

    def urls(self, channel: str) -> tuple[str, ...]:
        """Return what conda asks for a channel as it is written, `channels` or `-c`."""
        if channel in self.multiple:
            return self.multiple[channel]
        if Path(channel).is_absolute():
            return (Path(channel).as_uri(),)
        if not is_path(channel) or channel.startswith((".", "~")):  # the folder it is started in
            return (channel.rstrip("/"),)
        parts = channel.split("/")
        for count in range(len(parts), 0, -1):  # nvidia/label/x is where nvidia is
            place = self.custom.get("/".join(parts[:count]))
            if place is not None:
                return ("/".join((place, *parts[count:])),)
        return (f"{self.alias}/{channel}",)

    def asked(self) -> tuple[str, ...]:
        """Return what conda asks where a command names no channel."""
        return tuple(dict.fromkeys(url for each in self.channels for url in self.urls(each)))


def read_conda_settings(conda: Path, environ: Mapping[str, str]) -> CondaSettings:
    """Ask conda itself; raises the error of exit code 4 where it fails or does not end."""
    with ThreadPoolExecutor(max_workers=2) as pool:  # at once: each start takes seconds
        shown, sources = pool.map(partial(_ask, conda, environ), ("--show", "--show-sources"))
    try:
        return parse_conda_settings(shown, sources)
    except (AttributeError, KeyError, TypeError) as error:
        how = f"printed what it should not: {error!r}"
        raise _failed(conda, "--show", how) from None


def parse_conda_settings(
    shown: Mapping[str, Any], sources: Mapping[str, Mapping[str, Any]]
) -> CondaSettings:
    """Read what both commands print as JSON."""
    said = (
        f"CONDA_{key.upper()}" if file == "envvars" else file
        for file, values in sources.items()
        for key in _KEYS
        if key in values
    )
    several = shown["custom_multichannels"].items()
    names = [REPODATA]  # or others, where somebody says so and conda reads no shards
    if not shown.get(_SHARDS) and any(_FILE_NAMES in values for values in sources.values()):
        names = shown[_FILE_NAMES]
    return CondaSettings(
        channels=tuple(map(str, shown["channels"])),
        alias=_url(shown[_ALIAS]),
        custom={name: _url(each) for name, each in shown["custom_channels"].items()},
        multiple={name: tuple(map(_url, some)) for name, some in several},
        # conda-rattler-solver reads repodata as it is, and adds nothing
        adds_pip=bool(shown.get(_ADD_PIP, True)) and shown.get("solver") != "rattler",
        allowed=tuple(map(str, shown.get(_ALLOWED) or ())),
        denied=tuple(map(str, shown.get(_DENIED) or ())),
        is_offline=bool(shown.get(_OFFLINE)),
        only_tar_bz2=bool(shown.get(_ONLY_TAR_BZ2)),
        repodata=str(names[0]),
        sources=tuple(dict.fromkeys(said)),
    )


def _url(channel: Mapping[str, Any]) -> str:
    """Write a channel as conda takes it apart, without its secrets."""
    parts = (f"{channel['scheme']}://{channel['location']}", channel["name"])
    return "/".join(each for each in parts if each)


def _ask(conda: Path, environ: Mapping[str, str], option: str) -> Any:
    command = [str(conda), "config", option, "--json"]
    try:
        done = run_program(command, environ, timeout=_TIMEOUT)
    except subprocess.TimeoutExpired:
        raise _failed(conda, option, f"did not end within {_TIMEOUT} s") from None
    try:
        document = json.loads(done.stdout)
    except ValueError:
        document = None
    if done.returncode == 0 and isinstance(document, dict):
        return document
    said = document.get("message") or document.get("error") if isinstance(document, dict) else None
    text = str(said or done.stderr.decode("utf-8", "replace"))
    raise _failed(conda, option, describe_exit(done.returncode), text)


def _failed(conda: Path, option: str, how: str, said: str = "") -> MirrorError:
    return program_error(
        "conda",
        f"its configuration cannot be read: `conda config {option} --json` {how}",
        said,
        ("program", str(conda)),
        help=f"conda config {option}, and mend what it names; or leave out --client conda",
    )


def _read_settings() -> tuple[CondaSettings | None, Problem | None]:
    """Ask conda, where there is one; that it fails concerns only those who asked about it."""
    conda = find_program(Client.CONDA, os.environ)
    try:
        return None if conda is None else read_conda_settings(conda, os.environ), None
    except MirrorError as error:
        return None, error.problems[0]


def compare_conda_configuration(
    environments: Sequence[LockedEnvironment],
    mirror: Mirror,
    diagnoses: Iterable[Diagnosis],
    lock_version: int,
) -> Redirection:
    """Find out whether conda would ask the mirror for the channels of each environment.

    `options` are what every command needs: in place of a line in `.condarc`, where no one line
    would do, or beside it, where only those who ask for a channel by its name are led.
    """
    known, unread = _read_settings()
    settings, shown = known or CondaSettings(), mirror.location.shown
    every = dict.fromkeys(url for each in environments for url in every_channel(each))
    led = {url for url in every if _leads(settings, url, mirror)}
    by_itself = {each.name for each in environments if _leads_by_itself(settings, each, mirror)}
    away = {x.name for x in environments if not led.issuperset(every_channel(x))} - by_itself
    no_pip = {each.name for each in environments if settings.adds_pip and _lacks_pip(each, mirror)}

    condarc, options, overridden_by = list[str](), tuple[str, ...](), list[str]()
    has_alias = mirror.layout is Layout.BY_CHANNEL and mirror.is_http
    if away and has_alias and all(conda_name(url) != without_secrets(url) for url in every):
        condarc.append(f"{_ALIAS}: {shown}")
        with_line = dataclasses.replace(settings, alias=shown)
        overridden_by = [conda_name(url) for url in every if not _leads(with_line, url, mirror)]
    elif away or len(by_itself) < len(environments):
        options = _options(environments, mirror, by_name=not away)
    condarc += [f"{_ADD_PIP}: false"] if no_pip else []
    refused = _refusals(settings, environments, mirror)

    lines = [*_hints(mirror, lock_version), *(f"for conda, in .condarc: {x}" for x in condarc)]
    if away:
        lines += [f"for conda, as options: {each}" for each in options]
    elif settings.sources:
        by = f"conda: led to this mirror by {', '.join(settings.sources)}"
        lines += [f"{by}, if asked with {each}" for each in options] or [by]
    problems = [] if unread is None else [unread]
    if known is None:
        why = "there is no conda on PATH" if unread is None else unread.message
        lines.append(f"conda: its configuration was not checked: {why}")
        reason = "conda's configuration was not checked"
    else:
        reason = _NOT_LED if away else _REFUSED if refused else _NO_PIP
        problems += _findings(
            known, away, no_pip, refused, options=options, overridden_by=overridden_by
        )
    wrong = (away | no_pip).union(*refused.values())
    places = frozenset(x.place for x in diagnoses if x.place.environment in wrong)
    return Redirection(
        lines=tuple(lines),
        problems=tuple(problems),
        data={
            "condarc-checked": known is not None,
            "condarc": settings.sources,
            "condarc-overridden-by": overridden_by,
            "conda": [*condarc, *(each.partition("  # ")[0] for each in options)],
        },
        not_redirected=None if known is None else places,
        reason=reason,
    )


def _hints(mirror: Mirror, lock_version: int) -> Iterator[str]:
    """Say where conda cannot read the lock itself, even with conda-lockfiles, and who logs it in.

    A plugin may have a login, too, which nobody knows here.
    """
    if lock_version != _READABLE:
        yield (
            f"conda: `conda create --file pixi.lock` needs lock version {_READABLE}, and this lock"
            f" has {lock_version}: name the packages instead"
        )
    if own_credential(mirror.location.url) is not None:
        yield "conda: the mirror has a login: have it in netrc, or put it into the channel's URL"


def _findings(
    settings: CondaSettings,
    away: set[str],
    no_pip: set[str],
    refused: Mapping[tuple[str, str], list[str]],
    *,
    options: Sequence[str],
    overridden_by: Sequence[str],
) -> Iterator[Problem]:
    def finding(
        message: str, names: Iterable[str], advice: str, *details: tuple[str, str]
    ) -> Problem:
        needed_by = ("needed by", ", ".join(sorted(names)))
        return finding_problem(".condarc", message, *details, needed_by, help=advice)

    if away:
        message = "nothing in conda's configuration leads to this mirror"
        if settings.sources:
            message = "conda's configuration leads elsewhere, or not everywhere it should"
        help_line = "the line above, in ~/.condarc"
        if options:
            help_line = "the options above with every command, or their channels in ~/.condarc"
        if overridden_by:
            help_line += "; and take away what overrides it"
        asked = (redact(url) if is_no_url(url) else origin(url) for url in settings.asked())
        details = [("asked now", each) for each in dict.fromkeys(asked)]
        details += [("read", each) for each in settings.sources]
        details += [("overridden by", each) for each in overridden_by]
        yield finding(message, away, help_line, *details)
    if no_pip:
        message = "conda adds pip to what every python needs, and the mirror has none"
        keeper = "or its keeper mirrors it: `pixi add pip`, then `pixi run mirror`"
        yield finding(message, no_pip, f"the line {_ADD_PIP}: false, in ~/.condarc; {keeper}")
    for (setting, what), names in refused.items():
        advice = f"change it where `conda config --show-sources` has {setting}"
        yield finding(f"{setting} {what}", names, advice)


def _refusals(
    settings: CondaSettings, environments: Iterable[LockedEnvironment], mirror: Mirror
) -> dict[tuple[str, str], list[str]]:
    """Find the settings by which conda refuses what the mirror has, each with what it does.

    With the names of the environments that it does that to.
    """
    found: dict[tuple[str, str], list[str]] = {}
    of_all = dict[str, str]()
    if mirror.is_http and settings.is_offline:
        of_all[_OFFLINE] = "forbids HTTP, to this mirror too"
    if settings.repodata != REPODATA:
        of_all[_FILE_NAMES] = (
            f"asks for {settings.repodata} first, which no index of pixi-mirror is"
        )
    allowed, denied = (
        {plain_url(url) for each in some for url in settings.urls(each)}
        for some in (settings.allowed, settings.denied)
    )
    for each in environments:
        asked = {*map(plain_url, mirror.urls_of(every_channel(each)))}
        reasons = dict(of_all)
        if asked & denied:
            reasons[_DENIED] = "names a channel of this mirror"
        if allowed and not asked <= allowed:
            reasons[_ALLOWED] = "does not name each channel of this mirror"
        if settings.only_tar_bz2 and _lacks_tar_bz2(each, mirror):
            reasons[_ONLY_TAR_BZ2] = "passes over each .conda, and of some the mirror has no other"
        for reason in reasons.items():
            found.setdefault(reason, []).append(each.name)
    return found


def _lacks_tar_bz2(environment: LockedEnvironment, mirror: Mirror) -> bool:
    """Tell whether the mirror has a package of an environment as `.conda` alone."""
    packages = [each for rows in environment.platforms for each in rows.packages]
    paths = (mirror.path_of(each) for each in packages)
    return any(
        path.suffix == ".conda" and mirror.record_at(path.with_suffix(".tar.bz2")) is None
        for path in paths
    )


def _leads(settings: CondaSettings, channel: str, mirror: Mirror) -> bool:
    """Tell whether conda asks the mirror for a channel of the lock, named as conda calls it."""
    asked, wanted = settings.urls(conda_name(channel)), mirror.urls_of((channel,))
    return [*map(plain_url, asked)] == [*map(plain_url, wanted)]


def _leads_by_itself(
    settings: CondaSettings, environment: LockedEnvironment, mirror: Mirror
) -> bool:
    """Tell whether a command that names no channel asks the mirror alone, in this order."""
    asked, root = [*map(plain_url, settings.asked())], plain_url(mirror.location.url)
    rest = iter(asked)
    wanted = map(plain_url, mirror.urls_of(every_channel(environment)))
    return all(target in rest for target in wanted) and all(
        f"{each}/".startswith(f"{root}/") for each in asked
    )


def _lacks_pip(environment: LockedEnvironment, mirror: Mirror) -> bool:
    """Tell whether a python is installed for whose machine these channels have no pip.

    conda adds it to the requirements of python 2 and 3 (conda_rattler_solver/utils.py).
    """
    folders = [mirror.folder_of(each) for each in every_channel(environment)]
    for rows in environment.platforms:
        pythons = [each.record.version for each in rows.packages if each.name == "python"]
        if any(version.startswith(("2.", "3.")) for version in pythons):
            subdirs = [x / y for x in folders for y in (rows.platform.subdir, NOARCH)]
            records = (mirror.subdirs.get(subdir, {}).values() for subdir in subdirs)
            if not any(each.name == "pip" for some in records for each in some):
                return True
    return False


def _options(
    environments: Sequence[LockedEnvironment], mirror: Mirror, *, by_name: bool
) -> tuple[str, ...]:
    def line(urls: Sequence[str]) -> str:
        names = (
            map(conda_name, urls) if by_name else mirror.urls_of(urls) or (mirror.location.shown,)
        )
        alone = ("--override-channels", *(() if mirror.is_http else ("--offline",)))
        return " ".join((*(f"-c {each}" for each in names), *alone))

    return lines_by_order(environments, line)
