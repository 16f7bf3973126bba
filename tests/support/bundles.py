"""Bundles written by hand, as the format in `scripts/keep/unbundle.py` says, and channels of them.

    whole = write_bundle(tmp_path / "out", new, day=2)
    delta = write_bundle(tmp_path / "out", new, base=old, base_day=1, day=2, volumes=2)

A channel is given as bytes by path. It shares no code with the writer of `scripts/keep`.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from scripts.keep import unbundle as far

Files = Mapping[str, bytes]

# Where it is allowed, the far side has no network, not even loopback.
_ALONE = ("unshare", "--map-root-user", "--net")

REPODATA = b'{"info": {"subdir": "noarch"}, "packages": {}, "packages.conda": {}}'
OLD: Files = {
    "linux-64/a-1.0-0.conda": b"a one" * 300,
    "linux-64/b-1.0-0.conda": b"b one" * 300,
    "linux-64/repodata.json": b'{"a": 1, "b": 1}',
    "linux-64/repodata.json.zst": b"zst one",
    "linux-64/shards/1.msgpack.zst": b"shard one",
    "noarch/repodata.json": REPODATA,
}
NEW: Files = {
    "linux-64/a-2.0-0.conda": b"a two" * 700,
    "linux-64/b-1.0-0.conda": b"b one" * 300,
    "linux-64/empty-1.0-0.conda": b"",
    "linux-64/repodata.json": b'{"a": 2, "b": 1}',
    "linux-64/repodata.json.zst": b"zst two",
    "linux-64/shards/2.msgpack.zst": b"shard two",
    "noarch/repodata.json": REPODATA,
    "noarch/same-1.0-0.conda": b"b one" * 300,
}


def sha256(data: bytes) -> str:
    """Return it in hex."""
    return hashlib.sha256(data).hexdigest()


def kind_of(path: str) -> str:
    """Tell the kind of a file by its name."""
    return "conda" if path.endswith((".conda", ".tar.bz2")) else "index"


def digest_of(files: Files) -> str:
    """Return the content digest."""
    return far.content_digest((path, len(data), sha256(data)) for path, data in files.items())


def snapshot_id(files: Files, day: int) -> str:
    """Name the snapshot of a day of November 2026."""
    return f"202611{day:02}T000000Z-{digest_of(files)[:8]}"


def describe(
    files: Files, *, day: int, base: Files | None = None, base_day: int = 1, volumes: int = 0
) -> dict[str, Any]:
    """Make `bundle.json`, all but its volumes and tools."""
    known = base or {}
    rows: list[list[Any]] = []
    of_bytes = {data: path for path, data in known.items()}
    for path, data in sorted(files.items()):
        if known.get(path) != data:
            again = of_bytes.setdefault(data, path)
            where = len(rows) % volumes + 1 if volumes else None
            rows.append(
                [
                    path,
                    kind_of(path),
                    len(data),
                    sha256(data),
                    where if again == path else f"={again}",
                ]
            )
    carried = [row[2] for row in rows if not isinstance(row[4], str)]
    return {
        "format": 1,
        "base": None
        if base is None
        else {"id": snapshot_id(base, base_day), "content-digest": digest_of(base)},
        "target": {
            "id": snapshot_id(files, day),
            "created": f"2026-11-{day:02}T00:00:00+00:00",
            "layout": "flat",
            "content-digest": digest_of(files),
            "files": len(files),
            "artifacts": sum(kind_of(path) != "index" for path in files),
            "bytes": sum(map(len, files.values())),
        },
        "carried": {"files": len(carried), "bytes": sum(carried)},
        "volumes": [] if volumes else None,
        "tools": {},
        "locks": [{"label": "pixi.lock", "lock-sha256": "0" * 64, "manifest-sha256": None}],
        "files": rows,
        "removed": sorted(known.keys() - files.keys()),
    }


def write_bundle(
    out: Path,
    files: Files,
    *,
    day: int = 1,
    base: Files | None = None,
    base_day: int = 1,
    volumes: int = 0,
    change: Callable[[dict[str, Any]], object] = lambda _: None,
) -> Path:
    """Write a bundle; `change` may alter what `bundle.json` says before the sums are made."""
    document = describe(files, day=day, base=base, base_day=base_day, volumes=volumes)
    contents = {"LABEL.txt": b"a label\n", "unbundle.py": Path(far.__file__).read_bytes()}
    document["tools"] = {
        name: {"size": len(data), "sha256": sha256(data)} for name, data in contents.items()
    }
    for number in range(1, volumes + 1):
        created = document["target"]["created"]
        parts = [
            far.tar_header(path, size, created) + files[path] + far.padding(size)
            for path, _, size, _, where in document["files"]
            if where == number
        ]
        name = f"volume-{number:03}.tar"
        contents[name] = b"".join([*parts, far.TAR_END])
        said = {"name": name, "size": len(contents[name]), "sha256": sha256(contents[name])}
        document["volumes"].append(said)
    if not volumes:
        contents |= {f"files/{x[0]}": files[x[0]] for x in document["files"] if x[4] is None}
    change(document)
    contents["bundle.json"] = json.dumps(document, indent=1).encode()
    for name, data in contents.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(data)
    sum_again(out)
    return out


def sum_again(out: Path) -> None:
    """Write SHA256SUMS of what `bundle.json` names, as it is now."""
    try:
        document = json.loads((out / "bundle.json").read_bytes())
        said = {name: each["sha256"] for name, each in document["tools"].items()}
        said |= {each["name"]: each["sha256"] for each in document["volumes"] or ()}
        if document["volumes"] is None:
            said |= {f"files/{x[0]}": x[3] for x in document["files"] if x[4] is None}
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError):
        return
    said["bundle.json"] = sha256((out / "bundle.json").read_bytes())
    names = sorted(said, key=lambda each: str(each).encode(errors="replace"))
    text = "".join(f"{said[name]}  {name}\n" for name in names)
    (out / "SHA256SUMS").write_bytes(text.encode(errors="replace"))


def there(folder: Path) -> dict[str, bytes]:
    """Read every file below a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def alone(program: Path, *arguments: Path | str) -> subprocess.CompletedProcess[str]:
    """Run unbundle.py as a far side does: this Python with nothing installed, and no network."""
    command = [sys.executable, "-I", "-S", str(program), *map(str, arguments)]
    if shutil.which(_ALONE[0]) is not None:  # Linux alone has it, and may forbid it
        tried = subprocess.run([*_ALONE, "true"], capture_output=True, check=False)
        command = [*(_ALONE if tried.returncode == 0 else ()), *command]
    return subprocess.run(command, capture_output=True, text=True, check=False)
