"""Others read the pages: pypi-simple as the Simple API, uv and pip to install from `index/`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.mirrors import Mirror, make_mirror
from tests.support.upstream import Upstream
from tests.support.uv import uv_release
from tests.support.wheels import BACKEND_FILES, PypiRow, TinySdist, TinyWheel

ROWS = (
    TinyWheel(name="Tiny.Pure", version="1!1.0+own.1", requires_dist=("tiny-sdist>=1",)),
    TinyWheel(name="Tiny.Pure", version="0.9"),
    TinySdist(name="tiny-sdist", build_requires=("tiny-backend>=1",)),
    TinyWheel(name="tiny-backend", files=BACKEND_FILES),
)


@pytest.fixture
def mirror(tmp_path: Path) -> Mirror:
    """A mirror of what one index has, and of a direct URL with a fragment."""
    made = make_mirror(tmp_path / "w")
    rows = [PypiRow(written=each.write(tmp_path)) for each in ROWS]
    direct = TinyWheel(name="tiny-direct").write(tmp_path)
    url = f"https://downloads.example.org/{direct.path.name}#sha256={direct.sha256}"
    made.lock([*rows, PypiRow(written=direct, index=None, url=url)])
    made.index()
    return made


@pytest.fixture(params=["file", "http"])
def index_url(mirror: Mirror, request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "file":
        yield (mirror.folder / "_pypi/index").as_uri()
        return
    with Upstream(mirror.folder) as server:
        yield f"{server.url}/_pypi/index"


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a program that is told of no index by the machine."""
    alone = {x: text for x, text in os.environ.items() if not x.startswith(("UV_", "PIP_"))}
    return subprocess.run(
        command, env=alone, capture_output=True, text=True, encoding="utf-8", check=False
    )


def install_with_uv(index_url: str, target: Path, *more: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which(
        "uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    )
    if program is None:
        pytest.skip("the program uv is not there")
    options = ("--no-config", "--no-cache", "--python", sys.executable, "--index-url", index_url)
    return run(program, "pip", "install", "--target", str(target), *options, *more)


def shown(page: Any) -> list[tuple[object, ...]]:
    """What HTML can say."""
    return [
        (
            each.filename,
            each.digests,
            each.requires_python,
            each.has_metadata,
            each.metadata_digests,
        )
        for each in page.packages
    ]


def test_pypi_simple_reads_both_views_alike(mirror: Mirror) -> None:
    why = "pypi-simple, an independent reader of such pages, is not installed"
    pypi_simple = pytest.importorskip("pypi_simple", reason=why)
    expected = {
        each.path.name: {"sha256": each.digest.hex}
        for each in mirror.selection.pypi_artifacts
        if each.digest and "#" not in each.path.name
    }
    views: list[dict[str, Any]] = []
    metadata: dict[str, bytes] = {}
    with Upstream(mirror.folder) as server:
        for view in ("index", "simple/pypi.example.org/simple"):
            with pypi_simple.PyPISimple(endpoint=f"{server.url}/_pypi/{view}/") as client:
                names = client.get_index_page().projects
                views.append({each: client.get_project_page(each) for each in names})
                packages = [x for page in views[0].values() for x in page.packages]
                # which compares them with their sha256
                metadata |= {
                    x.filename: client.get_package_metadata_bytes(x)
                    for x in packages
                    if x.has_metadata
                }
    index, simple = views
    assert list(index) == ["tiny-backend", "tiny-direct", "tiny-pure", "tiny-sdist"]
    assert index.keys() - simple.keys() == {"tiny-direct"}
    assert {x.filename: x.digests for page in index.values() for x in page.packages} == expected
    assert all(shown(index[name]) == shown(page) for name, page in simple.items())
    wheels = [each for each in ROWS if isinstance(each, TinyWheel)]
    wheels.append(TinyWheel(name="tiny-direct"))
    assert metadata == {each.file_name: each.metadata_text.encode() for each in wheels}
    for name, page in index.items():
        file = mirror.folder / "_pypi/index" / name / "index.v1_json"
        assert shown(
            pypi_simple.ProjectPage.from_json_data(json.loads(file.read_bytes()))
        ) == shown(page)


def test_uv_installs_from_it(index_url: str, tmp_path: Path) -> None:
    """The sdist is built with the backend that the same pages name."""
    result = install_with_uv(index_url, tmp_path / "there", "tiny.pure", "tiny-direct")
    assert result.returncode == 0, result.stderr
    names = {each.name for each in (tmp_path / "there").glob("*.dist-info")}
    assert {"tiny_pure-1!1.0+own.1.dist-info", "tiny_sdist-1.0.dist-info"} <= names
    assert "tiny_direct-1.0.dist-info" in names


def test_uv_takes_nothing_where_a_date_is_set(index_url: str, tmp_path: Path) -> None:
    """As docs/pypi.md says; the control is the test before."""
    options = ("--exclude-newer", "2099-01-01", "tiny-direct")
    result = install_with_uv(index_url, tmp_path / "there", *options)
    assert result.returncode == 1
    assert "there are no versions of tiny-direct" in result.stderr


def test_uv_takes_no_other_bytes(index_url: str, mirror: Mirror, tmp_path: Path) -> None:
    [wheel] = mirror.folder.rglob("tiny_direct-1.0-py3-none-any.whl")
    wheel.write_bytes(TinyWheel(name="tiny-direct", files=(("evil.py", b""),)).data)
    result = install_with_uv(index_url, tmp_path / "there", "tiny-direct")
    if uv_release(result.args[0]) < (0, 13, 0):
        pytest.skip("before 0.13 uv holds no file against the hash that its page has")
    assert result.returncode == 1
    assert "Hash mismatch" in result.stderr


def test_pip_downloads_from_it(index_url: str, tmp_path: Path) -> None:
    options = ("--no-cache-dir", "--isolated", "--no-deps", "--index-url", index_url)
    command = (sys.executable, "-m", "pip", "download", "-d", str(tmp_path / "there"), *options)
    if run(sys.executable, "-m", "pip", "--version").returncode:
        pytest.skip("pip is not in the environment of the tests")
    result = run(*command, "tiny.pure", "tiny-direct")
    assert result.returncode == 0, result.stderr
    assert sorted(each.name for each in (tmp_path / "there").iterdir()) == [
        "tiny_direct-1.0-py3-none-any.whl",
        "tiny_pure-1!1.0+own.1-py3-none-any.whl",
    ]
    assert run(*command, "tiny-pure==2").returncode == 1
