"""Make a builder repository: a manifest, pipelines, and the tool as one file.

It is made whole in a scratch folder, then renamed: what fails, or is killed, leaves no folder
that looks like a builder.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts.core.channel_url import ANACONDA
from scripts.core.errors import ExitCode, MirrorError, Problem, usage_error
from scripts.core.files import replace, write_atomically
from scripts.core.redact import redact
from scripts.core.report import Json, Report, human_size
from scripts.core.scratch import clear_scratch, scratch_folder
from scripts.core.version import TEMPLATE
from scripts.template.archive import PYZ, archive, read_archive
from scripts.template.builder_manifest import read_packages, render_manifest
from scripts.workspace.parse import parse_manifest

MANIFEST = "pixi.toml"
_NO_PIP = (
    "pip is not among them, since none of these channels is the template's; conda requires it of"
    " every python: `pixi add pip`, if they have it"
)


def new_builder(
    folder: Path,
    *,
    name: str,
    channels: Sequence[str] = (),
    platforms: Sequence[str] = (),
    specs: Sequence[str] = (),
    with_pip: bool = True,
) -> Report:
    """Make a builder in a folder that is not there yet, or empty.

    Raises the errors of exit code 2 for what cannot be a workspace, and for a folder that is not
    empty, or lies in the template; of 4 where git fails. Nothing is left behind then.
    """
    _refuse_inside(folder)
    tool = archive()
    inside = read_archive(tool)
    files = {name[8:]: data for name, data in inside.items() if name.startswith("builder/")}
    text = render_manifest(
        files.pop(f"{MANIFEST}.in").decode(),
        inside[MANIFEST],
        name=name,
        channels=channels,
        platforms=platforms,
        packages=read_packages(specs) if specs else {},
        with_pip=with_pip,
    )
    manifest = parse_manifest(text, name=MANIFEST)
    files |= {MANIFEST: text.encode(), PYZ: tool}
    with _new_folder(folder) as scratch:
        write_files(scratch, files)
        is_repository = _init(scratch)
    payload = [each for target in manifest.features[0].targets for each in target.requirements]
    lacks_pip = with_pip and all(requirement.name != "pip" for requirement in payload)
    mirror = manifest.feature("mirror")
    data: dict[str, Json] = {
        "folder": str(folder),
        "name": manifest.name,
        "files": len(files),
        "size": sum(map(len, files.values())),
        "git": is_repository,
        "channels": [channel.url for channel in manifest.channels],
        "platforms": list((mirror and mirror.platforms) or ()),
        "packages": [requirement.spec.removesuffix(" *") for requirement in payload],
    }
    return Report(lines=tuple(_lines(data, quoted(folder), lacks_pip=lacks_pip)), data=data)


def _lines(data: Mapping[str, Any], folder: str, *, lacks_pip: bool) -> Iterator[str]:
    size = human_size(data["size"])
    yield f"new: {data['folder']}: a builder, {data['files']} files, {size}"
    channels = [url.removeprefix(f"{ANACONDA}/") for url in data["channels"]]
    for what, names in (
        ("channels   ", channels),
        ("platforms  ", data["platforms"]),
        ("packages   ", data["packages"]),
    ):
        yield what + ", ".join(names)
    if lacks_pip:
        yield _NO_PIP
    yield "there is no pixi.lock yet: `pixi lock` makes it"
    if not data["git"]:
        yield "git is not on PATH: no repository was made"
    yield from ("next:", f"  cd {folder}", "  pixi lock", "  pixi run mirror")
    if data["git"]:
        yield from ("  git add --all", '  git commit -m "a mirror"')


def write_files(folder: Path, files: dict[str, bytes]) -> None:
    """Write files, each replaced whole; `run` is a program."""
    for name, data in files.items():
        path = folder / name
        write_atomically(path, data)
        if name == "run" and os.name != "nt":
            path.chmod(path.stat().st_mode | 0o111)


def quoted(path: Path) -> str:
    """Write a path as this system's shell reads it."""
    return subprocess.list2cmdline([str(path)]) if os.name == "nt" else shlex.quote(str(path))


@contextlib.contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """Give a scratch folder; at the end it becomes the folder, or nothing of it is left."""
    parents: list[Path] = []
    try:
        parents = [each for each in folder.parents if not each.exists()]
        is_there = _is_there(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with scratch_folder(folder if is_there else folder.parent) as scratch:
            yield scratch
            if is_there:  # somebody may be in it: it stays the same folder; the manifest comes last
                for each in sorted(scratch.iterdir(), key=lambda path: path.name == MANIFEST):
                    replace(each, folder / each.name)
            else:
                replace(scratch, folder)
    except BaseException as error:
        for parent in parents:
            with contextlib.suppress(OSError):
                parent.rmdir()
        if isinstance(error, OSError):
            raise usage_error(
                str(folder),
                f"no builder can be made here: {error.strerror}",
                help="name a folder that you may write to: pixi run new DIR",
            ) from None
        raise


def _is_there(folder: Path) -> bool:
    """Tell whether the folder exists, empty; refuse any other thing of its name."""
    if not folder.exists():
        return False
    if not folder.is_dir():
        raise usage_error(str(folder), "is there, and no folder")
    clear_scratch(folder)  # of a `new` that was killed
    first = min(folder.iterdir(), default=None)
    if first is not None:
        raise usage_error(
            str(folder),
            f"this folder is not empty: {first.name} is in it",
            help="name a folder that is not there yet: pixi run new DIR",
        )
    return True


def _refuse_inside(folder: Path) -> None:
    """Refuse a folder in the template: what is in there goes into every builder made later."""
    if folder.is_relative_to(TEMPLATE):
        raise usage_error(
            str(folder),
            "is inside of the template, and would become part of it",
            help="name a folder outside: pixi run new ../my-mirror",
        )


def _init(folder: Path) -> bool:
    """Run `git init`; False where there is no git."""
    git = shutil.which("git")
    if git is None:
        return False
    # What a hook or an alias of git was told of another repository.
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(
        [git, "init", "--quiet"], cwd=folder, env=env, capture_output=True, check=False
    )
    if done.returncode != 0:
        raise program_failed("git init", f"ended with exit code {done.returncode}", done.stderr)
    return True


def program_failed(subject: str, message: str, stderr: bytes) -> MirrorError:
    """Make the error of exit code 4 that shows a program's last lines."""
    said = stderr.decode("utf-8", "replace").strip().splitlines()[-5:]
    details = tuple(("said", redact(line)) for line in said)
    return MirrorError(
        Problem(subject=subject, message=message, code=ExitCode.PROGRAM, details=details)
    )
