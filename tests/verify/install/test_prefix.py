"""A prefix is compared with what the artifacts bring, file by file."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import pytest

from scripts.channel.archive import FILES, PATHS, package_files
from scripts.core.artifact import Artifact
from scripts.core.errors import Problem
from scripts.lock.read import read_lock
from scripts.verify.install.prefix import (
    check_prefix,
    installed_path,
    python_folders,
)
from scripts.workspace.settings import Settings
from tests.support.locks import EnvironmentRows, LockRow, PlatformRows, write_lock
from tests.support.mirrored import select
from tests.support.mirrors import CHANNEL
from tests.support.packages import PREFIX, TinyPackage

A = "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"
B = "3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d"


def _artifacts(folder: Path, *packages: TinyPackage) -> tuple[Artifact, ...]:
    rows = tuple(LockRow(written=each.write(folder), channel=CHANNEL) for each in packages)
    environment = EnvironmentRows(platforms=(PlatformRows(name="linux-64", rows=rows),))
    lock = read_lock(write_lock(folder / "pixi.lock", (environment,)))
    return select(lock, Settings()).artifacts


def _check(prefix: Path, folder: Path, artifacts: Sequence[Artifact]) -> tuple[Problem, ...]:
    python = next((each.conda_record for each in artifacts if each.name == "python"), None)
    return check_prefix(prefix, python_folders(python, "linux-64"), "a prefix", folder, artifacts)


def _install(folder: Path, *packages: TinyPackage) -> Path:
    """Put files where an installer would, but for noarch python ones."""
    for package in packages:
        for path, data in package.payload:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
        (folder / "conda-meta").mkdir(parents=True, exist_ok=True)
        (folder / "conda-meta" / f"{package.distribution}.json").write_text("{}", encoding="utf-8")
    return folder


PACKAGE = TinyPackage(
    name="p",
    subdir="linux-64",
    extension=".tar.bz2",
    files=(("bin/a", b"a"), ("share/b", b"b"), ("etc/c", PREFIX.encode())),
)


@pytest.mark.parametrize("extension", [".conda", ".tar.bz2"])
def test_all_is_there(extension: str, tmp_path: Path) -> None:
    package = TinyPackage(name="p", extension=extension, files=PACKAGE.files)  # type: ignore[arg-type]
    prefix = _install(tmp_path / "prefix", package)
    (prefix / "etc" / "c").write_text("the prefix, written in", encoding="utf-8")
    assert _check(prefix, tmp_path, _artifacts(tmp_path, package)) == ()


def test_what_did_not_arrive_is_named(tmp_path: Path) -> None:
    prefix = _install(tmp_path / "prefix", PACKAGE)
    (prefix / "bin" / "a").unlink()
    (prefix / "share" / "b").write_bytes(b"a")
    (prefix / "etc" / "c").unlink()
    (problem,) = _check(prefix, tmp_path, _artifacts(tmp_path, PACKAGE))
    assert str(problem) == (
        "linux-64/p-1.0-0.tar.bz2: 3 files of it did not arrive in a prefix\n"
        "  missing  bin/a\n"
        f"  differs  share/b (sha256 {A}, not {B})\n"
        "  missing  etc/c"
    )


@pytest.mark.skipif(os.name == "nt", reason="Windows has no devices in folders")
def test_a_link_to_a_device_is_not_read(tmp_path: Path) -> None:
    """What was packed as a link, though its list says a file: /dev/zero would be read forever."""
    prefix, artifacts = _install(tmp_path / "prefix", PACKAGE), _artifacts(tmp_path, PACKAGE)
    (prefix / "share" / "b").unlink()
    (prefix / "share" / "b").symlink_to(os.devnull)
    (problem,) = _check(prefix, tmp_path, artifacts)
    assert problem.details == (("differs", f"share/b (sha256 unreadable: not a file, not {B})"),)
    # Control: conda may make links to the files themselves.
    (tmp_path / "b").write_bytes(b"b")
    (prefix / "share" / "b").unlink()
    (prefix / "share" / "b").symlink_to(tmp_path / "b")
    assert _check(prefix, tmp_path, artifacts) == ()


def test_very_many_are_counted(tmp_path: Path) -> None:
    files = tuple((f"share/{number:02}", b"") for number in range(9))
    package = TinyPackage(name="p", subdir="linux-64", files=files)
    prefix = _install(tmp_path / "prefix", package)
    for path, _ in files:
        (prefix / path).unlink()
    (problem,) = _check(prefix, tmp_path, _artifacts(tmp_path, package))
    assert problem.details[4:] == (("missing", "share/04"), ("and", "4 more"))


def test_a_package_that_was_not_installed_at_all(tmp_path: Path) -> None:
    prefix = _install(tmp_path / "prefix", PACKAGE)
    other = TinyPackage(name="q")
    (problem,) = _check(prefix, tmp_path, _artifacts(tmp_path, PACKAGE, other))
    assert str(problem) == "noarch/q-1.0-0.conda: was not installed with a prefix"


def test_one_path_of_two_packages(tmp_path: Path) -> None:
    """Installers keep one of them; which one is not for us to say, but a third is wrong."""
    one = TinyPackage(name="one", files=(("share/same", b"a"),))
    two = TinyPackage(name="two", files=(("share/same", b"b"),))
    artifacts = _artifacts(tmp_path, one, two)
    prefix = _install(tmp_path / "prefix", one, two)
    assert _check(prefix, tmp_path, artifacts) == ()
    (prefix / "share" / "same").write_bytes(b"c")
    found = [problem.subject for problem in _check(prefix, tmp_path, artifacts)]
    assert found == ["noarch/one-1.0-0.conda", "noarch/two-1.0-0.conda"]


def test_noarch_python(tmp_path: Path) -> None:
    python = TinyPackage(name="python", version="3.12.1", subdir="linux-64", files=())
    package = TinyPackage(
        name="m",
        build="py_0",
        noarch="python",
        files=(("site-packages/m.py", b"a"), ("python-scripts/m", b"b"), ("share/m", b"a")),
    )
    generic = TinyPackage(name="g", noarch="generic", files=(("site-packages/g.py", b"a"),))
    artifacts = _artifacts(tmp_path, python, package, generic)
    prefix = _install(tmp_path / "prefix", python, package, generic)
    (problem,) = _check(prefix, tmp_path, artifacts)
    assert problem.details == (
        ("missing", "lib/python3.12/site-packages/m.py"),
        ("missing", "bin/m"),
    )
    for path, data in (("lib/python3.12/site-packages/m.py", b"a"), ("bin/m", b"b")):
        (prefix / path).parent.mkdir(parents=True, exist_ok=True)
        (prefix / path).write_bytes(data)
    assert _check(prefix, tmp_path, artifacts) == ()


def test_hostile_names_do_nothing_to_a_terminal(tmp_path: Path) -> None:
    package = TinyPackage(name="p", subdir="linux-64", files=(("share/\x1b[2J", b""),))
    prefix = _install(tmp_path / "prefix", TinyPackage(name="p", files=()))
    (problem,) = _check(prefix, tmp_path, _artifacts(tmp_path, package))
    assert problem.details == (("missing", r"share/\x1b[2J"),)


def test_an_unreadable_artifact(tmp_path: Path) -> None:
    artifacts = _artifacts(tmp_path, PACKAGE)
    prefix = _install(tmp_path / "prefix", PACKAGE)
    (tmp_path / artifacts[0].path).write_bytes(b"x")
    (problem,) = _check(prefix, tmp_path, artifacts)
    assert str(problem) == (
        "linux-64/p-1.0-0.tar.bz2: cannot be read as an artifact: Invalid data stream\n"
        "help: pixi run fetch"
    )


def test_entries_of_paths_json() -> None:
    entries = [
        {"_path": "a", "path_type": "hardlink", "sha256": "AB", "size_in_bytes": 2},
        {"_path": "b", "path_type": "hardlink", "sha256": "cd", "prefix_placeholder": "/p"},
        {"_path": "c", "path_type": "softlink", "sha256": "ef"},
        {"_path": "d", "path_type": "directory"},
        {"_path": "e", "path_type": "hardlink"},
    ]
    info = {PATHS: json.dumps({"paths": entries}).encode(), FILES: b"not asked\n"}
    assert list(package_files(info)) == [
        ("a", "ab"),
        ("b", None),
        ("c", None),
        ("e", None),
    ]


def test_artifacts_older_than_paths_json() -> None:
    assert list(package_files({FILES: b"bin/a\n\nshare/b\r\n"})) == [
        ("bin/a", None),
        ("share/b", None),
    ]


@pytest.mark.parametrize("text", ["[]", "{}", '{"paths": [1]}', '{"paths": [{}]}', "nothing"])
def test_damaged_lists(text: str) -> None:
    with pytest.raises(ValueError, match=r"info/paths\.json|Expecting value"):
        list(package_files({PATHS: text.encode()}))


def test_where_python_looks(tmp_path: Path) -> None:
    python = TinyPackage(name="python", version="3.13.1", subdir="linux-64")
    (artifact,) = _artifacts(tmp_path, python)
    unix, windows = (python_folders(artifact.conda_record, each) for each in ("linux-64", "win-64"))
    assert installed_path("site-packages/x", unix) == "lib/python3.13/site-packages/x"
    assert installed_path("site-packages/x", windows) == "Lib/site-packages/x"
    assert installed_path("python-scripts/x", windows) == "Scripts/x"
    assert installed_path("site-packages/x", {}) == "site-packages/x"
    assert artifact.path == PurePosixPath("linux-64/python-1.0-0.conda").with_name(
        "python-3.13.1-0.conda"
    )
