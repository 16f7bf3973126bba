"""The subdirs of a conda channel."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from scripts.core.errors import did_you_mean, usage_error

NOARCH: Final = "noarch"

# CEP 26 leaves the list open; this is rattler's (crates/rattler_conda_types/src/subdir.rs,
# read through py-rattler 0.25 and 0.28), less `unknown`.
_MACHINES: Final = {
    "linux": (
        *("32", "64", "aarch64", "armv6l", "armv7l", "loongarch64", "ppc64le", "ppc64", "ppc"),
        *("s390x", "riscv32", "riscv64"),
    ),
    "freebsd": ("32", "64", "arm64", "ppc64le", "ppc64"),
    "osx": ("64", "arm64"),
    "ios": ("arm64",),
    "iossimulator": ("arm64", "64"),
    "android": ("aarch64", "armv7a", "64", "32"),
    "win": ("32", "64", "arm64"),
    "emscripten": ("wasm32", "wasm64"),
    "wasi": ("wasm32",),
    "zos": ("z",),
}
KNOWN_SUBDIRS: Final = dict.fromkeys(  # a set that keeps its order
    (NOARCH, *(f"{system}-{each}" for system, some in _MACHINES.items() for each in some))
)


def is_known_subdir(text: str) -> bool:
    """Tell whether rattler knows this subdir."""
    return text in KNOWN_SUBDIRS


def check_platform(text: str, declared: Collection[str] = ()) -> None:
    """Refuse (exit code 2) a platform that is neither `declared` nor a known subdir, and noarch."""
    if text == NOARCH:
        message = "noarch is no platform: its packages come with every other one"
        raise usage_error("platforms", message)
    if text not in declared:
        check_subdir(text, "platforms")


def check_subdir(text: str, where: str) -> str:
    """Return a known subdir unchanged; else raise the error (exit code 2) of `where` it stands."""
    if text in KNOWN_SUBDIRS:
        return text
    advice = did_you_mean(text, KNOWN_SUBDIRS) or f"known are {', '.join(KNOWN_SUBDIRS)}"
    raise usage_error(where, f"no such subdir: {text!r}", help=advice)
