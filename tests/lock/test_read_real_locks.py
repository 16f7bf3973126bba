"""Real lock files of public repositories: read as rattler reads them, or refused in a sentence."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import rattler
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from scripts.core.errors import ExitCode, MirrorError
from scripts.core.record import PypiRecord
from scripts.lock.model import LockedPackage, PlatformPackages, locked_packages
from scripts.lock.read import read_lock
from scripts.workspace.settings import IncompleteKind

DATA = Path(__file__).parents[1] / "data"
LOCKS = sorted((DATA / "locks").glob("*/pixi.lock")) + sorted((DATA / "cases").glob("*/pixi.lock"))
LOCKS.append(DATA / "pypi" / "pixi.lock")
# What rattler says of a row without a version.
UNKNOWN_VERSIONS = {"<dynamic>", "0a0.dev0"}
# Machines that markers tell apart.
MACHINES: tuple[dict[str, str], ...] = tuple(
    {
        "sys_platform": sys_platform,
        "platform_system": system,
        "os_name": "nt" if system == "Windows" else "posix",
        "platform_machine": machine,
        "python_version": python,
        "python_full_version": f"{python}.1",
        "implementation_name": implementation.lower(),
        "platform_python_implementation": implementation,
    }
    for sys_platform, system, machine in (
        ("linux", "Linux", "x86_64"),
        ("linux", "Linux", "aarch64"),
        ("darwin", "Darwin", "arm64"),
        ("win32", "Windows", "AMD64"),
    )
    for python in ("2.7", "3.6", "3.7", "3.8", "3.10", "3.11", "3.13")
    for implementation in ("CPython", "PyPy")
)

REFUSED = {
    "ami-iit__jaxsim": (
        "pixi.lock: a Git LFS pointer, not the lock file itself\nhelp: git lfs pull"
    ),
    "conda__conda-lockfiles__3": (
        "pixi.lock: environments of the lock file is not a map of environments\n"
        "  actual  'this should be a dict not a string'"
    ),
    "conda__conda-lockfiles__5": (
        "pixi.lock: packages of the lock file is not a list of packages\n  actual  None"
    ),
    "conda__rattler__5": (
        "pixi.lock: lock file version 1000 is newer than this pixi-mirror knows\n"
        "  known  1 to 7\n"
        "help: update pixi-mirror, or write the lock with an older pixi"
    ),
    "rhysnewell__aviary__3": ("pixi.lock: not a pixi lock file: there is no map at its top"),
}


def name_of(path: Path) -> str:
    return path.parent.name


READ = [path for path in LOCKS if name_of(path) not in REFUSED]


def test_all_forty_one_are_here() -> None:
    assert len(LOCKS) == 41
    assert set(REFUSED) < set(map(name_of, LOCKS))


@pytest.mark.parametrize("path", READ, ids=name_of)
def test_reads_as_rattler_does(path: Path) -> None:
    ours = {environment.name: environment for environment in read_lock(path).environments}
    theirs = dict(rattler.LockFile.from_path(path).environments())
    assert set(ours) == set(theirs)
    for name, environment in theirs.items():
        platforms = {rows.platform.name: rows for rows in ours[name].platforms}
        their_platforms = {platform.name: platform for platform in environment.platforms()}
        assert set(platforms) == set(their_platforms)
        for platform_name, platform in their_platforms.items():
            assert_same(platforms[platform_name], environment.packages(platform) or [])


def assert_same(rows: PlatformPackages, theirs: list[rattler.LockedPackage]) -> None:
    """Compare every field that both know; subdirs of v1 to v3 are the URL's with us."""
    binary: dict[str, Any] = {
        each.location: each for each in theirs if type(each).__name__ == "CondaLockedBinaryPackage"
    }
    sources = [each for each in theirs if type(each).__name__ == "CondaLockedSourcePackage"]
    pypi: list[Any] = [each for each in theirs if type(each).__name__ == "PypiLockedPackage"]
    assert len(binary) + len(sources) + len(pypi) == len(theirs)
    assert {package.url for package in rows.packages} == set(binary)
    for package in rows.packages:
        assert details(package) == their_facts(binary[package.url].package_record)
    # A build package of a source package may be a source package that nothing installs.
    assert {row.kind for row in rows.unmirrorable} <= {IncompleteKind.SOURCE}
    assert len(rows.unmirrorable) >= len(sources) or not sources
    assert_same_pypi(rows.pypi, pypi)


def assert_same_pypi(ours: tuple[PypiRecord, ...], theirs: list[Any]) -> None:
    """Compare row by row; rattler knows no version and no digest of what lies in a folder."""
    by_location = {each.location.removeprefix("direct+"): each for each in theirs}
    assert {row.location for row in ours} == set(by_location)
    assert len(ours) == len(by_location)
    for row in ours:
        each = by_location[row.location]
        assert row.name == each.name
        if "://" in row.location:
            known = None if str(each.version) in UNKNOWN_VERSIONS else str(each.version)
            assert row.version == known
            assert row.sha256 == (their_sha256(each) or digest_in_url(row.location))
        assert SpecifierSet(row.requires_python or "") == SpecifierSet(each.requires_python or "")
        assert [*map(meaning, row.requires_dist)] == [*map(meaning, each.requires_dist)]


def digest_in_url(location: str) -> str | None:
    """Return what rattler leaves in the URL."""
    return location.partition("#sha256=")[2] or None


def meaning(requirement: str) -> tuple[object, ...]:
    """Tell a requirement's meaning: rattler writes names, bounds and markers its own way."""
    made = Requirement(requirement)
    extras = sorted({"", *re.findall(r"extra == [\"']([^\"']+)", str(made.marker))})
    holds = [
        made.marker is None or made.marker.evaluate({**each, "extra": extra})
        for each in MACHINES
        for extra in map(canonicalize_name, extras)
    ]
    name = canonicalize_name(made.name)
    return name, made.specifier, frozenset(map(canonicalize_name, made.extras)), holds


def their_sha256(package: Any) -> str | None:
    try:
        sha256: bytes | None = package.hashes.sha256
    except AttributeError:  # so py-rattler answers where there is no hash
        return None
    return sha256.hex() if sha256 else None


def details(package: LockedPackage) -> dict[str, object]:
    return {
        "name": package.name,
        "version": package.record.version,
        "build": package.record.build,
        "build number": package.record.build_number,
        "sha256": package.record.sha256,
        "md5": package.record.md5,
        "size": package.record.size,
        "depends": [same(text) for text in package.record.depends],
        "constrains": list(package.record.constrains),
        "timestamp": package.record.timestamp,
        "track features": list(package.record.track_features),
        "license": package.record.license,
        "noarch": package.record.noarch,
    }


def their_facts(record: rattler.PackageRecord) -> dict[str, object]:
    noarch = record.noarch
    return {
        "name": record.name.source,
        "version": str(record.version),
        "build": str(record.build),
        "build number": record.build_number,
        "sha256": record.sha256.hex() if record.sha256 else None,
        "md5": record.md5.hex() if record.md5 else None,
        "size": record.size,
        "depends": [same(text) for text in record.depends],
        "constrains": list(record.constrains),
        "timestamp": round(record.timestamp.timestamp() * 1000) if record.timestamp else None,
        "track features": list(record.track_features),
        "license": record.license,
        "noarch": "generic" if noarch.generic else "python" if noarch.python else None,
    }


def same(depends: str) -> str:
    """Write the one form that rattler changes while reading v1's map as rattler does."""
    return depends.replace(" ==", " ")


@pytest.mark.parametrize("path", READ, ids=name_of)
def test_subdir_and_channel_are_where_the_artifact_lies(path: Path) -> None:
    for package in packages(path):
        if "://" in package.url:
            head, subdir, name = package.url.rsplit("/", 2)
            assert package.record.subdir == subdir
            assert name == str(package.file_name)
            assert package.channel is not None
            assert package.channel.rstrip("/") == head or "file://" in package.url


def packages(path: Path) -> Iterator[LockedPackage]:
    return locked_packages(read_lock(path).environments)


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_refuses_with_a_sentence(name: str) -> None:
    path = DATA / "locks" / name / "pixi.lock"
    with pytest.raises(MirrorError) as caught:
        read_lock(path)
    assert str(caught.value) == REFUSED[name]
    assert {problem.code for problem in caught.value.problems} == {ExitCode.USAGE}
    with pytest.raises(Exception, match=r"\w"):  # control: rattler refuses it too
        rattler.LockFile.from_path(path)


def test_build_and_host_packages_of_source_packages_are_read() -> None:
    lock = read_lock(DATA / "locks" / "prefix-dev__pixi__226" / "pixi.lock")
    [environment] = lock.environments
    counts = {
        rows.platform.name: (len(rows.packages), len(rows.build_packages), len(rows.unmirrorable))
        for rows in environment.platforms
    }
    assert counts == {
        "linux-64": (69, 37, 6),
        "osx-64": (27, 51, 6),
        "osx-arm64": (26, 51, 6),
        "win-64": (22, 23, 6),
    }
    # Every archive that the lock lists serves somewhere: none is lost.
    listed = {line[9:] for line in read_text().splitlines() if line.startswith("- conda: ")}
    assert {package.url for package in locked_packages(lock.environments)} == listed


def read_text() -> str:
    return (DATA / "locks" / "prefix-dev__pixi__226" / "pixi.lock").read_text(encoding="utf-8")
