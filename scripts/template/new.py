"""Make a builder repository from the template.

It is made whole in a scratch folder, then renamed: what fails, or is killed, leaves no folder
that looks like a builder.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.core.channel_url import ANACONDA
from scripts.core.errors import ExitCode, MirrorError, Problem, usage_error
from scripts.core.files import replace
from scripts.core.rattler_child import call_rattler
from scripts.core.redact import redact
from scripts.core.report import Report, human_size
from scripts.core.scratch import clear_scratch, scratch_folder
from scripts.core.template_files import TEMPLATE
from scripts.template.builder_files import MANIFEST, TEMPLATE_TASKS, builder_files
from scripts.template.builder_manifest import builder_manifest
from scripts.template.record import RECORD, record_of, write_record
from scripts.template.wishes import PackageWish, Wishes
from scripts.workspace.model import Manifest
from scripts.workspace.parse import parse_manifest

_NO_PIP = (
    "pip is not among them, since none of these channels is the template's; conda requires it of"
    " every python: `pixi add pip`, if they have it"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """Where a builder was made, of how many files and bytes, and whether git keeps it."""

    folder: Path
    files: int
    size: int
    is_repository: bool


def new_builder(folder: Path, wishes: Wishes, root: Path = TEMPLATE) -> Report:
    """Make a builder in a folder that is not there yet, or empty.

    Raises the errors of exit code 2 for wishes that cannot be and for a folder that is not empty,
    or lies in the template; of 4 where git fails. Nothing is left behind then.
    """
    _refuse_inside(folder, root)
    files = {file.path: file.data for file in builder_files(root)}
    programs = [file.path for file in builder_files(root) if file.is_program]
    template = (root / MANIFEST).read_text(encoding="utf-8")
    text = builder_manifest(template, wishes, TEMPLATE_TASKS)
    manifest = parse_manifest(text, name=str(MANIFEST))
    files[MANIFEST] = text.encode("utf-8")
    files[RECORD] = write_record(record_of(files, text))
    with _room(folder) as scratch:
        for path, data in files.items():
            place = scratch / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
            if path in programs and os.name != "nt":
                place.chmod(place.stat().st_mode | 0o111)
        is_repository = _init(scratch)
    size = sum(map(len, files.values()))
    made = Made(folder=folder, files=len(files), size=size, is_repository=is_repository)
    return _report(made, manifest, wishes)


def read_packages(texts: Sequence[str]) -> tuple[PackageWish, ...]:
    """Read MatchSpecs as `pixi add` does; the error of exit code 2 names each that is none."""
    if not texts:
        return ()
    answers = call_rattler("requirements", {"specs": list(texts)})
    assert isinstance(answers, list)
    packages, problems = [], []
    for text, answer in zip(texts, answers, strict=True):
        if "refused" in answer:
            reason = redact(str(answer["refused"]).splitlines()[0])
            problems.append(
                Problem(
                    subject=redact(text) or "PACKAGE",
                    trouble=f"no MatchSpec that can be written: {reason}",
                    code=ExitCode.USAGE,
                    help="pixi run new DIR numpy 'scipy>=1.15,<2'",
                )
            )
            continue
        fields = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in answer["fields"].items()
        }
        packages.append(PackageWish(text=text, name=answer["name"], fields=tuple(fields.items())))
    if problems:
        raise MirrorError(*problems)
    return tuple(packages)


@contextlib.contextmanager
def _room(folder: Path) -> Iterator[Path]:
    """Give a scratch folder; at the end it becomes the folder, or nothing of it is left."""
    parents: list[Path] = []
    try:
        there = _is_there(folder)
        if not there:
            parents = [each for each in folder.parents if not each.exists()]
            folder.parent.mkdir(parents=True, exist_ok=True)
        with scratch_folder(folder if there else folder.parent) as scratch:
            yield scratch
            if there:
                _move_into(scratch, folder)
            else:
                replace(scratch, folder)
    except BaseException as error:
        for parent in parents:
            with contextlib.suppress(OSError):
                parent.rmdir()
        if isinstance(error, OSError):
            raise _impossible(folder, error) from None
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


def _refuse_inside(folder: Path, root: Path) -> None:
    """Refuse a folder in the template: what is in there goes into every builder made later."""
    for each in (folder, *folder.parents):
        with contextlib.suppress(OSError):  # it is not there, or nobody may look
            if each.samefile(root):
                raise usage_error(
                    str(folder),
                    "is inside of the template, and would become part of it",
                    help="name a folder outside: pixi run new ../my-mirror",
                )


def _move_into(scratch: Path, folder: Path) -> None:
    """Move what was made into the empty folder that it was made in, the manifest last."""
    names = sorted((each.name for each in scratch.iterdir()), key=_manifest_last)
    moved: list[Path] = []
    try:
        for name in names:
            replace(scratch / name, folder / name)
            moved.append(folder / name)
    except BaseException:
        for each in reversed(moved):
            each.rename(scratch / each.name)
        raise


def _manifest_last(name: str) -> tuple[bool, str]:
    return (name == str(MANIFEST), name)


def _impossible(folder: Path, error: OSError) -> MirrorError:
    return usage_error(
        str(folder),
        f"no builder can be made here: {error.strerror}",
        help="name a folder that you may write to: pixi run new DIR",
    )


def _init(folder: Path) -> bool:
    """Run `git init`; False where there is no git."""
    git = shutil.which("git")
    if git is None:
        return False
    # What a hook or an alias of git was told of another repository.
    env = {name: text for name, text in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(
        [git, "init", "--quiet"], cwd=folder, env=env, capture_output=True, check=False
    )
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()[-5:]
        raise MirrorError(
            Problem(
                subject="git init",
                trouble=f"ended with exit code {done.returncode}",
                code=ExitCode.PROGRAM,
                facts=tuple(("said", redact(line)) for line in said),
            )
        )
    return True


def _report(made: Made, manifest: Manifest, wishes: Wishes) -> Report:
    feature = manifest.feature("mirror")
    platforms = () if feature is None else feature.platforms or ()
    payload = [each for target in manifest.features[0].targets for each in target.requirements]
    packages = tuple(requirement.spec.removesuffix(" *") for requirement in payload)
    lacks_pip = wishes.with_pip and all(requirement.name != "pip" for requirement in payload)
    channels = tuple(channel.url for channel in manifest.channels)
    lines = (
        f"new: {made.folder}: a builder, {made.files} files, {human_size(made.size)}",
        f"channels   {', '.join(each.removeprefix(f'{ANACONDA}/') for each in channels)}",
        f"platforms  {', '.join(platforms)}",
        f"packages   {', '.join(packages)}",
        *([_NO_PIP] if lacks_pip else []),
        "there is no pixi.lock yet: `pixi lock` makes it",
        *([] if made.is_repository else ["git is not on PATH: no repository was made"]),
        "next:",
        *(f"  {line}" for line in _next_steps(made)),
    )
    return Report(
        lines=lines,
        data={
            "folder": str(made.folder),
            "name": manifest.name,
            "files": made.files,
            "size": made.size,
            "git": made.is_repository,
            "channels": list(channels),
            "platforms": list(platforms),
            "packages": list(packages),
        },
    )


def _next_steps(made: Made) -> Iterator[str]:
    quoted = subprocess.list2cmdline([str(made.folder)])
    yield f"cd {quoted if os.name == 'nt' else shlex.quote(str(made.folder))}"
    yield "pixi lock"
    yield "pixi run mirror"
    if made.is_repository:
        yield "git add --all"
        yield 'git commit -m "a mirror"'
