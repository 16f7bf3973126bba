"""What leads conda to a mirror, and whether it is there."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from scripts.core.channel_url import ANACONDA
from scripts.core.layout import Layout
from scripts.core.redact import without_secrets
from scripts.core.subdir import NOARCH
from scripts.doctor.condarc import ADD_PIP, Condarc
from scripts.doctor.configuration import channel_urls
from scripts.doctor.mirror_place import (
    Consumer,
    MirrorContents,
    MirrorPlace,
    plain_url,
    wanted_channel,
)
from scripts.lock.location import is_path, is_sound_url
from scripts.lock.model import LockedEnvironment
from scripts.lock.select import every_channel
from scripts.network.mirrors import origin


@dataclass(frozen=True, slots=True, kw_only=True)
class CondaConfiguration:
    """How conda gets to the mirror.

    `setting` is the line that `.condarc` lacks, `options` what every command needs: in its place,
    where no one line would do, or beside it, where only those who ask for a channel by its name
    are led; with the environments whose order of channels it is. None and empty where a command
    needs nothing. `unled` are the environments whose
    channels conda would ask elsewhere, `asked` the hosts that it asks where no channel is named,
    `in_the_way` the settings that outdo the line. `pipless` are the environments whose python
    conda could not install, as it adds a pip to it that the mirror lacks.
    """

    setting: str | None
    options: tuple[tuple[str, tuple[str, ...]], ...]
    unled: frozenset[str]
    asked: tuple[str, ...]
    in_the_way: tuple[str, ...]
    pipless: frozenset[str]

    @property
    def lines(self) -> tuple[str, ...]:
        """What `.condarc` lacks."""
        alias = () if self.setting is None else (self.setting,)
        return (*alias, *((f"{ADD_PIP}: false",) if self.pipless else ()))


def configure_conda(
    consumer: Consumer, place: MirrorPlace, contents: MirrorContents
) -> CondaConfiguration:
    """Find out whether conda would ask the mirror for the channels of each environment."""
    ways = _Ways(consumer, place, contents)
    condarc, channels = consumer.condarc, ways.channels
    unled = [each for each in consumer.environments if not ways.leads_by_name(condarc, each)]
    unled = [each for each in unled if not ways.leads_by_itself(condarc, each)]
    setting = ways.setting()
    options: tuple[tuple[str, tuple[str, ...]], ...] = ()
    in_the_way: tuple[str, ...] = ()
    if unled and setting is None:
        options = ways.options(ways.targets)
    elif unled:
        with_line = dataclasses.replace(condarc, channel_alias=place.shown)
        in_the_way = tuple(
            _name(each) for each in channels if not ways.leads_there(with_line, each)
        )
    elif not all(ways.leads_by_itself(condarc, each) for each in consumer.environments):
        options = ways.options(lambda urls: tuple(map(_name, urls)))
    return CondaConfiguration(
        setting=setting if unled else None,
        options=options,
        unled=frozenset(each.name for each in unled),
        asked=tuple(dict.fromkeys(map(_host, condarc.asked()))),
        in_the_way=in_the_way,
        pipless=frozenset(
            each.name for each in consumer.environments if condarc.adds_pip and ways.lacks_pip(each)
        ),
    )


class _Ways:
    """What stands for the channels of a consumer in a mirror."""

    def __init__(self, consumer: Consumer, place: MirrorPlace, contents: MirrorContents) -> None:
        self._consumer, self._place, self._contents = consumer, place, contents
        every = (url for environment in consumer.environments for url in every_channel(environment))
        self.channels = tuple(dict.fromkeys(every))

    def leads_there(self, condarc: Condarc, channel: str) -> bool:
        """Tell whether who asks for this channel of the lock by its name is led to the mirror."""
        return _plain(condarc.urls(_name(channel))) == self._targets((channel,))

    def leads_by_name(self, condarc: Condarc, environment: LockedEnvironment) -> bool:
        return all(self.leads_there(condarc, each) for each in every_channel(environment))

    def leads_by_itself(self, condarc: Condarc, environment: LockedEnvironment) -> bool:
        """Tell whether a command that names no channel asks the mirror alone, in this order."""
        asked, root = _plain(condarc.asked()), plain_url(self._place.url)
        rest = iter(asked)
        return all(target in rest for target in self._targets(every_channel(environment))) and all(
            each == root or each.startswith(f"{root}/") for each in asked
        )

    def lacks_pip(self, environment: LockedEnvironment) -> bool:
        """Tell whether a python is installed for whose machine these channels have no pip.

        conda adds it to the requirements of python 2 and 3 (conda_rattler_solver/utils.py).
        """
        root, layout = self._consumer.root, self._contents.layout
        folders = [
            wanted_channel(each, self._place, root, layout) for each in every_channel(environment)
        ]
        return any(
            not self._has_pip(folder / subdir for folder in folders for subdir in subdirs)
            for rows in environment.platforms
            for subdirs in [(rows.platform.subdir, NOARCH)]
            if any(
                each.record.name == "python" and each.record.version.startswith(("2.", "3."))
                for each in rows.packages
            )
        )

    def _has_pip(self, subdirs: Iterable[PurePosixPath]) -> bool:
        return any(
            record.name == "pip"
            for subdir in subdirs
            for record in self._contents.subdirs.get(subdir, {}).values()
        )

    def setting(self) -> str | None:
        """Return the one line that leads all names to a mirror, where one can."""
        of_anaconda = all(
            without_secrets(each).startswith(f"{ANACONDA}/") for each in self.channels
        )
        if self._contents.layout is Layout.BY_CHANNEL and self._place.folder is None:
            return f"channel_alias: {self._place.shown}" if of_anaconda else None
        return None

    def options(
        self, written: Callable[[Sequence[str]], Sequence[str]]
    ) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """Return the options for each order of channels, and the environments that have it."""
        more = ("--override-channels", *(("--offline",) if self._place.folder is not None else ()))
        orders: dict[str, list[str]] = {}
        for environment in self._consumer.environments:
            named = [f"-c {each}" for each in written(every_channel(environment))]
            orders.setdefault(" ".join((*named, *more)), []).append(environment.name)
        return tuple((text, tuple(names)) for text, names in orders.items())

    def targets(self, channels: Sequence[str]) -> tuple[str, ...]:
        """Return the URLs of the mirror's channels; a mirror itself where none is named."""
        found = channel_urls(channels, self._consumer, self._place, self._contents)
        return found or (self._place.shown,)

    def _targets(self, channels: Sequence[str]) -> tuple[str, ...]:
        return _plain(channel_urls(channels, self._consumer, self._place, self._contents))


def _name(channel: str) -> str:
    """Return what conda calls a channel of the lock."""
    return without_secrets(channel).removeprefix(f"{ANACONDA}/")


def _plain(urls: Iterable[str]) -> tuple[str, ...]:
    """Make URLs comparable; what is none leads nowhere, so it is equal to nothing else."""
    return tuple(plain_url(each) if _is_url(each) else each for each in urls)


def _host(url: str) -> str:
    return origin(url) if _is_url(url) else url


def _is_url(text: str) -> bool:
    return not is_path(text) and is_sound_url(text)
