"""A mirror with the running Python as a conda package, and wheels and sdists beside it.

For this machine and two others, with a row of every kind that is mirrored, and the project itself.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import pytest

from tests.support.locks import EnvironmentRows, LockRow, PlatformRows, RawRow, write_lock
from tests.support.mirrors import CHANNEL, Mirror, make_mirror
from tests.support.packages import TinyPackage, WrittenPackage
from tests.support.standin import python_stand_in, this_subdir
from tests.support.verified import World
from tests.support.wheels import BACKEND_FILES, PypiRow, TinySdist, TinyWheel

INDEX: Final = "https://pypi.example.org/simple"
OTHER_INDEX: Final = "https://other.example.org/simple"
PYTHON: Final = f"{sys.version_info[0]}.{sys.version_info[1]}"
FAR: Final = ("osx-arm64", "win-64")
_TAG: Final = f"cp{sys.version_info[0]}{sys.version_info[1]}"
_NATIVE: Final = {
    "linux-64": "manylinux_2_17_x86_64.manylinux2014_x86_64",
    "osx-arm64": "macosx_13_0_arm64",
    "win-64": "win_amd64",
}
DIRECT: Final = "https://downloads.example.org/dl/"
_PROJECT: Final = RawRow(key="pypi", location="./", lines=("name: project",))


def wheels() -> dict[str, TinyWheel | TinySdist]:
    """Every wheel and sdist but the native ones, by a short name."""
    return {
        "pure": TinyWheel(
            name="Tiny.Pure",
            version="1.1+own.1",
            files=(
                ("tiny_pure.py", b"WORD = 'pure'\n"),
                ("tiny_pure-1.1+own.1.data/scripts/tiny-pure", b"#!python\nprint('pure')\n"),
                ("tiny_pure-1.1+own.1.data/data/share/tiny/words.txt", b"words\n"),
            ),
        ),
        "elsewhere": TinyWheel(name="tiny-elsewhere"),
        "direct": TinyWheel(name="tiny-direct"),
        "path": TinyWheel(name="tiny-path"),
        "backend": TinyWheel(name="tiny-backend", files=BACKEND_FILES),
        "sdist": TinySdist(name="tiny-sdist", build_requires=("tiny-backend>=1",)),
        "native": TinyWheel(name="tiny-native", tags=f"{_TAG}-{_TAG}-{_NATIVE['linux-64']}"),
    }


def pypi_rows(upstream: Path, subdir: str) -> dict[str, PypiRow]:
    """Write them to a folder that stands for upstream; return the rows of a platform's lock."""
    written = {name: each.write(upstream) for name, each in wheels().items()}
    tags = f"{_TAG}-{_TAG}-{_NATIVE[subdir]}" if subdir in _NATIVE else "py3-none-any"
    written["native"] = TinyWheel(name="tiny-native", tags=tags).write(upstream)
    direct = written["direct"]
    special = {
        "elsewhere": PypiRow(
            written=written["elsewhere"],
            index=OTHER_INDEX,
            url="https://other.example.org/files/tiny_elsewhere-1.0-py3-none-any.whl",
        ),
        "direct": PypiRow(
            written=direct,
            index=None,
            url=f"{DIRECT}{direct.path.name}#sha256={direct.sha256}",
        ),
        "path": PypiRow(
            written=written["path"], index=None, url=f"./wheels/{written['path'].path.name}"
        ),
    }
    return {name: PypiRow(written=each, index=INDEX) for name, each in written.items()} | special


@dataclass(frozen=True)
class PypiWorld(World):
    """A copy of the mirror that a test may damage; `platforms` are this machine's and others'."""

    platforms: tuple[str, ...]

    def path(self, name: str, subdir: str | None = None) -> str:
        """Where the mirror has the file of a row, by its short name."""
        row = pypi_rows(self.upstream, subdir or self.platforms[0])[name]
        plain = row.file_url.partition("#")[0].removeprefix("./")
        host, mark, rest = plain.partition("://")[2].partition("/")
        return f"_pypi/files/{host if mark else 'local'}/{rest if mark else plain}"


def _lock(root: Path, upstream: Path, platforms: tuple[str, ...], python: WrittenPackage) -> None:
    rows: dict[str, tuple[LockRow | RawRow | PypiRow, ...]] = {}
    for subdir in platforms:
        package = python
        if subdir != platforms[0]:
            empty = TinyPackage(name="python", version=python.package.version, subdir=subdir)
            package = empty.write(upstream)
        conda = LockRow(written=package, channel=CHANNEL)
        rows[subdir] = (conda, *pypi_rows(upstream, subdir).values(), _PROJECT)
    places = tuple(PlatformRows(name=name, rows=some) for name, some in rows.items())
    alike = PlatformRows(name=FAR[1], rows=rows[FAR[1]])
    of_all = EnvironmentRows(platforms=places, indexes=(INDEX,))
    write_lock(root / "pixi.lock", (of_all, replace(of_all, name="twin", platforms=(alike,))))


def _manifest(platforms: tuple[str, ...]) -> str:
    direct = wheels()["direct"]
    sha256 = hashlib.sha256(direct.data).hexdigest()
    names = ("tiny-pure", "tiny-backend", "tiny-sdist", "tiny-native")
    return (
        '[workspace]\nname = "w"\nchannels = ["conda-forge"]\n'
        f"platforms = {list(platforms)}\n\n"
        '[dependencies]\npython = "*"\n\n'
        f'[pypi-options]\nindex-url = "{INDEX}"\n\n'
        "[pypi-dependencies]\n"
        + "".join(f'{name} = "*"\n' for name in names)
        + f'tiny-elsewhere = {{ version = "*", index = "{OTHER_INDEX}" }}\n'
        f'tiny-direct = {{ url = "{DIRECT}{direct.file_name}#sha256={sha256}" }}\n'
        'tiny-path = { path = "wheels/tiny_path-1.0-py3-none-any.whl" }\n'
        'project = { path = ".", editable = true }\n\n'
        f'[feature.twin]\nplatforms = ["{FAR[1]}"]\n\n'
        "[environments]\n"
        'twin = { features = ["twin"] }\n'
    )


@pytest.fixture(scope="session")
def made_with_pypi(tmp_path_factory: pytest.TempPathFactory) -> PypiWorld:
    """The mirror, made once."""
    subdir = this_subdir()
    if subdir is None:
        pytest.skip("the stand-in for conda's python is made of POSIX links")
    platforms = (subdir, *(each for each in FAR if each != subdir))
    root = tmp_path_factory.mktemp("with-pypi")
    upstream, mirror = root / "upstream", make_mirror(root / "workspace")
    python = python_stand_in(upstream, subdir)
    (mirror.root / "pixi.toml").write_text(_manifest(platforms), encoding="utf-8")
    pyproject = '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n\n'
    pyproject += '[project]\nname = "project"\nversion = "0.1"\n'
    (mirror.root / "pyproject.toml").write_text(pyproject, encoding="utf-8")
    _lock(mirror.root, upstream, platforms, python)
    wheel = upstream / "tiny_path-1.0-py3-none-any.whl"
    (mirror.root / "wheels").mkdir()
    shutil.copyfile(wheel, mirror.root / "wheels" / wheel.name)
    world = PypiWorld(mirror=mirror, upstream=upstream, platforms=platforms)
    _fill(world)
    return world


def _fill(world: PypiWorld) -> None:
    """Put each artifact of the lock where it belongs, and index them."""
    for artifact in world.mirror.selection.artifacts:
        target = world.folder / artifact.path
        target.parent.mkdir(parents=True, exist_ok=True)
        places = (artifact.path, artifact.path.name.partition("#")[0])
        source = next(x for x in (world.upstream / y for y in places) if x.is_file())
        shutil.copyfile(source, target)
    world.mirror.index()


def relock(
    world: PypiWorld,
    *rows: RawRow | PypiRow,
    far: str | None = None,
    depends: tuple[str, ...] = (),
) -> None:
    """Lock python and these for this machine alone, or for a far one, and mirror them.

    `depends` is what a far python depends on.
    """
    subdir = world.platforms[0]
    python = TinyPackage(name="python", version="3.11.7", depends=depends)
    written = python_stand_in(world.upstream, subdir)
    if far is not None:
        subdir, written = far, replace(python, subdir=far).write(world.upstream)
    conda = LockRow(written=written, channel=CHANNEL)
    place = PlatformRows(name=subdir, rows=(conda, *rows))
    write_lock(world.mirror.root / "pixi.lock", (EnvironmentRows(platforms=(place,)),))
    _fill(world)


@pytest.fixture
def pypi_world(made_with_pypi: PypiWorld, tmp_path: Path) -> PypiWorld:
    """A copy of the mirror."""
    root = tmp_path / "workspace"
    shutil.copytree(made_with_pypi.mirror.root, root)
    return PypiWorld(
        mirror=Mirror(root=root, layout="flat"),
        upstream=made_with_pypi.upstream,
        platforms=made_with_pypi.platforms,
    )
