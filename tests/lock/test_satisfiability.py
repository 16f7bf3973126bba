"""Does a lock still fit? Real manifests with the locks that pixi wrote for them, each bent once."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.channel.locks import read_locks
from scripts.core.console import Console
from scripts.core.errors import ExitCode, Problem
from scripts.lock.satisfiability import check_satisfiability
from scripts.workspace.settings import SettingOverrides
from scripts.workspace.workspace import open_workspace
from tests.support.template import ROOT

CASES = ROOT / "tests" / "data" / "cases"
Bend = Callable[..., tuple[str, ...]]


def check(folder: Path) -> tuple[Problem, ...]:
    workspace = open_workspace(folder, SettingOverrides())
    return check_satisfiability(read_locks(workspace, Console()))


@pytest.fixture
def findings(tmp_path: Path) -> Bend:
    """Return what is found of a case after one text of its manifest was replaced."""

    def bent(case: str, old: str, new: str) -> tuple[str, ...]:
        shutil.copytree(CASES / case, tmp_path / case)
        manifest = tmp_path / case / "pixi.toml"
        text = manifest.read_text(encoding="utf-8")
        assert text.count(old) == 1
        manifest.write_text(text.replace(old, new), encoding="utf-8")
        problems = check(tmp_path / case)
        assert all(problem.code is ExitCode.USAGE for problem in problems)
        return tuple(str(problem) for problem in problems)

    return bent


LOCKED = [
    *sorted(CASES.iterdir()),
    CASES.parent / "pypi",
    *(path.parent for path in ROOT.glob("pixi.lock")),
]


@pytest.mark.parametrize("folder", LOCKED, ids=lambda path: path.name)
def test_what_pixi_locked_fits(folder: Path) -> None:
    assert check(folder) == ()


def test_a_new_platform(findings: Bend) -> None:
    assert findings("rich-platforms", ', "win-64"]', ', "win-64", "osx-arm64"]') == (
        (
            "pixi.lock: environment default has no platform osx-arm64, and pixi.toml has\n"
            "  it has  linux-64, p1 (linux-64), win-64\n"
            "help: pixi lock"
        ),
    )


def test_a_platform_that_declares_something_else(findings: Bend) -> None:
    assert findings("rich-platforms", 'cuda = "12"', 'cuda = "13"') == (
        (
            "pixi.lock: environment default has no platform linux-cuda "
            "(linux-64, __cuda=13), and pixi.toml has\n"
            "  it has  linux-64, p1 (linux-64), win-64\n"
            "help: pixi lock"
        ),
    )


def test_system_requirements_that_changed(findings: Bend) -> None:
    assert findings("pytorch-nvidia", 'cuda = "11.8"', 'cuda = "12.4"') == (
        (
            "pixi.lock: environment default has no platform linux-64-cuda-12-4 "
            "(linux-64, __cuda=12.4), and pixi.toml has\n"
            "  it has  p1 (linux-64)\n"
            "help: pixi lock"
        ),
    )


@pytest.mark.parametrize(
    "new",
    ['name = "gpu", platform = "linux-64", cuda = "12.0"', 'platform = "linux-64", cuda = "12"'],
)
def test_a_platform_of_another_name_is_the_same(findings: Bend, new: str) -> None:
    old = 'name = "linux-cuda", platform = "linux-64", cuda = "12"'
    assert findings("rich-platforms", old, new) == ()


def test_a_platform_that_is_gone(findings: Bend) -> None:
    assert findings("rich-platforms", ', "win-64"]', "]") == (
        (
            "pixi.lock: environment default has a platform win-64, and pixi.toml has none\n"
            "help: pixi lock"
        ),
    )


def test_one_of_two_platforms_of_a_subdir_gone_is_no_finding(findings: Bend) -> None:
    """`pixi lock` itself leaves such a lock as it is."""
    assert findings("rich-platforms", '"linux-64", {', "{") == ()


def test_a_platform_without_any_package_need_not_be_locked(findings: Bend) -> None:
    assert findings("no-payload", '"win-64"', '"osx-64"') == ()


def test_other_channel_order(findings: Bend) -> None:
    assert findings(
        "pytorch-nvidia",
        '"nvidia", "conda-forge", "pytorch"]',
        '"nvidia", "pytorch", "conda-forge"]',
    ) == (
        (
            "pixi.lock: environment default was solved with other channels, or in another order\n"
            "  expected  https://conda.anaconda.org/nvidia/label/cuda-11.8.0, "
            "https://conda.anaconda.org/nvidia, https://conda.anaconda.org/pytorch, "
            "https://conda.anaconda.org/conda-forge\n"
            "  actual    https://conda.anaconda.org/nvidia/label/cuda-11.8.0, "
            "https://conda.anaconda.org/nvidia, https://conda.anaconda.org/conda-forge, "
            "https://conda.anaconda.org/pytorch\n"
            "help: pixi lock"
        ),
    )


def test_other_priority_of_a_channel(findings: Bend) -> None:
    (finding,) = findings("channel-priority", "priority = 1 }", "priority = 0 }")
    assert finding.startswith("pixi.lock: environment b was solved with other channels, or in")


def test_a_secret_in_a_channel_is_no_difference_and_is_not_shown(findings: Bend) -> None:
    url = "https://user:pw@conda.anaconda.org/t/TOKEN/conda-forge/"
    assert findings("rich-platforms", '"conda-forge"', f'"{url}"') == ()


@pytest.mark.parametrize("port", ["", ":443"])
def test_a_host_in_capitals_and_its_default_port_are_no_difference(
    findings: Bend, port: str
) -> None:
    url = f"HTTPS://Conda.Anaconda.ORG{port}/conda-forge"
    assert findings("rich-platforms", '"conda-forge"', f'"{url}"') == ()


@pytest.mark.parametrize("rest", ["/conda-forge/", "/x/../conda-forge", "/./conda-forge"])
def test_a_host_in_another_script_is_locked_as_dns_has_it(tmp_path: Path, rest: str) -> None:
    shutil.copytree(CASES / "rich-platforms", tmp_path / "w")
    for name, old, new in (
        ("pixi.toml", '"conda-forge"', f'"https://München.example{rest}"'),
        ("pixi.lock", "https://conda.anaconda.org/", "https://xn--mnchen-3ya.example/"),
    ):
        file = tmp_path / "w" / name
        file.write_text(file.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    assert check(tmp_path / "w") == ()


@pytest.mark.parametrize("url", ["https://[bad/x", "http://h:99999/x", "http://℀/x"])
def test_what_is_no_url_is_another_channel(findings: Bend, url: str) -> None:
    (finding,) = findings("no-payload", '"conda-forge"', f'"{url}"')
    assert f"expected  {url}\n" in finding


@pytest.mark.parametrize(
    "rest", [":80/conda-forge", ":4430/conda-forge", "/Conda-Forge", "//conda-forge"]
)
def test_another_port_or_path_is_another_channel(findings: Bend, rest: str) -> None:
    url = f"https://conda.anaconda.org{rest}"
    (finding,) = findings("no-payload", '"conda-forge"', f'"{url}"')
    assert f"expected  {url}\n" in finding


def test_a_secret_in_a_wrong_channel_is_not_shown(findings: Bend) -> None:
    url = "https://user:pw@conda.anaconda.org/t/TOKEN/other"
    (finding,) = findings("no-payload", '"conda-forge"', f'"{url}"')
    assert "expected  https://********@conda.anaconda.org/t/********/other\n" in finding
    assert "pw" not in finding
    assert "TOKEN" not in finding


def test_a_requirement_that_no_longer_matches(findings: Bend) -> None:
    assert findings("pytorch-nvidia", '"3.10.*"', '">=3.11"') == (
        (
            "pixi.lock: environment default does not meet a requirement any more\n"
            "  expected   python >=3.11\n"
            "  actual     python 3.10.20 h267e890_1_cpython from https://conda.anaconda.org/"
            "conda-forge/linux-64/python-3.10.20-h267e890_1_cpython.conda\n"
            "  platforms  linux-64-cuda-11-8\n"
            "help: pixi lock"
        ),
    )


def test_a_requirement_that_was_added(findings: Bend) -> None:
    assert findings("rich-platforms", 'python = "3.12.*"', 'python = "3.12.*"\nzz = "*"') == (
        (
            "pixi.lock: environment default does not meet a requirement any more\n"
            "  expected   zz *\n"
            "  actual     no zz\n"
            "  platforms  linux-64, linux-cuda, win-64\n"
            "help: pixi lock"
        ),
    )


def test_a_requirement_from_another_channel(findings: Bend) -> None:
    (finding,) = findings(
        "pytorch-nvidia",
        'version = "11.8.*", channel = "pytorch"',
        'version = "11.8.*", channel = "nvidia"',
    )
    assert "  expected   pytorch-cuda 11.8.* from https://conda.anaconda.org/nvidia\n" in finding
    assert "  actual     pytorch-cuda 11.8 h7e8668a_6 from https://conda.ana" in finding
    assert finding.endswith("help: pixi update pytorch-cuda")  # `pixi lock` finds nothing to do


@pytest.mark.parametrize(
    "requirement",
    [
        '">=3.10, <3.11"',
        '{ version = "3.10.*", build = "*_cpython" }',
        '{ version = "3.10.*", build-number = ">=1" }',
        '{ version = "*", subdir = "noarch" }',  # of which pixi itself takes no notice
        '{ version = "*", file-name = "python-3.10.20-0.conda" }',  # nor of that
        '{ version = "*", license = "Python-2.0" }',
        '{ version = "*", md5 = "c5eace1c2d8dae0bb08c094617ea8cc7" }',
    ],
)
def test_what_the_locked_package_meets(findings: Bend, requirement: str) -> None:
    assert findings("pytorch-nvidia", '"3.10.*"', requirement) == ()


@pytest.mark.parametrize(
    "requirement",
    [
        '">3.10.20, <3.11"',
        '{ version = "3.10.*", build = "*_pypy" }',
        '{ version = "3.10.*", build-number = ">=2" }',
        '{ version = "*", license = "MIT" }',
        '{ version = "*", md5 = "00000000000000000000000000000000" }',
        '{ url = "https://example.org/linux-64/python-3.10.20-h267e890_1_cpython.conda" }',
    ],
)
def test_what_the_locked_package_does_not_meet(findings: Bend, requirement: str) -> None:
    (finding,) = findings("pytorch-nvidia", '"3.10.*"', requirement)
    assert finding.startswith("pixi.lock: environment default does not meet a requirement any")


def test_environments_of_one_side_alone(findings: Bend) -> None:
    assert findings("channel-priority", 'c = ["c"]', 'd = ["c"]') == (
        "pixi.lock: has no environment d, and pixi.toml has\nhelp: pixi lock",
        "pixi.lock: has an environment c, and pixi.toml has none\nhelp: pixi lock",
    )


def test_what_pixi_builds_and_the_machine_has_need_not_be_locked(tmp_path: Path) -> None:
    folder = tmp_path / "x"
    shutil.copytree(CASES / "rich-platforms", folder)
    manifest = folder / "pixi.toml"
    text = manifest.read_text(encoding="utf-8")
    more = (
        'mine = { path = "mine" }\n__glibc = ">=2.28"\nz = { version = "1", when = "python <3" }\n'
    )
    manifest.write_text(
        text.replace("[dependencies]\n", f"[dependencies]\n{more}"), encoding="utf-8"
    )
    assert check(folder) == ()


@pytest.mark.parametrize("said", ["", "  version: 1.0\n  subdir: linux-64\n"])
def test_a_source_package_is_what_another_feature_asks_for_by_name(
    tmp_path: Path, said: str
) -> None:
    lock = (CASES / "no-payload" / "pixi.lock").read_text(encoding="utf-8")
    row = "- conda_source: mine[9f2b3c4d] @ mine\n"
    place = "    packages:\n      linux-64:\n      "
    lock = lock.replace("    packages: {}\n", f"{place}{row}")
    lock = lock.replace("packages: []\n", f"packages:\n{row}{said}")
    (tmp_path / "pixi.lock").write_text(lock, encoding="utf-8")
    text = (CASES / "no-payload" / "pixi.toml").read_text(encoding="utf-8")
    text = text.replace(', "win-64"', "")
    text += """
[dependencies]
mine = "*"
[feature.own.dependencies]
mine = { path = "mine" }
[environments]
default = ["own"]
"""
    (tmp_path / "pixi.toml").write_text(text, encoding="utf-8")
    assert check(tmp_path) == ()
    # The control: what nobody has locked, and what only begins with the name.
    for other in ("other", "min"):
        more = text.replace('mine = "*"', f'mine = "*"\n{other} = "*"')
        (tmp_path / "pixi.toml").write_text(more, encoding="utf-8")
        assert [dict(each.details)["actual"] for each in check(tmp_path)] == [f"no {other}"]


def test_what_only_pypi_or_source_packages_ask_for_needs_its_platform(tmp_path: Path) -> None:
    shutil.copyfile(CASES / "no-payload" / "pixi.lock", tmp_path / "pixi.lock")
    text = (CASES / "no-payload" / "pixi.toml").read_text(encoding="utf-8")
    for more in ('[dependencies]\nmine = { path = "mine" }\n', '[pypi-dependencies]\nw = "*"\n'):
        (tmp_path / "pixi.toml").write_text(text + more, encoding="utf-8")
        assert [problem.message for problem in check(tmp_path)] == [
            "environment default has no platform linux-64, and pixi.toml has",
            "environment default has no platform win-64, and pixi.toml has",
        ]
