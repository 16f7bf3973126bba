"""The tool as one file, `pixi-mirror.pyz`: a zip of tasks and scripts that Python can run.

The same files give the same bytes, whichever machine zips them: nothing is compressed (git does
that), and no time is written. `python -m scripts.template.make_pyz FILE` makes it, also for the
tool of another version.
"""

from __future__ import annotations

import hashlib
import io
import sys
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from scripts.core.errors import MirrorError, usage_error
from scripts.core.invocation import TEMPLATE
from scripts.core.typed_values import load_toml

PYZ: Final = "pixi-mirror.pyz"
_MAIN: Final = "scripts/pyz.py"
_SUMS: Final = "files.txt"  # as sha256sum writes it; scripts/pyz.py reads it
_FOLDERS: Final = ("builder", "scripts", "tasks")
_FILES: Final = ("LICENSE", "pyproject.toml", "requirements.txt")
# What `new` and `upgrade` take out of it.
_NEEDED: Final = frozenset(
    {"__main__.py", "pyproject.toml", "builder/pixi.toml.in", "builder/run", "builder/run.cmd"}
)
_DATE: Final = (1980, 1, 1, 0, 0, 0)  # the first that a zip can say


def archive(root: Path = TEMPLATE) -> bytes:
    """Make the pixi-mirror.pyz of a template, or of an unpacked one, which gives the same bytes.

    Raises the error of exit code 2 where the folder is neither.
    """
    try:
        tables = parse_tables((root / "pixi.toml").read_bytes())
        modules = {"__init__", *(task.replace("-", "_") for task in tables["tasks"]["tasks"])}
        files = {name: (root / name).read_bytes() for name in _FILES}
        for path in _files_in(root):
            if path.parent.name != "tasks" or path.stem in modules:
                files[path.relative_to(root).as_posix()] = path.read_bytes()
        files["__main__.py"] = files[_MAIN]
        files["pixi.toml"] = render_tables(tables).encode()
    except (OSError, KeyError, ValueError) as error:
        raise usage_error(str(root), f"not a template of pixi-mirror: {error}") from None
    sums = (f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files))
    files[_SUMS] = "".join(sums).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as zipped:
        for name in sorted(files):
            info = zipfile.ZipInfo(name, _DATE)
            info.create_system = 3  # POSIX, whichever system this is
            info.external_attr = (0o755 if name == "builder/run" else 0o644) << 16
            zipped.writestr(info, files[name])
    return buffer.getvalue()


def read_archive(data: bytes) -> dict[str, bytes]:
    """Read all files of a tool; ValueError where it is none."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as zipped:
            files = {name: zipped.read(name) for name in zipped.namelist()}
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise ValueError(str(error)) from None
    parse_tables(files.get("pixi.toml", b""))
    if missing := _NEEDED - files.keys():
        msg = f"it has no {min(missing)}"
        raise ValueError(msg)
    return files


def _files_in(root: Path) -> Iterator[Path]:
    for folder in _FOLDERS:
        for path in (root / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path


def parse_tables(manifest: bytes) -> dict[str, Any]:
    """Read the features `tools` and `tasks` of a manifest, as a builder has them.

    There the tasks run pixi-mirror.pyz. Raises ValueError where the features are missing.
    """
    try:
        features: Any = load_toml(manifest.decode(), "pixi.toml").fields["feature"]
        tables = {name: features[name] for name in ("tools", "tasks")}
        for name, task in tables["tasks"]["tasks"].items():
            if task["cmd"] == f"python -m tasks.{name.replace('-', '_')}":
                task["cmd"] = f"python {PYZ} {name}"
    except (KeyError, TypeError, AttributeError, MirrorError):
        msg = "its pixi.toml has no features `tools` and `tasks`"
        raise ValueError(msg) from None
    return tables


def render_tables(tables: Mapping[str, Any]) -> str:
    """Write the two features as TOML."""
    import tomlkit

    return tomlkit.dumps({"feature": tables})


def toml_key(*keys: str) -> str:
    """Write a dotted key, in quotes where they are needed."""
    import tomlkit

    return tomlkit.key(keys).as_string()


if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(archive())
