"""Makes what the demo serves and mirrors, byte for byte: `python -m tests.support.demo_upstream`.

Two channels whose names do not overlap: `tools` has a program for five platforms, `data` has the
words it says. The archive of greetings asks for the old words; its channel corrected that after
release, so whoever indexes the archives alone gets a channel that cannot be installed from.

And one index: `hello-py`, a wheel for each platform, says the same from Python. Conda's greetings
are what it requires as `greetings`; conda's words are not PyPI's, which have a local version.
The python in `tools` has nothing in it: the demo puts the one that runs it in its place.

A second workspace, `service`, asks for `farewell` alone; its lock is mirrored, too.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from tests.support.locks import EnvironmentRows, LockRow, PlatformRows, lock_text
from tests.support.packages import TinyPackage, WrittenPackage
from tests.support.wheels import PypiRow, TinySdist, TinyWheel, write_upstream

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


_HELLO_PY: Final = b"""\
import loud_words, pathlib, sys, whisper, words

hello = pathlib.Path(sys.prefix, "share", "greetings", "hello.txt").read_text().strip()
print(loud_words.loud(f"{hello}, {words.WORLD}") + f", {whisper.__version__}")
"""
_LOUD: Final = b"def loud(text):\n    return text.upper()\n"
_INDEX: Final = "https://pypi.example.org/simple"
_FILES: Final = "https://files.example.org/packages"
TAGS: Final = {
    "linux-64": "manylinux_2_17_x86_64",
    "linux-aarch64": "manylinux_2_17_aarch64",
    "osx-64": "macosx_10_9_x86_64",
    "osx-arm64": "macosx_11_0_arm64",
    "win-64": "win_amd64",
}


def _hello_py(subdir: str) -> TinyWheel:
    return TinyWheel(
        name="hello-py",
        tags=f"py3-none-{TAGS[subdir]}",
        requires_dist=(
            "greetings>=2",
            "words>=1",
            "whisper",
            "loud-words>=2 ; extra == 'loud'",
            "windows-words ; sys_platform == 'win32'",
        ),
        extras=("loud",),
        files=(("hello_py.py", _HELLO_PY),),
    )


ANYWHERE: Final = (
    TinyWheel(name="Loud.Words", version="2.0", files=(("loud_words.py", _LOUD),)),
    TinyWheel(
        name="words",
        version="1.0+demo.1",
        files=(("words.py", b"WORLD = 'world without a network'\n"),),
    ),
    TinySdist(name="whisper"),
)
ON_WINDOWS: Final = TinyWheel(name="windows-words")


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
        purls=(),
        files=((path, data),),
    )


def _python(subdir: str) -> TinyPackage:
    return TinyPackage(
        name="python", version="3.12.0", subdir=subdir, extension=".tar.bz2", purls=(), files=()
    )


_GREETINGS: Final = TinyPackage(
    name="greetings",
    version="2.1",
    depends=("words 1.*",),
    purls=("pkg:pypi/greetings?source=project-defined-mapping",),
    files=(("share/greetings/hello.txt", b"hello\n"),),
)
_WORDS: Final = TinyPackage(
    name="words",
    version="2.0",
    extension=".tar.bz2",
    purls=(),
    files=(("share/words/world.txt", b"world without a network\n"),),
)
# conda installs it beside every python, or nothing; nobody runs it.
_PIP: Final = TinyPackage(name="pip", version="26.0", purls=())
# What the second workspace asks for, and the first does not.
_FAREWELL: Final = TinyPackage(name="farewell", depends=("greetings >=2.0,<3.0a0",), purls=())
# The channel's correction of one record after release.
_HOTFIX: Final = {_GREETINGS.file_name: ("words >=2.0,<3.0a0",)}

CHANNELS: Final = {
    "tools": tuple(make(subdir) for subdir in _VIRTUAL for make in (_hello, _python)),
    "data": (_GREETINGS, _PIP, _WORDS, _FAREWELL),
}
_OF_SERVICE: Final = (_FAREWELL, _GREETINGS, _WORDS)


def write_demo(folder: Path) -> None:
    """Write `upstream/`, `workspace/pixi.lock` and `service/pixi.lock` into a folder."""
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
    pypi = _write_index(folder / "upstream")
    platforms = tuple(
        PlatformRows(
            name=subdir,
            rows=(
                *(
                    row
                    for row in (*rows["tools"], *rows["data"])
                    if row.written.package.subdir in {subdir, "noarch"}
                    and row.written.package is not _FAREWELL
                ),
                *pypi[subdir],
            ),
            virtual_packages=virtual,
        )
        for subdir, virtual in _VIRTUAL.items()
    )
    of_service = tuple(
        _without_purls(row) for row in rows["data"] if row.written.package in _OF_SERVICE
    )
    service = (
        PlatformRows(name=subdir, rows=of_service, virtual_packages=virtual)
        for subdir, virtual in _VIRTUAL.items()
    )
    for name, of_lock in (("workspace", platforms), ("service", tuple(service))):
        lock = folder / name / "pixi.lock"
        lock.parent.mkdir(parents=True, exist_ok=True)
        lock.write_bytes(lock_text((EnvironmentRows(platforms=of_lock),)).encode())


def _without_purls(row: LockRow) -> LockRow:
    """Write it as pixi does for a workspace that has nothing of PyPI."""
    package = dataclasses.replace(row.written.package, purls=None)
    return dataclasses.replace(row, written=dataclasses.replace(row.written, package=package))


def _write_index(root: Path) -> dict[str, tuple[PypiRow, ...]]:
    """Write the files and pages of the index; return the rows of each platform."""

    def row(package: TinyWheel | TinySdist) -> PypiRow:
        written = package.write(root / _FILES.partition("://")[2])
        return PypiRow(written=written, index=_INDEX, url=f"{_FILES}/{package.file_name}")

    anywhere, on_windows = tuple(row(each) for each in ANYWHERE), row(ON_WINDOWS)
    rows = {
        subdir: (row(_hello_py(subdir)), *anywhere, *([on_windows] if subdir == "win-64" else []))
        for subdir in _VIRTUAL
    }
    write_upstream(root, (each for some in rows.values() for each in some))
    return rows


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
