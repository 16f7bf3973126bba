"""Find and read the user's `.condarc` files. Acts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from scripts.access.pixi_config_paths import System
from scripts.consume.condarc import (
    BadCondarcError,
    Condarc,
    Layer,
    environment_layer,
    merge,
    parse_layer,
)

_NAMES: Final = (".condarc", "condarc")
_ENDS: Final = (".yml", ".yaml")
_LARGEST: Final = 1 << 20  # bytes


def read_condarc(environ: Mapping[str, str], system: System) -> Condarc:
    """Read all that conda would; a file that it would pass over is told of, no more."""
    layers: list[Layer] = []
    ignored: list[tuple[str, str]] = []
    found = (file for path in _searched(environ, system) for file in _files(path))
    for file in dict.fromkeys(found):
        try:
            layers.append(parse_layer(_load(file), str(file), environ))
        except BadCondarcError as error:
            ignored.append((str(file), str(error)))
        except OSError as error:
            ignored.append((str(file), error.strerror or type(error).__name__))
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
        yield Path(environ["CONDARC"]).expanduser()


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


def _files(path: Path) -> Iterator[Path]:
    """Yield the file, or those in the folder, that conda would read."""
    if path.is_dir():
        yield from sorted(each for each in path.iterdir() if each.suffix in _ENDS)
    elif path.is_file() and (path.name in _NAMES or path.suffix in _ENDS):
        yield path


def _load(file: Path) -> Any:
    """Read a YAML file."""
    import yaml

    if file.stat().st_size > _LARGEST:
        raise BadCondarcError("too large")
    try:
        return yaml.safe_load(file.read_bytes())
    except (yaml.YAMLError, RecursionError, ValueError):
        raise BadCondarcError("not YAML") from None
