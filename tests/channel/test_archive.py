"""What can be opened and what cannot: real archives of both kinds, and each way to spoil one."""

from __future__ import annotations

import bz2
import io
import json
import os
import random
import sys
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from scripts.channel.archive import BadArchiveError, read_identity
from tests.support import archives
from tests.support.archives import Member
from tests.support.packages import TinyPackage
from tests.support.template import ROOT

INDEX = b'{"name": "a", "version": "1.0", "build": "0", "build_number": 0}'
INFO = archives.zstd(archives.tar((Member("info/index.json", INDEX),)))
FILES = archives.tar((Member("x", b"x" * 5000), Member("y", b"y")))
PKG = archives.zstd(FILES)
PAGE = b"<!DOCTYPE html>\n<title>Sign in</title>"


def _conda(*, info: bytes = INFO, pkg: bytes = PKG) -> bytes:
    return archives.stored_zip(
        (Member("pkg-a-1.0-0.tar.zst", pkg), Member("info-a-1.0-0.tar.zst", info))
    )


def _info(name: str, data: bytes) -> bytes:
    return _conda(info=archives.zstd(archives.tar((Member(name, data),))))


def _paths(path: str) -> bytes:
    return _info("info/paths.json", json.dumps({"paths": [{"_path": path}]}).encode())


def _flipped(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


@pytest.fixture
def opened(tmp_path: Path) -> Callable[[bytes, str], str]:
    def open_(data: bytes, extension: str = ".conda") -> str:
        file = tmp_path / f"a-1.0-0{extension}"
        file.write_bytes(data)
        return read_identity(file)

    return open_


Opens = Callable[..., str]


@pytest.mark.parametrize("extension", [".conda", ".tar.bz2"])
def test_a_package_says_what_it_is(extension: str, opened: Opens) -> None:
    package = TinyPackage(name="Odd", version="1!2.0+3", build="h1_7", padding=3000)
    assert opened(package.data, ".conda") == "Odd 1!2.0+3 h1_7"
    data = TinyPackage(name="a", extension=".tar.bz2", padding=3000).data
    assert opened(data, ".tar.bz2") == "a 1.0 0"


@pytest.mark.parametrize(
    "file",
    sorted((ROOT / "scripts/demo/upstream").glob("*/*/*-*-*.[ct]*")),  # conda's alone
    ids=lambda file: file.name,
)
def test_artifacts_that_are_installed_elsewhere(file: Path) -> None:
    assert read_identity(file).split()[0] == file.name.split("-")[0]


@pytest.mark.parametrize("style", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_every_style_of_tar(style: int, opened: Opens) -> None:
    """As tarfile writes them: long names, times in fractions, links of both kinds, folders."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=style) as tar:
        long = "d" * 90 + "/" + "e" * 90 if style == tarfile.USTAR_FORMAT else "é" * 200
        for name, kind, size in (
            (long, tarfile.REGTYPE, 700),
            ("link", tarfile.SYMTYPE, 0),
            ("other", tarfile.LNKTYPE, 0),
            ("folder", tarfile.DIRTYPE, 0),
            ("last", tarfile.REGTYPE, 1),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.size, member.linkname = kind, size, "last" if size == 0 else ""
            member.mtime = 1.5 if style == tarfile.PAX_FORMAT else 1
            tar.addfile(member, io.BytesIO(b"q" * size))
    packed = zstandard.ZstdCompressor(write_checksum=True).compress(buffer.getvalue())
    assert opened(_conda(pkg=packed)) == "a 1.0 0"
    assert opened(_conda(pkg=archives.zstd(b"") + packed)) == "a 1.0 0"  # frames, one by one


def test_a_tar_without_an_end(opened: Opens) -> None:
    """Installers take it; what is cut within a file is another thing."""
    assert opened(_conda(pkg=archives.zstd(FILES.rstrip(b"\0").ljust(6656, b"\0")))) == "a 1.0 0"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (PAGE, f"it begins with {PAGE[:24]!r}, as no .conda does"),
        (b"", "it begins with b'', as no .conda does"),
        (bz2.compress(FILES), "as no .conda does"),
        (_conda()[:-1], "not a zip file"),
        (_flipped(_conda(), 200), "Bad CRC-32 for file 'pkg-a-1.0-0.tar.zst'"),
        (archives.stored_zip((Member("x", b""),)), "it has no info-….tar.zst"),
        (archives.stored_zip((Member("info-a.tar.zst", INFO),)), "it has no pkg-….tar.zst"),
        (_conda(pkg=PKG[:-105]), "it ends in the middle of a file"),
        (_conda(pkg=b""), "its pkg-a-1.0-0.tar.zst is empty"),
        (_conda(pkg=PKG + b"more"), "Unknown frame descriptor"),
        (_conda(pkg=PKG + archives.zstd(FILES)[:60]), "its compressed data end too early"),
        (_conda(pkg=archives.zstd(FILES[:3000])), "it ends in the middle of a file"),
        (_conda(pkg=archives.zstd(FILES[:700])), "it ends in the middle of a file"),
        (_conda(pkg=archives.zstd(_flipped(FILES, 5633))), "bad checksum"),
        (_conda(pkg=archives.zstd(PAGE)), "bad checksum"),
        (_info("info/about.json", INDEX), "it has no info/index.json"),
        (_info("info/index.json", b"{"), "its info/index.json is no JSON"),
        (_info("info/index.json", b"[" * 100_000), "its info/index.json is no JSON"),
        (_info("info/index.json", b"[]"), "its info/index.json has no build_number"),
        (_info("info/index.json", INDEX.replace(b'"1.0"', b"1")), "has no version"),
        (_info("info/paths.json", b"{"), "is not a list of paths"),
        (_info("info/paths.json", b"[" * 100_000), "is not a list of paths"),
        (_info("info/files", b"a\nb/../../c\n"), "its b/../../c would be outside of where"),
        (_paths("a/../b"), "its a/../b would be outside of where it is installed"),
        (_info("info/files", b"a\n/b\n"), "its /b would be outside of where it is installed"),
        (_paths("/a"), "its /a would be outside of where it is installed"),
        (_paths("..\\a"), "its ..\\a would be outside of where it is installed"),
        (_info("info/paths.json", rb'{"paths": [{"_path": "\u002e\u002e/a"}]}'), "its ../a would"),
    ],
)
def test_what_cannot_be_opened(data: bytes, why: str, opened: Opens) -> None:
    with pytest.raises(BadArchiveError) as caught:
        opened(data)
    assert why in str(caught.value)


@pytest.mark.parametrize("level", [None, 1, 19])
def test_compressed_data_that_end_anywhere(level: int | None, opened: Opens) -> None:
    """In the last bytes of a frame, in its blocks of all kinds; whole, they are taken."""
    noise = random.Random(1).randbytes(3000)
    plain = archives.tar((Member("x", noise), Member("y", b"word " * 2000), Member("z", bytes(9))))
    whole = (
        archives.zstd(plain)
        if level is None
        else zstandard.ZstdCompressor(level=level, write_checksum=level == 1).compress(plain)
    )
    assert opened(_conda(pkg=whole)) == "a 1.0 0"
    cuts = {*range(1, 60), *range(60, len(whole), 97)}
    for cut in cuts:
        with pytest.raises(BadArchiveError):
            opened(_conda(pkg=whole[:-cut]))


BZ2 = TinyPackage(name="a", extension=".tar.bz2", padding=3000).data


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (_conda(), "as no .tar.bz2 does"),
        (BZ2[:-1], "ended before"),
        (_flipped(BZ2, len(BZ2) // 2), "Invalid data stream"),
        (bz2.compress(archives.tar((Member("x", b""),))), "it has no info/index.json"),
    ],
)
def test_what_cannot_be_opened_as_tar_bz2(data: bytes, why: str, opened: Opens) -> None:
    with pytest.raises(BadArchiveError) as caught:
        opened(data, ".tar.bz2")
    assert why in str(caught.value)


@pytest.mark.parametrize("data", [_conda(), BZ2], ids=[".conda", ".tar.bz2"])
def test_any_damage_is_told_or_harmless(data: bytes, opened: Opens) -> None:
    """Whatever the libraries raise for it; what opens says what it said before."""
    chance, told = random.Random(7), 0
    for _ in range(300):
        start, length = chance.randrange(len(data)), chance.randrange(40)
        spoilt = data[:start] + chance.randbytes(chance.randrange(40)) + data[start + length :]
        try:
            assert opened(spoilt, ".tar.bz2" if data is BZ2 else ".conda") == "a 1.0 0"
        except BadArchiveError:
            told += 1
    assert told > 200


def test_dots_in_a_name_lead_nowhere(opened: Opens) -> None:
    members = (Member("info/index.json", INDEX), Member("info/files", b"a..b/..c/d..\n"))
    assert opened(_conda(info=archives.zstd(archives.tar(members)))) == "a 1.0 0"


def test_what_unpacks_to_very_much_does_not_fill_the_memory(opened: Opens) -> None:
    """256 MiB of zeros in 9 kB."""
    head = tarfile.TarInfo("zeros")
    head.size = 256 << 20
    compressor = zstandard.ZstdCompressor().compressobj()
    packed = compressor.compress(head.tobuf())
    for _ in range(256):
        packed += compressor.compress(bytes(1 << 20))
    data = _conda(pkg=packed + compressor.flush())
    assert len(data) < 10_000
    tracemalloc.start()
    try:
        assert opened(data) == "a 1.0 0"
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


def test_zips_that_are_deflated(opened: Opens) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("pkg-a-1.0-0.tar.zst", PKG)
        archive.writestr("info-a-1.0-0.tar.zst", INFO)
    assert opened(buffer.getvalue()) == "a 1.0 0"


def test_a_disk_that_does_not_give_it_is_no_bad_archive(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_identity(tmp_path / "a-1.0-0.conda")
    if sys.platform == "linux" and os.access("/proc/self/mem", os.R_OK):
        (tmp_path / "b-1.0-0.conda").symlink_to("/proc/self/mem")
        with pytest.raises(OSError, match="Input/output"):
            read_identity(tmp_path / "b-1.0-0.conda")


def test_a_damaged_lzma_member(opened: Opens) -> None:
    """No artifact has one, and yet a zip may."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("metadata.json", b"{}" * 500, zipfile.ZIP_LZMA)
        archive.writestr("pkg-a-1.0-0.tar.zst", PKG)
        archive.writestr("info-a-1.0-0.tar.zst", INFO)
    whole = data.getvalue()
    assert opened(whole) == "a 1.0 0"
    start = whole.index(b"metadata.json") + len("metadata.json") + 4  # behind the LZMA header
    damaged = whole[:start] + b"\xff" * 5 + whole[start + 5 :]
    with pytest.raises(BadArchiveError):
        opened(damaged)
