"""The subdirs of a conda channel."""

from __future__ import annotations

from typing import Final

from scripts.core.errors import did_you_mean, usage_error

NOARCH: Final = "noarch"

# CEP 26 leaves the list open; this is rattler's (crates/rattler_conda_types/src/subdir.rs,
# read through py-rattler 0.25 and 0.28), less `unknown`.
KNOWN_SUBDIRS: Final = (
    "noarch",
    "linux-32",
    "linux-64",
    "linux-aarch64",
    "linux-armv6l",
    "linux-armv7l",
    "linux-loongarch64",
    "linux-ppc64le",
    "linux-ppc64",
    "linux-ppc",
    "linux-s390x",
    "linux-riscv32",
    "linux-riscv64",
    "freebsd-32",
    "freebsd-64",
    "freebsd-arm64",
    "freebsd-ppc64le",
    "freebsd-ppc64",
    "osx-64",
    "osx-arm64",
    "ios-arm64",
    "iossimulator-arm64",
    "iossimulator-64",
    "android-aarch64",
    "android-armv7a",
    "android-64",
    "android-32",
    "win-32",
    "win-64",
    "win-arm64",
    "emscripten-wasm32",
    "emscripten-wasm64",
    "wasi-wasm32",
    "zos-z",
)
_KNOWN: Final = frozenset(KNOWN_SUBDIRS)


def is_known_subdir(text: str) -> bool:
    """Tell whether rattler knows this subdir."""
    return text in _KNOWN


def check_subdir(text: str, where: str) -> str:
    """Return the subdir unchanged, or raise the error that names `where` and the nearest one."""
    if text in _KNOWN:
        return text
    advice = did_you_mean(text, KNOWN_SUBDIRS) or f"known are {', '.join(KNOWN_SUBDIRS)}"
    raise usage_error(where, f"no such subdir: {text!r}", help=advice)
