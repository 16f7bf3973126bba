"""The locks are what pixi would write, as far as rattler, which writes pixi's, can tell."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import rattler

from tests.support.locks import EnvironmentRows, LockRow, PlatformRows, RawRow, write_lock
from tests.support.packages import TinyPackage

CHANNEL = "https://conda.example.org/one"

PACKAGES = (
    TinyPackage(
        name="applied", build="py_3", build_number=3, noarch="python", purls=("pkg:pypi/applied",)
    ),
    TinyPackage(
        name="basic",
        subdir="linux-64",
        build="h12_7",
        build_number=9,
        extension=".tar.bz2",
        depends=("__glibc >=2.17", "applied >=1"),
        constrains=("q *", "z 1.*"),
        license_family="BSD",
        track_features=("one", "two"),
    ),
    TinyPackage(
        name="core",
        version="1!2.0+g3",
        subdir="linux-64",
        run_exports=(("weak", ("core >=2",)), ("strong", ("core 3",))),
        license=None,
        timestamp=None,
    ),
    TinyPackage(name="data", version="2024.10", build="py_0", noarch="generic", subdir="noarch"),
)


def rows(folder: Path) -> tuple[LockRow, ...]:
    written = [LockRow(written=each.write(folder), channel=CHANNEL) for each in PACKAGES]
    hotfixed = dataclasses.replace(written[3], depends=("basic ==1.0 h12_7",), constrains=("x 1",))
    encoded = dataclasses.replace(written[2], url=f"{CHANNEL}/linux-64/core-1!2.0%2Bg3-0.conda")
    return (*written[:2], encoded, hotfixed)


def read_back(path: Path) -> dict[str, tuple[object, ...]]:
    """Read a lock of one environment and one platform with rattler."""
    lock = rattler.LockFile.from_path(path)
    environment = lock.default_environment()
    assert environment is not None
    (platform,) = environment.platforms()
    packages: Any = environment.packages(platform)
    found: dict[str, tuple[object, ...]] = {}
    for each in packages:
        record = each.package_record
        hexes = (record.sha256 and record.sha256.hex(), record.md5 and record.md5.hex())
        requirements = (list(record.depends), list(record.constrains))
        found[each.name] = (each.location, *hexes, record.size, str(record.build), *requirements)
    return found


@pytest.mark.parametrize("version", range(1, 8))
def test_rattler_reads_every_version(tmp_path: Path, version: int) -> None:
    named = rows(tmp_path)
    platforms = (PlatformRows(name="linux-64", rows=named),)
    lock = write_lock(tmp_path / "pixi.lock", (EnvironmentRows(platforms=platforms),), version)
    assert read_back(lock) == {
        row.written.package.name: (
            row.location,
            row.written.sha256,
            row.written.md5,
            row.written.size,
            row.written.package.build,
            list(row.actual_depends),
            list(row.actual_constrains) if version > 3 else [],
        )
        for row in named
    }


def test_rattler_would_write_the_same_text(tmp_path: Path) -> None:
    named = rows(tmp_path)
    wheel = RawRow(
        key="pypi",
        location="https://pypi.example.org/w-1.0-py3-none-any.whl",
        lines=("name: w", "version: '1.0'", f"sha256: {'a' * 64}"),
    )
    environments = (
        EnvironmentRows(
            name="default",
            platforms=(
                PlatformRows(
                    name="linux-64", rows=(*named, wheel), virtual_packages=("__unix=0=0",)
                ),
                PlatformRows(
                    name="p1",
                    subdir="linux-64",
                    rows=named[:1],
                    virtual_packages=("__unix=0=0", "__cuda=12"),
                ),
            ),
        ),
        EnvironmentRows(name="empty", channels=(CHANNEL,)),
        EnvironmentRows(name="few", platforms=(PlatformRows(name="linux-64", rows=named[:2]),)),
    )
    ours = write_lock(tmp_path / "ours.lock", environments)
    theirs = tmp_path / "theirs.lock"
    rattler.LockFile.from_path(ours).to_path(theirs)
    assert ours.read_text(encoding="utf-8") == theirs.read_text(encoding="utf-8")


def test_fields_can_be_left_out(tmp_path: Path) -> None:
    row = dataclasses.replace(rows(tmp_path)[0], without=frozenset({"sha256", "size"}))
    platforms = (PlatformRows(name="linux-64", rows=(row,)),)
    lock = write_lock(tmp_path / "pixi.lock", (EnvironmentRows(platforms=platforms),))
    found = read_back(lock)["applied"]
    assert found[1:4] == (None, row.written.md5, None)
