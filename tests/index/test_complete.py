"""Records of old locks, completed by what the artifacts say of themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest

from scripts.core.errors import MirrorError
from scripts.core.record import Record
from scripts.index.publish import backfill
from scripts.index.records import read_index_record
from tests.support.packages import TinyPackage

ARTIFACT = Record(
    name="a",
    version="1",
    build="0",
    build_number=0,
    subdir="noarch",
    depends=("as-released",),
    constrains=("as-released",),
    track_features=("f",),
    noarch="python",
    license="MIT",
    license_family="MIT",
    timestamp=1000,
    python_site_packages_path="lib/x",
)
THIN = Record(name="a", version="1", build="0", build_number=0, subdir="noarch")


def test_the_first_locks_leave_much_open() -> None:
    locked = THIN._replace(depends=("hotfixed",), noarch="generic")  # noarch: guessed
    assert backfill(locked, ARTIFACT, 1) == ARTIFACT._replace(depends=("hotfixed",))


@pytest.mark.parametrize("version", [2, 3, 4, 5])
def test_what_is_empty_stays_empty_where_the_lock_would_have_said(version: int) -> None:
    locked = THIN._replace(size=3, license="BSD")
    assert backfill(locked, ARTIFACT, version) == ARTIFACT._replace(
        size=3, license="BSD", depends=(), constrains=(), track_features=()
    )


def test_what_the_lock_says_wins() -> None:
    locked = ARTIFACT._replace(
        depends=(), constrains=("hotfixed",), license="BSD", timestamp=5, noarch="generic"
    )
    assert backfill(locked, ARTIFACT, 5) == locked
    assert backfill(locked, ARTIFACT, 3) == locked._replace(noarch="python")


@pytest.mark.parametrize("extension", [".conda", ".tar.bz2"])
def test_what_an_artifact_says(tmp_path: Path, extension: Literal[".conda", ".tar.bz2"]) -> None:
    written = TinyPackage(
        name="a",
        extension=extension,
        depends=("b",),
        track_features=("f",),
        index=(("unknown", 1),),
        padding=1 << 20,
    ).write(tmp_path)
    assert read_index_record(written.path, "x") == Record(
        name="a",
        version="1.0",
        build="0",
        build_number=0,
        subdir="noarch",
        depends=("b",),
        track_features=("f",),
        noarch="generic",
        license="BSD-3-Clause",
        timestamp=1_700_000_000_000,
    )


@pytest.mark.parametrize("extension", [".conda", ".tar.bz2"])
@pytest.mark.parametrize("length", [0, 100, 700, 1500])
def test_an_artifact_cut_short(
    tmp_path: Path, extension: Literal[".conda", ".tar.bz2"], length: int
) -> None:
    path = TinyPackage(name="a", extension=extension).write(tmp_path).path
    path.write_bytes(path.read_bytes()[:length] if extension == ".conda" else b"BZ" * length)
    with pytest.raises(MirrorError) as error:
        read_index_record(path, f"noarch/{path.name}")
    text = str(error.value)
    assert text.startswith(f"noarch/{path.name}: cannot read its info/index.json: ")
    assert text.endswith("\nhelp: pixi run fetch")


def test_an_index_json_of_another_kind(tmp_path: Path) -> None:
    path = TinyPackage(name="a", index=(("build_number", "7"),)).write(tmp_path).path
    with pytest.raises(MirrorError) as error:
        read_index_record(path, "noarch/a")
    assert str(error.value) == (
        "noarch/a: its info/index.json is damaged: build_number is not a whole number\n"
        "help: pixi run fetch"
    )
