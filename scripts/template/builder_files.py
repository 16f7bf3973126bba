"""What of the template a builder repository gets, and where. It reads files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from scripts.core.errors import MirrorError, usage_error
from scripts.core.template_files import BUILDER, TEMPLATE, template_files
from scripts.template.project_settings import builder_settings

MANIFEST: Final = PurePosixPath("pixi.toml")
LOCK: Final = PurePosixPath("pixi.lock")
_SETTINGS: Final = PurePosixPath("pyproject.toml")

# Tasks for who works on the template itself, or starts from it.
TEMPLATE_TASKS: Final = frozenset({"bench", "new"})
# What is replaced in a builder, made there, or of no use there.
_NOT_FOR_BUILDERS: Final = frozenset(
    {"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "pixi.toml", "pixi.lock"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateFile:
    """A file as a builder gets it: where it goes, its bytes, whether it is run as a program."""

    path: PurePosixPath
    data: bytes
    is_program: bool = False


def builder_files(root: Path = TEMPLATE) -> tuple[TemplateFile, ...]:
    """Read what a builder gets, but for its manifest, sorted by where it goes.

    Raises the error of exit code 2 where the folder is no template.
    """
    check_template(root)
    files = []
    for path in template_files(root):
        place = builder_path(path)
        if place is not None:
            data = (root / path).read_bytes()
            if path == _SETTINGS:
                data = builder_settings(data)
            files.append(TemplateFile(path=place, data=data, is_program=str(path) == "run"))
    return tuple(sorted(files, key=lambda file: file.path))


def builder_path(path: PurePosixPath) -> PurePosixPath | None:
    """Tell where a file of the template goes in a builder; None where it stays behind."""
    top = path.parts[0]
    if len(path.parts) == 1:
        return None if top in _NOT_FOR_BUILDERS else path
    if top == BUILDER:
        return path.relative_to(BUILDER)
    if top == "tests":
        return path if _tests_the_pipeline(path) else None
    if top == "tasks":
        return None if path.stem.replace("_", "-") in TEMPLATE_TASKS else path
    return path if top == "scripts" else None


def check_template(root: Path) -> None:
    """Refuse a folder from which no builder can be made."""
    for name in (str(MANIFEST), "scripts/launch.py", f"{BUILDER}/README.md"):
        if not (root / name).is_file():
            raise _no_template(root, name)


def _no_template(root: Path, lacking: str) -> MirrorError:
    return usage_error(
        str(root),
        f"not a template of pixi-mirror: it has no {lacking}",
        help="name the folder of a template, not that of a builder made from one",
    )


def _tests_the_pipeline(path: PurePosixPath) -> bool:
    """Tell tests of stages and tasks, and what they lean on, from tests of the template itself."""
    if len(path.parts) == 2:
        return path.name == "conftest.py"
    folder = path.parts[1]
    if folder == "tasks":
        return path.stem.removeprefix("test_task_").replace("_", "-") not in TEMPLATE_TASKS
    return folder in _PIPELINE_TESTS


# As the folders of `scripts`; what the template is made of besides is tested there alone.
_PIPELINE_TESTS: Final = frozenset(
    (
        *("support", "data", "core", "channel", "manifest", "lock", "renew", "access", "fetch"),
        *("index", "proof", "compare", "closure", "solve", "install", "verify", "self_check"),
        *("consume", "keep", "demo"),
    )
)
