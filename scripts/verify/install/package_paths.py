"""The files that an artifact brings, and where they go in a prefix."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from scripts.core.record import Record

INDEX: Final = "info/index.json"
PATHS: Final = "info/paths.json"
FILES: Final = "info/files"
WANTED: Final = frozenset({INDEX, PATHS, FILES})


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageFile:
    """A file as the artifact names it; `sha256` None where its bytes may differ once installed."""

    path: str
    sha256: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpreter:
    """Where the files of noarch python packages go: below which folders of the prefix."""

    site_packages: str
    scripts: str


def interpreter_of(python: Record | None, subdir: str) -> Interpreter:
    """Say where the environment's python looks (rattler, install/python.rs).

    An environment without python has no noarch python packages to place.
    """
    if subdir.startswith("win-"):
        return Interpreter(site_packages="Lib/site-packages", scripts="Scripts")
    version = ".".join((python.version if python else "").split(".")[:2])
    written = python.python_site_packages_path if python else None
    return Interpreter(site_packages=written or f"lib/python{version}/site-packages", scripts="bin")


def is_noarch_python(info: Mapping[str, bytes]) -> bool:
    """Tell by `info/index.json`; raises ValueError where it is not what it should be."""
    document = json.loads(info.get(INDEX, b"{}"))
    return isinstance(document, dict) and document.get("noarch") == "python"


def package_files(info: Mapping[str, bytes]) -> Iterator[PackageFile]:
    """Yield the files that an artifact names: in `info/paths.json`, or, old ones, `info/files`.

    Folders are left out: an empty one proves nothing. Raises ValueError for a damaged list.
    """
    if PATHS in info:
        for entry in _rows(json.loads(info[PATHS])):
            path = entry.get("_path")
            if not isinstance(path, str):
                raise ValueError(f"{PATHS} has an entry without a path")  # noqa: TRY004
            if entry.get("path_type") != "directory":
                yield PackageFile(path=path, sha256=_sha256(entry))
        return
    for line in info.get(FILES, b"").decode("utf-8").splitlines():
        if line.strip():
            yield PackageFile(path=line.strip(), sha256=None)


def installed_path(path: str, interpreter: Interpreter | None) -> str:
    """Say where in the prefix a file goes; `interpreter` for noarch python packages alone."""
    if interpreter is not None:
        for folder, target in (
            ("site-packages/", interpreter.site_packages),
            ("python-scripts/", interpreter.scripts),
        ):
            if path.startswith(folder):
                return f"{target}/{path.removeprefix(folder)}"
    return path


def _rows(document: Any) -> list[dict[str, Any]]:
    rows = document.get("paths") if isinstance(document, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"{PATHS} is not a list of paths")
    return rows


def _sha256(entry: dict[str, Any]) -> str | None:
    """Take the sha256 of a file that is installed as it is; that of a link is its target's."""
    digest = entry.get("sha256")
    if entry.get("prefix_placeholder") or entry.get("path_type") == "softlink":
        return None
    return digest.lower() if isinstance(digest, str) else None


def files_size(info: Mapping[str, bytes]) -> int:
    """Add up the bytes of the files that `info/paths.json` names; 0 where it cannot be read."""
    try:
        sizes = [entry.get("size_in_bytes") for entry in _rows(json.loads(info.get(PATHS, b"{}")))]
    except ValueError:
        return 0
    return sum(size for size in sizes if isinstance(size, int))
