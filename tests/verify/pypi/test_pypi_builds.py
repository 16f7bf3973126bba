"""What an sdist is built with must be in the mirror, or nobody over there can install it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tasks import verify
from tests.support.locks import RawRow
from tests.support.mirrors import Mirror, make_mirror, rows
from tests.support.packages import TinyPackage
from tests.support.wheels import BACKEND_FILES, PypiRow, TinySdist, TinyWheel

PYTHON = TinyPackage(name="python", version="3.11.7", subdir="linux-64")
BACKEND = TinyWheel(name="tiny-backend", files=BACKEND_FILES)
POSIX = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are POSIX")
HELP = (
    "help: have tiny-backend locked: in a feature whose environment is mirrored, or beside it with"
    ' no-build-isolation = ["tiny-sdist"] under [pypi-options];'
    ' add "build-requires" to allow-incomplete under [tool.pixi-mirror], if nobody is to build it'
    " there\n"
)


@pytest.fixture
def mirror(tmp_path: Path) -> Mirror:
    return make_mirror(tmp_path / "w")


def check(mirror: Mirror, tmp_path: Path, *packages: TinyWheel | TinySdist | TinyPackage) -> int:
    """Lock and index these beside a Python; return the exit code of `verify`."""
    conda = [each for each in packages if isinstance(each, TinyPackage)]
    pypi = [each.write(tmp_path) for each in packages if not isinstance(each, TinyPackage)]
    some = [PypiRow(written=each) for each in pypi]
    mirror.lock([*some, *rows(tmp_path / "conda", (PYTHON, *conda))])
    mirror.index()
    return verify.main(["--manifest-path", str(mirror.root), "--level", "files", "-q"])


def sdist(*requires: str) -> TinySdist:
    return TinySdist(name="tiny-sdist", build_requires=requires)


def test_what_the_mirror_lacks_is_told(
    mirror: Mirror, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(mirror, tmp_path, sdist("tiny-backend>=1")) == 1
    [artifact] = mirror.selection.pypi_artifacts
    assert capsys.readouterr().err.endswith(
        "error: tiny-sdist 1.0: cannot be built over there: tiny-backend\n"
        "  requires  tiny-backend>=1\n"
        f"  from      {artifact.urls[0]}\n"
        "  used by   default/linux-64\n" + HELP
    )


def test_its_place_is_incomplete(
    mirror: Mirror, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On the screen, in the transfer report and in JSON alike."""
    assert check(mirror, tmp_path, sdist("tiny-backend")) == 1
    report = tmp_path / "report.md"
    where = ["--manifest-path", str(mirror.root), "--level", "files", "--report", str(report)]
    allowed = ["--allow-incomplete", "build-requires"]
    for options, code, cell, said in (
        ([], 1, "✗", "✓  incomplete ✗"),
        (allowed, 0, "✓", "✓"),  # the control
    ):
        capsys.readouterr()
        assert verify.main([*where, *options]) == code
        assert capsys.readouterr().out.splitlines()[0] == f"default  linux-64  files {said}"
        lines = report.read_text(encoding="utf-8").splitlines()
        (row,) = (line for line in lines if line.startswith("| default | linux-64 |"))
        assert row.endswith(f"{cell} |")
        assert verify.main([*where, *options, "--json"]) == code
        (told,) = json.loads(capsys.readouterr().out)["environments"]
        assert told["complete"] == (code == 0)


def test_it_may_be_allowed(mirror: Mirror, tmp_path: Path) -> None:
    assert check(mirror, tmp_path, sdist("tiny-backend")) == 1
    where = ["--manifest-path", str(mirror.root), "--level", "files", "-q"]
    assert verify.main([*where, "--allow-incomplete", "pypi"]) == 1
    assert verify.main([*where, "--allow-incomplete", "build-requires"]) == 0


def test_without_a_build_system_it_is_setuptools(
    mirror: Mirror, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(mirror, tmp_path, TinySdist(name="tiny-sdist", build_requires=None)) == 1
    assert "requires  setuptools>=40.8.0\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("requires", "backend", "code"),
    [
        ("tiny-backend>=1", BACKEND, 0),
        ("Tiny_Backend", BACKEND, 0),
        ("tiny-backend>=2", BACKEND, 1),
        ("nothing ; sys_platform == 'win32'", BACKEND, 0),
        ("nothing ; python_version == '3.11'", BACKEND, 1),
        ("tiny-backend", TinyWheel(name="tiny-backend", tags="cp311-cp311-win_amd64"), 1),
    ],
)
def test_it_is_met_as_a_build_there_would(
    mirror: Mirror, tmp_path: Path, requires: str, backend: TinyWheel, code: int
) -> None:
    assert check(mirror, tmp_path, sdist(requires), backend) == code


@pytest.mark.parametrize(("option", "code"), [('["Tiny.Sdist"]', 0), ('["other"]', 1), ("true", 0)])
def test_without_isolation_what_is_in_the_environment_counts(
    mirror: Mirror, tmp_path: Path, option: str, code: int
) -> None:
    manifest = mirror.root / "pixi.toml"
    text = manifest.read_text(encoding="utf-8")
    text += f"\n[pypi-options]\nno-build-isolation = {option}\n"
    manifest.write_text(text, encoding="utf-8")
    conda = TinyPackage(name="backend", purls=("pkg:pypi/tiny-backend",))
    assert check(mirror, tmp_path, sdist("tiny-backend"), conda) == code


def test_with_exclude_newer_pixi_finds_nothing_on_pages(
    mirror: Mirror, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Which say no upload times; the controls are without it, and what is built in place."""
    manifest = mirror.root / "pixi.toml"
    text = manifest.read_text(encoding="utf-8")
    assert check(mirror, tmp_path, sdist("tiny-backend"), BACKEND) == 0
    dated = text.replace("[workspace]\n", '[workspace]\nexclude-newer = "2099-01-01"\n')
    manifest.write_text(dated, encoding="utf-8")
    capsys.readouterr()
    where = ["--manifest-path", str(mirror.root), "--level", "files", "-q"]
    assert verify.main(where) == 1
    advice = HELP.replace(": in a feature whose environment is mirrored, or beside", " beside")
    assert capsys.readouterr().err.endswith(
        "  passed over  pages without upload times, by `exclude-newer` of the manifest\n"
        "  used by      default/linux-64\n" + advice
    )
    options = '\n[pypi-options]\nno-build-isolation = ["tiny-sdist"]\n'
    manifest.write_text(dated + options, encoding="utf-8")
    assert verify.main(where) == 0


@pytest.mark.parametrize(("option", "code"), [('["tiny-sdist"]', 0), ('["other"]', 1)])
def test_of_another_lock_the_manifest_beside_it_says_so(
    mirror: Mirror, tmp_path: Path, option: str, code: int
) -> None:
    """Its features are none of this workspace's."""
    manifest, lock, other = (mirror.root / x for x in ("pixi.toml", "pixi.lock", "other"))
    own = manifest.read_text(encoding="utf-8")
    text = own.replace("[dependencies]", "[feature.more.dependencies]")
    text += f"\n[feature.more.pypi-options]\nno-build-isolation = {option}\n"
    text += '\n[environments]\ndefault = ["more"]\n'
    manifest.write_text(text, encoding="utf-8")
    conda = TinyPackage(name="backend", purls=("pkg:pypi/tiny-backend",))
    assert check(mirror, tmp_path, sdist("tiny-backend"), conda) == code
    other.mkdir()
    for each in (manifest, lock):
        each.rename(other / each.name)
    locks = "[tool.pixi-mirror]\nlocks = ['other/pixi.lock']"
    manifest.write_text(own.replace("[tool.pixi-mirror]", locks), encoding="utf-8")
    assert verify.main(["--manifest-path", str(manifest), "--level", "files", "-q"]) == code


@pytest.mark.parametrize(
    ("pyproject", "locked", "needs"),
    [
        ('[build-system]\nrequires = ["tiny-backend>=1"]', (), "tiny-backend"),
        ('[build-system]\nrequires = ["tiny-backend>=1"]', (BACKEND,), None),
        ('[build-system]\nrequires = ["tiny-backend>=2"]', (BACKEND,), "tiny-backend"),
        ("[project]", (BACKEND,), "setuptools"),
        ("[build-system]\nrequires = []", (), None),
        ("[", (), None),  # pixi itself reads that before it installs anything
        (None, (), None),  # not on this machine
        pytest.param("a pipe", (), None, marks=POSIX),
    ],
)
def test_what_a_folder_of_the_project_is_built_with_is_told(
    mirror: Mirror,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    *,
    pyproject: str | None,
    locked: tuple[TinyWheel, ...],
    needs: str | None,
) -> None:
    """It is no finding, as it is not mirrored; pixi builds it over there all the same."""
    if pyproject == "a pipe":
        os.mkfifo(mirror.root / "app")
    elif pyproject is not None:
        (mirror.root / "app").mkdir()
        (mirror.root / "app" / "pyproject.toml").write_text(pyproject, encoding="utf-8")
    project = RawRow(key="pypi", location="./app", lines=("name: my-app",))
    some = [PypiRow(written=each.write(tmp_path)) for each in locked]
    mirror.lock([project, *some, *rows(tmp_path / "conda", (PYTHON,))])
    mirror.index()
    where = ["--manifest-path", str(mirror.root), "--level", "files"]
    said = "part of the project, and cannot be built over there: default/linux-64; my-app needs "
    capsys.readouterr()
    assert verify.main(where) == 0
    found = [x for x in capsys.readouterr().out.splitlines() if x.startswith("part of the project")]
    assert found == ([said + needs] if needs else [])
    for allowed in (["--allow-incomplete", "build-requires"], ["--no-pypi"]):
        verify.main([*where, *allowed])
        assert said not in capsys.readouterr().out


OWN, OTHER = "https://pypi.example.org/simple", "https://other.example.org/simple"
LINKS = "https://links.example.org/p"


def in_two_locks(mirror: Mirror, tmp_path: Path, backend: PypiRow, replaced: str) -> None:
    """Lock an sdist of `OTHER` in `other`, what builds it here; `replaced`: the `indexes` there."""
    manifest, lock, other = (mirror.root / x for x in ("pixi.toml", "pixi.lock", "other"))
    python = rows(tmp_path / "conda", (PYTHON,))
    mirror.lock([PypiRow(written=sdist("tiny-backend>=1").write(tmp_path), index=OTHER), *python])
    text = lock.read_text(encoding="utf-8")
    assert f"    indexes:\n    - {OTHER}\n" in text
    other.mkdir()
    (other / "pixi.lock").write_text(
        text.replace(f"    indexes:\n    - {OTHER}\n", replaced), encoding="utf-8"
    )
    own = manifest.read_text(encoding="utf-8")
    (other / "pixi.toml").write_text(own.replace("mirrored", "other"), encoding="utf-8")
    locks = "[tool.pixi-mirror]\nlocks = ['other/pixi.lock']"
    manifest.write_text(own.replace("[tool.pixi-mirror]", locks), encoding="utf-8")
    mirror.lock([backend, *python])
    mirror.index()


@pytest.mark.parametrize(
    ("replaced", "index", "code"),
    [
        (f"    indexes:\n    - {OTHER}\n", OTHER, 0),
        (f"    indexes:\n    - {OTHER}\n", OWN, 1),
        (f"    indexes:\n    - {OTHER}/\n    - https://me:word@pypi.example.org/simple\n", OWN, 0),
        # What a single row names is not asked.
        (f"    indexes:\n    - {OWN}\n", OTHER, 1),
        # Without any, pixi has one of its own.
        ("", "https://pypi.org/simple", 0),
        ("", OTHER, 1),
        (f"    indexes:\n    - {OTHER}\n    find-links:\n    - url: {LINKS}/\n", f"{LINKS}/", 0),
        (f"    indexes:\n    - {OTHER}\n    find-links:\n    - path: ./p\n", f"{LINKS}/", 1),
        # A direct URL is of no index.
        (f"    indexes:\n    - {OTHER}\n", None, 1),
    ],
)
def test_what_is_of_another_index_builds_nothing(
    mirror: Mirror, tmp_path: Path, replaced: str, index: str | None, code: int
) -> None:
    """Seen from one lock alone as from all: then the other's are what the channel has besides."""
    written = BACKEND.write(tmp_path)
    plain = f"{LINKS}/{written.path.name}"
    url = plain if index in {f"{LINKS}/", None} else None
    digest = "" if index else f"#sha256={written.sha256}"
    row = PypiRow(written=written, index=index, url=url and url + digest)
    in_two_locks(mirror, tmp_path, row, replaced)
    where = ["--manifest-path", str(mirror.root), "--level", "files", "-q"]
    assert verify.main(where) == code
    assert verify.main([*where, "--only", "other"]) == code


def test_it_is_said_which_index_has_it(
    mirror: Mirror, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = f"    indexes:\n    - {OTHER}\n"
    in_two_locks(mirror, tmp_path, PypiRow(written=BACKEND.write(tmp_path), index=OWN), asked)
    assert verify.main(["--manifest-path", str(mirror.root), "--level", "files", "-q"]) == 1
    [source] = (x for x in mirror.selection.pypi_artifacts if x.path.name.endswith(".tar.gz"))
    assert capsys.readouterr().err.endswith(
        "error: tiny-sdist 1.0: cannot be built over there: tiny-backend\n"
        "  requires   tiny-backend>=1\n"
        f"  from       {source.urls[0]}\n"
        f"  elsewhere  tiny_backend-1.0-py3-none-any.whl of {OWN}\n"
        "  used by    other:default/linux-64\n" + HELP.replace("locked:", f"locked from {OTHER}:")
    )


def test_without_isolation_no_index_has_it(
    mirror: Mirror, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It must be in the environment: that another index has it, or the same, is no help."""
    asked = f"    indexes:\n    - {OTHER}\n"
    in_two_locks(mirror, tmp_path, PypiRow(written=BACKEND.write(tmp_path), index=OWN), asked)
    manifest = mirror.root / "other" / "pixi.toml"
    text = manifest.read_text(encoding="utf-8")
    manifest.write_text(f"{text}\n[pypi-options]\nno-build-isolation = true\n", encoding="utf-8")
    assert verify.main(["--manifest-path", str(mirror.root), "--level", "files", "-q"]) == 1
    error = capsys.readouterr().err
    assert "cannot be built over there: tiny-backend\n" in error
    assert "elsewhere" not in error
    assert error.endswith(HELP)


def test_one_file_of_two_indexes_counts_for_both(mirror: Mirror, tmp_path: Path) -> None:
    """Kept from before, too: the pages still name it, until it is removed."""
    written, python = BACKEND.write(tmp_path), rows(tmp_path / "conda", (PYTHON,))
    in_two_locks(
        mirror,
        tmp_path,
        PypiRow(written=written, index=OWN),
        f"    indexes:\n    - {OTHER}\n",
    )
    where = ["--manifest-path", str(mirror.root), "--level", "files", "-q"]
    assert verify.main(where) == 1
    other = mirror.root / "more"
    other.mkdir()
    mirror.lock([PypiRow(written=written, index=OTHER), *python])
    (mirror.root / "pixi.lock").rename(other / "pixi.lock")
    mirror.lock([PypiRow(written=written, index=OWN), *python])
    manifest = mirror.root / "pixi.toml"
    text = manifest.read_text(encoding="utf-8")
    text = text.replace("'other/pixi.lock'", "'other/pixi.lock', 'more/pixi.lock'")
    manifest.write_text(text, encoding="utf-8")
    mirror.index()
    assert verify.main(where) == 0
    assert verify.main([*where, "--only", "other"]) == 0
