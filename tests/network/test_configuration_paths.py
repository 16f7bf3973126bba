"""Where pixi looks on each system, with each variable."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from scripts.network.configuration import config_paths

ROOT, HOME = Path("/w"), Path("/home/me")
OWN = Path("/w/.pixi/config.toml")
SYSTEM_WIDE = Path("/etc/pixi/config.toml")


def _searched(platform: str, environ: Mapping[str, str], home: Path | None = HOME) -> list[str]:
    return [path.as_posix() for path in config_paths(ROOT, environ, platform, home)]


@pytest.mark.parametrize(
    ("environ", "between"),
    [
        ({}, ["/home/me/.config/pixi/config.toml", "/home/me/.pixi/config.toml"]),
        ({"XDG_CONFIG_HOME": "/x"}, ["/x/pixi/config.toml", "/home/me/.pixi/config.toml"]),
        # A relative one is none (XDG Base Directory Specification).
        (
            {"XDG_CONFIG_HOME": "x"},
            ["/home/me/.config/pixi/config.toml", "/home/me/.pixi/config.toml"],
        ),
        ({"PIXI_HOME": "/p"}, ["/home/me/.config/pixi/config.toml", "/p/config.toml"]),
        (
            {"PIXI_NO_CONFIG": "off"},
            ["/home/me/.config/pixi/config.toml", "/home/me/.pixi/config.toml"],
        ),
    ],
)
def test_linux(environ: dict[str, str], between: list[str]) -> None:
    expected = ["/etc/pixi/config.toml", *between, "/w/.pixi/config.toml"]
    assert _searched("linux", environ) == expected


def test_linux_without_a_home() -> None:
    assert _searched("linux", {}, None) == ["/etc/pixi/config.toml", "/w/.pixi/config.toml"]


def test_macos() -> None:
    assert _searched("darwin", {"XDG_CONFIG_HOME": "/x"}) == [
        "/etc/pixi/config.toml",
        "/x/pixi/config.toml",
        "/home/me/Library/Application Support/pixi/config.toml",
        "/home/me/.pixi/config.toml",
        "/w/.pixi/config.toml",
    ]
    assert _searched("darwin", {"PIXI_HOME": "/p"}, None) == [
        "/etc/pixi/config.toml",
        "/p/config.toml",
        "/w/.pixi/config.toml",
    ]


def test_windows() -> None:
    # On POSIX the drive is part of a name; on Windows as_posix() turns the backslash round.
    searched = _searched("win32", {"APPDATA": "/roaming", "XDG_CONFIG_HOME": "/x"})
    assert [path.replace("\\", "/") for path in searched] == [
        "C:/ProgramData/pixi/config.toml",
        "/roaming/pixi/config.toml",
        "/home/me/.pixi/config.toml",
        "/w/.pixi/config.toml",
    ]


def test_one_file_may_replace_all_but_the_workspace() -> None:
    environ = {"PIXI_CONFIG_FILE": "c.toml", "PIXI_HOME": "/p"}
    assert config_paths(ROOT, environ, "linux", HOME) == (Path("c.toml"), OWN)
    for yes in ("1", "TRUE", "y", "on"):
        assert config_paths(ROOT, {"PIXI_NO_CONFIG": yes}, "linux", HOME) == (OWN,)
