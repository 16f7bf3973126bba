"""What leads conda to a mirror, and whether it is there: `conda config` is asked."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any, Final

from scripts.core.channel_paths import Layout
from scripts.core.channel_url import ANACONDA
from scripts.core.errors import MirrorError
from scripts.core.program import describe_exit, program_error, run_program
from scripts.core.redact import without_secrets
from scripts.core.subdir import NOARCH
from scripts.doctor.mirror import Mirror, plain_url
from scripts.doctor.pixi_configuration import lines_by_order
from scripts.lock.location import is_path, is_sound_url
from scripts.lock.model import LockedEnvironment
from scripts.lock.select import every_channel
from scripts.network.mirrors import origin

ADD_PIP: Final = "add_pip_as_python_dependency"
_ALIAS: Final = "channel_alias"
_NAMING: Final = ("custom_channels", "custom_multichannels", "migrated_custom_channels")
_KEYS: Final = (
    *("channels", "default_channels", "migrated_channel_aliases", _ALIAS, ADD_PIP),
    *_NAMING,
)
_TIMEOUT: Final = 60  # seconds; a cold start takes a few


@dataclass(frozen=True, slots=True, kw_only=True)
class CondaSettings:
    """What `conda config --show` says of channels; by default, what conda does by itself.

    `custom` are the URLs of names, `multiple` of names for several. `migrated` are the beginnings
    of URLs with the names that conda takes in their place. `sources` are the files, or
    `CONDA_CHANNELS` and its like, that say something of all this, and what they say.
    """

    channels: tuple[str, ...] = ()
    alias: str = ANACONDA
    custom: Mapping[str, str] = field(default_factory=dict)
    multiple: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    migrated: tuple[tuple[str, str], ...] = ()
    adds_pip: bool = True
    sources: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def urls(self, channel: str) -> tuple[str, ...]:
        """Return what conda asks for a channel as it is written, `channels` or `-c`."""
        name = self._migrated_name(channel)
        if name in self.multiple:
            return self.multiple[name]
        if PurePath(name).is_absolute():
            return (PurePath(name).as_uri(),)
        if not is_path(name) or name.startswith((".", "~")):  # the folder where conda is started
            return (name.rstrip("/"),)
        parts = name.split("/")
        for count in range(len(parts), 0, -1):  # nvidia/label/x is where nvidia is
            place = self.custom.get("/".join(parts[:count]))
            if place is not None:
                return ("/".join((place, *parts[count:])),)
        return (f"{self.alias}/{name}",)

    def _migrated_name(self, channel: str) -> str:
        """Return the name that conda takes in place of a URL; of all else, what is written."""
        bare = without_secrets(channel).partition("://")[2].rstrip("/")
        for begin, name in self.migrated:
            if bare.startswith(f"{begin}/") or (bare == begin and name):
                return f"{name}{bare.removeprefix(begin)}".strip("/")
        return channel

    def asked(self) -> tuple[str, ...]:
        """Return what conda asks where a command names no channel."""
        return tuple(dict.fromkeys(url for each in self.channels for url in self.urls(each)))

    def with_source(self, name: str) -> str:
        """Name who says what a channel's name stands for."""
        for file, said in self.sources.items():
            for key in _NAMING:
                if any(f"{name}/".startswith(f"{each}/") for each in said.get(key) or ()):
                    return f"{name} ({key} in {file})"
        return name


def read_conda_settings(conda: Path, environ: Mapping[str, str]) -> CondaSettings:
    """Ask conda itself; raises the error of exit code 4 where it fails or does not end."""
    shown, sources = (_asked(conda, option, environ) for option in ("--show", "--show-sources"))
    try:
        return parse_conda_settings(shown, sources)
    except (AttributeError, KeyError, TypeError) as error:
        how = f"printed what it should not: {error!r}"
        raise _failed(conda, "--show", how) from None


def parse_conda_settings(
    shown: Mapping[str, Any], sources: Mapping[str, Mapping[str, Any]]
) -> CondaSettings:
    """Read what both commands print as JSON."""
    moved = shown.get("migrated_custom_channels", {}).items()
    said: dict[str, dict[str, Any]] = {}
    for file, values in sources.items():
        for key in _KEYS:
            if key in values:
                name = f"CONDA_{key.upper()}" if file == "envvars" else file
                said.setdefault(name, {})[key] = values[key]
    return CondaSettings(
        channels=tuple(map(str, shown["channels"])),
        alias=_url(shown[_ALIAS]),
        custom={name: _url(each) for name, each in shown["custom_channels"].items()},
        multiple={
            name: tuple(map(_url, some)) for name, some in shown["custom_multichannels"].items()
        },
        migrated=(
            *((f"{place.rpartition('://')[2].rstrip('/')}/{name}", name) for name, place in moved),
            *((each["location"], "") for each in shown.get("migrated_channel_aliases", ())),
        ),
        adds_pip=bool(shown.get(ADD_PIP, True)),
        sources=said,
    )


def _url(channel: Mapping[str, Any]) -> str:
    """Write a channel as conda takes it apart, without its secrets."""
    parts = (f"{channel['scheme']}://{channel['location']}", channel["name"])
    return "/".join(each for each in parts if each)


def _asked(conda: Path, option: str, environ: Mapping[str, str]) -> Any:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class CondaConfiguration:
    """How conda gets to the mirror.

    `lines` are what `.condarc` lacks, `options` what every command needs: in their place, where
    no one line would do, or beside them, where only those who ask for a channel by its name are
    led; with the environments whose order of channels it is. Both are empty where a command needs
    nothing. `not_redirected` are the environments whose channels conda would ask elsewhere,
    `overridden_by` the settings that outdo the line. `missing_pip` are the environments whose
    python conda could not install, as it adds a pip to it that the mirror lacks.
    """

    lines: tuple[str, ...]
    options: tuple[str, ...]
    not_redirected: frozenset[str]
    overridden_by: tuple[str, ...]
    missing_pip: frozenset[str]


def compare_conda_configuration(
    settings: CondaSettings, environments: Sequence[LockedEnvironment], mirror: Mirror
) -> CondaConfiguration:
    """Find out whether conda would ask the mirror for the channels of each environment."""
    every = dict.fromkeys(url for each in environments for url in every_channel(each))

    def leads(settings: CondaSettings, channel: str) -> bool:
        return _plain(settings.urls(_name(channel))) == _plain(mirror.urls_of((channel,)))

    by_itself = {
        each.name
        for each in environments
        if _leads_by_itself(settings, every_channel(each), mirror)
    }
    not_redirected = frozenset(
        each.name
        for each in environments
        if each.name not in by_itself
        and not all(leads(settings, channel) for channel in every_channel(each))
    )
    missing_pip = frozenset(
        each.name for each in environments if settings.adds_pip and _lacks_pip(each, mirror)
    )
    can_alias = (
        mirror.layout is Layout.BY_CHANNEL
        and mirror.place.folder is None
        and all(without_secrets(each).startswith(f"{ANACONDA}/") for each in every)
    )
    options: tuple[str, ...] = ()
    overridden_by: tuple[str, ...] = ()
    if not_redirected and can_alias:
        with_line = dataclasses.replace(settings, alias=mirror.place.shown)
        overridden_by = tuple(
            settings.with_source(_name(each)) for each in every if not leads(with_line, each)
        )
    elif not_redirected:
        options = _options(
            environments, mirror, lambda urls: mirror.urls_of(urls) or (mirror.place.shown,)
        )
    elif len(by_itself) < len(environments):
        options = _options(environments, mirror, lambda urls: map(_name, urls))
    alias = (f"{_ALIAS}: {mirror.place.shown}",) if not_redirected and can_alias else ()
    return CondaConfiguration(
        lines=(*alias, *((f"{ADD_PIP}: false",) if missing_pip else ())),
        options=options,
        not_redirected=not_redirected,
        overridden_by=overridden_by,
        missing_pip=missing_pip,
    )


def asked_hosts(settings: CondaSettings) -> tuple[str, ...]:
    """Return whom conda asks where no channel is named."""
    urls = settings.asked()
    return tuple(dict.fromkeys(origin(each) if _is_url(each) else each for each in urls))


def _leads_by_itself(settings: CondaSettings, channels: Sequence[str], mirror: Mirror) -> bool:
    """Tell whether a command that names no channel asks the mirror alone, in this order."""
    asked, root = _plain(settings.asked()), plain_url(mirror.place.url)
    rest = iter(asked)
    return all(target in rest for target in _plain(mirror.urls_of(channels))) and all(
        f"{each}/".startswith(f"{root}/") for each in asked
    )


def _lacks_pip(environment: LockedEnvironment, mirror: Mirror) -> bool:
    """Tell whether a python is installed for whose machine these channels have no pip.

    conda adds it to the requirements of python 2 and 3 (conda_rattler_solver/utils.py).
    """
    folders = [mirror.folder_of(each) for each in every_channel(environment)]
    for rows in environment.platforms:
        pythons = [each for each in rows.packages if each.name == "python"]
        if any(each.record.version.startswith(("2.", "3.")) for each in pythons):
            subdirs = [
                folder / each for folder in folders for each in (rows.platform.subdir, NOARCH)
            ]
            records = (mirror.subdirs.get(subdir, {}).values() for subdir in subdirs)
            if not any(each.name == "pip" for some in records for each in some):
                return True
    return False


def _options(
    environments: Sequence[LockedEnvironment],
    mirror: Mirror,
    written: Callable[[Sequence[str]], Iterable[str]],
) -> tuple[str, ...]:
    more = ("--override-channels", *(("--offline",) if mirror.place.folder is not None else ()))
    return lines_by_order(
        environments, lambda urls: " ".join((*(f"-c {each}" for each in written(urls)), *more))
    )


def _name(channel: str) -> str:
    """Return what conda calls a channel of the lock."""
    return without_secrets(channel).removeprefix(f"{ANACONDA}/")


def _plain(urls: Iterable[str]) -> tuple[str, ...]:
    """Make URLs comparable; what is none leads nowhere, so it is equal to nothing else."""
    return tuple(plain_url(each) if _is_url(each) else each for each in urls)


def _is_url(text: str) -> bool:
    return not is_path(text) and is_sound_url(text)
