"""Make a builder repository: a manifest, pipelines, and the tool as one file.

It is made whole in a scratch folder, then renamed: what fails, or is killed, leaves no folder
that looks like a builder.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts.core.channel_url import ANACONDA
from scripts.core.child_process import describe_exit, program_error, quoted, run_program
from scripts.core.errors import usage_error
from scripts.core.files import exists, replace, write_atomically
from scripts.core.report import Json, Report, human_size
from scripts.core.scratch import clear_scratch, scratch_folder
from scripts.template.builder_manifest import read_packages, render_manifest
from scripts.template.make_pyz import PYZ, archive, read_archive
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
    empty; of 4 where git fails. Nothing is left behind then.
    """
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
    try:
        is_repository = _make(folder, files)
    except OSError as error:
        raise usage_error(
            str(folder),
            f"no builder can be made here: {error.strerror}",
            help="name a folder that you may write to: pixi run new DIR",
        ) from None
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
    return Report(lines=tuple(_lines(data, lacks_pip=lacks_pip)), data=data)


def _lines(data: Mapping[str, Any], *, lacks_pip: bool) -> Iterator[str]:
    size = human_size(data["size"])
    yield f"new: {data['folder']}: a builder, {data['files']} files, {size}"
    channels = [url.removeprefix(f"{ANACONDA}/") for url in data["channels"]]
    yield f"channels   {', '.join(channels)}"
    yield f"platforms  {', '.join(data['platforms'])}"
    yield f"packages   {', '.join(data['packages'])}"
    if lacks_pip:
        yield _NO_PIP
    yield "there is no pixi.lock yet: `pixi lock` makes it"
    if not data["git"]:
        yield "git is not on PATH: no repository was made"
    yield from ("next:", f"  cd {quoted(data['folder'])}", "  pixi lock", "  pixi run mirror")
    if data["git"]:
        yield from ("  git add --all", '  git commit -m "a mirror"')


def write_files(folder: Path, files: dict[str, bytes]) -> None:
    """Write files, each replaced whole; `run` is a program."""
    for name, data in files.items():
        path = folder / name
        write_atomically(path, data)
        if name == "run" and os.name != "nt":
            path.chmod(path.stat().st_mode | 0o111)


def _make(folder: Path, files: dict[str, bytes]) -> bool:
    """Make the folder out of a scratch folder near it; tell whether there is a git for it."""
    is_there = _is_there(folder)
    near = folder if is_there else next(each for each in folder.parents if each.exists())
    with scratch_folder(near) as scratch:
        write_files(scratch, files)
        is_repository = _init(scratch)
        if is_there:  # somebody may be in it: it stays the same folder; the manifest comes last
            for each in sorted(scratch.iterdir(), key=lambda path: path.name == MANIFEST):
                replace(each, folder / each.name)
        else:
            folder.parent.mkdir(parents=True, exist_ok=True)
            replace(scratch, folder)
    return is_repository


def _is_there(folder: Path) -> bool:
    """Tell whether the folder exists, empty; refuse any other thing of its name."""
    if not exists(folder):
        return False
    clear_scratch(folder)  # of a `new` that was killed
    first = min(folder.iterdir(), default=None)
    if first is not None:
        raise usage_error(
            str(folder),
            f"this folder is not empty: {first.name} is in it",
            help="name a folder that is not there yet: pixi run new DIR",
        )
    return True


def _init(folder: Path) -> bool:
    """Run `git init`; False where there is no git."""
    git = shutil.which("git")
    if git is None:
        return False
    # What a hook or an alias of git was told of another repository.
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = run_program([git, "init", "--quiet", str(folder)], env)
    if done.returncode != 0:
        raise program_error("git init", describe_exit(done.returncode), done.stderr)
    return True
