"""A stand-in for conda-forge, made of what runs this very test, so that pixi can run the tasks.

    build_stand_in(folder)  # then serve `folder`; conda-forge is in it

Its packages for this machine are links: `python` is a virtual environment of the running
Python, every other one leads to that distribution of the running environment. So they install
in no time and really run. For the other platforms there are empty packages of the same names,
versions and builds, which is all that a lock needs. `rattler-index` has its program where the
running environment has one, and else is empty: the task `index` then uses py-rattler's. The
payload, `pandas` and `pip`, are text files.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import shutil
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import Distribution, distribution, distributions
from pathlib import Path
from typing import Final

import pytest

from scripts.core.rattler_child import call_rattler
from tests.support import archives
from tests.support.archives import Member
from tests.support.packages import TinyPackage, WrittenPackage
from tests.support.pixi import Pixi, find_pixi
from tests.support.template import ROOT
from tests.support.upstream import Upstream

CHANNEL: Final = "conda-forge"
SUBDIRS: Final = ("linux-64", "linux-aarch64", "osx-64", "osx-arm64", "win-64")

# What a package of conda-forge is called on PyPI, where that differs; None: it is not there.
_ON_PYPI: Final = {"msgpack-python": "msgpack", "python": None, "rattler-index": None}
_SYSTEMS: Final = {"Linux": "linux", "Darwin": "osx"}
_MACHINES: Final = {"x86_64": "64", "aarch64": "aarch64", "arm64": "arm64"}
_SITE_PACKAGES: Final = f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
_BUILD: Final = "standin_0"
# What nobody asked for by name, yet the others need.
_REST: Final = "stand-in-rest"


def payload(subdirs: Sequence[str], *names: str) -> set[str]:
    """Return the artifacts of these names and versions in these subdirs, with pip and its python.

    Without a python, micromamba refuses a pip.
    """
    python = f"python-{platform.python_version()}-{_BUILD}.conda"
    own = {f"{subdir}/{name}-0.conda" for subdir in subdirs for name in names}
    return {*own, "noarch/pip-1.0-0.conda", *(f"{subdir}/{python}" for subdir in subdirs)}


def this_subdir() -> str | None:
    """Return the subdir of this machine; None where the stand-in cannot be made for it."""
    subdir = f"{_SYSTEMS.get(platform.system())}-{_MACHINES.get(platform.machine())}"
    return subdir if subdir in SUBDIRS else None


def pixi_with_stand_in(upstream: Upstream, home: Path) -> Pixi:
    """Build the stand-in upstream, and find a pixi for which it is conda-forge.

    Skips the test where it cannot be built.
    """
    subdir = this_subdir()
    if subdir is None:
        pytest.skip(
            "the stand-in for conda-forge is made of POSIX links, for the template's subdirs"
        )
    build_stand_in(upstream.folder, subdir)
    return led_to(upstream, home)


def led_to(upstream: Upstream, home: Path) -> Pixi:
    """Find a pixi with this home, for which the upstream stands in for anaconda.org."""
    pixi = find_pixi(home)
    pixi.configure(f'[mirrors]\n"https://conda.anaconda.org" = ["{upstream.url}"]\n')
    return pixi


def build_stand_in(folder: Path, subdir: str) -> None:
    """Write and index `<folder>/conda-forge` with all that the template's manifest asks for."""
    channel = folder / CHANNEL
    features = tomllib.loads((ROOT / "pixi.toml").read_text(encoding="utf-8"))["feature"]
    names = {*features["tools"]["dependencies"], *features["test"]["dependencies"]}
    of_pypi = {name: _ON_PYPI.get(name, name) for name in names}
    wanted = {name: distribution(each) for name, each in of_pypi.items() if each is not None}
    packages = [_python(), _rattler_index(), _rest(list(wanted.values()))]
    packages += [_tool(name, each) for name, each in wanted.items()]
    for package in packages:
        package.write(channel, subdir)
    for other in SUBDIRS:
        TinyPackage(name="pandas", version="3.0.0", subdir=other).write(channel)
    TinyPackage(name="pip", depends=("python",)).write(channel)
    index(folder)


def python_stand_in(channel: Path, subdir: str) -> WrittenPackage:
    """Write python alone into the folder of a channel; return what a lock says of it."""
    python = _python()
    python.write(channel, subdir)
    package = TinyPackage(name=python.name, version=python.version, build=_BUILD, subdir=subdir)
    path = channel / subdir / package.file_name
    data = path.read_bytes()
    return WrittenPackage(
        path=path,
        sha256=hashlib.sha256(data).hexdigest(),
        md5=hashlib.md5(data, usedforsecurity=False).hexdigest(),
        size=len(data),
        package=package,
    )


def index(folder: Path) -> None:
    """Index `<folder>/conda-forge` as it now is."""
    call_rattler("index", {"folder": str(folder / CHANNEL)})


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkPackage:
    """A package of links: paths in the prefix, and what they lead to; and of small text files."""

    name: str
    version: str
    links: Mapping[str, Path]
    depends: tuple[str, ...] = ()
    texts: Mapping[str, str] = field(default_factory=dict)

    def write(self, channel: Path, subdir: str) -> None:
        """Write the artifact for `subdir`, and empty ones of the same name for the others."""
        for each in SUBDIRS:
            shell = TinyPackage(
                name=self.name,
                version=self.version,
                build=_BUILD,
                subdir=each,
                depends=self.depends,
                files=(),
            )
            path = shell.write(channel).path
            if each == subdir:
                path.write_bytes(self._data(shell))

    def _data(self, shell: TinyPackage) -> bytes:
        files = "".join(f"{path}\n" for path in (*self.links, *self.texts))
        info = (
            Member("info/index.json", json.dumps(shell.index_json()).encode()),
            Member("info/about.json", b"{}"),
            Member("info/files", files.encode()),
        )
        return archives.stored_zip(
            (
                Member("metadata.json", b'{"conda_pkg_format_version": 2}'),
                Member(f"pkg-{shell.distribution}.tar.zst", archives.zstd(self._payload())),
                Member(f"info-{shell.distribution}.tar.zst", archives.zstd(archives.tar(info))),
            )
        )

    def _payload(self) -> bytes:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for path, target in self.links.items():
                link = tarfile.TarInfo(path)
                link.type, link.linkname = tarfile.SYMTYPE, str(target)
                tar.addfile(link)
            for path, text in self.texts.items():
                file = tarfile.TarInfo(path)
                file.size = len(text.encode())
                tar.addfile(file, io.BytesIO(text.encode()))
        return buffer.getvalue()


def _python() -> LinkPackage:
    """A prefix with a pyvenv.cfg is a virtual environment of the Python that it names."""
    base = Path(sys._base_executable)  # type: ignore[attr-defined]
    names = ("python", "python3", f"python{sys.version_info[0]}.{sys.version_info[1]}")
    return LinkPackage(
        name="python",
        version=platform.python_version(),
        links={f"bin/{name}": base for name in names},
        texts={"pyvenv.cfg": f"home = {base.parent}\ninclude-system-site-packages = false\n"},
    )


def _rattler_index() -> LinkPackage:
    """The program where there is one; else an empty package, and py-rattler has to do its work."""
    program = shutil.which("rattler-index")
    if program is None:
        return LinkPackage(name="rattler-index", version="0.27.0", links={})
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    return LinkPackage(
        name="rattler-index",
        version=said.stdout.split()[-1],
        links={"bin/rattler-index": Path(program)},
    )


def _tool(name: str, source: Distribution) -> LinkPackage:
    return LinkPackage(
        name=name, version=source.version, depends=("python", _REST), links=_links(source)
    )


def _rest(wanted: Sequence[Distribution]) -> LinkPackage:
    asked_for = {each.metadata["Name"] for each in wanted}
    links: dict[str, Path] = {}
    for each in distributions():
        if each.metadata["Name"] not in asked_for:
            links |= _links(each)
    return LinkPackage(name=_REST, version="1.0", links=links)


def _links(source: Distribution) -> dict[str, Path]:
    """Link what a distribution has in site-packages by its folders, and its programs one by one."""
    links: dict[str, Path] = {}
    for file in source.files or ():
        top = file.parts[0]
        if top == "..":
            if file.parts[-2] == "bin":
                links[f"bin/{file.name}"] = Path(str(source.locate_file(file))).resolve()
        elif top not in {"__pycache__", ""}:
            links[f"{_SITE_PACKAGES}/{top}"] = Path(str(source.locate_file(top)))
    return links
