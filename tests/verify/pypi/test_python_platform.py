"""Markers and wheel tags of a platform, beside what the real uv decides for it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from scripts.core.child_process import is_crash, run_program
from scripts.core.file_name import parse_file_name
from scripts.core.record import Record
from scripts.lock.model import LockedPackage
from scripts.verify.findings import Client
from scripts.verify.install.clients import find_program
from scripts.verify.python_platform import PythonPlatform, python_platform
from scripts.workspace.virtual_packages import VirtualPackage
from tests.support.uv import uv_release
from tests.support.wheels import TinyWheel

UV = find_program(Client.UV, {})
MARKERS = (
    "sys_platform == 'win32'",
    "sys_platform != 'darwin'",
    "platform_system == 'Linux' and platform_machine in 'x86_64 aarch64'",
    "platform_machine == 'arm64'",
    "platform_machine == 'aarch64' or platform_machine == 'AMD64'",
    "os_name == 'nt'",
    "os_name != 'nt' and python_version < '3.11'",
    "python_version >= '3.11'",
    "python_full_version < '3.11.7'",
    "python_full_version >= '3.11.7'",
    "implementation_name == 'cpython'",
    "platform_python_implementation != 'PyPy'",
    "implementation_version >= '3.12'",
    "extra == 'x'",
    "extra == 'y' and sys_platform == 'linux'",
    "extra != 'x'",
    "extra == 'x' and extra != 'y'",
    "extra == 'x' and extra == 'y'",
    "extra != 'x' and extra != 'y'",
    "python_version in '3.10 3.11'",
    "python_version ~= '3.9'",
)
TAGS = (
    "cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64",
    "cp311-cp311-manylinux_2_28_x86_64",
    "cp311-cp311-manylinux_2_29_x86_64",
    "cp311-cp311-manylinux1_x86_64",
    "cp311-cp311-linux_x86_64",
    "cp311-cp311-manylinux_2_17_aarch64",
    "cp311-cp311-manylinux_2_31_aarch64",
    "cp311-cp311-musllinux_1_1_x86_64",
    "cp311-cp311-musllinux_1_3_x86_64",
    "cp311-cp311-musllinux_1_2_aarch64",
    "cp311-cp311-macosx_11_0_arm64",
    "cp311-cp311-macosx_13_0_arm64",
    "cp311-cp311-macosx_14_0_arm64",
    "cp311-cp311-macosx_10_9_x86_64",
    "cp311-cp311-macosx_10_9_universal2",
    "cp311-cp311-win_amd64",
    "cp311-cp311-win32",
    "cp311-cp311-win_arm64",
    "cp312-cp312-win_amd64",
    "cp38-abi3-win_amd64",
    "cp38-abi3-macosx_11_0_arm64",
    "cp312-abi3-manylinux_2_17_x86_64",
    "cp311-none-any",
    "cp310-none-any",
    "py2.py3-none-any",
    "py311-none-any",
    "py312-none-any",
    "py2-none-any",
    "py3-none-win_amd64",
    "py3-none-manylinux_2_17_x86_64",
)
PLATFORMS = (
    ("linux-64", ("__glibc", "2.28")),
    ("linux-64", ("__glibc", "2.17")),
    ("linux-64", ("__musl", "1.2")),
    ("linux-aarch64", ("__glibc", "2.35")),
    ("linux-aarch64", ("__musl", "1.2.4")),
    ("osx-arm64", ("__osx", "13.0")),
    ("osx-64", ("__osx", "13.0")),
    ("win-64", ("__win", "10.0")),
    ("win-arm64", ("__win", "10.0")),
)


def locked(subdir: str, build: str = "0_cpython") -> LockedPackage:
    version = "3.11.7"
    record = Record(name="python", version=version, build=build, build_number=0, subdir=subdir)
    file_name = parse_file_name(f"python-{version}-{build}.conda")
    assert file_name is not None
    url = f"https://example.org/{subdir}/{file_name}"
    return LockedPackage(url=url, channel=None, file_name=file_name, record=record)


def python(subdir: str, *virtual: tuple[str, str]) -> PythonPlatform:
    packages = [VirtualPackage(*each) for each in virtual]
    found = python_platform([locked(subdir)], subdir, packages)
    assert isinstance(found, PythonPlatform)
    return found


@pytest.mark.parametrize(
    ("subdir", "build", "why"),
    [
        ("linux-64", None, "no Python is locked there"),
        ("emscripten-wasm32", "0_cpython", "no wheel names emscripten-wasm32"),
        (
            "linux-64",
            "0_73_pypy",
            "pixi installs PyPI packages for CPython alone, not python 0_73_pypy",
        ),
    ],
)
def test_why_there_are_no_markers(subdir: str, build: str | None, why: str) -> None:
    packages = [] if build is None else [locked(subdir, build=build)]
    assert python_platform(packages, subdir, ()) == why


@pytest.mark.parametrize(
    ("machine", "named", "fits", "misfits"),
    [
        ("riscv64", "riscv64", "manylinux_2_31", "manylinux_2_30"),
        ("loongarch64", "", "manylinux_2_36", "manylinux_2_35"),
        ("ppc64le", "ppc64le", "manylinux2014", "manylinux2010"),
        ("s390x", "s390x", "manylinux_2_17", "manylinux_2_16"),
    ],
)
def test_machines_that_uv_has_no_word_for(
    machine: str, named: str, fits: str, misfits: str
) -> None:
    """As the real pixi has locked them: the tables are those of its uv."""
    platform = python(f"linux-{machine}", ("__glibc", "2.39"))
    assert (platform.uv_platform, platform.markers["platform_machine"]) == (None, named)
    assert python("linux-64", ("__musl", "1.3")).uv_platform is None
    found = {tag.platform for tag in platform.tags}
    assert {f"{fits}_{machine}", f"linux_{machine}", "any"} < found
    assert f"{misfits}_{machine}" not in found


def compile_with_uv(index: Path, platform: PythonPlatform, asked: str) -> set[str]:
    """Return what the real uv makes of a requirement: `name==version`."""
    assert platform.uv_platform is not None
    file = index.parent / "in.txt"
    file.write_text(asked, encoding="utf-8")
    command = [
        *(str(UV), "pip", "compile", "--no-config", "--no-cache", "--offline", "--no-build"),
        *("--no-header", "--no-annotate", "-q", "--python", sys.executable),
        *("--python-version", platform.version, "--python-platform", platform.uv_platform),
        *("--index-url", index.as_uri(), str(file)),
    ]
    # A sound uv is ended by SIGSEGV once in thousands of runs (astral-sh/uv#21428).
    for _ in range(2):
        done = run_program(command, dict(platform.uv_variables))
        if not is_crash(done.returncode):
            break
    assert done.returncode == 0, done.stderr
    return set(done.stdout.decode().split())


def put(index: Path, *wheels: TinyWheel) -> None:
    """Write a page of the wheels of one name."""
    folder = index / wheels[0].name
    names = [wheel.write(folder).path.name for wheel in wheels]
    links = "".join(f'<a href="{each}">{each}</a>' for each in names)
    (folder / "index.html").write_text(f"<!DOCTYPE html><body>{links}</body>", encoding="utf-8")


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uv") / "index"
    root = TinyWheel(
        name="root",
        requires_dist=tuple(f"m{i} ; {each}" for i, each in enumerate(MARKERS)),
        extras=("x", "y"),
    )
    put(folder, root)
    for i in range(len(MARKERS)):
        put(folder, TinyWheel(name=f"m{i}"))
    for i, tags in enumerate(TAGS):
        put(folder, TinyWheel(name=f"t{i}"), TinyWheel(name=f"t{i}", version="2.0", tags=tags))
    return folder


@pytest.mark.skipif(UV is None, reason="there is no uv")
@pytest.mark.parametrize(("subdir", "virtual"), PLATFORMS)
def test_markers_and_tags_are_decided_as_by_uv(
    subdir: str, virtual: tuple[str, str], index: Path
) -> None:
    from packaging.utils import parse_wheel_filename

    from scripts.core.pep508 import marker_evaluator

    if subdir == "win-64" and UV is not None and uv_release(UV) < (0, 13, 6):
        pytest.skip("before 0.13.6 uv takes the machine of Windows for another")
    platform = python(subdir, virtual)
    holds = marker_evaluator(tuple(platform.markers.items()))
    for extras in ((), ("x",), ("x", "y")):
        root = f"root[{','.join(extras)}]" if extras else "root"
        theirs = {x for x in compile_with_uv(index, platform, root) if x.startswith("m")}
        ours = {
            f"m{i}==1.0"
            for i, each in enumerate(MARKERS)
            if any(holds(each, extra) for extra in ("", *extras))
        }
        assert ours == theirs
    asked = "\n".join(f"t{i}" for i in range(len(TAGS)))
    theirs = {x for x in compile_with_uv(index, platform, asked) if x.endswith("==2.0")}
    ours = {
        f"t{i}==2.0"
        for i, tags in enumerate(TAGS)
        if not platform.tags.isdisjoint(parse_wheel_filename(f"x-1-{tags}.whl")[3])
    }
    assert ours == theirs
