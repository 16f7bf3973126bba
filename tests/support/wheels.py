r"""Tiny real wheels and sdists, byte for byte the same on every machine, and the way to upstream.

    pure = TinyWheel(name="Tiny.Pure", requires_dist=("tiny-other>=1",)).write(folder)
    row = PypiRow(written=pure, index="https://pypi.example.org/simple")
    write_upstream(tmp_path / "upstream", (row,))      # files and pages, by host
    write_lock(path, (EnvironmentRows(platforms=(PlatformRows(name="linux-64", rows=(row,)),)),))

They install with pip, uv and pixi. An sdist builds without any backend where `build_requires` is
empty; else it needs `TinyWheel(name="tiny-backend", files=BACKEND_FILES)`.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit

from packaging.utils import canonicalize_name

from tests.support import archives
from tests.support.archives import Member

# A build backend (PEP 517) that packs what the sdist has besides its own files.
BACKEND: Final = """\
import base64, hashlib, os, pathlib, zipfile

def _line(name, data):
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return f"{name},sha256={digest},{len(data)}\\n"

def build_wheel(folder, config_settings=None, metadata_directory=None):
    metadata = pathlib.Path("PKG-INFO").read_bytes()
    fields = dict(l.split(": ", 1) for l in metadata.decode().splitlines() if ": " in l)
    name = fields["Name"].lower().replace("-", "_").replace(".", "_")
    info = f"{name}-{fields['Version']}.dist-info"
    wheel = b"Wheel-Version: 1.0\\nGenerator: tiny\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
    own = {"PKG-INFO", "pyproject.toml", "tiny_backend.py"}
    files = {str(p.as_posix()): p.read_bytes() for p in sorted(pathlib.Path(".").rglob("*.py"))}
    files = {path: data for path, data in files.items() if path not in own}
    files |= {f"{info}/METADATA": metadata, f"{info}/WHEEL": wheel}
    record = "".join(map(_line, files, files.values())) + f"{info}/RECORD,,\\n"
    files[f"{info}/RECORD"] = record.encode()
    made = f"{name}-{fields['Version']}-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(folder, made), "w") as archive:
        for path, data in files.items():
            archive.writestr(zipfile.ZipInfo(path, (2026, 1, 1, 0, 0, 0)), data)
    return made

def get_requires_for_build_wheel(config_settings=None):
    return []
"""
# How it was packed, and on which system, as gzip's header has it: Pythons differ (RFC 1952, 2.3.1).
_GZIP_SYSTEM: Final = b"\4\3"
BACKEND_FILES: Final = (("tiny_backend.py", BACKEND.encode()),)


@dataclass(frozen=True, kw_only=True)
class TinyWheel:
    """A wheel to be written.

    `name` as METADATA has it; the file name has it normalised, with `_`. `tags` are compressed
    as a file name has them: `cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64`. `files`
    None: one module named after it, with its version. `metadata` and `record` replace those
    files' bytes, `license` is a License-Expression: for what is wrong, or more, than usual.
    """

    name: str
    version: str = "1.0"
    tags: str = "py3-none-any"
    build: str | None = None
    requires_dist: tuple[str, ...] = ()
    requires_python: str | None = ">=3.8"
    extras: tuple[str, ...] = ()
    license: str | None = None
    files: tuple[tuple[str, bytes], ...] | None = None
    metadata: bytes | None = None
    record: bytes | None = None

    @property
    def distribution(self) -> str:
        """The beginning of its file name, and of its `.dist-info` folder."""
        return f"{_module(self.name)}-{self.version}"

    @property
    def file_name(self) -> str:
        """The wheel's file name."""
        build = f"-{self.build}" if self.build else ""
        return f"{self.distribution}{build}-{self.tags}.whl"

    @property
    def metadata_text(self) -> str:
        """What METADATA says, where it is not replaced."""
        return _metadata(self)

    @cached_property
    def data(self) -> bytes:
        """The bytes of the wheel."""
        info = f"{self.distribution}.dist-info"
        module = f"__version__ = {self.version!r}\n".encode()
        files = dict(((f"{_module(self.name)}.py", module),) if self.files is None else self.files)
        metadata = self.metadata_text.encode() if self.metadata is None else self.metadata
        files |= {f"{info}/METADATA": metadata, f"{info}/WHEEL": self._wheel().encode()}
        record = "".join(_record_line(*each) for each in files.items()) + f"{info}/RECORD,,\n"
        files[f"{info}/RECORD"] = record.encode() if self.record is None else self.record
        return archives.stored_zip([Member(*each) for each in files.items()])

    def write(self, folder: Path) -> WrittenDistribution:
        """Write the wheel into the folder, replacing what is there."""
        return _write(self, folder)

    def _wheel(self) -> str:
        pythons, abis, platforms = (each.split(".") for each in self.tags.split("-"))
        tags = (f"Tag: {p}-{a}-{x}\n" for p in pythons for a in abis for x in platforms)
        pure = "true" if platforms == ["any"] else "false"
        head = f"Wheel-Version: 1.0\nGenerator: tiny\nRoot-Is-Purelib: {pure}\n"
        return head + "".join(tags)


@dataclass(frozen=True, kw_only=True)
class TinySdist:
    """An sdist (`.tar.gz`) to be written.

    `build_requires` are those of `[build-system]`: empty, it is built by what is in it; with
    `tiny-backend` among them, by that wheel; None, it has no pyproject.toml at all.
    """

    name: str
    version: str = "1.0"
    build_requires: tuple[str, ...] | None = ()
    requires_dist: tuple[str, ...] = ()
    requires_python: str | None = ">=3.8"
    extras: tuple[str, ...] = ()
    license: str | None = None

    @property
    def distribution(self) -> str:
        """The file name without its extension, and the folder in it."""
        return f"{_module(self.name)}-{self.version}"

    @property
    def file_name(self) -> str:
        """The sdist's file name."""
        return f"{self.distribution}.tar.gz"

    @cached_property
    def data(self) -> bytes:
        """The bytes of the sdist."""
        module = f"__version__ = {self.version!r}\n".encode()
        files = {"PKG-INFO": _metadata(self).encode(), f"{_module(self.name)}.py": module}
        if self.build_requires is not None:
            quoted = ", ".join(f'"{each}"' for each in self.build_requires)
            lines = ["[build-system]", f"requires = [{quoted}]", 'build-backend = "tiny_backend"']
            if not self.build_requires:
                lines.append('backend-path = ["."]')
                files |= dict(BACKEND_FILES)
            project = f'[project]\nname = "{self.name}"\nversion = "{self.version}"\n'
            if self.requires_python:
                project += f'requires-python = "{self.requires_python}"\n'
            project += f"dependencies = {list(self.requires_dist)}\n"
            files["pyproject.toml"] = ("\n".join(lines) + "\n\n" + project).encode()
        members = [Member(f"{self.distribution}/{path}", data) for path, data in files.items()]
        data = gzip.compress(archives.tar(members), 0, mtime=0)
        return data[:8] + _GZIP_SYSTEM + data[10:]

    def write(self, folder: Path) -> WrittenDistribution:
        """Write the sdist into the folder, replacing what is there."""
        return _write(self, folder)


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenDistribution:
    """A wheel or sdist on disk, with the sha256 (hex) and the size (bytes)."""

    path: Path
    sha256: str
    size: int
    package: TinyWheel | TinySdist


@dataclass(frozen=True, slots=True, kw_only=True)
class PypiRow:
    """One wheel or sdist as a lock names it, and as upstream has it.

    `index` None: a row of a direct URL or a path. `url` None: `https://files.example.org/packages/`
    and the sha256 in three, as PyPI has it. `without` are keys that this row lacks (`sha256`,
    `index`, …); `requires_dist` None: the package's own.
    """

    written: WrittenDistribution
    index: str | None = "https://pypi.example.org/simple"
    url: str | None = None
    requires_dist: tuple[str, ...] | None = None
    without: frozenset[str] = frozenset()

    @property
    def file_url(self) -> str:
        """Where upstream has the file, without `direct+`."""
        if self.url is not None:
            return self.url.removeprefix("direct+")
        sha256 = self.written.sha256
        folders = f"{sha256[:2]}/{sha256[2:4]}/{sha256[4:]}"
        return f"https://files.example.org/packages/{folders}/{self.written.package.file_name}"

    @property
    def location(self) -> str:
        """The location as the lock has it."""
        is_direct = self.index is None and "://" in self.file_url
        return f"direct+{self.file_url}" if is_direct else self.file_url

    @property
    def fields(self) -> dict[str, str | list[str]]:
        """The fields of its row, in the order in which pixi writes them."""
        package = self.written.package
        requires = package.requires_dist if self.requires_dist is None else self.requires_dist
        fields: dict[str, str | list[str] | None] = {
            "name": str(canonicalize_name(package.name)),
            "version": package.version,
            "sha256": self.written.sha256 if self.index else None,
            "index": self.index,
            "requires_dist": list(requires) or None,
            "requires_python": package.requires_python,
        }
        return {key: x for key, x in fields.items() if x is not None and key not in self.without}


def write_upstream(root: Path, rows: Iterable[PypiRow]) -> None:
    """Write `<root>/<host>/<path>`: each file, and the pages (PEP 503) of each index.

    Serve the root with `Upstream`, or give its folders as `[mirrors]`; paths are no upstream's.
    """
    pages: dict[Path, list[str]] = {}
    for row in rows:
        plain, _, fragment = row.file_url.partition("#")
        parts = urlsplit(plain)
        if parts.scheme not in {"http", "https"}:
            continue
        file = root / parts.netloc.replace(":", "_") / parts.path.strip("/").replace("%2B", "+")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(row.written.path.read_bytes())
        if fragment:  # pixi asks a mirror for it so
            file.with_name(f"{file.name}#{fragment}").write_bytes(row.written.path.read_bytes())
        if row.index is not None:
            index = urlsplit(row.index)
            host = (index.hostname or "") + (f"_{index.port}" if index.port else "")
            folder = (
                root / host / index.path.strip("/") / canonicalize_name(row.written.package.name)
            )
            pages.setdefault(folder, []).append(_link(row))
    for folder, links in pages.items():
        folder.mkdir(parents=True, exist_ok=True)
        page = (
            "<!DOCTYPE html>\n<html><body>\n" + "".join(dict.fromkeys(links)) + "</body></html>\n"
        )
        (folder / "index.html").write_text(page, encoding="utf-8")


def _link(row: PypiRow) -> str:
    package = row.written.package
    python = ""
    if package.requires_python:
        python = f' data-requires-python="{html.escape(package.requires_python)}"'
    url = quote(row.file_url, safe=":/%+@")
    return f'<a href="{url}#sha256={row.written.sha256}"{python}>{package.file_name}</a><br/>\n'


def _write(package: TinyWheel | TinySdist, folder: Path) -> WrittenDistribution:
    path = folder / package.file_name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(package.data)
    sha256 = hashlib.sha256(package.data).hexdigest()
    return WrittenDistribution(path=path, sha256=sha256, size=len(package.data), package=package)


def _module(name: str) -> str:
    """Write a name as file names have it (PEP 427, PEP 625)."""
    return canonicalize_name(name).replace("-", "_")


def _metadata(package: TinyWheel | TinySdist) -> str:
    lines = ["Metadata-Version: 2.4", f"Name: {package.name}", f"Version: {package.version}"]
    lines += [f"License-Expression: {package.license}"] if package.license else []
    lines += [f"Requires-Python: {package.requires_python}"] if package.requires_python else []
    lines += [f"Provides-Extra: {each}" for each in package.extras]
    lines += [f"Requires-Dist: {each}" for each in package.requires_dist]
    return "\n".join(lines) + "\n"


def _record_line(path: str, data: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return f"{path},sha256={digest},{len(data)}\n"
