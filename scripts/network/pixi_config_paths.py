"""Where pixi's configuration files are.

The rules are those of pixi 0.77 (crates/pixi_config/src/lib.rs: `config_path_system`,
`config_path_global`, `load_global_with`, `load_with`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scripts.core.errors import usage_error

_FILE: Final = "config.toml"
# What the argument parser of pixi (clap's BoolishValueParser) takes.
_YES: Final = frozenset({"y", "yes", "t", "true", "on", "1"})
_NO: Final = frozenset({"n", "no", "f", "false", "off", "0"})


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """What of the machine decides where files are: `sys.platform`, and the home folder."""

    platform: str
    home: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigPaths:
    """Where to look, the weakest first; `named` must be there, the others need not."""

    named: Path | None
    searched: tuple[Path, ...]


def config_paths(root: Path, environ: Mapping[str, str], system: System) -> ConfigPaths:
    """Name the files that pixi would read in a workspace.

    PIXI_CONFIG_FILE and PIXI_NO_CONFIG replace all but the workspace's own; both at once, or a
    value that is none, is an error in pixi as well.
    """
    own = root / ".pixi" / _FILE
    no_config, named = environ.get("PIXI_NO_CONFIG"), environ.get("PIXI_CONFIG_FILE")
    if no_config is not None and named is not None:
        raise usage_error(
            "PIXI_NO_CONFIG", "set together with PIXI_CONFIG_FILE; pixi takes only one of them"
        )
    if named is not None:
        if not named:
            raise usage_error("PIXI_CONFIG_FILE", "set, but empty")
        return ConfigPaths(named=Path(named), searched=(own,))
    if no_config is not None and _is_yes(no_config):
        return ConfigPaths(named=None, searched=(own,))
    return ConfigPaths(named=None, searched=(*_global_paths(environ, system), own))


def _is_yes(text: str) -> bool:
    if text.lower() not in _YES | _NO:
        raise usage_error("PIXI_NO_CONFIG", "neither true nor false")
    return text.lower() in _YES


def _global_paths(environ: Mapping[str, str], system: System) -> tuple[Path, ...]:
    """The files of the system and of the user (`config_path_system`, `config_path_global`)."""
    windows, mac = system.platform == "win32", system.platform == "darwin"
    folders = [Path("C:\\ProgramData" if windows else "/etc") / "pixi"]
    xdg = environ.get("XDG_CONFIG_HOME")
    if windows:
        if environ.get("APPDATA"):
            folders.append(Path(environ["APPDATA"]) / "pixi")
    elif mac:
        if xdg is not None:
            folders.append(Path(xdg) / "pixi")
        if system.home is not None:
            folders.append(system.home / "Library" / "Application Support" / "pixi")
    elif xdg and xdg.startswith("/"):  # the crate dirs takes no relative one
        folders.append(Path(xdg) / "pixi")
    elif system.home is not None:
        folders.append(system.home / ".config" / "pixi")
    if "PIXI_HOME" in environ:
        folders.append(Path(environ["PIXI_HOME"]))
    elif system.home is not None:
        folders.append(system.home / ".pixi")
    return tuple(folder / _FILE for folder in folders)
