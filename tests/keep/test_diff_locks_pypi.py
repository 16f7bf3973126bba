"""Changes of PyPI packages between two locks, each kind with the control that is no change."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from scripts.core.record import PypiRecord
from scripts.core.report import flattened
from scripts.keep.diff import Change, ChangeKind
from scripts.keep.diff_locks import diff_locks
from scripts.keep.diff_text import diff_lines, markdown
from scripts.lock.model import LockedEnvironment, LockFile, LockPlatform, PlatformPackages
from scripts.lock.pypi import FILES
from scripts.workspace.settings import Settings
from tests.support.wheels import TinyWheel

LINUX = LockPlatform(name="linux-64", subdir="linux-64")
ONE = PypiRecord(
    name="x",
    version="1.0",
    location="https://files.example.org/aa/x-1.0-py3-none-any.whl",
    index="https://me:secret@pypi.example.org/simple",
    sha256="a" * 64,
    requires_dist=("b>=1", "c"),
    requires_python=">=3.9",
)


def lock(*records: PypiRecord) -> LockFile:
    rows = PlatformPackages(platform=LINUX, packages=(), pypi=records)
    environment = LockedEnvironment(name="default", channels=(), platforms=(rows,))
    return LockFile(version=7, environments=(environment,))


def changed(one: PypiRecord | None, other: PypiRecord | None) -> list[Change]:
    before, after = (lock(*([each] if each else [])) for each in (one, other))
    return [
        each
        for platform in diff_locks(before, after, Settings(), Path("none"))
        for each in platform.changes
    ]


def of_version(version: str, **fields: object) -> PypiRecord:
    location = f"https://files.example.org/{version}/x-{version}-py3-none-any.whl"
    values = {"version": version, "location": location, "sha256": version[0] * 64, **fields}
    return dataclasses.replace(ONE, **values)  # type: ignore[arg-type]


def test_what_is_the_same_is_no_change() -> None:
    assert changed(ONE, ONE) == []
    # Another order, other credentials of the same index: neither means anything.
    other = dataclasses.replace(
        ONE, requires_dist=("c", "b>=1"), index="https://you:word@pypi.example.org/simple"
    )
    assert changed(ONE, other) == []


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        ("1.9", "1.10", ChangeKind.CHANGED),
        ("1.10", "1.9", ChangeKind.WENT_BACK),
        ("1.0", "1.0rc1", ChangeKind.WENT_BACK),
        ("1.0rc1", "1.0", ChangeKind.CHANGED),
        ("1.0.post1", "1.0", ChangeKind.WENT_BACK),
        ("1!0.1", "2.0", ChangeKind.WENT_BACK),  # an epoch outweighs all else
        ("1.0+own.2", "1.0+own.1", ChangeKind.WENT_BACK),
        ("1.0", "1.0.0", ChangeKind.CHANGED),  # written otherwise, and the same
        ("1.0", "no version", ChangeKind.CHANGED),  # nobody can tell
    ],
)
def test_versions_are_compared_as_pypi_does(old: str, new: str, kind: ChangeKind) -> None:
    assert changed(of_version(old), of_version(new)) == [
        Change(kind=kind, name="x", before=old, after=new, source="pypi")
    ]


def test_added_and_removed() -> None:
    assert changed(None, ONE) == [
        Change(kind=ChangeKind.ADDED, name="x", after="1.0", source="pypi")
    ]
    assert changed(ONE, None) == [
        Change(kind=ChangeKind.REMOVED, name="x", before="1.0", source="pypi")
    ]


def test_the_same_file_with_another_digest_was_uploaded_anew() -> None:
    other = dataclasses.replace(
        ONE, sha256="b" * 64, location="https://files.example.org/bb/x-1.0-py3-none-any.whl"
    )
    assert changed(ONE, other) == [
        Change(kind=ChangeKind.REUPLOADED, name="x", before="1.0", after="1.0", source="pypi")
    ]


@pytest.mark.parametrize(
    ("fields", "before", "after"),
    [
        (
            {"location": "https://files.example.org/aa/x-1.0.tar.gz"},
            "1.0 (x-1.0-py3-none-any.whl)",
            "1.0 (x-1.0.tar.gz)",
        ),
        (
            {"index": "https://other.example.org/simple"},
            "1.0 (https://pypi.example.org/simple)",
            "1.0 (https://other.example.org/simple)",
        ),
    ],
)
def test_one_version_from_elsewhere(fields: dict[str, str], before: str, after: str) -> None:
    other = dataclasses.replace(ONE, **fields)  # type: ignore[arg-type]
    assert changed(ONE, other) == [
        Change(kind=ChangeKind.CHANGED, name="x", before=before, after=after, source="pypi")
    ]


@pytest.mark.parametrize(
    "fields", [{"requires_dist": ("b>=2", "c")}, {"requires_python": ">=3.11"}]
)
def test_other_requirements_are_told(fields: dict[str, object]) -> None:
    other = dataclasses.replace(ONE, **fields)  # type: ignore[arg-type]
    assert changed(ONE, other) == [
        Change(kind=ChangeKind.HOTFIXED, name="x", before="1.0", after="1.0", source="pypi")
    ]


def test_another_commit_is_a_change() -> None:
    git = "git+https://me:secret@git.example.org/x.git?tag=v1#"
    one, other = (dataclasses.replace(ONE, index=None, sha256=None, location=git + x) for x in "ab")
    (change,) = changed(one, other)
    assert (change.kind, change.before, change.after) == (
        ChangeKind.CHANGED,
        "1.0 (git+https://********@git.example.org/x.git?********#a)",
        "1.0 (git+https://********@git.example.org/x.git?********#b)",
    )
    assert changed(one, one) == []


def test_licences_are_told_and_stay_text(tmp_path: Path) -> None:
    """Those that the files in the channel tell."""
    newer = of_version("2.0")
    wheel = TinyWheel(name="x", version="2.0", license="MIT | `x` <b>")
    file = tmp_path / FILES / "files.example.org" / "2.0" / wheel.file_name
    file.parent.mkdir(parents=True)
    file.write_bytes(wheel.data)
    after = lock(newer, dataclasses.replace(ONE, name="y"))
    found = diff_locks(lock(ONE), after, Settings(), tmp_path)
    assert tuple(flattened(diff_lines(found))) == (
        "default, linux-64: 1 added, 1 changed",
        "  ~ x  [pypi] 1.0 -> 2.0 (MIT | `x` <b>)",
        "  + y  [pypi] 1.0",
    )
    assert markdown(found) == (
        "### `default`\n\n`linux-64`: 1 added, 1 changed\n\n"
        "| package | from | to | |\n| --- | --- | --- | --- |\n"
        "| `x` | `1.0` | `2.0` | pypi, changed, `` MIT \\| `x` <b> `` |\n"
        "| `y` |  | `1.0` | pypi, added |\n"
    )
