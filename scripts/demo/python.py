"""The demo's Python: the one that runs it, as a conda package.

A prefix with a `pyvenv.cfg` is a virtual environment of the Python that it names (PEP 405): so a
package of links is a python small enough for a demo. On Windows there are no such links.
"""

from __future__ import annotations

import bz2
import hashlib
import io
import json
import platform
import re
import sys
import tarfile
from pathlib import Path
from typing import Final

_EMPTY: Final = "python-3.12.0-0.tar.bz2"  # what upstream has; for other machines it is enough


def bring_python(upstream: Path, lock: Path, subdir: str) -> None:
    """Replace the empty Python, upstream and in the lock, by links to the one that runs this."""
    version = platform.python_version()
    name, data = _EMPTY.replace("3.12.0", version), _links(version, subdir)
    (upstream / "tools" / subdir / name).write_bytes(data)
    text = lock.read_text(encoding="utf-8")
    text = text.replace(f"/{subdir}/{_EMPTY}\n", f"/{subdir}/{name}\n")
    sha256, md5 = (hashlib.new(each, data).hexdigest() for each in ("sha256", "md5"))
    row = re.compile(
        rf"(/{subdir}/{re.escape(name)}\n)  sha256: .*\n  md5: .*\n((?:  .*\n)*?)  size: .*\n"
    )
    digests = rf"\g<1>  sha256: {sha256}\n  md5: {md5}\n\g<2>  size: {len(data)}\n"
    lock.write_text(row.sub(digests, text), encoding="utf-8", newline="\n")


def _links(version: str, subdir: str) -> bytes:
    """Make a conda artifact (`.tar.bz2`) of links to the Python that runs this."""
    base = Path(getattr(sys, "_base_executable", sys.executable))
    major, minor, _ = version.split(".", 2)
    links = [f"bin/{name}" for name in ("python", "python3", f"python{major}.{minor}")]
    index = {"name": "python", "version": version, "build": "0", "build_number": 0}
    documents = {
        "info/about.json": {},
        "info/index.json": {**index, "depends": [], "subdir": subdir},
    }
    files = {path: json.dumps(each).encode() for path, each in documents.items()}
    files["info/files"] = "".join(f"{each}\n" for each in [*links, "pyvenv.cfg"]).encode()
    files["pyvenv.cfg"] = f"home = {base.parent}\ninclude-system-site-packages = false\n".encode()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path, content in files.items():
            file = tarfile.TarInfo(path)
            file.size = len(content)
            tar.addfile(file, io.BytesIO(content))
        for path in links:
            link = tarfile.TarInfo(path)
            link.type, link.linkname = tarfile.SYMTYPE, str(base)
            tar.addfile(link)
    return bz2.compress(buffer.getvalue())
