"""The demo's Python, and PyPI packages installed for it from the mirror's pages alone.

A prefix with a `pyvenv.cfg` is a virtual environment of the Python that it names (PEP 405): so a
package of links is a python small enough for a demo. On Windows there are no such links.
"""

from __future__ import annotations

import bz2
import hashlib
import io
import json
import os
import platform
import re
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from scripts.core.errors import MirrorError, finding_problem
from scripts.index.pypi_pages import INDEX
from scripts.lock.read import read_lock
from scripts.verify.install.clients import find_pip, find_uv

_EMPTY: Final = "python-3.12.0-0.tar.bz2"  # what upstream has; for other machines it is enough
_LONGEST: Final = 120  # seconds that one program may take


def run_and_read(command: list[str], env: Mapping[str, str] | None = None) -> str:
    """Run a program and return its stdout; raises OSError or SubprocessError where it fails."""
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        timeout=_LONGEST,
        check=True,
        env=env,
    )
    return done.stdout.strip()


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
    paths = [{"_path": path, "path_type": "softlink"} for path in links]
    documents = {
        "info/about.json": {},
        "info/index.json": {**index, "depends": [], "subdir": subdir},
        "info/paths.json": {
            "paths": [*paths, {"_path": "pyvenv.cfg", "path_type": "hardlink"}],
            "paths_version": 1,
        },
    }
    files = {path: json.dumps(each).encode() for path, each in documents.items()}
    files["info/files"] = "".join(f"{each}\n" for each in [*links, "pyvenv.cfg"]).encode()
    files["pyvenv.cfg"] = f"home = {base.parent}\n".encode()
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


def install_pypi(
    prefix: Path, workspace: Path, subdir: str, env: Mapping[str, str]
) -> tuple[str | None, str | None]:
    """Install the lock's PyPI packages into the prefix, by uv, else by pip, and run one of them.

    Returns what it printed, and what has installed it; None: there is neither uv nor pip. Raises
    the error of exit code 1 where it fails.
    """
    python, uv, pip = str(prefix / "bin" / "python"), find_uv(env), find_pip(env)
    if uv is not None:
        command = [str(uv), "pip", "install", "--no-config", "--no-cache", "--python", python]
    elif pip is not None:
        start = [str(pip), "-I", "-m", "pip"] if pip == Path(sys.executable) else [str(pip)]
        command = [*start, "--isolated", "--python", python, "install", "--no-cache-dir"]
    else:
        return None, None
    (environment,) = read_lock(workspace / "pixi.lock").environments
    (rows,) = (each for each in environment.platforms if each.platform.subdir == subdir)
    pages = workspace / "local-channel" / INDEX
    wanted = [f"{record.name}=={record.version}" for record in rows.pypi]
    command += ["--no-deps", "--index-url", pages.as_uri(), *wanted]
    env = {**env, "PATH": os.defpath}
    try:
        run_and_read(command, env)
        said = run_and_read([python, "-m", "hello_py"], env)
    except (OSError, subprocess.SubprocessError) as error:
        stderr = getattr(error, "stderr", None) or ""
        details = ("reason", str(error)), *(("said", line) for line in stderr.splitlines()[-5:])
        message = "cannot be installed from the mirror's pages alone and run"
        raise MirrorError(finding_problem("hello-py", message, *details)) from None
    return said, f"installed by {'pip' if uv is None else 'uv'}"
