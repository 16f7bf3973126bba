"""The tiny packages are the same bytes everywhere, and install with py-rattler for real."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
import zstandard

from tests.support import archives
from tests.support.packages import PREFIX, TinyPackage

# In a process of its own, since rattler may crash while the interpreter ends.
_INSTALL = """
import asyncio, json, os, sys
from rattler import PackageRecord, Platform, RepoDataRecord, install

async def main(prefix, cache, platform, *archives):
    records = []
    for archive in archives:
        index_json, path, url = archive.split("|")
        record = PackageRecord.from_index_json(index_json)
        records.append(RepoDataRecord(record, os.path.basename(path), url, "file:///channel"))
    await install(records, prefix, cache, platform=Platform(platform), show_progress=False)

try:
    asyncio.run(main(*sys.argv[1:]))
except BaseException as error:
    print(type(error).__name__, error)
else:
    print("installed")
sys.stdout.flush()
os._exit(0)
"""


def install(folder: Path, platform: str, *packages: TinyPackage) -> str:
    """Install into `<folder>/prefix`; return what the child said."""
    arguments = []
    for package in packages:
        written = package.write(folder)
        index_json = folder / f"{package.distribution}.json"
        index_json.write_text(json.dumps(package.index_json()), encoding="utf-8")
        arguments.append(f"{index_json}|{written.path}|{written.path.as_uri()}")
    command = [sys.executable, "-c", _INSTALL, str(folder / "prefix"), str(folder / "cache")]
    done = subprocess.run([*command, platform, *arguments], capture_output=True, check=False)
    return done.stdout.decode().strip()


HELLO = TinyPackage(
    name="hello",
    subdir="linux-64",
    extension=".conda",
    files=(("bin/hello", b"#!/bin/sh\necho hello\n"), ("etc/where", PREFIX.encode())),
)


def index_json_of(package: TinyPackage, folder: Path) -> dict[str, Any]:
    """Read info/index.json with other libraries than those that wrote it."""
    data = package.write(folder).path.read_bytes()
    if package.extension == ".conda":
        with zipfile.ZipFile(io.BytesIO(data)) as outer:
            assert outer.testzip() is None
            inner = outer.read(f"info-{package.distribution}.tar.zst")
        data = zstandard.ZstdDecompressor().decompress(inner)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        member = archive.extractfile("info/index.json")
        assert member is not None
        document: dict[str, Any] = json.loads(member.read())
    return document


@pytest.mark.parametrize(
    ("extension", "sha256"),
    [
        (".conda", "5fa192a910f4068d0ebf2f85601bb2bafc400c58fc84da56e5ab7aa01d015c6f"),
        (".tar.bz2", "d8d8cbedd8f15807d6d823112044825fa20b8751946e8b24b03721e794bfc83a"),
    ],
)
def test_the_bytes_are_the_same_everywhere(tmp_path: Path, extension: Any, sha256: str) -> None:
    """Pinned: the committed demo, and locks in the tests' data, count on it."""
    package = dataclasses.replace(HELLO, extension=extension, padding=200_000)
    written = package.write(tmp_path)
    assert written.sha256 == sha256
    assert written.size == written.path.stat().st_size
    assert written.path == tmp_path / "linux-64" / f"hello-1.0-0{extension}"


@pytest.mark.parametrize("extension", [".conda", ".tar.bz2"])
def test_other_libraries_read_them(tmp_path: Path, extension: Any) -> None:
    package = dataclasses.replace(HELLO, extension=extension, index=(("license", None),))
    assert index_json_of(package, tmp_path) == {
        "arch": "x86_64",
        "build": "0",
        "build_number": 0,
        "depends": [],
        "name": "hello",
        "platform": "linux",
        "subdir": "linux-64",
        "timestamp": 1_700_000_000_000,
        "version": "1.0",
    }


@pytest.mark.parametrize("size", [0, 1, (128 << 10) - 1, 128 << 10, (128 << 10) + 1, 1_000_000])
def test_zstd_frames_are_whole(size: int) -> None:
    data = bytes(size // 3) + os.urandom(size - size // 3)
    frame = archives.zstd(data)
    assert zstandard.ZstdDecompressor().decompress(frame) == data
    assert zstandard.get_frame_parameters(frame).content_size == size
    if size:  # a control: the frame's end is looked at
        with pytest.raises(zstandard.ZstdError):
            zstandard.ZstdDecompressor().decompress(frame[:-1])


@pytest.mark.parametrize("extension", [".conda", ".tar.bz2"])
def test_rattler_installs_them(tmp_path: Path, extension: Any) -> None:
    package = dataclasses.replace(HELLO, extension=extension)
    note = TinyPackage(name="note", extension=extension)
    assert install(tmp_path, "linux-64", package, note) == "installed"
    prefix = tmp_path / "prefix"
    assert (prefix / "bin" / "hello").read_bytes() == b"#!/bin/sh\necho hello\n"
    assert os.name == "nt" or os.access(prefix / "bin" / "hello", os.X_OK)
    assert (prefix / "etc" / "where").read_text(encoding="utf-8") == str(prefix)
    assert (prefix / "share" / "note.txt").read_bytes() == b"note-1.0-0\n"
    assert {path.name for path in (prefix / "conda-meta").glob("*.json")} == {
        "hello-1.0-0.json",
        "note-1.0-0.json",
    }


def test_rattler_installs_a_noarch_python_package(tmp_path: Path) -> None:
    python = TinyPackage(
        name="python", version="3.12.0", subdir="linux-64", files=(("bin/python", b"#!/bin/sh\n"),)
    )
    library = TinyPackage(
        name="library",
        noarch="python",
        depends=("python",),
        files=(("site-packages/library.py", b"x = 1\n"),),
        entry_points=("library = library:main",),
    )
    assert install(tmp_path, "linux-64", python, library) == "installed"
    prefix = tmp_path / "prefix"
    module = prefix / "lib" / "python3.12" / "site-packages" / "library.py"
    assert module.read_bytes() == b"x = 1\n"
    assert (prefix / "bin" / "library").is_file()


def test_rattler_refuses_a_damaged_one(tmp_path: Path) -> None:
    """A control: rattler does look at the archives."""
    HELLO.write(tmp_path)
    damaged = tmp_path / "linux-64" / HELLO.file_name
    assert "installed" in install(tmp_path / "good", "linux-64", HELLO)

    class Damaged(TinyPackage):
        def write(self, channel: Path) -> Any:
            written = super().write(channel)
            written.path.write_bytes(damaged.read_bytes()[:-400])
            return written

    fields = {field.name: getattr(HELLO, field.name) for field in dataclasses.fields(HELLO)}
    said = install(tmp_path / "bad", "linux-64", Damaged(**fields))
    assert "installed" not in said
    assert not (tmp_path / "bad" / "prefix" / "bin" / "hello").exists()


def test_padding_is_noise_of_the_wanted_size(tmp_path: Path) -> None:
    small, large = (TinyPackage(name="pad", padding=size) for size in (1, 100_001))
    noise = dict(large.payload)["share/pad.bin"]
    assert (len(noise), len(set(noise))) == (100_001, 256)
    assert 100_000 <= large.write(tmp_path).size - small.write(tmp_path).size <= 101_100


def test_run_exports_and_features_are_written(tmp_path: Path) -> None:
    package = TinyPackage(
        name="exporter", run_exports=(("weak", ("exporter >=1",)),), track_features=("one", "two")
    )
    assert index_json_of(package, tmp_path)["track_features"] == "one two"
    assert b'"weak"' in package.data
