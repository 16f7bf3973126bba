"""The level closure: what is met, each thing that is not, and who is told to need it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from scripts.channel.locks import read_locks
from scripts.channel.selection import read_selection
from scripts.core.console import Console
from scripts.core.errors import ExitCode, MirrorError, Problem
from scripts.core.rattler_child import call_rattler
from scripts.core.report import Json
from scripts.lock.select import Selection
from scripts.verify.closure import check_closure
from scripts.verify.findings import EnvironmentPlatform, Level, LevelResult, UsageIndex
from scripts.workspace.settings import SettingOverrides
from scripts.workspace.workspace import open_workspace
from tasks import verify
from tests.support.locks import EnvironmentRows, LockRow, PlatformRows, RawRow, write_lock
from tests.support.mirrors import CHANNEL
from tests.support.packages import TinyPackage
from tests.support.pinned import write_mirror

MANIFEST = """\
[workspace]
name = "w"
channels = ["conda-forge"]
platforms = ["linux-64", "osx-arm64"]

[dependencies]
"""
SOURCE = RawRow(key="conda_source", location="'mine[12345678] @ ./mine'")


def row(name: str, *depends: str, at: str = "linux-64", **fields: Any) -> RawRow:
    """Make the row of `name` or `name-version-build`; `fields` are lists, maps or texts."""
    full = name if name.count("-") > 1 else f"{name}-1.0-0"
    channel = fields.pop("channel", CHANNEL)
    written = {"depends": list(depends), "md5": "0" * 32, **fields}
    lines = tuple(f"{key}: {json.dumps(value)}" for key, value in written.items() if value)
    return RawRow(key="conda", location=f"{channel}/{at}/{full}.conda", lines=lines)


def environment(*rows: RawRow, name: str = "default", **platform: Any) -> EnvironmentRows:
    """Make an environment on one platform, linux-64 unless another is given."""
    rows_of = PlatformRows(**{"name": "linux-64", "rows": rows, **platform})
    return EnvironmentRows(name=name, platforms=(rows_of,), channels=(CHANNEL,))


@dataclass(frozen=True)
class World:
    """A workspace whose mirror has records and not a single artifact: closure looks at none."""

    root: Path

    def write(self, manifest: str, *environments: EnvironmentRows, version: int = 7) -> World:
        """Write manifest and lock; of a manifest without `[` the requirements alone are given."""
        whole = MANIFEST + manifest if "[workspace]" not in manifest else manifest
        (self.root / "pixi.toml").write_text(whole, encoding="utf-8")
        write_lock(self.root / "pixi.lock", environments, version)
        return self.index()

    def index(self) -> World:
        """Write what the lock says into the mirror's repodata."""
        shutil.rmtree(self.folder, ignore_errors=True)
        write_mirror(self.folder, self.selection)
        return self

    @property
    def folder(self) -> Path:
        """The channel folder."""
        return self.root / "local-channel"

    @property
    def selection(self) -> Selection:
        """What is mirrored."""
        workspace = open_workspace(self.root, SettingOverrides())
        return read_selection(workspace, read_locks(workspace, Console()))

    def close(self) -> LevelResult:
        """Look."""
        workspace = open_workspace(self.root, SettingOverrides())
        return check_closure(workspace, self.selection, UsageIndex(self.selection))

    def not_proven(self) -> list[list[str]]:
        """Look, and return what is not proven of each place."""
        return [each["not-proven"] for each in _closed(self.close())]

    def problems(self) -> list[str]:
        """Look, and return all findings as they are printed."""
        return [str(each.problem) for each in self.close().findings]

    def troubles(self) -> list[str]:
        """Look, and return the first lines of all findings, and what the set has."""
        return [
            ", ".join((f"{each.subject} {each.message}", *_facts(each, "has")))
            for each in (finding.problem for finding in self.close().findings)
        ]


def _closed(result: LevelResult) -> list[Any]:
    closed = result.data["closed"]
    assert isinstance(closed, list)
    return closed


def _facts(problem: Problem, label: str) -> list[str]:
    return [text for name, text in problem.details if name == label]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


# What packages require of each other


def test_all_is_met(world: World) -> None:
    """Blanks, builds, alternatives, capitals, noarch and a build number are rattler's matter."""
    world.write(
        'a = ">=1"',
        environment(
            row("a", "b  >= 1.0, <3", "c 2.* py_*", "D", "e >=9|1.0", "f 3.*[build_number=4]"),
            row("b"),
            row("c-2.1-py_3"),
            row("d", at="noarch"),
            row("e"),
            row("f-3.12-4_cp312", build_number=4),
        ),
    )
    result = world.close()
    assert result.findings == ()
    assert (result.unproven, len(_closed(result))) == (frozenset(), 1)


def test_a_dependency_is_removed(world: World) -> None:
    """The way up to the manifest is told, and where else in the mirror the dependency is."""
    lib = row("lib-1.2-0")
    world.write(
        'app = "*"\n\n[feature.f.dependencies]\nlib = "*"\n\n'
        '[environments]\nother = { features = ["f"], no-default-feature = true }\n',
        environment(row("app", "mid >=1"), row("mid", "low"), row("low", "lib >=1.1,<2")),
        environment(lib, name="other"),
        environment(row("lib-0.9-0"), name="third"),
    )
    assert world.problems() == [
        (
            "linux-64/low-1.0-0.conda: requires lib >=1.1,<2, which is not met\n"
            "  has        no lib\n"
            "  elsewhere  linux-64/lib-1.2-0.conda of other/linux-64\n"
            "  needed by  mid-1.0-0: low\n"
            "  needed by  app-1.0-0: mid >=1\n"
            "  needed by  pixi.toml: app *\n"
            "  used by    default/linux-64\n"
            "help: pixi lock"
        )
    ]


def test_another_version_is_there(world: World) -> None:
    world.write("", environment(row("a", "b >=2"), row("b")))
    assert world.problems() == [
        (
            "linux-64/a-1.0-0.conda: requires b >=2, which is not met\n"
            "  has        linux-64/b-1.0-0.conda\n"
            "  elsewhere  nothing in the locks\n"
            "  needed by  nothing that pixi.toml requires\n"
            "  used by    default/linux-64\n"
            "help: pixi lock"
        )
    ]


def test_it_is_there_for_another_platform_alone(world: World) -> None:
    both = EnvironmentRows(
        platforms=(
            PlatformRows(name="linux-64", rows=(row("a", "b", at="noarch"),)),
            PlatformRows(
                name="osx-arm64", rows=(row("a", "b", at="noarch"), row("b", at="osx-arm64"))
            ),
        ),
        channels=(CHANNEL,),
    )
    world.write('a = "*"', both)
    result = world.close()
    (finding,) = result.findings
    assert finding.level is Level.CLOSURE
    assert finding.places == {EnvironmentPlatform("default", "linux-64")}
    assert _facts(finding.problem, "elsewhere") == ["osx-arm64/b-1.0-0.conda of default/osx-arm64"]


def test_one_finding_for_all_places_and_the_rest_is_counted(world: World) -> None:
    broken = (row("a", "b"),)
    environments = [environment(*broken, name=f"e{number}") for number in range(3)]
    environments += [
        environment(row(f"b-1.{number}-0"), name=f"with-b-{number}") for number in range(7)
    ]
    world.write("", *environments)
    (finding,) = world.close().findings
    assert finding.places == {EnvironmentPlatform(f"e{number}", "linux-64") for number in range(3)}
    assert _facts(finding.problem, "used by") == ["e0/linux-64, e1/linux-64, e2/linux-64"]
    elsewhere = _facts(finding.problem, "elsewhere")
    assert len(elsewhere) == 6
    assert elsewhere[-1] == "and 2 more"


def test_packages_in_a_circle_that_nobody_requires(world: World) -> None:
    world.write("", environment(row("a", "b", "gone"), row("b", "a")))
    (finding,) = world.close().findings
    assert finding.problem.subject == "linux-64/a-1.0-0.conda"
    assert _facts(finding.problem, "needed by") == ["b-1.0-0: a", "nothing that pixi.toml requires"]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("b[track_features=mkl]", []),
        (
            "b[track_features=nomkl]",
            [
                (
                    "linux-64/a-1.0-0.conda requires b[track_features=nomkl], which is not met,"
                    " linux-64/b-1.0-0.conda"
                )
            ],
        ),
    ],
)
def test_track_features(spec: str, message: list[str], world: World) -> None:
    world.write("", environment(row("a", spec), row("b", track_features=["mkl", "blas"])))
    assert world.troubles() == message


def test_what_is_no_matchspec(world: World) -> None:
    world.write("", environment(row("a", "b >=1,<=", constrains=["c >=1,<="])))
    found = world.close().findings
    assert [each.problem.message for each in found] == [
        "requires b >=1,<=, which is no MatchSpec",
        "constrains c >=1,<=, which is no MatchSpec",
    ]
    assert all(_facts(each.problem, "said") for each in found)


def test_a_version_that_is_none(world: World) -> None:
    """No client reads such a file; the index that is made here never has one."""
    world.write("", environment(row("a", "b"), row("b", version="1..0")))
    (finding,) = world.close().findings
    assert str(finding.problem).startswith(
        "linux-64/repodata.json: py-rattler cannot read it: malformed version string '1..0'"
    )
    assert finding.places == {EnvironmentPlatform("default", "linux-64")}


# What the mirror itself says


def _edit(world: World, edit: Callable[[dict[str, Any]], object]) -> None:
    file = world.folder / "linux-64" / "repodata.json"
    document = json.loads(file.read_bytes())
    edit(document["packages.conda"])
    file.write_text(json.dumps(document), encoding="utf-8")


def test_it_is_the_mirror_s_record_that_counts(world: World) -> None:
    """Not what pixi.lock says of the package."""
    world.write('a = "*"', environment(row("a"), row("b")))
    assert world.troubles() == []
    _edit(world, lambda rows: rows["a-1.0-0.conda"].update(depends=["b >=2"]))
    assert world.troubles() == [
        "linux-64/a-1.0-0.conda requires b >=2, which is not met, linux-64/b-1.0-0.conda"
    ]


@pytest.mark.parametrize("depends", [(), ("b",)], ids=["nobody needs it", "it is needed"])
def test_a_record_is_gone(depends: tuple[str, ...], world: World) -> None:
    world.write('a = "*"', environment(row("a", *depends), row("b")))
    _edit(world, lambda rows: rows.pop("b-1.0-0.conda"))
    assert world.problems()[0] == (
        "linux-64/b-1.0-0.conda: has no record in repodata.json\nhelp: pixi run index"
    )
    needed = ["linux-64/a-1.0-0.conda requires b, which is not met, no b"] if depends else []
    assert world.troubles()[1:] == needed
    assert {each.rpartition("\n")[2] for each in world.problems()} == {"help: pixi run index"}


def test_repodata_is_missing(world: World) -> None:
    """One finding, not one for each artifact; nothing is said of what it would have told."""
    world.write('a = "*"', environment(row("a", "b", "gone"), row("b", at="noarch")))
    (world.folder / "linux-64" / "repodata.json").unlink()
    (finding,) = world.close().findings
    assert str(finding.problem) == "linux-64/repodata.json: is missing\nhelp: pixi run index"
    assert finding.places == {EnvironmentPlatform("default", "linux-64")}


def test_one_name_is_there_twice(world: World) -> None:
    """Which pixi never locks: nothing requires what cannot be, so rattler's own reason is told."""
    world.write("", environment(row("a-1.0-0"), row("a-2.0-0")))
    assert world.problems() == [
        (
            "default/linux-64: the locked packages of pixi.toml do not go together\n"
            "  said     a is there twice\n"
            "  used by  default/linux-64\n"
            "help: pixi lock"
        )
    ]


# What packages do not go with


@pytest.mark.parametrize("version", ["1.9", "2.0"])
def test_constrains(version: str, world: World) -> None:
    """Only where the package is there; it is kept where another name is constrained."""
    world.write(
        'a = "*"',
        environment(row("a", constrains=["b <2", "absent <1"]), row(f"b-{version}-0")),
        environment(row("b-1.5-0"), name="other"),
    )
    expected = [
        (
            "linux-64/a-1.0-0.conda: constrains b <2, which is not kept\n"
            "  has        linux-64/b-2.0-0.conda\n"
            "  elsewhere  linux-64/b-1.5-0.conda of other/linux-64\n"
            "  needed by  pixi.toml: a *\n"
            "  used by    default/linux-64\n"
            "help: pixi lock"
        )
    ]
    assert world.problems() == (expected if version == "2.0" else [])


# Virtual packages


def test_a_virtual_package_is_missing(world: World) -> None:
    """A plain platform has no __cuda; the one that has it is named."""
    cuda = ("__cuda=12.4", "__glibc=2.28")
    gpu = row("gpu", "__cuda >=12", "__glibc >=2.17")
    world.write(
        'gpu = "*"',
        environment(gpu),
        EnvironmentRows(
            name="other",
            platforms=(
                PlatformRows(name="p1", subdir="linux-64", rows=(gpu,), virtual_packages=cuda),
            ),
            channels=(CHANNEL,),
        ),
    )
    assert world.problems() == [
        (
            "linux-64/gpu-1.0-0.conda: requires __cuda >=12, which is not met\n"
            "  has        no __cuda\n"
            "  elsewhere  __cuda=12.4 of other/p1\n"
            "  needed by  pixi.toml: gpu *\n"
            "  used by    default/linux-64\n"
            "help: declare such a __cuda for linux-64 in the platforms of pixi.toml,"
            " then `pixi lock`"
        )
    ]


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("2.17", []),
        ("2.28", []),
        ("2.34", ["linux-64/a-1.0-0.conda requires __glibc >=2.34, which is not met, {}"]),
    ],
)
@pytest.mark.parametrize("lock", [1, 4, 6, 7])
def test_defaults_where_the_lock_says_nothing(
    version: str, expected: list[str], lock: int, tmp_path: Path
) -> None:
    """What pixi assumes of the bare subdir; a v7 platform that records none is as the older."""
    package = TinyPackage(
        name="a", subdir="linux-64", depends=(f"__glibc >={version}", "__linux", "__unix")
    )
    written = LockRow(written=package.write(tmp_path / "upstream"), channel=CHANNEL)
    platforms = (PlatformRows(name="linux-64", rows=(written,)),)
    world = World(tmp_path).write("", EnvironmentRows(platforms=platforms), version=lock)
    assert world.troubles() == [each.format("__glibc=2.28") for each in expected]


def test_recorded_virtual_packages_are_what_pixi_makes_of_them(world: World) -> None:
    """With what it assumes of the subdir; of `__archspec` the build alone, and no unknown ones."""
    world.write(
        "",
        environment(
            row("a", "__glibc >=2.17", "__unix", "__archspec 1 x86_64", "__archspec 0", "__own"),
            virtual_packages=("__glibc=2.12", "__archspec=0=x86_64", "__own=1=0"),
        ),
    )
    assert world.troubles() == [
        "linux-64/a-1.0-0.conda requires __glibc >=2.17, which is not met, __glibc=2.12",
        "linux-64/a-1.0-0.conda requires __archspec 0, which is not met, __archspec=1=x86_64",
        "linux-64/a-1.0-0.conda requires __own, which is not met, no __own",
    ]


@pytest.mark.parametrize("version", ["~", "9" * 5000])
@pytest.mark.parametrize("where", ["lock", "manifest"])
def test_a_virtual_package_of_no_version(world: World, where: str, version: str) -> None:
    asked = f'[system-requirements]\ncuda = "{version}"\n' if where == "manifest" else ""
    locked = (f"__cuda={version}",) if where == "lock" else ()
    world.write(asked, environment(row("a"), virtual_packages=locked))
    with pytest.raises(MirrorError) as raised:
        world.problems()
    [problem] = raised.value.problems
    assert (problem.subject, problem.code) == ("pixi.lock", ExitCode.USAGE)
    assert problem.message.startswith(
        f"py-rattler refuses what is in it or its manifest: malformed version string '{version}'"
    )
    assert problem.help == "correct it in the manifest, then `pixi lock`"
    # Control: the largest that it takes.
    world.write("", environment(row("a"), virtual_packages=(f"__cuda={2**64 - 1}",)))
    assert world.problems() == []


def test_another_libc_takes_the_place_of_glibc(world: World) -> None:
    world.write("", environment(row("a", "__musl", "__glibc"), virtual_packages=("__musl=1.2",)))
    assert world.troubles() == [
        "linux-64/a-1.0-0.conda requires __glibc, which is not met, no __glibc"
    ]


def test_virtual_packages_can_be_constrained(world: World) -> None:
    world.write("", environment(row("a", constrains=["__glibc <2.20", "__cuda <1", "__unix"])))
    assert world.troubles() == [
        "linux-64/a-1.0-0.conda constrains __glibc <2.20, which is not kept, __glibc=2.28"
    ]


@pytest.mark.parametrize("version", ["11", "12"])
def test_system_requirements_of_an_older_lock(version: str, world: World) -> None:
    manifest = MANIFEST + f'gpu = "*"\n\n[system-requirements]\ncuda = "{version}"\n'
    world.write(manifest, environment(row("gpu", "__cuda >=12")), version=6)
    assert world.troubles() == (
        []
        if version == "12"
        else ["linux-64/gpu-1.0-0.conda requires __cuda >=12, which is not met, __cuda=11"]
    )


def test_platforms_of_the_manifest_are_found_whatever_the_lock_calls_them(world: World) -> None:
    """`p1` is the platform with __cuda: what is required there alone is not required elsewhere."""
    manifest = (
        '[workspace]\nname = "w"\nchannels = ["conda-forge"]\n'
        'platforms = ["linux-64", { name = "gpu", platform = "linux-64", cuda = "12" }]\n\n'
        '[target.gpu.dependencies]\nnn = "*"\n'
    )
    plain = PlatformRows(name="linux-64", rows=(row("a"),))
    cuda = ("__cuda=12", "__unix=0=0", "__linux=4.18", "__glibc=2.28", "__archspec=0=x86_64")
    gpu = PlatformRows(name="p1", subdir="linux-64", rows=(row("a"),), virtual_packages=cuda)
    world.write(manifest, EnvironmentRows(platforms=(plain, gpu), channels=(CHANNEL,)))
    (finding,) = world.close().findings
    assert finding.problem.message == "requires nn *, which is not met"
    assert finding.places == {EnvironmentPlatform("default", "p1")}


# What the manifest requires


def test_the_manifest_s_own_requirements(world: World) -> None:
    """Of targets, features and kinds of dependency, as pixi gathers them."""
    world.write(
        'a = ">=2"\nabsent = "*"\n__glibc = ">=2.17"\n\n'
        '[target.linux.dependencies]\nb = "*"\n\n'
        '[target.osx.dependencies]\nc = "*"\n\n[constraints]\nd = "<1"\nnone = "<1"\n',
        environment(row("a"), row("d")),
    )
    assert world.troubles() == [
        "pixi.toml requires a >=2, which is not met, linux-64/a-1.0-0.conda",
        "pixi.toml requires absent *, which is not met, no absent",
        "pixi.toml requires b *, which is not met, no b",
        "pixi.toml constrains d <1, which is not kept, linux-64/d-1.0-0.conda",
    ]


def test_a_channel_that_the_manifest_asks_for(world: World) -> None:
    """Packages, on the contrary, never ask for a channel: rattler leaves it aside."""
    nvidia = "https://conda.anaconda.org/nvidia"
    manifest = MANIFEST + (
        'a = { version = "*", channel = "nvidia" }\nb = { version = "*", channel = "nvidia" }\n\n'
        '[tool.pixi-mirror]\nlayout = "by-channel"\n'
    )
    world.write(
        manifest,
        environment(row("a", "nvidia::a", "nvidia::c"), row("b", channel=nvidia), row("c")),
        environment(row("a-2.0-0", channel=nvidia), name="other"),
    )
    assert world.problems() == [
        (
            "pixi.toml: requires a * from https://conda.anaconda.org/nvidia, which is not met\n"
            f"  has        conda-forge/linux-64/a-1.0-0.conda from {CHANNEL}\n"
            "  elsewhere  nvidia/linux-64/a-2.0-0.conda of other/linux-64\n"
            "  used by    default/linux-64\n"
            "help: pixi update a"
        )
    ]


def test_what_the_manifest_does_not_know(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """The packages are closed all the same; what is required of them is not known."""
    world.write("", environment(row("a", "b"), row("b"), name="other"))
    assert world.close().findings == ()
    assert world.close().unproven == {EnvironmentPlatform("other", "linux-64")}
    assert verify.main(["--manifest-path", str(world.root), "--level", "closure"]) == 0
    assert capsys.readouterr().out == (
        "other  linux-64  closure –\n"  # noqa: RUF001
        "closure: not proven of other/linux-64:"
        " what the manifest requires (pixi.toml has no such environment)\n"
    )


# Extras


EXTRAS = {"x": ["b >=1", "a[extras=[y]]"], "y": ["c"], "z": ["nowhere"]}


@pytest.mark.parametrize(
    ("manifest", "asks"),
    [('a = { version = "*", extras = ["x"] }', ()), ('top = "*"', ("a[extras=[x]]",))],
)
def test_extras_that_are_asked_for(manifest: str, asks: tuple[str, ...], world: World) -> None:
    """By the manifest or by a package, one through another; what nobody asks for is not needed."""
    a, top = row("a", extra_depends=EXTRAS), row("top", *asks)
    world.write(manifest, environment(a, top, row("b"), row("c")))
    assert world.troubles() == []
    world.write(manifest, environment(a, top, row("b")))
    (finding,) = world.close().findings
    assert finding.problem.message == "requires c, which is not met"
    root = "pixi.toml: a[extras=[x]]" if not asks else "top-1.0-0: a[extras=[x]]"
    assert _facts(finding.problem, "needed by")[0].replace(" *", "") == root
    world.write(manifest, environment(a, top, row("b"), row("c", "gone")))
    (finding,) = world.close().findings
    assert _facts(finding.problem, "needed by")[0] == "a-1.0-0[y]: c"


def test_extras_that_nobody_asks_for(world: World) -> None:
    world.write('a = "*"', environment(row("a", extra_depends=EXTRAS)))
    assert world.troubles() == []


def test_an_extra_that_there_is_not(world: World) -> None:
    """Rattler takes it for one without requirements."""
    world.write("", environment(row("a", "b[extras=[none]]"), row("b")))
    assert world.troubles() == []


# Conditions


@pytest.mark.parametrize(
    ("condition", "is_asked"),
    [
        ("python >=3.10", True),
        ("python <3.10", False),
        ("absent", False),
        ("absent or __glibc >=2.17", True),
        ("python and (absent or __cuda)", False),
    ],
)
def test_conditions(*, condition: str, is_asked: bool, world: World) -> None:
    """Of packages, of extras and of the manifest."""
    spec = f'b *[when="{condition}"]'
    python = row("python-3.12.1-0")
    world.write("", environment(row("a", spec), python))
    of_package = world.troubles()
    world.write(
        'a = { extras = ["x"] }', environment(row("a", extra_depends={"x": [spec]}), python)
    )
    of_extra = world.troubles()
    if is_asked:
        message = f"linux-64/a-1.0-0.conda requires {spec}, which is not met, no b"
        assert (of_package, of_extra) == ([message], [message])
    else:
        assert (of_package, of_extra) == ([], [])
    world.write("", environment(row("a", spec), python, row("b")))
    assert world.troubles() == []


@pytest.mark.parametrize(
    ("when", "is_asked"),
    [
        ('"python >=3.10"', True),
        ('{ any = ["absent", { package = "python", version = "3.12.*" }] }', True),
        ('{ all = ["python", "absent"] }', False),
    ],
)
def test_conditions_of_the_manifest(*, when: str, is_asked: bool, world: World) -> None:
    manifest = f'b = {{ version = ">=1", when = {when} }}'
    world.write(manifest, environment(row("python-3.12.1-0")))
    message = "pixi.toml requires b >=1, which is not met, no b"
    assert world.troubles() == ([message] if is_asked else [])


def test_a_condition_that_only_a_source_package_decides(world: World) -> None:
    world.write("", environment(row("a", 'b[when="mine >=1"]'), SOURCE))
    result = world.close()
    assert result.findings == ()
    assert [each["not-proven"] for each in _closed(result)] == [
        [
            (
                'linux-64/a-1.0-0.conda requires b[when="mine >=1"]'
                " (under a condition that cannot be told)"
            )
        ]
    ]


# What is built from source


def test_what_only_a_source_package_can_meet(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """No finding, but no proof either; a control: what nothing could meet is a finding."""
    world.write(
        'mine = { path = "mine" }\na = "*"',
        environment(row("a", "mine >=1", constrains=["mine <3"]), row("b"), SOURCE),
    )
    options = ["--manifest-path", str(world.root), "--level", "closure"]
    options += ["--allow-incomplete", "source"]
    assert verify.main(options) == 0
    assert capsys.readouterr().out.splitlines()[:2] == [
        "default  linux-64  closure –  incomplete, as allowed (1 not mirrored)",  # noqa: RUF001
        (
            "closure: not proven of default/linux-64: linux-64/a-1.0-0.conda requires mine >=1"
            " (built from source), linux-64/a-1.0-0.conda constrains mine <3 (built from source)"
        ),
    ]
    assert verify.main([*options, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["environments"][0]["closure"] is None
    assert document["closed"] == [
        {
            "environment": "default",
            "platform": "linux-64",
            "closed": True,
            "not-proven": [
                "linux-64/a-1.0-0.conda requires mine >=1 (built from source)",
                "linux-64/a-1.0-0.conda constrains mine <3 (built from source)",
            ],
            "skip-reason": None,
        }
    ]
    world.write("", environment(row("a", "yours"), SOURCE))
    assert world.troubles() == ["linux-64/a-1.0-0.conda requires yours, which is not met, no yours"]


def test_a_pypi_package_meets_no_requirement(world: World) -> None:
    wheel = "https://pypi.example.org/packages/six-1.17.0-py2.py3-none-any.whl"
    six = RawRow(key="pypi", location=wheel, lines=("name: six", "version: 1.17.0"))
    world.write("", environment(row("a", "six"), six))
    assert world.troubles() == ["linux-64/a-1.0-0.conda requires six, which is not met, no six"]


def _with_needs(world: World, **needs: list[RawRow]) -> World:
    """Write a source package with its build and host packages."""
    listed = [
        f"{key}: [{', '.join(f'{{conda: {x.location}}}' for x in rows)}]"
        for key, rows in needs.items()
    ]
    source = RawRow(key="conda_source", location=SOURCE.location, lines=tuple(listed))
    rows = {each.location: each for some in needs.values() for each in some}
    write_lock(world.root / "pixi.lock", (environment(source, *rows.values()),), 7)
    text = (world.root / "pixi.lock").read_text(encoding="utf-8")
    head, packages, tail = text.partition("\npackages:\n")
    for location in rows:  # they are not installed
        head = re.sub(rf"^ *- conda: {re.escape(location)}\n", "", head, flags=re.MULTILINE)
    (world.root / "pixi.lock").write_text(f"{head}{packages}{tail}", encoding="utf-8")
    return world.index()


def test_what_a_source_package_is_built_with(world: World) -> None:
    """Build and host packages are whole for themselves; which machine builds is not known."""
    world.write("", environment(row("any")))
    cc = row("cc", "as >=2", "lib >=2", "__cuda", "__unix", "mine", constrains=["__cuda <1"])
    build = [cc, row("lib-2.0-0")]
    _with_needs(world, build_packages=build, host_packages=[row("lib-1.0-0")])
    assert world.problems() == [
        (
            "linux-64/cc-1.0-0.conda: requires as >=2, which is not met\n"
            "  has        no as\n"
            "  elsewhere  nothing in the locks\n"
            "  needed by  the building of mine\n"
            "  used by    default/linux-64\n"
            "help: pixi lock"
        )
    ]
    assert world.not_proven() == [
        [
            "linux-64/cc-1.0-0.conda requires __cuda (it is not known which machine builds)",
            "linux-64/cc-1.0-0.conda requires mine (built from source)",
        ]
    ]
    _with_needs(world, build_packages=[row("cc", "lib >=2")], host_packages=[row("lib-2.0-0")])
    assert world.troubles() == [
        "linux-64/cc-1.0-0.conda requires lib >=2, which is not met, no lib"
    ]


def test_a_source_package_that_is_not_locked(world: World) -> None:
    manifest = 'mine = { path = "mine" }\nyours = { git = "https://example.org/yours" }'
    world.write(manifest, environment(row("a"), SOURCE))
    assert world.troubles() == ["pixi.toml requires yours, which is not met, no yours"]


def test_what_a_source_package_itself_requires(world: World) -> None:
    """Once built it is installed with the rest, so the rest must do for it; not for its variants.

    It may require what is built as well. A control stands beside each.
    """
    needs = ("depends: [b >=2, mine, Yours *, yours >=1, __cuda]", "constrains: [b <2, absent]")
    source = RawRow(key="conda_source", location=SOURCE.location, lines=needs)
    yours = RawRow(key="conda_source", location="'yours[87654321] @ ./yours'")
    world.write(
        'mine = { path = "mine" }', environment(source, yours, row("b-1.0-0", "c"), row("c"))
    )
    result = world.close()
    assert [str(each.problem) for each in result.findings] == [
        (
            "mine (./mine): requires b >=2, which is not met\n"
            "  has        linux-64/b-1.0-0.conda\n"
            "  elsewhere  nothing in the locks\n"
            "  used by    default/linux-64\n"
            "help: pixi lock"
        ),
        (
            "mine (./mine): requires __cuda, which is not met\n"
            "  has        no __cuda\n"
            "  elsewhere  nothing in the locks\n"
            "  used by    default/linux-64\n"
            "help: declare such a __cuda for linux-64 in the platforms of pixi.toml,"
            " then `pixi lock`"
        ),
    ]
    assert _closed(result)[0]["not-proven"] == [
        "mine (./mine) requires yours >=1 (built from source)"
    ]
    world.write(
        'mine = { path = "mine" }',
        environment(source, yours, row("b-2.0-0"), virtual_packages=("__cuda=12",)),
    )
    assert world.troubles() == [
        "mine (./mine) constrains b <2, which is not kept, linux-64/b-2.0-0.conda"
    ]
    both = RawRow(key="conda_source", location=SOURCE.location, lines=("depends: [b]",))
    world.write('mine = { path = "mine" }', environment(both, row("b", "c")))
    (finding,) = world.close().findings
    assert _facts(finding.problem, "needed by") == ["mine: b"]


# The rest


def test_flags(world: World) -> None:
    """An old py-rattler keeps none of a record: then it is not proven, and not wrong."""
    world.write(
        "", environment(row("a", "b[flags=[gpu]]", "b[flags=[cpu]]"), row("b", flags=["gpu"]))
    )
    result = world.close()
    troubles = [each.problem.message for each in result.findings]
    spec: Json = {"spec": "b[flags=[gpu]]", "record": _record(flags=["gpu"])}
    if call_rattler("matches", {"pairs": [spec]}) == [None]:
        assert troubles == []
        assert _closed(result)[0]["not-proven"] == [
            "linux-64/a-1.0-0.conda requires b[flags=[gpu]] (this py-rattler cannot tell)",
            "linux-64/a-1.0-0.conda requires b[flags=[cpu]] (this py-rattler cannot tell)",
        ]
    else:
        assert troubles == ["requires b[flags=[cpu]], which is not met"]
        assert _closed(result)[0]["not-proven"] == []


def _record(**fields: Json) -> dict[str, Json]:
    nothing = dict.fromkeys(("sha256", "md5", "license", "license_family"))
    return {
        "name": "b",
        "version": "1",
        "build": "0",
        "build_number": 0,
        "subdir": "noarch",
        **nothing,
        "track_features": [],
        **fields,
    }


def test_all_is_asked_in_one_child(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def ask(function: str, arguments: Any, env: Mapping[str, str]) -> Json:
        asked.append(arguments)
        return call_rattler(function, arguments, env)

    monkeypatch.setattr("scripts.verify.closure.call_rattler", ask)
    world.write("", *(environment(row("a", "b"), row("b"), name=f"e{n}") for n in range(10)))
    assert world.close().findings == ()
    assert [len(each["sets"]) for each in asked] == [10]


def test_nothing_to_ask(world: World) -> None:
    world.write("", EnvironmentRows(platforms=(), channels=(CHANNEL,)))
    assert world.close() == LevelResult(lines=((),), data={"closed": []})
