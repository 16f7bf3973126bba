"""The level solve: real cases from the mirror alone, and what makes another answer."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks import fetch, index, verify
from tests.support.cases import CASES, Case, make_case
from tests.support.locks import EnvironmentRows, LockRow, PlatformRows, RawRow, write_lock
from tests.support.mirrors import CHANNEL, Mirror, make_mirror
from tests.support.packages import TinyPackage

SOLVE = ("--level", "solve")
NAMES = sorted(each.name for each in CASES.iterdir())
HELP = "help: pixi run verify --level index,closure\n"
# The answer where conda-forge comes first, beside the one where nvidia does.
TO_FORGE = (
    "  + conda-forge/linux-64/_openmp_mutex-4.5-20_gnu.conda",
    (
        "  nvidia/linux-64/cuda-cudart-12.1.105-0.tar.bz2 → "
        "conda-forge/linux-64/cuda-cudart-13.3.29-hecca717_0.conda"
    ),
    "  + conda-forge/noarch/cuda-cudart_linux-64-13.3.29-h376f20c_0.conda",
    "  + conda-forge/noarch/cuda-version-13.3-hcbadf70_3.conda",
    "  + conda-forge/linux-64/libgcc-16.1.0-ha9f2e26_2.conda",
    "  + conda-forge/linux-64/libgomp-16.1.0-he0feb66_2.conda",
    "  + conda-forge/linux-64/libstdcxx-16.1.0-h934c35e_2.conda",
)


def _verify(mirror: Mirror, *options: str) -> int:
    return verify.main(["--manifest-path", str(mirror.root), *options])


def _edit(path: Path, *edits: tuple[str, str]) -> None:
    text = path.read_text(encoding="utf-8")
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Case]:
    """Make a case once, fetched from loopback and indexed."""
    cases: dict[str, Case] = {}

    def make(name: str) -> Case:
        if name not in cases:
            case = make_case(name, tmp_path_factory.mktemp(name))
            with case.serve():
                assert fetch.main(["--manifest-path", str(case.root), "-q"]) == 0
            assert index.main(["--manifest-path", str(case.root), "-q"]) == 0
            cases[name] = case
        return cases[name]

    return make


@pytest.fixture
def priority(made: Callable[[str], Case], tmp_path: Path) -> Case:
    """A copy of the four environments of pixi's channel documentation."""
    case = made("channel-priority")
    root = Path(shutil.copytree(case.root, tmp_path / "w"))
    return Case(root=root, layout=case.layout, upstream=case.upstream)


@pytest.mark.parametrize("name", NAMES)
def test_the_whole_chain(
    name: str, made: Callable[[str], Case], capsys: pytest.CaptureFixture[str]
) -> None:
    case = made(name)
    before = case.states()
    capsys.readouterr()
    assert _verify(case, "--client", "rattler", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["levels"] == ["files", "archives", "index", "closure", "solve", "install"]
    here = document["installed-for"]
    for each in document["environments"]:
        levels = ("files", "index", "closure", "solve")
        assert [each[level] for level in levels] == [True] * 4, each
        is_here = here == {"p1": "linux-64"}.get(each["platform"], each["platform"])
        assert [x["installed"] for x in each["install"]] == [True] * is_here, each
    assert [each["differences"] for each in document["solved"] if each["differences"]] == []
    count = {"channel-priority": 4, "no-payload": 0, "pytorch-nvidia": 1, "rich-platforms": 3}
    assert len(document["solved"]) == count[name]
    assert case.states() == before


def test_flat_is_refused_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case = make_case("channel-priority", tmp_path, layout="flat")
    for task in (fetch, index, verify):
        case.folder.mkdir(exist_ok=True)
        assert task.main(["--manifest-path", str(case.root)]) == 2
        assert capsys.readouterr().err == (
            "error: cuda-cudart: comes from two channels, which a flat mirror cannot keep apart\n"
            "  nvidia       https://conda.anaconda.org/nvidia/linux-64/"
            "cuda-cudart-12.1.105-0.tar.bz2\n"
            "  conda-forge  https://conda.anaconda.org/conda-forge/linux-64/"
            "cuda-cudart-13.3.29-hecca717_0.conda\n"
            'help: set layout = "by-channel" under [tool.pixi-mirror]\n'
        )


def test_one_record_is_missing(priority: Case, capsys: pytest.CaptureFixture[str]) -> None:
    """Two environments need it, two do not."""
    file = priority.folder / "conda-forge" / "noarch" / "repodata.json"
    document = json.loads(file.read_bytes())
    del document["packages.conda"]["cuda-version-13.3-hcbadf70_3.conda"]
    file.write_text(json.dumps(document), encoding="utf-8")
    assert _verify(priority, *SOLVE) == 1
    out, err = capsys.readouterr()
    assert [line.split() for line in out.splitlines()[:4]] == [
        ["a", "linux-64", "solve", "✓"],
        ["b", "linux-64", "solve", "✓"],
        ["c", "linux-64", "solve", "✗"],
        ["default", "linux-64", "solve", "✗"],
    ]
    first, second = err.removeprefix("verify: solving from the channel alone\n").split(HELP)[:2]
    refused = (
        "{}/linux-64: cannot be solved from the channel alone\n"
        "  said  Cannot solve the request because of: "
        "cuda-cudart * cannot be installed because there are no viable options:\n"
        "  said  └─ cuda-cudart 13.3.29 would require\n"
        "  said     └─ cuda-version >=13.3,<13.4.0a0, for which no candidates were found.\n"
    )
    assert first.startswith("error: " + refused.format("c"))
    assert "due to strict channel priority not using this option from" in first
    assert second == "error: " + refused.format("default")


def test_a_channel_is_not_there(priority: Case, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(priority.folder / "pytorch")
    assert _verify(priority, *SOLVE, "-q", "-e", "a,b") == 1
    err = capsys.readouterr().err
    assert err.startswith("error: b/linux-64: cannot be solved from the channel alone\n  said  ")
    assert "/pytorch/" in err  # the channel, or its noarch
    assert err.count("error:") == 1


def test_another_channel_order_is_another_answer(
    priority: Case, capsys: pytest.CaptureFixture[str]
) -> None:
    _edit(
        priority.root / "pixi.toml",
        ('channels = ["nvidia"]', 'channels = [{ channel = "nvidia", priority = -1 }]'),
    )
    assert _verify(priority, *SOLVE, "-e", "a") == 0
    assert capsys.readouterr().out.splitlines()[1:9] == [
        "solved a/linux-64 otherwise than pixi.lock (other packages in the mirror allow it):",
        *TO_FORGE,
    ]


@pytest.mark.parametrize(
    ("word", "is_the_locked"), [("strict", True), ("flexible", True), ("disabled", False)]
)
def test_channel_priority_of_the_workspace(
    *, word: str, is_the_locked: bool, priority: Case, capsys: pytest.CaptureFixture[str]
) -> None:
    _edit(priority.root / "pixi.toml", ("[workspace]", f'[workspace]\nchannel-priority = "{word}"'))
    assert _verify(priority, *SOLVE, "-e", "a", "--json") == 0
    (place,) = json.loads(capsys.readouterr().out)["solved"]
    assert len(place["differences"]) == (0 if is_the_locked else 7)


def test_a_channel_of_a_dependency(priority: Case, capsys: pytest.CaptureFixture[str]) -> None:
    """It excludes all other channels for that name; without it the higher one counts."""
    manifest = priority.root / "pixi.toml"
    with_channel = 'cuda-cudart = { version = "*", channel = "conda-forge" }'
    _edit(manifest, ("[feature.b]", f"[feature.a.dependencies]\n{with_channel}\n\n[feature.b]"))
    assert _verify(priority, *SOLVE, "-e", "a") == 0
    assert tuple(capsys.readouterr().out.splitlines()[2:9]) == TO_FORGE
    _edit(manifest, (with_channel, 'cuda-cudart = "*"'))
    assert _verify(priority, *SOLVE, "-e", "a") == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0] == "a  linux-64  solve ✓"
    assert "otherwise" not in out


def test_a_channel_that_the_environment_lacks(
    priority: Case, capsys: pytest.CaptureFixture[str]
) -> None:
    """As pixi, which refuses to lock it."""
    _edit(
        priority.root / "pixi.toml",
        ('cuda-cudart = "*"', 'cuda-cudart = { version = "*", channel = "nvidia" }'),
    )
    assert _verify(priority, *SOLVE, "-q", "-e", "default") == 1
    err = capsys.readouterr().err
    assert err.startswith("error: default/linux-64: cannot be solved from the channel alone\n")
    assert "cuda-cudart" in err
    assert err.endswith(HELP)


def test_what_nothing_requires_is_no_answer(
    priority: Case, capsys: pytest.CaptureFixture[str]
) -> None:
    _edit(priority.root / "pixi.toml", ('cuda-cudart = "*"', ""))
    assert _verify(priority, *SOLVE, "-q", "-e", "a") == 1
    assert capsys.readouterr().err == (
        "error: a/linux-64: solved from the channel alone, it has less than pixi.lock\n"
        "  lacks  nvidia/linux-64/cuda-cudart-12.1.105-0.tar.bz2\n"
        "help: pixi run verify --level index\n"
    )
    assert _verify(priority, "--level", "index,solve", "-q", "-e", "a") == 1
    assert capsys.readouterr().err == (
        "error: a/linux-64: solved from the channel alone, it has less than pixi.lock\n"
        "  lacks  nvidia/linux-64/cuda-cudart-12.1.105-0.tar.bz2\n"
        "help: `pixi lock`, if the manifest asks for something else by now\n"
    )


def test_what_the_manifest_does_not_know(
    priority: Case, capsys: pytest.CaptureFixture[str]
) -> None:
    _edit(
        priority.root / "pixi.toml",
        ('c = ["c"]', ""),
        ("[feature.b]", '[feature.b]\nplatforms = ["osx-64"]'),
    )
    assert _verify(priority, *SOLVE, "--json", "-e", "b,c") == 0
    document = json.loads(capsys.readouterr().out)
    assert [each["solve"] for each in document["environments"]] == [None, None]
    assert _verify(priority, *SOLVE, "-e", "b,c") == 0
    assert capsys.readouterr().out.splitlines()[:4] == [
        "b  linux-64  solve –",  # noqa: RUF001
        "c  linux-64  solve –",  # noqa: RUF001
        "solve: not proven of b/linux-64: pixi.toml has no such platform for it",
        "solve: not proven of c/linux-64: pixi.toml has no such environment",
    ]


def _two_versions(root: Path, more: str, extra: tuple[RawRow, ...] = ()) -> Mirror:
    """Environment default has lib 1 through tool, other has lib 2; on a foreign platform."""
    mirror = make_mirror(root / "workspace", "by-channel")
    (mirror.root / "pixi.toml").write_text(
        '[workspace]\nname = "w"\nchannels = ["conda-forge"]\nplatforms = ["osx-64"]\n\n'
        '[target.unix.dependencies]\ntool = "*"\n\n[feature.other.dependencies]\nlib = "2.*"\n\n'
        f'[tool.pixi-mirror]\nlayout = "by-channel"\n\n{more}',
        encoding="utf-8",
    )
    packages = (
        TinyPackage(name="tool", subdir="osx-64", depends=("lib", "__osx >=11")),
        TinyPackage(name="lib", version="1.0"),
        TinyPackage(name="lib", version="2.0"),
    )
    tool, old, new = (
        LockRow(written=each.write(root / "upstream"), channel=CHANNEL) for each in packages
    )

    def environment(name: str, *rows: LockRow | RawRow) -> EnvironmentRows:
        return EnvironmentRows(name=name, platforms=(PlatformRows(name="osx-64", rows=rows),))

    environments = (environment("default", tool, old, *extra), environment("other", new))
    write_lock(mirror.root / "pixi.lock", environments, version=6)
    for artifact in mirror.selection.artifacts:
        target = mirror.folder / artifact.path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / "upstream" / Path(*artifact.path.parts[-2:]), target)
    mirror.index()
    return mirror


OTHER = '[environments]\nother = { features = ["other"], no-default-feature = true }\n'
TO_TWO = "  conda-forge/noarch/lib-1.0-0.conda → conda-forge/noarch/lib-2.0-0.conda"


@pytest.mark.parametrize("is_constrained", [True, False])
def test_constraints(
    *, is_constrained: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    constraints = '[constraints]\nlib = "<2"\n\n' if is_constrained else ""
    mirror = _two_versions(tmp_path, constraints + OTHER)
    assert _verify(mirror, *SOLVE) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["default  osx-64  solve ✓", "other    osx-64  solve ✓"]
    assert (TO_TWO in lines) is not is_constrained


@pytest.mark.parametrize("strategy", ["lowest", "highest"])
def test_solve_strategy(strategy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mirror = _two_versions(tmp_path, OTHER)
    _edit(mirror.root / "pixi.toml", ("[workspace]", f'[workspace]\nsolve-strategy = "{strategy}"'))
    assert _verify(mirror, *SOLVE) == 0
    assert (TO_TWO in capsys.readouterr().out.splitlines()) is (strategy == "highest")


def test_a_solve_group_gives_leeway(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Pixi solves its members as one; a member alone may come out with less."""
    mirror = _two_versions(
        tmp_path,
        '[environments]\nother = { features = ["other"], solve-group = "g" }\n'
        'default = { features = [], solve-group = "g" }\n',
    )
    _edit(mirror.root / "pixi.toml", ("[target.unix.dependencies]\ntool", "[dependencies]\nlib"))
    assert _verify(mirror, *SOLVE) == 0
    assert capsys.readouterr().out.splitlines()[2:5] == [
        "solved default/osx-64 otherwise than pixi.lock (pixi solves the group g as one):",
        TO_TWO,
        "  - conda-forge/osx-64/tool-1.0-0.conda",
    ]


def test_what_is_not_proven(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = RawRow(key="conda", location="./mine", lines=("name: mine", "version: 1.0"))
    mirror = _two_versions(
        tmp_path,
        '[constraints]\nlib = "<2"\n\n[pypi-dependencies]\nRequests = "*"\n\n' + OTHER,
        extra=(source,),
    )
    _edit(
        mirror.root / "pixi.toml",
        ('tool = "*"', 'tool = "*"\nmine = { path = "./mine" }\nx = { version = "*", when = "y" }'),
    )
    assert _verify(mirror, *SOLVE, "--allow-incomplete", "source") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == (
        "solve: not proven of default/osx-64: mine (built from source), x * (under a condition),"
        " its PyPI packages (no Python is locked there)"
    )


@pytest.mark.parametrize("version", ["12", "11"])
def test_system_requirements_where_the_lock_is_old(
    version: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mirror = make_mirror(tmp_path / "workspace")
    _edit(
        mirror.root / "pixi.toml",
        (
            "[tool.",
            f'[dependencies]\ngpu = "*"\n\n[system-requirements]\ncuda = "{version}"\n\n[tool.',
        ),
    )
    package = TinyPackage(name="gpu", subdir="linux-64", depends=("__cuda >=12", "__glibc >=2.17"))
    row = LockRow(written=package.write(tmp_path / "upstream"), channel=CHANNEL)
    mirror.lock((row,), version=6)
    mirror.index()
    capsys.readouterr()
    assert _verify(mirror, *SOLVE, "-q") == (0 if version == "12" else 1)
    err = capsys.readouterr().err
    assert ("__cuda >=12" in err) is (version == "11")
