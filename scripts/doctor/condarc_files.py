"""Find and read the user's `.condarc` files."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from stat import S_ISDIR
from typing import Any, Final

from scripts.core.files import read_regular
from scripts.doctor.condarc import (
    BadCondarcError,
    Condarc,
    Layer,
    environment_layer,
    merge,
    parse_layer,
)
from scripts.network.configuration import System

_NAMES: Final = (".condarc", "condarc")
_ENDS: Final = (".yml", ".yaml")
_LARGEST: Final = 1 << 20  # bytes


def read_condarc(environ: Mapping[str, str], system: System) -> Condarc:
    """Read all that conda would; a file that cannot be read is told of, no more."""
    layers: list[Layer] = []
    ignored: list[tuple[str, str]] = []
    for path in dict.fromkeys(_searched(environ, system)):
        try:
            files = _files(path)
        except OSError as error:
            ignored.append((str(path), _reason(error)))
            continue
        for file in files:
            try:
                layers.append(parse_layer(_load(file), str(file), environ))
            except BadCondarcError as error:
                ignored.append((str(file), f"{error}; conda leaves it aside, too"))
            except OSError as error:
                ignored.append((str(file), _reason(error)))
    return merge((*layers, *environment_layer(environ)), ignored)


def _searched(environ: Mapping[str, str], system: System) -> Iterator[Path]:
    """Yield where conda looks, the weakest first (conda/base/constants.py, SEARCH_PATH)."""
    for folder in _folders(environ, system):
        yield from _within(folder)
    if system.home is not None:
        yield system.home / ".condarc"
    if environ.get("CONDA_PREFIX"):
        yield from _within(Path(environ["CONDA_PREFIX"]))
    if environ.get("CONDARC"):
        # As conda does it: that of a user whom nobody knows stays as it is.
        yield Path(os.path.expanduser(environ["CONDARC"]))  # noqa: PTH111


def _folders(environ: Mapping[str, str], system: System) -> Iterator[Path]:
    """Yield the folders of the system, of the installation and of the user."""
    if system.platform == "win32":
        yield Path("C:/ProgramData/conda")
    else:
        yield from (Path("/etc/conda"), Path("/var/lib/conda"))
    # conda knows where it is installed; what it sets in a shell says so.
    if environ.get("CONDA_ROOT"):
        yield Path(environ["CONDA_ROOT"])
    elif environ.get("CONDA_EXE"):
        yield Path(environ["CONDA_EXE"]).parent.parent
    if environ.get("XDG_CONFIG_HOME"):
        yield Path(environ["XDG_CONFIG_HOME"]) / "conda"
    if system.home is not None:
        yield from (system.home / ".config" / "conda", system.home / ".conda")


def _within(folder: Path) -> Iterator[Path]:
    yield from (folder / name for name in (*_NAMES, "condarc.d"))


def _files(path: Path) -> tuple[Path, ...]:
    """Return the file, or those in the folder, that conda would read; raises OSError."""
    try:
        is_folder = S_ISDIR(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return ()
    if is_folder:
        return tuple(sorted(each for each in path.iterdir() if each.suffix in _ENDS))
    return (path,) if path.name in _NAMES or path.suffix in _ENDS else ()


def _reason(error: OSError) -> str:
    if error.errno == errno.EFBIG:
        return f"larger than any condarc should be ({_LARGEST >> 20} MiB)"
    return error.strerror or type(error).__name__


def _load(file: Path) -> Any:
    """Read a YAML file; raises OSError and BadCondarcError."""
    import yaml

    data = read_regular(file, _LARGEST)
    try:
        return yaml.safe_load(data)
    # PyYAML's constructors trust a tag that stands in the file: `!!bool foo` is a KeyError there,
    # `!!float ""` an IndexError, `!!timestamp foo` an AttributeError, `!!int x` a ValueError.
    except (
        yaml.YAMLError,
        RecursionError,
        ValueError,
        TypeError,
        KeyError,
        IndexError,
        AttributeError,
    ):
        raise BadCondarcError("not YAML") from None
