"""Changes between two locks, each kind with the control that is no change."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from scripts.core.file_name import parse_file_name
from scripts.core.record import Record
from scripts.core.report import flattened
from scripts.keep.diff import Change, ChangeKind, PlatformDiff
from scripts.keep.diff_locks import diff_locks
from scripts.keep.diff_text import diff_lines
from scripts.lock.model import (
    LockedEnvironment,
    LockedPackage,
    LockFile,
    LockPlatform,
    PlatformPackages,
    Unmirrorable,
)
from scripts.lock.read import read_lock
from scripts.workspace.settings import IncompleteKind, Settings
from tests.support.locks import with_fields

CASES = Path(__file__).parents[1] / "data" / "cases"
CHANNEL = "https://conda.anaconda.org/conda-forge"
CUDA = LockPlatform(name="p1", subdir="linux-64", virtual_packages=("__cuda=12",))
LINUX = LockPlatform(name="linux-64", subdir="linux-64", virtual_packages=("__glibc=2.28",))


def package(name: str, text: str = "1.0", **fields: object) -> LockedPackage:
    file_name = parse_file_name(f"{name}-{text}-0.conda")
    assert file_name is not None
    made = LockedPackage(
        url=f"{CHANNEL}/noarch/{file_name}",
        channel=CHANNEL,
        file_name=file_name,
        record=Record(
            subdir="noarch", name=name, version=text, build="0", build_number=0, sha256="a" * 64
        ),
    )
    return with_fields(made, **fields)


def lock(*packages: LockedPackage, on: LockPlatform = LINUX, name: str = "default") -> LockFile:
    rows = PlatformPackages(platform=on, packages=packages)
    return LockFile(
        version=7,
        environments=(LockedEnvironment(name=name, channels=(CHANNEL,), platforms=(rows,)),),
    )


def diff(before: LockFile | None, after: LockFile, settings: Settings) -> tuple[PlatformDiff, ...]:
    return diff_locks(before, after, settings, Path("no-such-channel"))


def only(found: tuple[PlatformDiff, ...]) -> PlatformDiff:
    (platform,) = found
    return platform


def changes(before: LockFile | None, after: LockFile) -> tuple[Change, ...]:
    return only(diff(before, after, Settings())).changes


def test_added_removed_and_changed() -> None:
    before = lock(package("gone"), package("kept"), package("moved"))
    after = lock(package("kept"), package("moved", "2.0"), package("new"))
    assert changes(before, after) == (
        Change(kind=ChangeKind.REMOVED, name="gone", before="1.0 0"),
        Change(kind=ChangeKind.CHANGED, name="moved", before="1.0 0", after="2.0 0"),
        Change(kind=ChangeKind.ADDED, name="new", after="1.0 0"),
    )


def test_the_same_lock_has_no_change() -> None:
    assert diff(lock(package("a")), lock(package("a")), Settings()) == ()


def test_without_a_lock_before_everything_is_new() -> None:
    assert changes(None, lock(package("a"))) == (
        Change(kind=ChangeKind.ADDED, name="a", after="1.0 0"),
    )


def test_other_bytes_under_the_same_name_are_a_reupload() -> None:
    found = changes(lock(package("a")), lock(package("a", sha256="b" * 64)))
    assert found == (Change(kind=ChangeKind.REUPLOADED, name="a", before="1.0 0", after="1.0 0"),)


@pytest.mark.parametrize("fields", [{"sha256": None}, {"sha256": None, "md5": "c" * 32}])
def test_a_digest_that_one_lock_lacks_is_no_reupload(fields: dict[str, object]) -> None:
    before = lock(with_fields(package("a"), **fields))
    assert diff(before, lock(package("a")), Settings()) == ()


def test_other_requirements_of_the_same_bytes_are_a_hotfix() -> None:
    before = lock(package("a", depends=("b", "c >=1")), package("d"))
    after = lock(package("a", depends=("b", "c >=1,<2")), package("d"))
    assert changes(before, after) == (
        Change(kind=ChangeKind.HOTFIXED, name="a", before="1.0 0", after="1.0 0"),
    )


def test_requirements_in_another_order_are_no_hotfix() -> None:
    before = lock(package("a", depends=("b", "c"), size=1))
    after = lock(package("a", depends=("c", "b"), size=1, license="MIT"))
    assert diff(before, after, Settings()) == ()


def test_another_channel_is_a_change_that_names_both() -> None:
    other = package("a", channel="https://user:pw@conda.anaconda.org/t/SECRET/nvidia")
    assert changes(lock(package("a")), lock(other)) == (
        Change(
            kind=ChangeKind.CHANGED,
            name="a",
            before="1.0 0 (conda-forge/noarch)",
            after="1.0 0 (nvidia/noarch)",
        ),
    )


def test_another_extension_is_a_change_that_names_both() -> None:
    old = package("a", file_name=parse_file_name("a-1.0-0.tar.bz2"), sha256="b" * 64)
    assert changes(lock(old), lock(package("a"))) == (
        Change(kind=ChangeKind.CHANGED, name="a", before="1.0 0 .tar.bz2", after="1.0 0 .conda"),
    )


@pytest.mark.parametrize(
    ("old", "new", "is_older"),
    [
        ("1.10", "1.9", True),
        ("1.9", "1.10", False),
        ("1!0.1", "2.0", True),  # an epoch outweighs all else
        ("1.0", "1.0rc1", True),
        ("1.0", "1.0.0", False),  # written otherwise, and the same
        ("1.0", "no version!", False),  # nobody can tell
    ],
)
def test_a_version_that_is_older_went_back(old: str, new: str, *, is_older: bool) -> None:
    before, after = (lock(package("a", "1", version=each)) for each in (old, new))
    (change,) = changes(before, after)
    assert change.kind is (ChangeKind.WENT_BACK if is_older else ChangeKind.CHANGED)


def test_a_build_number_that_is_less_went_back() -> None:
    one, two = package("a", build="h_1", build_number=1), package("a", build="h_0")
    name = parse_file_name("a-1.0-h_0.conda")
    assert name is not None
    two = dataclasses.replace(two, file_name=name)
    for before, after, kind in (
        (one, two, ChangeKind.WENT_BACK),
        (two, one, ChangeKind.CHANGED),
        (two, with_fields(two, build="h_x"), ChangeKind.CHANGED),
    ):
        assert [each.kind for each in changes(lock(before), lock(after))] == [kind]


def test_source_packages_are_compared_by_location() -> None:
    def with_row(location: str) -> LockFile:
        plain = lock()
        (environment,) = plain.environments
        (rows,) = environment.platforms
        row = Unmirrorable(kind=IncompleteKind.SOURCE, name="x", location=location)
        rows = dataclasses.replace(rows, unmirrorable=(row,))
        environment = dataclasses.replace(environment, platforms=(rows,))
        return dataclasses.replace(plain, environments=(environment,))

    old, new = "https://me:pw@x.org/x-1.whl", "https://me:pw@x.org/x-2.whl"
    assert changes(with_row(old), with_row(new)) == (
        Change(
            kind=ChangeKind.CHANGED,
            name="x",
            before="https://********@x.org/x-1.whl",
            after="https://********@x.org/x-2.whl",
            source="source",
        ),
    )
    assert diff(with_row(old), with_row(old), Settings()) == ()


def test_one_name_several_times_is_compared_row_by_row() -> None:
    """The build packages of two source packages may hold two versions of one."""
    before = lock(package("a"), package("a", "2.0"))
    after = lock(package("a", "2.0"), package("a", "3.0"))
    assert changes(before, after) == (
        Change(kind=ChangeKind.CHANGED, name="a", before="1.0 0", after="3.0 0"),
    )
    assert changes(before, lock(package("a", "3.0"))) == (
        Change(kind=ChangeKind.CHANGED, name="a", before="2.0 0", after="3.0 0"),
        Change(kind=ChangeKind.REMOVED, name="a", before="1.0 0"),
    )


def test_one_of_several_rows_uploaded_anew_is_named() -> None:
    before = lock(package("a"), package("a", "2.0"))
    after = lock(package("a"), package("a", "2.0", sha256="b" * 64))
    assert changes(before, after) == (
        Change(kind=ChangeKind.REUPLOADED, name="a", before="2.0 0", after="2.0 0"),
    )


def test_a_platform_that_took_the_name_of_another_is_not_mixed_up_with_it() -> None:
    rocm = LockPlatform(name="p1", subdir="linux-64", virtual_packages=("__rocm=6",))
    rows = (
        PlatformPackages(platform=rocm, packages=(package("a"), package("b"))),
        PlatformPackages(platform=dataclasses.replace(CUDA, name="p2"), packages=(package("a"),)),
    )
    environment = LockedEnvironment(name="default", channels=(), platforms=rows)
    before = LockFile(version=7, environments=(environment,))
    after = lock(package("a", "2.0"), on=CUDA)
    assert tuple(flattened(diff_lines(diff(before, after, Settings())))) == (
        "default, p1 (linux-64): 1 changed",
        "  ~ a  1.0 0 -> 2.0 0",
        "default, p1 (linux-64): 2 removed",
        "  - a  1.0 0",
        "  - b  1.0 0",
    )


def test_a_platform_is_known_by_what_it_is() -> None:
    """Another rich platform before it makes `p1` of a lock `p2`."""

    def with_platforms(*platforms: PlatformPackages) -> LockFile:
        environment = LockedEnvironment(name="default", channels=(), platforms=platforms)
        return LockFile(version=7, environments=(environment,))

    rocm = LockPlatform(name="p1", subdir="linux-64", virtual_packages=("__rocm=6",))
    moved = dataclasses.replace(CUDA, name="p2")
    before = with_platforms(PlatformPackages(platform=CUDA, packages=(package("a"),)))
    after = with_platforms(
        PlatformPackages(platform=rocm, packages=(package("b"),)),
        PlatformPackages(platform=moved, packages=(package("a"),)),
    )
    assert tuple(flattened(diff_lines(diff(before, after, Settings())))) == (
        "default, p1 (linux-64): 1 added",
        "  + b  1.0 0",
    )


def test_a_lone_platform_of_a_subdir_is_the_same_one() -> None:
    """System requirements that came to a manifest make `linux-64` of a lock `p1`."""
    before, after = lock(package("a")), lock(package("a", "2.0"), on=CUDA)
    assert tuple(flattened(diff_lines(diff(before, after, Settings())))) == (
        "default, p1 (linux-64): 1 changed",
        "  ~ a  1.0 0 -> 2.0 0",
    )


@pytest.mark.parametrize(
    "settings",
    [
        Settings(exclude_environments=("default",)),
        Settings(environments=("other",)),
        Settings(platforms=("win-64",)),
    ],
)
def test_what_is_not_mirrored_is_left_out(settings: Settings) -> None:
    assert diff(None, lock(package("a")), settings) == ()


@pytest.mark.parametrize(
    "settings",
    [Settings(environments=("default",)), Settings(platforms=("linux-64",))],
)
def test_what_is_mirrored_is_not_left_out(settings: Settings) -> None:
    assert len(diff(None, lock(package("a")), settings)) == 1


def test_environments_that_came_and_went() -> None:
    before, after = lock(package("a"), name="old"), lock(package("a"), name="new")
    assert tuple(flattened(diff_lines(diff(before, after, Settings())))) == (
        "new, linux-64: 1 added",
        "  + a  1.0 0",
        "old, linux-64: 1 removed",
        "  - a  1.0 0",
    )


@pytest.mark.parametrize("case", sorted(path.name for path in CASES.iterdir()))
def test_a_real_lock_beside_itself(case: str) -> None:
    real = read_lock(CASES / case / "pixi.lock")
    assert diff(real, real, Settings()) == ()


def test_a_real_lock_with_one_build_taken_back() -> None:
    real = read_lock(CASES / "rich-platforms" / "pixi.lock")
    environment = real.environments[0]
    rows = environment.platforms[0]
    older = tuple(
        with_fields(each, version="1.0.0") if each.record.name == "bzip2" else each
        for each in rows.packages
    )
    platforms = (dataclasses.replace(rows, packages=older), *environment.platforms[1:])
    before = dataclasses.replace(
        real, environments=(dataclasses.replace(environment, platforms=platforms),)
    )
    assert tuple(flattened(diff_lines(diff(before, real, Settings())))) == (
        "default, linux-64: 1 changed",
        "  ~ bzip2  1.0.0 hda65f42_10 -> 1.0.8 hda65f42_10",
    )
