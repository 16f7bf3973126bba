"""What `.condarc` files say of channels: which URLs a name stands for.

The rules are those of conda 26.7 (conda/base/context.py, conda/models/channel.py), and for
`mirrored_channels` those of mamba 2. Left aside: `#!final` and its like, and migrated names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, Final

from scripts.core.channel_url import ANACONDA
from scripts.lock.location import is_path

_DEFAULTS: Final = "defaults"
# What conda asks where nobody says which channels (conda/base/constants.py).
_DEFAULT_CHANNELS: Final = (
    "https://repo.anaconda.com/pkgs/main",
    "https://repo.anaconda.com/pkgs/r",
)
_TRUE: Final = frozenset({"true", "yes", "on", "y"})
_FALSE: Final = frozenset({"false", "off", "n", "no", "non", "none", ""})
ADD_PIP: Final = "add_pip_as_python_dependency"
_VARIABLE: Final = re.compile(r"\$(?:\{(\w+)\}|(\w+))|%(\w+)%")

Names = Mapping[str, tuple[str, ...]]


class BadCondarcError(ValueError):
    """A file that conda would not take; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Condarc:
    """What all files say together. `channel_alias` has no trailing slash.

    `custom` are places for names, without the name; `mirrored` and `multiple` whole URLs or names
    for one. `adds_pip`: every python is taken to need pip, whatever its record says (conda's
    `add_pip_as_python_dependency`). `files` say something of all this, `ignored` could not be
    read, with the reason.
    """

    channels: tuple[str, ...] = ()
    channel_alias: str = ANACONDA
    custom: Mapping[str, str] = field(default_factory=dict)
    mirrored: Names = field(default_factory=dict)
    multiple: Names = field(default_factory=dict)
    adds_pip: bool = True
    files: tuple[str, ...] = ()
    ignored: tuple[tuple[str, str], ...] = ()

    def urls(self, channel: str) -> tuple[str, ...]:
        """Return what conda asks for a channel as it is written, `channels` or `-c`."""
        if channel in self.multiple:
            named = (each for each in self.multiple[channel] if each not in self.multiple)
            return tuple(url for each in named for url in self.urls(each))
        if channel == _DEFAULTS:
            return _DEFAULT_CHANNELS
        if not is_path(channel) or channel.startswith((".", "~")):
            return (channel.rstrip("/"),)  # conda alone knows where it is started
        if PurePath(channel).is_absolute():
            return (PurePath(channel).as_uri(),)
        if self.mirrored.get(channel):
            return (self.mirrored[channel][0].rstrip("/"),)
        return (f"{self._base(channel)}/{channel}".rstrip("/"),)

    def asked(self) -> tuple[str, ...]:
        """Return what conda asks where a command names no channel."""
        found = (url for each in self.channels or (_DEFAULTS,) for url in self.urls(each))
        return tuple(dict.fromkeys(found))

    def _base(self, name: str) -> str:
        """Return where a name is: `nvidia/label/x` is where `nvidia` is, if that is said."""
        parts = name.split("/")
        for count in range(len(parts), 0, -1):
            place = self.custom.get("/".join(parts[:count]))
            if place is not None:
                return place.rstrip("/")
        return self.channel_alias.rstrip("/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """What one file says, or the environment; `file` is its name for people."""

    file: str
    channels: tuple[str, ...] = ()
    channel_alias: str | None = None
    custom: Mapping[str, str] = field(default_factory=dict)
    mirrored: Names = field(default_factory=dict)
    multiple: Names = field(default_factory=dict)
    adds_pip: bool | None = None


def parse_layer(document: Any, file: str, environ: Mapping[str, str]) -> Layer:
    """Read a parsed file; variables in its texts are replaced. Raises BadCondarcError."""
    if document is None:
        return Layer(file=file)
    if not isinstance(document, dict):
        raise BadCondarcError("no map of settings")
    reader = _Reader(document, environ)
    multiple = dict(reader.names("custom_multichannels"))
    if "default_channels" in document:
        multiple.setdefault(_DEFAULTS, reader.texts("default_channels"))
    alias = document.get("channel_alias")
    if not isinstance(alias, str | None):
        raise BadCondarcError("channel_alias is not a text")
    return Layer(
        file=file,
        channels=reader.texts("channels"),
        channel_alias=None if alias is None else reader.expanded(alias),
        custom=reader.places("custom_channels"),
        mirrored=reader.names("mirrored_channels"),
        multiple=multiple,
        adds_pip=reader.truth(ADD_PIP),
    )


def environment_layer(environ: Mapping[str, str]) -> Iterable[Layer]:
    """Yield what the variables of these settings say, which outdoes all files."""
    channels, alias = environ.get("CONDA_CHANNELS"), environ.get("CONDA_CHANNEL_ALIAS")
    if channels:
        names = tuple(each.strip() for each in channels.split(",") if each.strip())
        yield Layer(file="CONDA_CHANNELS", channels=names)
    if alias:
        yield Layer(file="CONDA_CHANNEL_ALIAS", channel_alias=alias)
    variable = f"CONDA_{ADD_PIP.upper()}"
    if variable in environ:
        yield Layer(file=variable, adds_pip=_truth(environ[variable]))


def merge(layers: Iterable[Layer], ignored: Iterable[tuple[str, str]] = ()) -> Condarc:
    """Lay files over each other, the weakest first: lists are joined, the strongest in front."""
    channels: tuple[str, ...] = ()
    alias, adds_pip = ANACONDA, True
    custom: dict[str, str] = {}
    mirrored: dict[str, tuple[str, ...]] = {}
    multiple: dict[str, tuple[str, ...]] = {}
    files = []
    for each in layers:
        if each != Layer(file=each.file):
            files.append(each.file)
        channels = tuple(dict.fromkeys((*each.channels, *channels)))
        alias = each.channel_alias or alias
        adds_pip = adds_pip if each.adds_pip is None else each.adds_pip
        custom |= each.custom
        mirrored |= each.mirrored
        multiple |= each.multiple
    return Condarc(
        channels=channels,
        channel_alias=alias,
        custom=custom,
        mirrored=mirrored,
        multiple=multiple,
        adds_pip=adds_pip,
        files=tuple(files),
        ignored=tuple(ignored),
    )


class _Reader:
    """Takes typed values out of a file."""

    def __init__(self, document: dict[Any, Any], environ: Mapping[str, str]) -> None:
        self._document, self._environ = document, environ

    def texts(self, key: str) -> tuple[str, ...]:
        return self._texts(key, self._document.get(key))

    def names(self, key: str) -> dict[str, tuple[str, ...]]:
        return {name: self._texts(key, value) for name, value in self._map(key).items()}

    def places(self, key: str) -> dict[str, str]:
        found = {}
        for name, value in self._map(key).items():
            if not isinstance(value, str):
                raise BadCondarcError(f"{key} is not a map of texts")
            found[name] = self.expanded(value)
        return found

    def expanded(self, text: str) -> str:
        """Replace `$NAME`, `${NAME}` and `%NAME%`; what is not set stays as it is."""
        return _VARIABLE.sub(
            lambda found: self._environ.get(found[1] or found[2] or found[3], found[0]), text
        )

    def truth(self, key: str) -> bool | None:
        value = self._document.get(key)
        found = _truth(self.expanded(value)) if isinstance(value, str) else value
        if value is not None and not isinstance(found, bool | int | float):
            raise BadCondarcError(f"{key} is neither true nor false")
        return None if found is None else bool(found)

    def _map(self, key: str) -> dict[str, Any]:
        value = self._document.get(key) or {}
        if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
            raise BadCondarcError(f"{key} is not a map of texts")
        return value

    def _texts(self, key: str, value: Any) -> tuple[str, ...]:
        texts = value or []
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise BadCondarcError(f"{key} is not a list of texts")
        return tuple(map(self.expanded, texts))


def _truth(text: str) -> bool | None:
    """Read a word as conda does (conda/auxlib/type_coercion.py); None for one that it refuses."""
    word = text.strip().lower()
    if word.replace(".", "", 1).isdecimal():
        return float(word) != 0
    return True if word in _TRUE else False if word in _FALSE else None
