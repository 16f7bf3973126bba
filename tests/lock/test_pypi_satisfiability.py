"""Does a lock still fit what its manifest asks of PyPI? A real one that pixi wrote, bent once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from scripts.channel.locks import read_locks
from scripts.core.console import Console
from scripts.lock.model import LockPlatform, PlatformPackages, Unmirrorable
from scripts.lock.pypi_requirements import unmet_requirements
from scripts.lock.satisfiability import check_satisfiability
from scripts.workspace.model import PypiRequirement
from scripts.workspace.settings import IncompleteKind, SettingOverrides
from scripts.workspace.workspace import open_workspace
from tests.support.template import ROOT

CASE = ROOT / "tests" / "data" / "pypi"
UNMET = "pixi.lock: environment default does not meet a requirement any more\n"
OTHER_INDEXES = (
    "environment default was locked with other PyPI indexes or find-links, or in another order"
)
PURE = 'tiny-pure = ">=1,<2"'
INDEX = 'index-url = "https://pypi.example.org/simple"'
ALL = "  platforms  linux-64, osx-arm64, win-64\nhelp: pixi lock"


def findings(folder: Path, old: str, new: str, *more: str) -> tuple[str, ...]:
    """Return what is found after texts of the manifest were replaced."""
    text = (CASE / "pixi.toml").read_text(encoding="utf-8")
    for was, now in zip((old, *more[::2]), (new, *more[1::2]), strict=True):
        assert text.count(was) == 1
        text = text.replace(was, now)
    (folder / "pixi.toml").write_text(text, encoding="utf-8")
    shutil.copyfile(CASE / "pixi.lock", folder / "pixi.lock")
    workspace = open_workspace(folder, SettingOverrides())
    return tuple(map(str, check_satisfiability(read_locks(workspace, Console()))))


@pytest.mark.parametrize(
    ("requirement", "shown"),
    [
        ('tiny-more = "*"', "tiny-more"),
        ('Tiny_More = { version = ">=1", extras = ["x"] }', "Tiny_More[x]>=1"),
        ('tiny-more = { git = "https://git.example.org/more.git" }', "tiny-more"),
        ('tiny-more = { path = "more" }', "tiny-more"),
    ],
)
def test_a_requirement_that_was_added(tmp_path: Path, requirement: str, shown: str) -> None:
    assert findings(tmp_path, PURE, f"{PURE}\n{requirement}") == (
        f"{UNMET}  expected   {shown}\n  actual     no tiny-more\n{ALL}",
    )


@pytest.mark.parametrize(
    "requirement",
    [
        'tiny-pure = ">=1.0"',
        'tiny-pure = "*"',
        'tiny-pure = { version = "*", index = "https://pypi.example.org/simple" }',
        'Tiny_Pure = "~=1.0"',
        'tiny-pure = "1.*"',
        'numpy = ">=2"',
        'tiny-more = { version = "*", env-markers = "python_version < \'3\'" }',
        'tiny-more = { version = "*", env-markers = "sys_platform > 1" }',
        'tiny-folder = "*"',
    ],
)
def test_what_is_locked_meets(tmp_path: Path, requirement: str) -> None:
    """Conda's numpy counts by its `purls`; a marker that fails, or is none, asks for nothing."""
    old = 'tiny-folder = { path = "tiny-folder" }' if "folder" in requirement else PURE
    assert findings(tmp_path, old, requirement) == ()


def test_a_version_that_is_no_longer_met(tmp_path: Path) -> None:
    assert findings(tmp_path, PURE, 'tiny-pure = ">=2"') == (
        f"{UNMET}  expected   tiny-pure>=2\n  actual     tiny_pure-1.1-py3-none-any.whl\n{ALL}",
    )


def test_a_version_that_conda_s_package_does_not_meet(tmp_path: Path) -> None:
    found = findings(tmp_path, PURE, f'{PURE}\nnumpy = "<2"')
    assert len(found) == 3, "each platform has a file of its own"
    assert all(x.startswith(f"{UNMET}  expected   numpy<2\n  actual     ") for x in found)
    assert "  actual     linux-64/numpy-2." in found[0]


def test_a_marker_is_that_of_the_platform(tmp_path: Path) -> None:
    marked = "tiny-more = { version = '*', env-markers = \"sys_platform == 'win32'\" }"
    expected = "tiny-more ; sys_platform == 'win32'\n  actual     no tiny-more"
    assert findings(tmp_path, PURE, f"{PURE}\n{marked}") == (
        f"{UNMET}  expected   {expected}\n  platforms  win-64\nhelp: pixi lock",
    )


def test_what_is_overridden_is_asked_for_by_its_name_alone(tmp_path: Path) -> None:
    """Pixi holds the locked one against the override instead."""
    options = f'{INDEX}\ndependency-overrides = {{ Tiny-Pure = "==1.0", tiny-more = "*" }}'
    bent = (PURE, 'tiny-pure = ">=2"', INDEX, options)
    assert findings(tmp_path, *bent) == ()
    # Controls: without the override, and what is not there at all.
    assert len(findings(tmp_path, *bent[:2])) == 1
    assert len(findings(tmp_path, *bent[:1], f'{PURE}\ntiny-more = "*"', *bent[2:])) == 1


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        ('index-url = "https://other.example.org/simple"', "https://other.example.org/simple"),
        (
            'index-url = "https://user:pw@other.example.org/simple"',
            "https://********@other.example.org/simple",
        ),
        (
            f'{INDEX}\nextra-index-urls = ["https://other.example.org/simple"]',
            "https://pypi.example.org/simple, https://other.example.org/simple",
        ),
        (
            f'{INDEX}\nfind-links = [{{ path = "wheels" }}, {{ url = "https://x.example.org/" }}]',
            "https://pypi.example.org/simple, https://x.example.org/",
        ),
        ("", "https://pypi.org/simple"),
    ],
)
def test_other_indexes(tmp_path: Path, new: str, expected: str) -> None:
    (found,) = findings(tmp_path, INDEX, new)
    assert found.splitlines() == [
        f"pixi.lock: {OTHER_INDEXES}",
        f"  expected  {expected}",
        "  actual    https://pypi.example.org/simple",
        "help: pixi lock",
    ]


@pytest.mark.parametrize(
    "bent",
    [
        (INDEX, 'index-url = "https://user:pw@pypi.example.org/simple/"'),
        (INDEX, 'index-url = "HTTPS://PyPI.example.org:443/simple"'),
        ("[pypi-options]", "[workspace.pypi-options]"),
        (
            "[pypi-options]",
            '[workspace.pypi-options]\nindex-url = "https://other.example.org"\n[pypi-options]',
        ),
    ],
    ids=["a secret, a slash", "capitals, a port", "of the workspace", "a feature's own wins"],
)
def test_the_same_index(tmp_path: Path, bent: tuple[str, str]) -> None:
    assert findings(tmp_path, *bent) == ()


def test_pages_of_find_links_are_no_indexes(tmp_path: Path) -> None:
    findings(tmp_path, INDEX, f'{INDEX}\nfind-links = [{{ url = "https://links.example.org/" }}]')
    lock, key = tmp_path / "pixi.lock", "    indexes:\n"
    text = lock.read_text(encoding="utf-8")
    assert text.count(key) == 1
    pages = "    find-links:\n    - url: https://links.example.org/\n"
    lock.write_text(text.replace(key, pages + key), encoding="utf-8")
    locks = read_locks(open_workspace(tmp_path, SettingOverrides()), Console())
    assert [x.find_links for x in locks[0].environments] == [("https://links.example.org",)]
    assert check_satisfiability(locks) == ()
    # Control: other ones.
    lock.write_text(text.replace(key, pages.replace("links.e", "other.e") + key), encoding="utf-8")
    locks = read_locks(open_workspace(tmp_path, SettingOverrides()), Console())
    (found,) = check_satisfiability(locks)
    assert found.message == OTHER_INDEXES
    assert found.details[1] == (
        "actual",
        "https://pypi.example.org/simple, https://other.example.org",
    )


def test_what_is_built_from_source_counts_by_its_name() -> None:
    """No lock says what it provides, nor, where no Python is locked, which markers hold."""
    rows = PlatformPackages(
        platform=LockPlatform(name="linux-64", subdir="linux-64"),
        packages=(),
        unmirrorable=(
            Unmirrorable(kind=IncompleteKind.SOURCE, name="My_Own 1.0", location="."),
            Unmirrorable(kind=IncompleteKind.PYPI, name="other 1.0", location="x"),
        ),
    )
    asked = [
        PypiRequirement(name="my-own", text="my-own>=2"),
        PypiRequirement(name="other", text="other>=2"),
        PypiRequirement(name="x", text="x ; os_name == 'posix'"),
    ]
    assert list(unmet_requirements(asked, rows, ())) == [("other>=2", "no other")]
