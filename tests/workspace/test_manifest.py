"""Manifests: real ones, and odd ones made for this; what their environments have."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.core.errors import ExitCode, MirrorError
from scripts.workspace.model import Manifest, ManifestPlatform, Requirement
from scripts.workspace.parse import parse_manifest
from scripts.workspace.resolve import (
    asked_for,
    channel_priority,
    environment_channels,
    environment_platforms,
    is_built_in_place,
    locked_indexes,
    matches,
    pypi_overrides,
    solve_strategy,
)

DATA = Path(__file__).parents[1] / "data"
MANIFESTS = sorted((DATA / "manifests").glob("*.toml")) + sorted(
    (DATA / "cases").glob("*/pixi.toml")
)
FORGE = "https://conda.anaconda.org/conda-forge"
MINIMAL = '[workspace]\nchannels = ["conda-forge"]\nplatforms = ["linux-64"]\n'


def name_of(path: Path) -> str:
    return "pyproject.toml" if "pyproject" in path.name else "pixi.toml"


def load(name: str) -> Manifest:
    path = DATA / name
    return parse_manifest(path.read_bytes().decode(), name=name_of(path))


def platforms_of(manifest: Manifest, name: str) -> tuple[str, ...]:
    environment = manifest.environment(name)
    assert environment is not None
    return tuple(each.name for each in environment_platforms(manifest, environment))


def requirements_of(manifest: Manifest, name: str, platform: str) -> tuple[Requirement, ...]:
    environment = manifest.environment(name)
    assert environment is not None
    found = next(
        each for each in environment_platforms(manifest, environment) if each.name == platform
    )
    return asked_for(manifest, environment, found).requirements


def specs_of(manifest: Manifest, name: str, platform: str) -> list[str]:
    return [each.spec for each in requirements_of(manifest, name, platform)]


def channels_of(manifest: Manifest, name: str) -> list[str]:
    environment = manifest.environment(name)
    assert environment is not None
    urls = environment_channels(manifest, environment)
    return [url.removeprefix("https://conda.anaconda.org/") for url in urls]


def refusal(text: str, name: str = "pixi.toml") -> str:
    with pytest.raises(MirrorError) as caught:
        parse_manifest(text, name=name)
    assert all(problem.code is ExitCode.USAGE for problem in caught.value.problems)
    return str(caught.value)


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_manifest_is_read_and_has_the_default_environment(path: Path) -> None:
    manifest = parse_manifest(path.read_bytes().decode(), name=name_of(path))
    assert manifest.environment("default") is not None
    for environment in manifest.environments:
        assert environment_platforms(manifest, environment)


def test_channel_order_is_the_one_of_pixis_documentation() -> None:
    manifest = load("cases/channel-priority/pixi.toml")
    assert {each.name: channels_of(manifest, each.name) for each in manifest.environments} == {
        "default": ["conda-forge"],
        "a": ["nvidia", "conda-forge"],
        "b": ["nvidia", "pytorch", "conda-forge"],
        "c": ["pytorch", "conda-forge", "nvidia"],
    }


def test_how_to_solve_is_said_by_the_first_feature_that_says_it() -> None:
    """The workspace's words are the default feature's, as pixi has it; `a` and `A` are two."""
    manifest = parse_manifest(
        """
        [workspace]
        channels = ["conda-forge"]
        platforms = ["linux-64"]
        channel-priority = "disabled"
        solve-strategy = "lowest"
        [feature.a]
        solve-strategy = "lowest-direct"
        [feature.A]
        channel-priority = "flexible"
        [environments]
        a = ["a"]
        alone = { features = ["a"], no-default-feature = true }
        grouped = { features = ["a"], no-default-feature = true, solve-group = "g" }
        other = { features = ["A"], no-default-feature = true, solve-group = "g" }
        """,
        name="pixi.toml",
    )
    assert {
        each.name: (channel_priority(manifest, each), solve_strategy(manifest, each))
        for each in manifest.environments
    } == {
        "default": ("disabled", "lowest"),
        "a": ("disabled", "lowest-direct"),
        "alone": ("strict", "lowest-direct"),
        "grouped": ("flexible", "lowest-direct"),
        "other": ("flexible", "lowest-direct"),
    }


def test_an_environments_own_content_comes_before_its_features() -> None:
    manifest = load("manifests/inline.toml")
    assert channels_of(manifest, "solo") == ["nvidia", "pytorch"]
    assert platforms_of(manifest, "solo") == ("linux-64",)
    assert specs_of(manifest, "solo", "linux-64") == ["pytorch 2.*", "nccl *"]
    assert channels_of(manifest, "later") == ["bioconda", "conda-forge", "robostack"]


def test_dependencies_are_combined_and_the_more_special_win() -> None:
    manifest = load("manifests/inline.toml")
    assert requirements_of(manifest, "default", "linux-64") == (
        Requirement(name="numpy", spec="numpy >=1.26,<3 py312*", channel=FORGE),
        Requirement(
            name="zlib",
            spec='zlib 1.3.1[subdir="linux-64"]',
            channel="https://repo.prefix.dev/special",
        ),
        Requirement(name="cmake", spec='cmake >=3.20[build_number=">=2"]'),
        Requirement(name="gcc", spec="gcc *"),
    )
    assert specs_of(manifest, "default", "osx-64") == [
        "numpy >=1.26,<3 py312*",
        "zlib 1.3.*",
        'cmake >=3.20[build_number=">=2"]',
    ]
    default = manifest.environment("default")
    assert default is not None
    linux = ManifestPlatform(name="linux-64", subdir="linux-64")
    assert asked_for(manifest, default, linux).constraints == (
        Requirement(name="openssl", spec="openssl >=3"),
    )


def test_rich_platforms_have_pixis_names_and_virtual_packages() -> None:
    manifest = load("manifests/rich.toml")
    assert manifest.platforms == (
        ManifestPlatform(name="linux-64", subdir="linux-64"),
        ManifestPlatform(
            name="linux-64-cuda-12-0-cuda-arch-8-6",
            subdir="linux-64",
            virtual_packages=("__cuda=12.0", "__cuda_arch=8.6"),
        ),
        ManifestPlatform(
            name="jetson",
            subdir="linux-aarch64",
            virtual_packages=("__cuda=12.8", "__archspec=0=armv8.2a"),
        ),
        ManifestPlatform(
            name="linux-64-future-1-2-abc",
            subdir="linux-64",
            virtual_packages=("__future=1.2=abc",),
        ),
        ManifestPlatform(
            name="osx-arm64-macos-14-0", subdir="osx-arm64", virtual_packages=("__osx=14.0",)
        ),
        ManifestPlatform(name="win-64", subdir="win-64"),
    )


def test_a_platform_named_exactly_takes_the_others_of_its_subdir_away() -> None:
    manifest = load("manifests/rich.toml")
    assert platforms_of(manifest, "gpu") == ("linux-64-cuda-12-0-cuda-arch-8-6", "jetson")
    assert platforms_of(manifest, "plain") == ("linux-64", "win-64")
    assert len(platforms_of(manifest, "everywhere")) == 6


def test_targets_match_by_name_glob_family_and_subdir() -> None:
    manifest = load("manifests/rich.toml")
    assert specs_of(manifest, "default", "jetson") == ["python 3.12.*", "opencv *", "bash *"]
    assert specs_of(manifest, "gpu", "linux-64-cuda-12-0-cuda-arch-8-6") == [
        "python 3.12.*",
        "cupy *",
        "bash *",
    ]
    assert specs_of(manifest, "default", "win-64") == ["python 3.12.*", "m2-bash *"]
    mac = ManifestPlatform(name="osx-64", subdir="osx-64")
    assert [each for each in ("osx", "macos", "unix", "linux", "win") if matches(each, mac)] == [
        "osx",
        "macos",
        "unix",
    ]


def test_system_requirements_turn_subdirs_into_platforms_and_the_highest_wins() -> None:
    manifest = load("manifests/composed.toml")
    environment = manifest.environment("ab")
    assert environment is not None
    assert environment.solve_group == "both"
    assert environment_platforms(manifest, environment) == (
        ManifestPlatform(
            name="linux-64-cuda-12-2-glibc-2-34-linux-5-10",
            subdir="linux-64",
            virtual_packages=("__cuda=12.2", "__glibc=2.34", "__linux=5.10"),
        ),
        ManifestPlatform(
            name="linux-aarch64-cuda-12-2-glibc-2-34-linux-5-10",
            subdir="linux-aarch64",
            virtual_packages=("__cuda=12.2", "__glibc=2.34", "__linux=5.10"),
        ),
    )
    assert platforms_of(manifest, "musl") == (
        "linux-64-musl-1-2",
        "osx-arm64",
        "win-64",
        "linux-aarch64-musl-1-2",
    )


def test_a_subdir_named_by_any_feature_reaches_features_that_name_none() -> None:
    """Pixi 0.71 and later; why the payload's platforms are in a feature of their own."""
    text = MINIMAL + '[feature.x]\nplatforms = ["win-64"]\n[environments]\nx = ["x"]\n'
    manifest = parse_manifest(text, name="pixi.toml")
    assert platforms_of(manifest, "default") == ("linux-64", "win-64")
    assert platforms_of(manifest, "x") == ("win-64",)


def test_a_python_project_brings_its_dependencies_groups_and_python() -> None:
    manifest = load("manifests/groups.pyproject.toml")
    assert manifest.name == "groups"
    assert manifest.settings.layout == "by-channel"
    assert specs_of(manifest, "test", "win-64") == ["ruff *", "python >=3.11"]
    environment = manifest.environment("test")
    assert environment is not None
    linux = environment_platforms(manifest, environment)[0]
    assert [each.name for each in asked_for(manifest, environment, linux).pypi] == [
        "pytest",
        "hypothesis",
        "matplotlib",
        "requests",
        "rich",
    ]


def test_options_of_features_are_merged_and_laid_over_the_workspace_s() -> None:
    """As pixi has it: pypi/pypi_options.rs, `union` and `overlay`."""
    said = (
        'index-url = "https://{0}/simple"\nextra-index-urls = ["https://{0}/more"]\n'
        'find-links = [{{ path = "{0}" }}, {{ url = "https://{0}/links" }}]\n'
        'no-build-isolation = ["{0}"]\ndependency-overrides = {{ {0} = "1", every = "=={1}" }}\n'
    )
    text = (
        f"{MINIMAL}[workspace.pypi-options]\n{said.format('w', 1)}"
        f"[feature.x.pypi-options]\n{said.format('x', 2)}"
        f"[feature.y.pypi-options]\n{said.format('y', 3).partition(chr(10))[2]}"
        "[environments]\nx = { features = ['x', 'y'], no-default-feature = true }\n"
    )
    manifest = parse_manifest(text, name="pixi.toml")
    default, x = manifest.environment("default"), manifest.environment("x")
    assert default is not None
    assert x is not None
    indexes = "https://w/simple", "https://w/more"
    assert locked_indexes(manifest, default) == (indexes, ("https://w/links",))
    assert locked_indexes(manifest, x) == (
        ("https://x/simple", *(f"https://{each}/more" for each in "wxy")),
        tuple(f"https://{each}/links" for each in "wxy"),
    )
    assert {k: each.text for k, each in pypi_overrides(manifest, x).items()} == {
        **{each: f"{each}==1" for each in "wxy"},
        "every": "every==2",
    }
    # What the workspace says holds without the default feature, too.
    built = [[is_built_in_place(manifest, each, name) for name in "wxyz"] for each in (default, x)]
    assert built == [[True, False, False, False], [True, True, True, False]]


def test_groups_include_groups_and_the_project_s_own_extras() -> None:
    """As pixi has it: `pyproject-toml`, src/resolution.rs; test_manifest_against_pixi asks it."""
    manifest = load("manifests/included.pyproject.toml")

    def texts_of(name: str) -> list[str]:
        environment = manifest.environment(name)
        assert environment is not None
        (linux,) = environment_platforms(manifest, environment)
        return sorted(each.text for each in asked_for(manifest, environment, linux).pypi)

    # Both hold of a name that the project and pixi's own table ask for; a target's alone counts.
    own = ["lxml<5", "requests>=2", "requests>=2.30"]
    assert texts_of("default") == own
    assert texts_of("all") == sorted(["matplotlib", "rich", "rich[jupyter]", *own])
    assert texts_of("dev") == sorted(["mypy", "pytest", "ruff", "matplotlib", *own])


def test_groups_that_include_themselves_are_left_to_pixi() -> None:
    groups = (
        '[dependency-groups]\na = [{ include-group = "b" }, "x"]\nb = [{ include-group = "a" }]\n'
    )
    project = '[project]\nname = "w"\n'
    tools = "[tool.pixi.workspace]\nchannels = []\nplatforms = []\n"
    manifest = parse_manifest(project + groups + tools, name="pyproject.toml")
    feature = manifest.feature("b")
    assert feature is not None
    assert {each.text for target in feature.targets for each in target.pypi} == {"x"}


def test_pypi_names_are_written_as_their_index_does() -> None:
    manifest = load("manifests/jaxsim.pyproject.toml")
    environment = manifest.environment("gpu")
    assert environment is not None
    (linux,) = environment_platforms(manifest, environment)
    asked = asked_for(manifest, environment, linux)
    assert "jax-dataclasses" in {each.name for each in asked.pypi}
    assert [each for each in specs_of(manifest, "gpu", linux.name) if "jaxlib" in each] == [
        "jaxlib * *cuda*",
        "jaxlib *",
    ]


@pytest.mark.parametrize(
    ("written", "spec", "is_source"),
    [
        ('"*"', "a *", False),
        ('""', "a *", False),
        ('">= 1.2, < 2"', "a >=1.2,<2", False),
        ('"1.2 | 1.3.*"', "a 1.2|1.3.*", False),
        ('{ version = "==1" }', "a ==1", False),
        ('{ build = "py3*" }', "a * py3*", False),
        ('{ channel = "x" }', "a", False),
        ('{ version = "1", extras = ["b", "c"] }', "a 1[extras=[b,c]]", False),
        ('{ file-name = "a-1-0.conda" }', 'a[fn="a-1-0.conda"]', False),
        ('{ url = "https://x/l/a-1-0.conda" }', "a", False),
        ('{ url = "https://x/l/a-1-0.conda?of=me#sha" }', "a", False),
        ('{ url = "https://x/a.zip" }', "a", True),
        ('{ url = "https://x/a.zip?of=a-1-0.conda" }', "a", True),
        ('{ path = "." }', "a", True),
        ('{ path = "a-1-0.tar.bz2" }', "a", False),
        ('{ git = "https://x/a.git", branch = "b" }', "a", True),
    ],
)
def test_how_a_dependency_becomes_a_matchspec(*, written: str, spec: str, is_source: bool) -> None:
    manifest = parse_manifest(f"{MINIMAL}[dependencies]\nA = {written}\n", name="pixi.toml")
    (requirement,) = requirements_of(manifest, "default", "linux-64")
    assert (requirement.name, requirement.spec) == ("a", spec)
    assert requirement.is_source is is_source
    rattler = pytest.importorskip("rattler")
    rattler.MatchSpec(requirement.spec)  # it can be read


@pytest.mark.parametrize(
    ("when", "condition"),
    [
        ('"python >3"', "python >3"),
        ('{ all = ["a >1", "b"] }', "(a >1 and b)"),
        ('{ any = ["a", { all = ["b", { package = "C" }] }] }', "(a or (b and c))"),
        (
            '{ package = "c", version = ">=1, <2", build = "py*", build-number = ">3" }',
            'c >=1,<2 py*[build_number=">3"]',
        ),
    ],
)
def test_conditions(when: str, condition: str) -> None:
    text = f'{MINIMAL}[dependencies]\na = {{ version = "1", when = {when} }}\n'
    (requirement,) = requirements_of(parse_manifest(text, name="pixi.toml"), "default", "linux-64")
    assert requirement == Requirement(name="a", spec="a 1", condition=condition)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            MINIMAL + '[dependencies]\na = { when = { any = ["b", 3] } }\n',
            "pixi.toml: dependencies.a.when.any.1 is not a table\n  actual  3",
        ),
        (
            MINIMAL + '[dependencies]\na = { when = { version = "1" } }\n',
            (
                "pixi.toml: dependencies.a.when is not a MatchSpec, or a table with all, any or"
                " package\n  actual  {'version': '1'}"
            ),
        ),
        (
            "\ufeff" + MINIMAL,
            (
                "pixi.toml: begins with a byte order mark, which pixi does not read either\n"
                "help: save it as UTF-8 without BOM"
            ),
        ),
        (
            "[tasks]\n",
            "pixi.toml: not a pixi workspace: there is no table [workspace]\nhelp: pixi init",
        ),
        ('workspace = "x"', "pixi.toml: workspace is not a table\n  actual  'x'"),
        (
            '[workspace]\nplatforms = ["linux-46"]',
            (
                "pixi.toml: workspace.platforms[0]: no such subdir: 'linux-46'\n"
                "help: did you mean linux-64?"
            ),
        ),
        (
            "[workspace]\nplatforms = [{ cuda = '12' }]",
            "pixi.toml: workspace.platforms[0] has neither platform nor name",
        ),
        (
            '[workspace]\nplatforms = "linux-64"',
            "pixi.toml: workspace.platforms is not a list\n  actual  'linux-64'",
        ),
        (
            MINIMAL + '[environments]\na = ["b"]',
            "pixi.toml: environment a names the feature b, which is not defined",
        ),
        (
            MINIMAL + "[dependencies]\na = 3",
            "pixi.toml: dependencies.a is not a table\n  actual  3",
        ),
        (
            "[workspace]\nchannels = [1]",
            "pixi.toml: workspace.channels[0].channel is not a string\n  actual  1",
        ),
        (
            "[workspace]\nchannels = ['']",
            "pixi.toml: workspace.channels[0].channel is not a channel's name or URL\n  actual  ''",
        ),
        (
            "[workspace]\nplatforms = [3]",
            "pixi.toml: workspace.platforms is not a list of subdirs and tables\n  actual  [3]",
        ),
        (
            MINIMAL + "[dependencies]\na = { workspace = true }",
            (
                "pixi.toml: dependencies.a.workspace is not possible: workspace.dependencies has"
                " no such package\n  actual  True"
            ),
        ),
        (
            MINIMAL + "[tool.pixi-mirror]\nlayuot = 'flat'",
            (
                "pixi.toml: no such setting: 'layuot' in [tool.pixi-mirror]\n"
                "help: did you mean layout?"
            ),
        ),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(text: str, message: str) -> None:
    assert refusal(text) == message


@pytest.mark.parametrize(
    "text",
    [
        "version https://git-lfs.github.com/spec/v1\n",
        "a = [",
        "[a]\n[a]\n",
        "a = " + "[" * 5000,
        "a = 2021-13-45",
        "a = 0x",
        "a = {b = 1, b = 2}",
        "a.b = 1\na = 2",
        "<<<<<<< HEAD\na = 1\n=======\na = 2\n>>>>>>> x\n",
        "a = '\0'",
    ],
)
def test_what_is_no_toml_is_said_to_be_none(text: str) -> None:
    assert refusal(text).startswith("pixi.toml: not TOML: ")


@pytest.mark.parametrize("text", ["{} = 1\n", "[{}]\n"])
def test_deep_tables_are_toml(text: str) -> None:
    """Nothing walks through what nobody asks for; from Python 3.14 on, tomllib takes 1,000."""
    deep = text.format(".".join("a" * 990))
    workspace = '[workspace]\nname = "x"\nchannels = []\nplatforms = []\n'
    assert parse_manifest(f"{workspace}[tool]\n{deep}", name="pixi.toml").name == "x"


def test_a_python_project_without_pixi_is_no_workspace() -> None:
    assert refusal('[project]\nname = "x"\n', "pyproject.toml") == (
        "pyproject.toml: not a pixi workspace: there is no table [tool.pixi.workspace]\n"
        "help: pixi init"
    )
