"""What makes a wheel or an sdist sound, and each way to be none; nothing ends in a traceback."""

from __future__ import annotations

import bz2
import contextlib
import dataclasses
import gzip
import io
import lzma
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.channel.archive import BadArchiveError
from scripts.core.record import PypiRecord
from scripts.index.distribution import DEFAULT_BUILD_REQUIRES, read_distribution
from scripts.verify.findings import Client
from scripts.verify.install.clients import find_program
from scripts.verify.pypi_archives import BadWheelRecordError, read_pypi_identity
from tests.support import archives
from tests.support.archives import Member
from tests.support.uv import uv_release
from tests.support.wheels import TinySdist, TinyWheel

LIB = TinyWheel(name="Tiny.Lib", version="1.1", requires_dist=("a>=1", 'b; extra == "x"'))
SDIST = TinySdist(name="tiny-sdist", build_requires=("tiny-backend>=1",))
INFO = "tiny_lib-1.1.dist-info"


def _members() -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(LIB.data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _identity(tmp_path: Path, data: bytes, name: str = LIB.file_name, version: str = "1.1") -> str:
    file = tmp_path / name
    file.write_bytes(data)
    record = PypiRecord(name="tiny-lib", version=version, location=f"./{name}")
    return read_pypi_identity(file, record)


def _cause(tmp_path: Path, data: bytes, name: str = LIB.file_name) -> str:
    with pytest.raises(BadArchiveError) as caught:
        _identity(tmp_path, data, name)
    return str(caught.value)


def _zip(members: dict[str, bytes], *more: Member) -> bytes:
    return archives.stored_zip([*(Member(*each) for each in members.items()), *more])


def test_a_wheel_says_what_it_is(tmp_path: Path) -> None:
    assert _identity(tmp_path, LIB.data) == "tiny-lib 1.1"
    assert _identity(tmp_path, LIB.data, version="1.1.0") == "tiny-lib 1.1.0"
    assert _identity(tmp_path, LIB.data, version="1.2") == "tiny-lib 1.1"
    found = read_distribution(LIB.write(tmp_path).path)
    assert (found.name, found.version) == ("tiny-lib", "1.1")
    assert found.metadata == LIB.metadata_text.encode()


def test_a_version_of_more_digits_than_a_number_may_have(tmp_path: Path) -> None:
    version = "1" * 5000
    text = LIB.metadata_text.replace("Version: 1.1\n", f"Version: {version}\n")
    wheel = dataclasses.replace(LIB, metadata=text.encode())
    assert _identity(tmp_path, wheel.data) == f"tiny-lib {version}"


def test_the_second_place_of_a_direct_url(tmp_path: Path) -> None:
    """Its name ends with the fragment of the URL."""
    assert _identity(tmp_path, LIB.data, f"{LIB.file_name}#sha256=00") == "tiny-lib 1.1"


def test_signatures_need_no_line(tmp_path: Path) -> None:
    members = _members() | {f"{INFO}/RECORD.jws": b"x", f"{INFO}/RECORD.p7s": b"x"}
    assert _identity(tmp_path, _zip(members)) == "tiny-lib 1.1"


def test_a_line_without_a_size_or_with_a_stronger_hash(tmp_path: Path) -> None:
    import base64
    import hashlib

    members = _members()
    digest = hashlib.sha512(members["tiny_lib.py"]).digest()
    line = f"tiny_lib.py,sha512={base64.urlsafe_b64encode(digest).decode()},\n"
    record = members[f"{INFO}/RECORD"].decode()
    members[f"{INFO}/RECORD"] = re.sub("tiny_lib.py,.*\n", line, record).encode()
    assert _identity(tmp_path, _zip(members)) == "tiny-lib 1.1"


@pytest.mark.parametrize(
    ("pattern", "text", "cause"),
    [
        ("lib.py,sha256=", "lib.py,sha256=A", "sha256 of tiny_lib.py differs from RECORD"),
        ("(lib.py,.*,)[0-9]+", r"\g<1>7", "tiny_lib.py has 20 bytes, RECORD says 7"),
        ("tiny_lib.py,.*\n", "", "RECORD does not list tiny_lib.py"),
        (r"\Z", "gone.py,sha256=A,1\n", "RECORD lists gone.py, which it does not have"),
        ("lib.py,.*\n", "lib.py,md5=A,1\n", "RECORD has no sha256 of tiny_lib.py"),
        (r"\Z", "one\n", "RECORD has a line of 1 fields: 'one'"),
        ("^", '"', "RECORD has a line of 1 fields: "),
    ],
)
def test_each_way_of_record_to_be_wrong(
    pattern: str, text: str, cause: str, tmp_path: Path
) -> None:
    record = re.sub(pattern, text, _members()[f"{INFO}/RECORD"].decode(), count=1)
    wheel = dataclasses.replace(LIB, record=record.encode())
    assert _cause(tmp_path, wheel.data).startswith(cause)


def test_a_record_of_one_endless_field(tmp_path: Path) -> None:
    wheel = dataclasses.replace(LIB, record=b"x" * 200_000)
    cause = "RECORD cannot be read: field larger than field limit (131072)"
    assert _cause(tmp_path, wheel.data) == cause


@pytest.mark.parametrize(
    ("spoil", "cause"),
    [
        (lambda x: x | {"../x.py": b""}, "its ../x.py would be outside of where it is installed"),
        (lambda x: x | {"/x.py": b""}, "its /x.py would be outside of where it is installed"),
        (lambda x: x | {"b-1.dist-info/x": b""}, "it has more than one .dist-info folder"),
        (lambda x: {"a.py": b""}, "it has no .dist-info folder"),
        (lambda x: _without(x, "METADATA"), f"it has no {INFO}/METADATA"),
        (lambda x: _without(x, "RECORD"), f"it has no {INFO}/RECORD"),
        (lambda x: _without(x, "WHEEL"), f"it has no {INFO}/WHEEL"),
        (lambda x: x | {f"{INFO}/METADATA": b"Name: x\n"}, "its METADATA has no Version"),
        (lambda x: x | {f"{INFO}/METADATA": b"\xff\0"}, "its METADATA has no Name"),
        (
            lambda x: x | {f"{INFO}/METADATA": b"Name: x\nVersion: 1\n"},
            f"its {INFO} is not named after x",
        ),
    ],
)
def test_each_way_of_a_wheel_to_be_wrong(
    spoil: Callable[[dict[str, bytes]], dict[str, bytes]], cause: str, tmp_path: Path
) -> None:
    assert _cause(tmp_path, _zip(spoil(_members()))) == cause


def test_a_metadata_that_unpacks_to_too_much(tmp_path: Path) -> None:
    """Nobody holds more of one file in memory. Control: one that is just large."""
    for size, is_refused in ((1 << 20, False), (64 << 20, True)):
        packed, members = io.BytesIO(), _members()
        members[f"{INFO}/METADATA"] += bytes(size)
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in members.items():
                archive.writestr(name, data)
        said = _cause(tmp_path, packed.getvalue())
        assert (said == f"its {INFO}/METADATA has more than 64 MiB") is is_refused


def _without(members: dict[str, bytes], name: str) -> dict[str, bytes]:
    return {path: data for path, data in members.items() if path != f"{INFO}/{name}"}


@pytest.mark.parametrize(
    ("before", "behind", "said"),
    [
        (b"", b"", None),
        (b"#!/bin/sh\n", b"", "something is before its zip, with which uv and pixi refuse it"),
        (b"", b"x", "something is behind its zip, with which uv and pixi refuse it"),
        (b"", bytes(3000), None),
    ],
)
def test_a_zip_in_something_else(
    before: bytes, behind: bytes, said: str | None, tmp_path: Path
) -> None:
    """Python, and so pip, takes it."""
    data = before + LIB.data + behind
    if said is None:
        assert _identity(tmp_path, data) == "tiny-lib 1.1"
    else:
        assert _cause(tmp_path, data) == said
    if (uv := find_program(Client.UV, os.environ)) is not None:
        file = tmp_path / LIB.file_name
        command = [str(uv), "pip", "install", "--no-deps", "--offline", "--no-cache", "--no-config"]
        options = ["--python", sys.executable, "--target", str(tmp_path / "target"), str(file)]
        done = subprocess.run([*command, *options], capture_output=True, check=False)
        takes = said is None or (before == b"" and uv_release(uv) < (0, 13, 1))
        assert (done.returncode == 0) == takes


def test_of_a_bad_record_all_else_is_looked_at(tmp_path: Path) -> None:
    wheel = dataclasses.replace(LIB, record=b"")
    with pytest.raises(BadWheelRecordError) as caught:
        _identity(tmp_path, wheel.data)
    assert caught.value.identity == "tiny-lib 1.1"
    # The control: what no client should take is told before it, wherever it is.
    cause = _cause(tmp_path, _zip(_members() | {f"{INFO}/RECORD": b"", "../x.py": b""}))
    assert cause == "its ../x.py would be outside of where it is installed"


def test_two_files_of_one_name(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        data = _zip(_members(), Member("tiny_lib.py", b"other"))
    assert _cause(tmp_path, data) == "it has two files tiny_lib.py"


def test_every_cut_and_every_flip_of_a_wheel_is_noticed(tmp_path: Path) -> None:
    """By a plain cause; of what no reader of a zip looks at, a flip changes nothing."""
    for end in range(0, len(LIB.data), 37):
        assert _cause(tmp_path, LIB.data[:end])
    for position in range(0, len(LIB.data), 11):
        data = bytearray(LIB.data)
        data[position] ^= 0x10
        with contextlib.suppress(BadArchiveError):
            assert _identity(tmp_path, bytes(data)) == "tiny-lib 1.1"


def test_what_a_file_is_not(tmp_path: Path) -> None:
    page = b"<!DOCTYPE html>\n<title>Sign in</title>\n"
    assert _cause(tmp_path, page) == "File is not a zip file"
    cause = "it begins with b'<!DOCT', as no sdist does"
    assert _cause(tmp_path, page, SDIST.file_name) == cause
    assert _cause(tmp_path, b"", SDIST.file_name) == "it begins with b'', as no sdist does"


@pytest.mark.parametrize(
    ("extension", "pack"),
    [
        (".tar.gz", gzip.compress),
        (".tar.bz2", bz2.compress),
        (".tar.xz", lzma.compress),
        (".tar", bytes),
    ],
)
def test_an_sdist_says_what_it_is(
    extension: str, pack: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    file = tmp_path / f"tiny_sdist-1.0{extension}"
    file.write_bytes(pack(gzip.decompress(SDIST.data)))
    found = read_distribution(file)
    assert (found.name, found.version) == ("tiny-sdist", "1.0")
    assert found.build_requires == ("tiny-backend>=1",)
    assert b"Name: tiny-sdist" in found.metadata
    if extension != ".tar":  # which has no checksum of its data
        data = file.read_bytes()
        for end in range(0, len(data), 101):
            assert _cause(tmp_path, data[:end], file.name)


def _sdist(files: dict[str, bytes]) -> bytes:
    return gzip.compress(archives.tar([Member(*each) for each in files.items()]))


PKG_INFO = b"Name: x\nVersion: 1\n"
NONE = "it has no PKG-INFO, no pyproject.toml and no setup.py"


def test_what_an_sdist_is_built_with(tmp_path: Path) -> None:
    file = tmp_path / "x-1.tar.gz"
    file.write_bytes(_sdist({"x-1/PKG-INFO": PKG_INFO}))
    assert read_distribution(file).build_requires == DEFAULT_BUILD_REQUIRES
    toml = b'[build-system]\nrequires = ["c"]\n'
    file.write_bytes(_sdist({"x-1/PKG-INFO": PKG_INFO, "./x-1/a/b/pyproject.toml": toml}))
    for fragment in ("subdirectory=a/b", "egg=x&subdirectory=a%2Fb&sha256=0"):
        assert read_distribution(file, f"https://h/x-1.tar.gz#{fragment}").build_requires == ("c",)
    nested = {"x-1/PKG-INFO": PKG_INFO, "x-1/sub/pyproject.toml": b"no TOML"}
    file.write_bytes(_sdist(nested))
    assert read_distribution(file).build_requires == DEFAULT_BUILD_REQUIRES
    toml = b'[build-system]\nrequires = ["a", "b>1"]\n'
    file.write_bytes(_sdist({"x-1/PKG-INFO": PKG_INFO, "x-1/pyproject.toml": toml}))
    assert read_distribution(file).build_requires == ("a", "b>1")
    # What is in no folder at all tells nothing, and is none more.
    file.write_bytes(_sdist({"x-1/PKG-INFO": PKG_INFO, "/PKG-INFO": b""}))
    assert read_distribution(file).version == "1"


def test_a_source_archive_need_not_say_what_it_is(tmp_path: Path) -> None:
    """As a forge makes them of a repository: no PKG-INFO, and perhaps `[project]`."""
    file = tmp_path / "x.tar.gz"
    file.write_bytes(_sdist({"x-main/setup.py": b""}))
    assert (read_distribution(file).name, read_distribution(file).metadata) == ("", b"")
    assert _identity(tmp_path, file.read_bytes(), "x.tar.gz") == "tiny-lib 1.1"
    file.write_bytes(_sdist({"x-main/pyproject.toml": b'[project]\nname = "X.Y"\n'}))
    assert read_distribution(file).name == "x-y"
    file.write_bytes(_sdist({"x-main/pyproject.toml": b'[project]\nversion = "2"\n'}))
    assert _identity(tmp_path, file.read_bytes(), "x.tar.gz") == "tiny-lib 2"
    file.write_bytes(_sdist({"x-main/sub/pyproject.toml": b""}))  # its URL says #subdirectory=sub
    assert read_distribution(file).name == ""


@pytest.mark.parametrize(
    ("files", "cause"),
    [
        (
            {"a/PKG-INFO": PKG_INFO, "b/PKG-INFO": PKG_INFO},
            "it has more than one folder at its top",
        ),
        ({}, NONE),
        ({"a/x.py": b"", "a/setup.cfg": b""}, NONE),
        ({"a/PKG-INFO": b"Name: x"}, "its PKG-INFO has no Version"),
        ({"a/pyproject.toml": b"="}, "its pyproject.toml is no TOML: "),
        ({"a/pyproject.toml": b"\xff"}, "its pyproject.toml is no TOML: "),
        (
            {"a/pyproject.toml": b"[build-system]\nrequires = 1\n"},
            "its pyproject.toml has no list of strings for requires",
        ),
        ({"a/pyproject.toml": b"a = " + b"[" * 100_000}, "its pyproject.toml is no TOML: "),
    ],
)
def test_each_way_of_an_sdist_to_be_wrong(
    files: dict[str, bytes], cause: str, tmp_path: Path
) -> None:
    assert _cause(tmp_path, _sdist(files), "x-1.tar.gz").startswith(cause)
