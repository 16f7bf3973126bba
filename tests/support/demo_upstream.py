"""Makes what the demo serves and mirrors, byte for byte: `python -m tests.support.demo_upstream`.

Two channels whose names do not overlap: `tools` has a program for five platforms, `data` has the
words it says. The archive of greetings asks for the old words; its channel corrected that after
release, so whoever indexes the archives alone gets a channel that cannot be installed from.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from tests.support.locks import EnvironmentRows, LockRow, PlatformRows, lock_text
from tests.support.packages import TinyPackage, WrittenPackage

DEMO: Final = Path(__file__).parents[2] / "scripts" / "demo"
HOST: Final = "https://conda.example.org"

# As pixi 0.77 writes them for a platform of which the manifest says no more than its name.
_VIRTUAL: Final = {
    "linux-64": ("__unix=0=0", "__linux=4.18", "__glibc=2.28", "__archspec=0=x86_64"),
    "linux-aarch64": ("__unix=0=0", "__linux=4.18", "__glibc=2.28", "__archspec=0=aarch64"),
    "osx-64": ("__unix=0=0", "__osx=13.0", "__archspec=0=x86_64"),
    "osx-arm64": ("__unix=0=0", "__osx=13.0", "__archspec=0=m1"),
    "win-64": ("__win=10.0", "__archspec=0=x86_64"),
}

_SHELL: Final = """\
#!/bin/sh
# Says what the packages greetings and words have to say, and which package it came with itself.
prefix=$(cd "$(dirname "$0")/.." && pwd) || exit 1
read -r hello <"$prefix/share/greetings/hello.txt" || exit 1
read -r world <"$prefix/share/words/world.txt" || exit 1
echo "$hello, $world ({subdir})"
"""
_BATCH: Final = """\
@echo off
rem Says what the packages greetings and words have to say, and which package it came with itself.
set /p hello=<"%~dp0..\\share\\greetings\\hello.txt" || exit /b 1
set /p world=<"%~dp0..\\share\\words\\world.txt" || exit /b 1
echo %hello%, %world% ({subdir})
"""


def _hello(subdir: str) -> TinyPackage:
    is_windows = subdir.startswith("win-")
    text = (_BATCH if is_windows else _SHELL).format(subdir=subdir)
    path = "Scripts/hello.bat" if is_windows else "bin/hello"
    data = text.replace("\n", "\r\n").encode() if is_windows else text.encode()
    return TinyPackage(
        name="hello",
        build="h1_0",
        subdir=subdir,
        # The old format as well, on two platforms.
        extension=".tar.bz2" if subdir in {"osx-64", "win-64"} else ".conda",
        depends=("greetings >=2.0,<3.0a0",),
        files=((path, data),),
    )


_GREETINGS: Final = TinyPackage(
    name="greetings",
    version="2.1",
    depends=("words 1.*",),
    files=(("share/greetings/hello.txt", b"hello\n"),),
)
_WORDS: Final = TinyPackage(
    name="words",
    version="2.0",
    extension=".tar.bz2",
    files=(("share/words/world.txt", b"world without a network\n"),),
)
# The channel's correction of one record after release.
_HOTFIX: Final = {_GREETINGS.file_name: ("words >=2.0,<3.0a0",)}

CHANNELS: Final = {
    "tools": tuple(_hello(subdir) for subdir in _VIRTUAL),
    "data": (_GREETINGS, _WORDS),
}


def write_demo(folder: Path) -> None:
    """Write `upstream/` and `workspace/pixi.lock` into a folder."""
    rows: dict[str, tuple[LockRow, ...]] = {}
    for channel, packages in CHANNELS.items():
        written = [package.write(folder / "upstream" / channel) for package in packages]
        _write_repodata(folder / "upstream" / channel, written)
        rows[channel] = tuple(
            LockRow(
                written=each,
                channel=f"{HOST}/{channel}",
                depends=_HOTFIX.get(each.package.file_name),
            )
            for each in written
        )
    platforms = tuple(
        PlatformRows(
            name=subdir,
            rows=tuple(
                row
                for row in (*rows["tools"], *rows["data"])
                if row.written.package.subdir in {subdir, "noarch"}
            ),
            virtual_packages=virtual,
        )
        for subdir, virtual in _VIRTUAL.items()
    )
    lock = folder / "workspace" / "pixi.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.write_bytes(lock_text((EnvironmentRows(platforms=platforms),)).encode())


def _write_repodata(channel: Path, written: Iterable[WrittenPackage]) -> None:
    """Write the repodata of all subdirs of a channel, corrections applied."""
    subdirs: dict[str, dict[str, Any]] = {"noarch": {}}
    for each in written:
        package = each.package
        record = package.index_json()
        record["depends"] = list(_HOTFIX.get(package.file_name, package.depends))
        record |= {"md5": each.md5, "sha256": each.sha256, "size": each.size}
        section = "packages" if package.extension == ".tar.bz2" else "packages.conda"
        subdirs.setdefault(package.subdir, {}).setdefault(section, {})[package.file_name] = record
    for subdir, sections in subdirs.items():
        document = {
            "info": {"subdir": subdir},
            "packages": sections.get("packages", {}),
            "packages.conda": sections.get("packages.conda", {}),
            "repodata_version": 1,
        }
        path = channel / subdir / "repodata.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((json.dumps(document, indent=1, sort_keys=True) + "\n").encode())


if __name__ == "__main__":
    write_demo(DEMO)
