"""The rules of CONTRIBUTING.md, held; beside each a made-up tree that breaks it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from scripts import environment
from tests.support import architecture
from tests.support.architecture import Module, parse_module
from tests.support.pixi import find_pixi
from tests.support.template import ROOT, template_files


def _modules(*folders: str) -> tuple[Module, ...]:
    files = [file for folder in folders for file in sorted((ROOT / folder).rglob("*.py"))]
    return tuple(
        parse_module(
            ".".join(file.relative_to(ROOT).with_suffix("").parts), file.read_text(encoding="utf-8")
        )
        for file in files
    )


OURS = _modules("scripts", "tasks")
MANIFEST = tomllib.loads((ROOT / "pixi.toml").read_text(encoding="utf-8"))
FEATURES = MANIFEST["feature"]
TASKS = {
    name: task for feature in ("tasks", "test") for name, task in FEATURES[feature]["tasks"].items()
}

# What a distribution is imported as, where that is not its name alone.
_IMPORTED_AS = {
    "pyyaml": {"yaml"},
    "py-rattler": {"rattler"},
    "requests": {"requests", "urllib3"},  # requests raises and takes what is urllib3's
}


def _declared() -> set[str]:
    names = architecture.bounds((ROOT / "requirements.txt").read_text(encoding="utf-8"))
    return {each for name in names for each in _IMPORTED_AS.get(name, {name})}


def test_imports_point_upstream() -> None:
    assert list(architecture.against_the_arrow(OURS)) == []


def test_an_import_that_points_downstream_is_found() -> None:
    bad = (
        parse_module("scripts.lock.bad", "from scripts.fetch.plan import plan\n"),
        parse_module("scripts.core.bad", "def f():\n    import scripts.channel.part\n"),
        parse_module("scripts.keep.bad", "from tasks.fetch import main\nfrom . import x\n"),
        parse_module("scripts.cellar.bad", ""),
        parse_module("tasks.bad", "from scripts.environment import ROOT\n"),
        parse_module("tasks.bad", "import scripts.extension\n"),
        parse_module("scripts.fetch.good", "from scripts.lock.model import LockFile\n"),
    )
    assert list(architecture.against_the_arrow(bad)) == [
        "scripts.lock.bad: imports scripts.fetch.plan, which is downstream",
        "scripts.lock.bad: imports scripts.fetch.plan.plan, which is downstream",
        "scripts.core.bad: imports scripts.channel.part, which is downstream",
        "scripts.keep.bad: imports . relatively",
        "scripts.keep.bad: imports ..x relatively",
        "scripts.keep.bad: imports tasks.fetch, which is downstream",
        "scripts.keep.bad: imports tasks.fetch.main, which is downstream",
        "scripts.cellar.bad: cellar has no place in the order",
        "tasks.bad: imports scripts.environment, which is the launcher's",
        "tasks.bad: imports scripts.extension, which is the launcher's",
    ]


def test_nothing_is_too_large() -> None:
    assert list(architecture.too_large(OURS)) == []


def test_what_is_too_large_is_found() -> None:
    long = "def long():\n" + "    x = 1\n" * 60
    bad = (
        parse_module("scripts.core.bad", long + "x = 1\n" * 440),
        parse_module("tasks.bad", "x = 1\n" * 121),
        parse_module("scripts.keep.unbundle", "x = 1\n" * 901),
    )
    assert list(architecture.too_large(bad)) == [
        "scripts.core.bad: 501 lines, at most 500",
        "scripts.core.bad.long: 61 lines, at most 60",
        "tasks.bad: 121 lines, at most 120",
        "scripts.keep.unbundle: 901 lines, at most 900",
    ]


def test_only_the_console_prints() -> None:
    assert list(architecture.printing(OURS)) == []


def test_a_module_that_prints_is_found() -> None:
    bad = parse_module("scripts.fetch.bad", "import sys\nprint(1)\nsys.stderr.write('x')\n")
    console = parse_module("scripts.core.console", bad.source)
    assert list(architecture.printing((bad, console))) == [
        "scripts.fetch.bad:2: prints",
        "scripts.fetch.bad:3: prints",
    ]


def test_only_the_worker_imports_rattler() -> None:
    assert list(architecture.importing_rattler(OURS)) == []


def test_a_module_that_imports_rattler_is_found() -> None:
    source = "def f():\n    from rattler.index import index_fs\n"
    modules = (
        parse_module("scripts.index.bad", source),
        parse_module("scripts.core.rattler_worker", source),
    )
    found = list(architecture.importing_rattler(modules))
    assert found == ["scripts.index.bad: imports rattler"]


def test_everything_imported_is_required() -> None:
    assert list(architecture.undeclared(OURS, _declared())) == []


def test_an_import_that_is_not_required_is_found() -> None:
    bad = parse_module("scripts.index.bad", "import json, ujson\nfrom yaml import CParser\n")
    found = list(architecture.undeclared((bad,), _declared()))
    assert found == ["scripts.index.bad: imports ujson, which the requirements do not name"]


@pytest.mark.parametrize(
    ("file", "feature", "conda_only"),
    [
        ("requirements.txt", "tools", {"python", "rattler-index"}),
        ("requirements-test.txt", "test", set()),
    ],
)
def test_requirements_and_manifest_agree(file: str, feature: str, conda_only: set[str]) -> None:
    """The launcher's bounds are the manifest's; python and rattler-index are not on PyPI."""
    of_pypi = architecture.bounds((ROOT / file).read_text(encoding="utf-8"))
    of_conda = dict(FEATURES[feature]["dependencies"])
    if "msgpack" in of_pypi:
        of_pypi["msgpack-python"] = of_pypi.pop("msgpack")  # its name on conda-forge
    assert conda_only <= of_conda.keys()
    assert of_pypi == {name: of_conda[name] for name in of_conda.keys() - conda_only}
    assert all(re.fullmatch(r">=[\d.]+,<[\d.]+", each) for each in of_conda.values()), of_conda
    if "python" in conda_only:
        assert of_conda["python"] == f">=3.11,<{'.'.join(map(str, environment.UNTRIED))}"


def test_package_and_requirements_agree() -> None:
    """What `pip install` takes from PyPI is what `./run` does, and the build backend is tested."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    ours = architecture.bounds("\n".join(pyproject["project"]["dependencies"]))
    assert ours == architecture.bounds((ROOT / "requirements.txt").read_text(encoding="utf-8"))
    backend = architecture.bounds("\n".join(pyproject["build-system"]["requires"]))
    for_tests = architecture.bounds((ROOT / "requirements-test.txt").read_text(encoding="utf-8"))
    assert backend.items() <= for_tests.items()


def test_recipe_and_manifest_agree() -> None:
    """The conda package is the wheel with [feature.tools] of pixi.toml."""
    recipe = yaml.safe_load((ROOT / "recipe" / "recipe.yaml").read_text(encoding="utf-8"))
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project = pyproject["project"]
    assert recipe["package"] == {"name": project["name"], "version": "${{ version }}"}
    assert recipe["build"]["python"]["entry_points"] == [
        f"{name} = {place}" for name, place in project["scripts"].items()
    ]
    tools = FEATURES["tools"]["dependencies"]
    of_recipe = {
        when: dict(each.partition(" ")[::2] for each in requirements)
        for when, requirements in recipe["requirements"].items()
    }
    assert of_recipe["run"] == tools
    backend = architecture.bounds("\n".join(pyproject["build-system"]["requires"]))
    assert of_recipe["host"] == {"python": tools["python"], "pip": "", **backend}
    assert project["requires-python"] == tools["python"].partition(",")[0]
    about = {"summary": project["description"], "license": project["license"]}
    assert about.items() <= recipe["about"].items()


def test_the_version_stands_in_one_place() -> None:
    """In pyproject.toml: hatchling, rattler-build and `--version` read it there."""
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    quoted = f'"{tomllib.loads(pyproject)["project"]["version"]}"'
    recipe = yaml.safe_load((ROOT / "recipe" / "recipe.yaml").read_text(encoding="utf-8"))
    place = '${{ load_from_file("../pyproject.toml").project.version }}'
    assert recipe["context"] == {"version": place}
    ours = [path for path in template_files() if path.suffix in {".py", ".toml", ".yaml", ".yml"}]
    files = [
        (str(path), (ROOT / path).read_text(encoding="utf-8"))
        for path in ours
        if path.parts[0] != "tests"  # which have versions of their own packages
    ]
    (only,) = architecture.out_of_place(files, [quoted])
    assert re.fullmatch(rf"pyproject\.toml:\d+: mentions {re.escape(quoted)}", only)
    # The control: a second place.
    second = ("scripts/bad.py", f"__version__ = {quoted}\n")
    assert len(list(architecture.out_of_place([*files, second], [quoted]))) == 2


def test_oldest_py_rattler_is_the_lower_bound() -> None:
    oldest = architecture.bounds((ROOT / "requirements-oldest.txt").read_text(encoding="utf-8"))
    lowest = FEATURES["tools"]["dependencies"]["py-rattler"].partition(",")[0]
    assert oldest["py-rattler"].removesuffix(".0") == lowest.replace(">=", "==")
    required = architecture.bounds((ROOT / "requirements.txt").read_text(encoding="utf-8"))
    assert oldest.keys() <= required.keys()


def test_tasks_of_manifest_and_folder_agree() -> None:
    modules = {file.stem for file in (ROOT / "tasks").glob("*.py")} - {"__init__"}
    assert set(TASKS) == {name.replace("_", "-") for name in modules}
    for name, task in TASKS.items():
        assert task["cmd"] == f"python -m tasks.{name.replace('-', '_')}"
        assert re.fullmatch(r"[A-Z][^\n]*[^.\n]", task["description"])


def test_tasks_of_readme_and_manifest_agree() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert sorted(architecture.tasks_of_readme(readme)) == sorted(TASKS)


def test_picture_and_tree_agree() -> None:
    paths = list(architecture.pictured((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")))
    assert [path for path in paths if not list(ROOT.glob(path.rstrip("/")))] == []
    rooms = [path.split("/")[1] for path in paths if re.fullmatch(r"scripts/\w+/", path)]
    assert rooms == list(architecture.STAGES)
    there = {path.parts[0] for path in template_files() if len(path.parts) > 1}
    assert there == {path.partition("/")[0] for path in paths if "/" in path}


def test_what_is_pictured_is_read_with_its_folders() -> None:
    lines = (
        "a, b.txt   one",
        "c/         two, three",
        "  d/       four",
        "    e.py   five",
        "f/  x",
    )
    text = "\n".join(("## The tree", "", "```", *lines, "```", ""))
    assert list(architecture.pictured(text)) == ["a", "b.txt", "c/", "c/d/", "c/d/e.py", "f/"]


def test_readme_tasks_are_those_of_the_task_table_alone() -> None:
    text = "| task | what |\n|---|---|\n| `pixi run fetch [-x]` | a |\n| `prune` | b |\n\n"
    text += "| code | what |\n|---|---|\n| `lock` | c |\n"
    assert architecture.tasks_of_readme(text) == ["fetch", "prune"]


def test_tasks_are_those_that_every_task_environment_has_once() -> None:
    """A task of a feature that two environments have is ambiguous without `-e`."""
    features = {
        name: each if isinstance(each, list) else each.get("features", [])
        for name, each in MANIFEST["environments"].items()
    }
    for feature in ("tasks", "test"):
        assert sum(feature in each for each in features.values()) == 1


@pytest.mark.needs_pixi
def test_pixi_lists_the_same_tasks(tmp_path: Path) -> None:
    listed = find_pixi(tmp_path).run(ROOT, "task", "list", "--machine-readable")
    assert (sorted(listed.stdout.split()), listed.returncode) == (sorted(TASKS), 0)


# In two parts, or this file would mention them.
_ELSEWHERE = tuple(
    "".join(parts)
    for parts in (
        ("../", "shared"),
        ("/work/", "main"),
        ("/work/", "shared"),
        ("/opt/", "venv"),
        ("/opt/", "tools"),
        ("/opt/", "brief"),
        ("/root/", "."),
    )
)


def test_no_file_mentions_the_machine_it_was_written_on() -> None:
    files = []
    for path in template_files():
        try:
            files.append((str(path), (ROOT / path).read_text(encoding="utf-8")))
        except UnicodeDecodeError:
            continue  # an artifact, or test data about encodings
    assert list(architecture.out_of_place(files, _ELSEWHERE)) == []


def test_a_file_that_mentions_the_machine_is_found() -> None:
    files = [("a.md", f"x\nsee {_ELSEWHERE[0]}/guide\n"), ("b.md", "see guide\n")]
    found = list(architecture.out_of_place(files, _ELSEWHERE))
    assert found == [f"a.md:2: mentions {_ELSEWHERE[0]}"]
