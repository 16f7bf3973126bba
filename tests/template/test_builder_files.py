"""What belongs to the template, and what of it a builder gets."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from scripts.core.errors import MirrorError
from scripts.core.template_files import TEMPLATE, template_files
from scripts.template.builder_files import builder_files, builder_path, check_template
from scripts.template.project_settings import builder_settings
from tests.support.template import copy_template


def test_a_copy_lists_the_same_without_git_and_without_what_was_made(tmp_path: Path) -> None:
    copy = copy_template(tmp_path / "copy")
    for made in ("scripts/__pycache__/a.pyc", "tasks/b.pyc", ".venv/x", "local-channel/y", "z.txt"):
        (copy / made).parent.mkdir(parents=True, exist_ok=True)
        (copy / made).write_bytes(b"")
    assert template_files(copy) == template_files()
    assert builder_files(copy) == builder_files()


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("tasks/mirror.py", "tasks/mirror.py"),
        ("tasks/bench.py", None),
        ("tasks/new.py", None),
        ("tasks/upgrade.py", "tasks/upgrade.py"),
        ("scripts/template/upgrade.py", "scripts/template/upgrade.py"),
        ("scripts/launch.py", "scripts/launch.py"),
        ("builder/README.md", "README.md"),
        ("builder/.github/workflows/update-mirror.yml", ".github/workflows/update-mirror.yml"),
        ("builder/.gitlab-ci.yml", ".gitlab-ci.yml"),
        ("README.md", None),
        ("CHANGELOG.md", None),
        ("pixi.lock", None),
        ("pixi.toml", None),
        ("run", "run"),
        ("LICENSE", "LICENSE"),
        ("bench/run.py", None),
        (".ci/run", None),
        ("tests/conftest.py", "tests/conftest.py"),
        ("tests/lock/test_row.py", "tests/lock/test_row.py"),
        ("tests/data/locks/a", "tests/data/locks/a"),
        ("tests/test_architecture.py", None),
        ("tests/template/test_new.py", None),
        ("tests/support_itself/test_guard.py", None),
    ],
)
def test_where_a_file_goes(path: str, place: str | None) -> None:
    expected = None if place is None else PurePosixPath(place)
    assert builder_path(PurePosixPath(path)) == expected


def test_every_pipeline_stage_takes_its_tests_along() -> None:
    """But for this one's, which need the template whole."""
    stages = {path.parts[1] for path in template_files() if path.match("scripts/*/*.py")}
    tested = {each.path.parts[1] for each in builder_files() if each.path.match("tests/*/*.py")}
    with_tests = {stage for stage in stages if (TEMPLATE / "tests" / stage).is_dir()}
    assert with_tests - tested == {"builder"}


def test_run_is_a_program_and_nothing_else() -> None:
    assert [str(each.path) for each in builder_files() if each.is_program] == ["run"]


def test_a_folder_that_is_no_template_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MirrorError) as refused:
        check_template(tmp_path)
    assert str(refused.value) == (
        f"{tmp_path}: not a template of pixi-mirror: it has no pixi.toml\n"
        "help: name the folder of a template, not that of a builder made from one"
    )
    check_template(TEMPLATE)


def test_a_builder_is_no_python_project() -> None:
    text = (
        '# top\n[build-system]\nrequires = ["hatchling"]\n\n[project]\nname = "pixi-mirror"\n\n'
        '[project.scripts]\na = "b:c"\n\n[tool.hatch.build]\nx = 1\n\n'
        "[tool.ruff]\nline-length = 100 # wide\n\n[tool.mypy]\nstrict = true\n\n"
        '[tool.pytest.ini_options]\naddopts = ["-ra"]\n'
    )
    assert builder_settings(text.encode()).decode() == (
        "# top\n[tool.ruff]\nline-length = 100 # wide\n\n[tool.mypy]\nstrict = true\n\n"
        '[tool.pytest.ini_options]\naddopts = ["-ra"]\n'
    )
