"""What locations show: by examples, with rattler as the oracle, and for any text."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import rattler
from hypothesis import example, given, settings
from hypothesis import strategies as st

from scripts.core.file_name import parse_file_name
from scripts.core.subdir import is_known_subdir
from scripts.lock.conda_rows import derive_build_number, derive_noarch
from scripts.lock.location import is_path, parse_location
from scripts.lock.model import locked_packages
from scripts.lock.read import parse_lock

FORGE = "https://conda.anaconda.org/conda-forge"
SECRET = "https://u:p@host:1/t/tk/x"


@pytest.mark.parametrize(
    ("location", "last", "subdir", "channel"),
    [
        (f"{FORGE}/linux-64/a-1-0.conda", "a-1-0.conda", "linux-64", FORGE),
        (f"{FORGE}/noarch/a-1-0.tar.bz2#x?y", "a-1-0.tar.bz2", "noarch", FORGE),
        (f"{FORGE}/noarch/a-1-0.conda?sig=x/y#z", "a-1-0.conda", "noarch", FORGE),
        (f"{FORGE}/linux_64/a-1-0.conda", "a-1-0.conda", None, FORGE),
        (f"{FORGE}/linux-64/a-1%212-0.conda", "a-1!2-0.conda", "linux-64", FORGE),
        (f"{FORGE}/linux-64/a-1%2B2-0.conda", "a-1+2-0.conda", "linux-64", FORGE),
        ("https://host/linux-64/a-1-0.conda", "a-1-0.conda", "linux-64", "https://host"),
        ("https://host/a-1-0.conda", "a-1-0.conda", None, None),
        (f"{SECRET}/noarch/a-1-0.conda", "a-1-0.conda", "noarch", SECRET),
        ("file:///srv/x/win-64/a-1-0.conda", "a-1-0.conda", "win-64", "file:///srv/x"),
        ("file:///noarch/a-1-0.conda", "a-1-0.conda", "noarch", None),
        ("FILE:///srv/noarch/a-1-0.conda", "a-1-0.conda", "noarch", "FILE:///srv"),
        ("s3://bucket/x/noarch/a-1-0.conda", "a-1-0.conda", None, "s3://bucket/x"),
        ("git+https://host/x.git?rev=a-1-0.conda", "x.git", None, None),
        ("./noarch/a-1-0.conda", "a-1-0.conda", None, None),
        ("C:\\channel\\noarch\\a-1-0.conda", "a-1-0.conda", None, None),
        ("C:/channel/noarch/a-1-0.conda", "a-1-0.conda", None, None),
        ("c://channel/noarch/a-1-0.conda", "a-1-0.conda", None, None),
        ("../package", "package", None, None),
        (".", ".", None, None),
        ("https://host/x/", "", None, "https://host"),
        ("", "", None, None),
    ],
)
def test_locations(location: str, last: str, subdir: str | None, channel: str | None) -> None:
    place = parse_location(location)
    assert (place.last, place.subdir, place.channel) == (last, subdir, channel)
    is_archive = last.startswith("a-1")
    file_name = parse_file_name(place.last)
    assert (str(file_name) if file_name else None) == (last if is_archive else None)


@pytest.mark.parametrize(
    "name",
    ["..%2Fa-1-0.conda", "%2Fa-1-0.conda", "a%00-1-0.conda", "a%5Cb-1-0.conda", "-1-0.conda"],
)
def test_an_unsafe_name_is_none(name: str) -> None:
    assert parse_file_name(parse_location(f"{FORGE}/noarch/{name}").last) is None


@settings(deadline=None, max_examples=200)
@given(
    st.sampled_from(["", "https://", "file:///", "C:\\", "s3://b/", f"{FORGE}/noarch/"]),
    st.text(max_size=40),
    st.sampled_from(["", "/a-1-0.conda", "-1-0.conda", "/noarch/%2e%2e%2fa-1-0.conda"]),
)
@example("https://", "[", "/noarch/a-1-0.conda")
def test_any_text_is_taken_apart(start: str, middle: str, end: str) -> None:
    location = start + middle + end
    place = parse_location(location)
    file_name = parse_file_name(place.last)
    if file_name is not None:
        assert str(file_name) == place.last
    assert place.subdir is None or is_known_subdir(place.subdir)
    assert place.channel is None or location.startswith(place.channel)
    if is_path(location):
        assert (place.subdir, place.channel) == (None, None)


@pytest.mark.parametrize(
    ("location", "path"),
    [
        ("https://host/x", False),
        ("file:///x", False),
        ("git+ssh://host/x", False),
        ("./x", True),
        ("/x", True),
        ("C:/x", True),
        ("C:\\x", True),
        ("c://x", True),
        ("x", True),
        ("1x://host", True),
    ],
)
def test_paths(location: str, *, path: bool) -> None:
    assert is_path(location) is path


@pytest.mark.parametrize(
    ("build", "number"),
    [
        ("h166bdaf_2", 2),
        ("0", 0),
        ("py310_1003", 1003),
        ("main", 0),
        ("", 0),
        ("1.3_31", 31),
        ("h1_0_cpython", 0),
        ("9" * 19, int("9" * 19)),
        ("9" * 20, 0),
        ("x\u0661", 0),
        ("1\n", 0),
    ],
)
def test_build_numbers(build: str, number: int) -> None:
    assert derive_build_number(build) == number


def test_a_hostile_build_takes_linear_time() -> None:
    begun = time.monotonic()
    assert derive_build_number("1" * 10**6 + "a") == 0
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize(
    ("subdir", "build", "noarch"),
    [
        ("noarch", "pyhd8ed1ab_0", "python"),
        ("noarch", "0", "generic"),
        ("noarch", "happy_0", "python"),
        ("linux-64", "py310_0", None),
    ],
)
def test_noarch(subdir: str, build: str, noarch: str | None) -> None:
    assert derive_noarch(subdir, build) == noarch


BUILDS = ("h166bdaf_2", "py310_1003", "main", "0", "happy_0", "pyhd8ed1ab_7", "1.3_31", "h1_0_cp")


@pytest.mark.parametrize("subdir", ["noarch", "linux-64"])
def test_rattler_derives_the_same(tmp_path: Path, subdir: str) -> None:
    urls = [f"{FORGE}/{subdir}/x-1.0-{build}.conda" for build in BUILDS]
    names = [f"x{number}" for number in range(len(urls))]  # one name may stand but once
    urls = [url.replace("x-1.0", f"{name}-1.0") for url, name in zip(urls, names, strict=True)]
    path = tmp_path / "pixi.lock"
    path.write_text(
        f"version: 6\nenvironments:\n  default:\n    channels:\n    - url: {FORGE}/\n"
        "    packages:\n      linux-64:\n"
        + "".join(f"      - conda: {url}\n" for url in urls)
        + "packages:\n"
        + "".join(f"- conda: {url}\n  sha256: {'a' * 64}\n" for url in urls)
    )
    environment = rattler.LockFile.from_path(path).default_environment()
    assert environment is not None
    [platform] = environment.platforms()
    theirs: dict[str, rattler.PackageRecord] = {
        package.location: package.package_record  # type: ignore[attr-defined,unused-ignore]
        for package in environment.packages(platform) or []
    }
    assert set(theirs) == set(urls)
    for url, build in zip(urls, BUILDS, strict=True):
        record = theirs[url]
        place = parse_location(url)
        file_name = parse_file_name(place.last)
        assert file_name is not None
        assert file_name.name == record.name.source
        assert file_name.build == str(record.build) == build
        assert place.subdir == record.subdir
        assert derive_build_number(build) == record.build_number
        kind = "generic" if record.noarch.generic else "python" if record.noarch.python else None
        assert derive_noarch(subdir, build) == kind


@pytest.mark.parametrize("version", [4, 5])
def test_of_a_url_without_a_file_name_the_row_makes_one(version: int) -> None:
    text = f"""\
version: {version}
environments:
  default:
    channels: []
    packages:
      linux-64:
      - conda: {FORGE}/linux-64/download?of=a
packages:
- kind: conda
  name: a-b
  version: '1.0'
  build: h1_2
  subdir: linux-64
  url: {FORGE}/linux-64/download?of=a
"""
    for more, expected in (
        ("", "a-b-1.0-h1_2.conda"),
        ("  file_name: a-b-1.0-h1_2.tar.bz2\n", "a-b-1.0-h1_2.tar.bz2"),
    ):
        [package] = locked_packages(parse_lock(text + more, "pixi.lock").environments)
        assert str(package.file_name) == expected
