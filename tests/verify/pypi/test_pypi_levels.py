"""PyPI packages through verify: right as they are, and each way to break one at its own level."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sysconfig
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

from scripts.channel.locks import read_locks
from scripts.channel.selection import read_selection
from scripts.core.console import Console
from scripts.verify.findings import Client, Level
from scripts.verify.install.clients import find_program
from scripts.verify.stage import VerifyOptions, verify
from scripts.workspace.settings import SettingOverrides
from scripts.workspace.workspace import open_workspace
from tasks import index, mirror, snapshots, why
from tasks import verify as verify_task
from tests.support.mirrors import CHANNEL
from tests.support.packages import TinyPackage
from tests.support.uv import uv_release
from tests.support.wheels import TinySdist, TinyWheel
from tests.verify.pypi.conftest import (
    DIRECT,
    LINUX,
    MANIFEST,
    PACKAGES,
    PLATFORMS,
    WINDOWS,
    PypiWorld,
)

LEVELS = ("files", "archives", "index", "closure", "solve")
LIB = "tiny_lib-1.1-py3-none-any.whl"
NATIVE = "tiny_native-1.0-cp311-cp311-win_amd64.whl"
DIFFERS = "sha256 differs from pixi.lock"
UNSOLVED = "its PyPI packages cannot be solved from the mirror alone"
TROUBLE = "trouble of this machine kept uv from solving its PyPI packages"

posix_scripts = pytest.mark.skipif(os.name == "nt", reason="programs here are shell scripts")


def _wheel(key: str) -> TinyWheel:
    package = PACKAGES[key]
    assert isinstance(package, TinyWheel)
    return package


def test_all_is_right(world: PypiWorld) -> None:
    code, told = world.verify(*LEVELS)
    assert (code, told.get("problems", [])) == (0, [])
    assert told["opened"] == told["artifacts"] == 13
    assert [(x["closed"], x["not-proven"]) for x in told["closed"]] == [(True, [])] * 2
    assert [(x["solved"], x["differences"], x["not-proven"]) for x in told["solved"]] == [
        (True, [], [])
    ] * 2
    # All of it is remembered, also of what has an sdist, or a folder of the project.
    shown = [world.run(mirror, "--level", "solve")[1].count("solve ✓ (proven ") for _ in range(2)]
    assert shown == [0, 2]


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-40])


def _flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[40] ^= 1
    file.write_bytes(data)


def _swap(file: Path) -> None:
    file.write_bytes(_wheel("win").data)


@pytest.mark.parametrize("spoil", [_cut, _flip, _swap])
def test_bytes_that_are_others_are_found_by_files(
    spoil: Callable[[Path], None], world: PypiWorld
) -> None:
    spoil(world.path("lib"))
    assert world.found("files") == [(LIB, DIFFERS)]
    assert world.found("index") == []  # what describes it is right


def test_a_sdist_that_is_cut_is_found_by_both(world: PypiWorld) -> None:
    _cut(world.path("sdist"))
    name = "tiny_sdist-1.0.tar.gz"
    assert world.found("files") == [(name, DIFFERS)]
    assert world.found("archives") == [(name, "is no sound sdist")]


def test_a_record_that_is_wrong_is_found_by_archives(world: PypiWorld) -> None:
    """Its bytes are those of the lock: pixi, uv and pip take it."""
    new = world.remade(lib=dataclasses.replace(_wheel("lib"), record=b"tiny_lib.py,sha256=A,1\n"))
    name = new.path("lib").relative_to(new.folder).as_posix()
    code, told = new.verify("files", "archives")
    (problem,) = told["problems"]
    assert code == 1
    assert problem == {
        "subject": name,
        "message": "is no sound wheel",
        "details": {
            "because": "sha256 of tiny_lib.py differs from RECORD",
            "bytes": f"just those that pixi.lock names: sha256 {new.rows()['lib'].written.sha256}",
            "from": new.rows()["lib"].file_url,
            "used by": "default/linux-64, default/win-64",
        },
        "help": "the fault is upstream's, not the mirror's: lock another version or file of it,"
        ' or tell who published it; or add "wheel-record" to allow-incomplete under'
        " [tool.pixi-mirror]: pip, uv and pixi install it all the same",
        "code": 1,
    }
    # What is allowed is told each time, and no proof of anything else.
    allowed = ("--allow-incomplete", "wheel-record", "--level", "files,archives")
    for task in (mirror, mirror, verify_task):
        code, out, _ = new.run(task, *allowed)
        assert code == 0
        assert f"allowed: {name}: sha256 of tiny_lib.py differs from RECORD\n" in out
    told = json.loads(new.run(verify_task, "--json", *allowed)[1])
    assert told["wrong-records"] == [f"{name}: sha256 of tiny_lib.py differs from RECORD"]
    assert new.run(mirror, "-q", "--level", "archives")[0] == 1


def test_another_package_is_found_by_archives(world: PypiWorld) -> None:
    """`index` refuses it, too, so the file is put there afterwards."""
    world.path("lib").write_bytes(_wheel("win").data)
    assert world.found("archives") == [(LIB, "is another package than pixi.lock says")]
    world.path("lib").write_bytes(dataclasses.replace(_wheel("lib"), version="1.2").data)
    assert world.found("archives") == [(LIB, "is another package than pixi.lock says")]
    other = TinySdist(name="tiny-sdist", version="2.0")
    world.path("sdist").write_bytes(other.data)
    assert world.found("archives")[0] == (
        "tiny_sdist-1.0.tar.gz",
        "is another package than pixi.lock says",
    )


def _edit(file: Path, pattern: str, text: str) -> None:
    old = file.read_text(encoding="utf-8")
    new = re.sub(pattern, text, old)
    assert new != old
    file.write_text(new, encoding="utf-8")


def _lock_from_git(world: PypiWorld) -> None:
    """Lock in place of the project's folder what no mirror can hold, and allow that."""
    source = "git+https://git.example.org/folder?rev=a#a"
    _edit(world.root / "pixi.lock", r"\./folder", source)
    _edit(world.root / "pixi.toml", "allow-unhashed", 'allow-incomplete = ["pypi"]\n\\g<0>')


PAGE = "_pypi/index/tiny-lib/index.html"
SDIST_PAGE = "_pypi/index/tiny-sdist/index.html"
SIMPLE = "_pypi/simple/pypi.example.org/simple/tiny-lib/index.html"


@pytest.mark.parametrize(
    ("page", "pattern", "text", "message"),
    [
        (PAGE, "<a .*</a>", "", f"does not name {LIB}"),
        (PAGE, "sha256=[0-9a-f]{60}", "sha256=" + "0" * 60, f"has another sha256 of {LIB}"),
        (PAGE, "&gt;=3.8", "&gt;=3.9", f"has another Requires-Python of {LIB}"),
        (
            PAGE,
            'core-metadata="sha256=.{60}',
            'core-metadata="sha256=' + "0" * 60,
            f"has another sha256 of the METADATA of {LIB}",
        ),
        (PAGE, "(<a .*</a>)", r"\1\1", "names a file twice"),
        (PAGE, "<a ", "<a data-yanked ", f"has another 'yanked' of {LIB}"),
        # without that end, uv sees no link
        (PAGE, "</title>", "</titme>", f"does not name {LIB}"),
        ("_pypi/index/index.v1_json", '{"name":"tiny-lib"},', "", "does not name tiny-lib"),
        (SIMPLE, "<a .*</a>", "", f"does not name {LIB}"),
        (SIMPLE, '#sha256=[^"]*', "", f"has another sha256 of {LIB}"),
        (
            SIMPLE.replace(".html", ".v1_json"),
            '"sha256":"[^"]*',
            '"sha256":"00',
            f"has another sha256 of {LIB}",
        ),
        (
            SIMPLE.replace(".html", ".v1_json"),
            '"requires-python":"[^"]*"',
            '"requires-python":38',
            "is no page of an index (TypeError)",
        ),
        (
            SIMPLE.replace(".html", ".v1_json"),
            '"filename":"tiny_lib',
            '"filename":"tiny_lob',
            f"has another filename of {LIB}",
        ),
        # as an editor on Windows saves it; pixi and uv read no such page
        (
            SIMPLE.replace(".html", ".v1_json"),
            r"\A",
            "\ufeff",
            "is no page of an index (JSONDecodeError)",
        ),
        # which the next `index` reads back
        *(
            (PAGE.replace(".html", ".v1_json"), pattern, text, message)
            for pattern, text, message in (
                ('"_version":"1.1"', '"_version":"1.2"', f"has another '_version' of {LIB}"),
                (r'"_upstream":\[', '"_upstream":[], "_":[', f"has another '_upstream' of {LIB}"),
                (r'("index":"https:)//pypi', r"\1//pipi", f"has another '_upstream' of {LIB}"),
                (r'"_upstream":\[.*?\]', '"_upstream":1', f"has another '_upstream' of {LIB}"),
            )
        ),
    ],
)
def test_a_page_that_is_wrong_is_found_by_index(
    page: str, pattern: str, text: str, message: str, world: PypiWorld
) -> None:
    assert world.found("index") == []
    _edit(world.folder / page, pattern, text)
    found = world.found("index")
    assert found[0] == (page.rpartition("/")[2], message)


def test_a_page_that_names_what_is_not_there(world: PypiWorld) -> None:
    _edit(world.folder / PAGE, "</body>", '<a href="../../files/x.org/a.whl">a</a></body>')
    assert world.found("index") == [("index.html", "names a file that is not there")]


def test_a_page_that_is_gone_or_is_none(world: PypiWorld) -> None:
    (world.folder / PAGE).unlink()
    assert world.found("index") == [("index.html", "is missing")]
    (world.folder / PAGE).write_bytes(b"\xff\xfe")
    assert world.found("index") == [("index.html", "is no page of an index (UnicodeDecodeError)")]


def test_metadata_of_another_is_found_by_index(world: PypiWorld) -> None:
    file = world.path("lib").with_name(f"{LIB}.metadata")
    file.write_text(_wheel("win").metadata_text, encoding="utf-8")
    assert world.found("index") == [(f"{LIB}.metadata", "is not the METADATA of its wheel")]
    file.unlink()
    assert world.found("index") == [(f"{LIB}.metadata", "is missing")]


def test_a_mapping_that_is_wrong_is_found_by_index(world: PypiWorld) -> None:
    name = "compressed_mapping.json"
    file = world.folder / "_pypi/mapping/compressed-v0" / name
    file.write_text(json.dumps({"numpy": "other"}), encoding="utf-8")
    assert world.found("index") == [(name, "has another name on PyPI of numpy")]
    message = "is no mapping of conda packages to names on PyPI"
    for text in ("[1]", "\ufeff" + json.dumps({"numpy": "numpy"})):
        file.write_text(text, encoding="utf-8")
        assert world.found("index") == [(name, message)]


def test_a_requirement_that_is_dropped_is_found_by_closure(world: PypiWorld) -> None:
    world.lock(without="color")
    code, told = world.verify("closure")
    (problem,) = told["problems"]
    assert code == 1
    assert problem == {
        "subject": "tiny_app-1.0-py3-none-any.whl",
        "message": 'requires tiny-color>=1; extra == "color", which is not met',
        "details": {
            "has": "no tiny-color",
            "elsewhere": "nothing in the locks",
            "needed by": "pixi.toml: tiny_app[color]>=1",
            "used by": "default/linux-64, default/win-64",
        },
        "help": "pixi lock",
        "code": 1,
    }


def test_what_only_a_marker_asks_for(world: PypiWorld) -> None:
    """On Windows alone; what asks for it under an extra that nobody asks for needs nothing."""
    world.lock(without="win")
    code, told = world.verify("closure")
    (problem,) = told["problems"]
    assert code == 1
    assert problem["message"] == 'requires tiny-win; sys_platform == "win32", which is not met'
    assert problem["details"]["used by"] == "default/win-64"
    (world.root / "pixi.toml").write_text(MANIFEST.replace('extras = ["color"]', "extras = []"))
    world.lock(without="color")
    assert world.found("closure") == []


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("requires_dist", r'["gone\nmirror: verified"]', r"requires gone\nmirror: verified, which"),
        ("requires_python", r'">=99,\n>=98"', r"requires Python >=99,\n>=98, which is not met"),
    ],
)
def test_a_text_of_the_lock_begins_no_line(
    key: str, value: str, message: str, world: PypiWorld
) -> None:
    """YAML reads what stands there as the end of a line."""
    lock = world.root / "pixi.lock"
    head, name, rest = lock.read_text(encoding="utf-8").partition("name: tiny-lib\n")
    python = "  requires_python: '>=3.8'\n"
    assert python in rest
    lock.write_text(head + name + rest.replace(python, f"  {key}: {value}\n", 1), encoding="utf-8")
    code, _, err = world.run(verify_task, "--level", "closure")
    assert code == 1
    assert message in err
    assert [x for x in err.splitlines() if x.startswith((">", "mirror:"))] == []


NEWER = pytest.mark.skipif(
    version("packaging").startswith("24."), reason="packaging 24 takes it for no requirement"
)


@pytest.mark.parametrize(
    ("requires", "undecided"),
    [
        ("gone; 'a' == 'b'", "(its marker is not decided)"),
        pytest.param("gone; 'a' in extras", "(its marker is not decided)", marks=NEWER),
        pytest.param("gone; 'a' in dependency_groups", "(its marker is not decided)", marks=NEWER),
        ("gone; os_name ~= 'abc'", "(its marker is not decided)"),
        pytest.param(f"tiny-lib>={'1' * 5000}", "(its version cannot be told)", marks=NEWER),
        ("gone; python_version > '3'", None),
    ],
)
def test_what_packaging_cannot_decide_is_not_proven(
    requires: str, undecided: str | None, world: PypiWorld
) -> None:
    rows = world.rows()
    world.lock(rows | {"lib": dataclasses.replace(rows["lib"], requires_dist=(requires,))})
    code, told = world.verify("closure")
    assert code == (1 if undecided is None else 0)
    assert [x["not-proven"] for x in told["closed"]] == [
        [f"{LIB} requires {requires} {undecided}"] if undecided else []
    ] * 2


@pytest.mark.parametrize("level", ["index", "closure"])
def test_an_empty_requires_python_is_none(level: str, world: PypiWorld) -> None:
    """Of METADATA, too: an empty line of it is what some builders write."""
    text = _wheel("lib").metadata_text.replace("Requires-Python: >=3.8", "Requires-Python: ")
    lib = dataclasses.replace(_wheel("lib"), requires_python="", metadata=text.encode())
    assert world.remade(lib=lib).found(level) == []


def test_what_the_project_itself_requires(world: PypiWorld) -> None:
    world.lock(without="lib")
    assert {message for _, message in world.found("closure")} == {
        "requires tiny-lib, which is not met",
        "requires tiny-lib>=1, which is not met",
    }


def test_what_the_manifest_requires(world: PypiWorld) -> None:
    text = MANIFEST.replace('tiny-local = "*"', 'tiny-local = ">=2"')
    (world.root / "pixi.toml").write_text(text, encoding="utf-8")
    assert world.found("closure") == [("pixi.toml", "requires tiny-local>=2, which is not met")]
    assert world.found("solve") == [
        (place, "its PyPI packages cannot be solved from the mirror alone")
        for place in (LINUX, WINDOWS)
    ]


def test_what_is_overridden_is_asked_for_in_place_of_what_is_required(world: PypiWorld) -> None:
    """uv: Overrides::apply; of a marker of the requirement's own, its extra counts."""
    color, windows = 'tiny-color>=9; extra == "color"', 'tiny-win; sys_platform == "win32"'
    nowhere = color.replace("9;", "8; os_name == 'x' and")
    asks = ("tiny-lib>=9", color, nowhere, windows, 'tiny-none>=9; extra == "none"')
    new = world.remade(app=dataclasses.replace(_wheel("app"), requires_dist=asks))
    unmet = [f"requires {x}, which is not met" for x in (color, "tiny-lib>=9")]
    assert sorted(message for _, message in new.found("closure")) == unmet
    assert new.found("solve") == [(place, UNSOLVED) for place in (LINUX, WINDOWS)]

    none = """tiny-none = { version = "==1.0", env-markers = "os_name != 'x'" }"""
    first = f'Tiny_Lib = "==1.1", tiny-color = "*", {none}'
    options = "[{}pypi-options]\ndependency-overrides = {{ {} }}\n\n"
    # A feature's own goes before the workspace's.
    both = options.format("", first) + options.format("workspace.", 'tiny-lib = "==9"')
    _edit(new.root / "pixi.toml", r"\[tool\.", f"{both}[tool.")
    # Of the manifest's own requirements, pixi decides the markers first.
    of_x = """tiny-none = { version = "*", env-markers = "os_name == 'x'" }"""
    _edit(new.root / "pixi.toml", r'(tiny-local = "\*")', rf"\1\n{of_x}")
    assert (new.found("closure"), new.found("solve")) == ([], [])
    told = new.run(why, "tiny-lib")[1]
    assert "tiny_sdist-1.0.tar.gz: tiny-lib (overridden: Tiny_Lib==1.1)\n" in told
    # Control: the override itself has to be met.
    _edit(new.root / "pixi.toml", '==1.1|[*](?=", tiny-none)', "==1.2")
    _edit(new.root / "pixi.toml", "os_name == 'x'", "os_name != 'x'")
    found = new.found("closure")
    assert [x for _, x in found if "requires tiny-none ;" in x and x.endswith("is not met")]
    for text in ("tiny-lib>=9 (overridden: Tiny_Lib", f"{nowhere} (overridden: tiny-color"):
        message = f"requires {text}==1.2), which is not met"
        assert ("tiny_app-1.0-py3-none-any.whl", message) in found
    assert new.found("solve") == [(place, UNSOLVED) for place in (LINUX, WINDOWS)]


@pytest.mark.parametrize(
    ("locked", "retained", "said"),
    [
        ("1.1", "1.2", '[environments.default]\nsolve-strategy = "lowest"\n\n'),
        ("1.2a1", "1.1", '[pypi-options]\nprerelease-mode = "allow"\n\n'),
    ],
)
def test_solved_as_the_manifest_says(
    world: PypiWorld, locked: str, retained: str, said: str
) -> None:
    """The control: where it does not say so, uv takes another version that the mirror has."""
    lib = _wheel("lib")
    world = world.remade(lib=dataclasses.replace(lib, version=retained))
    world = dataclasses.replace(
        world, packages={**world.packages, "lib": dataclasses.replace(lib, version=locked)}
    )
    world.lock()
    world.place()
    assert world.run(index, "-q")[0] == 0
    assert [len(x["differences"]) for x in world.verify("solve")[1]["solved"]] == [1, 1]
    _edit(world.root / "pixi.toml", r"\[tool\.", f"{said}[tool.")
    assert [len(x["differences"]) for x in world.verify("solve")[1]["solved"]] == [0, 0]


def test_what_conda_holds_without_purls_meets_nothing(
    world: PypiWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = TinyPackage.__init__
    monkeypatch.setattr(
        TinyPackage, "__init__", lambda self, **x: whole(self, **{**x, "purls": ()})
    )
    world.lock()
    assert world.found("closure") == [
        ("tiny_app-1.0-py3-none-any.whl", "requires numpy>=2, which is not met")
    ]


@pytest.mark.parametrize(
    ("channel", "is_met"),
    [
        (CHANNEL, True),
        (f"{CHANNEL}/label/dev", True),
        ("https://proxy.example.org/conda-forge", True),
        ("https://proxy.example.org/conda/conda-forge", False),
    ],
)
def test_what_a_lock_without_purls_has_of_conda_forge_counts_by_its_name(
    channel: str, world: PypiWorld, monkeypatch: pytest.MonkeyPatch, *, is_met: bool
) -> None:
    """As pixi takes it: what is of conda-forge, the path of the channel's URL says."""
    whole = TinyPackage.__init__
    monkeypatch.setattr(
        TinyPackage, "__init__", lambda self, **x: whole(self, **{**x, "purls": None})
    )
    world.lock()
    lock = world.root / "pixi.lock"
    lock.write_text(lock.read_text("utf-8").replace(CHANNEL, channel), "utf-8")
    message = "requires numpy>=2, which is not met"
    found = [] if is_met else [("tiny_app-1.0-py3-none-any.whl", message)]
    assert world.found("closure") == found


def test_a_wheel_of_another_platform_is_found_by_closure(world: PypiWorld) -> None:
    rows = world.rows()
    rows[f"native {LINUX}"] = rows[f"native {WINDOWS}"]
    world.lock(rows)
    code, told = world.verify("closure")
    (problem,) = told["problems"]
    assert code == 1
    assert problem == {
        "subject": NATIVE,
        "message": "is a wheel for another Python or another platform",
        "details": {
            "expected": "Python 3.11.7 on manylinux_2_28_x86_64, or older",
            "actual": "cp311-cp311-win_amd64",
            "needed by": "pixi.toml: tiny-native",
            "used by": "default/linux-64",
        },
        "help": "pixi lock",
        "code": 1,
    }


def test_a_python_that_is_too_old_is_found_by_closure(world: PypiWorld) -> None:
    new = world.remade(lib=dataclasses.replace(_wheel("lib"), requires_python=">=3.12"))
    assert new.found("closure") == [(LIB, "requires Python >=3.12, which is not met")]


@pytest.mark.parametrize(("bound", "is_met"), [(">=3.11", True), (">=3.11.1", False)])
def test_a_python_before_its_release_is_taken_for_that(
    bound: str, world: PypiWorld, *, is_met: bool
) -> None:
    """As pixi, uv and pip take it: by its version up to `rc1`."""
    of_it = dataclasses.replace(world, python_version="3.11.0rc1")
    new = of_it.remade(lib=dataclasses.replace(_wheel("lib"), requires_python=bound))
    message = f"requires Python {bound}, which is not met"
    assert new.found("closure") == ([] if is_met else [(LIB, message)])
    assert new.found("solve") == ([] if is_met else [(x, UNSOLVED) for x in PLATFORMS])


def test_a_page_without_a_file_is_found_by_solve(world: PypiWorld) -> None:
    _edit(world.folder / PAGE, "<a .*</a>", "")
    assert world.found("solve") == [(place, UNSOLVED) for place in (LINUX, WINDOWS)]


def test_a_wheel_is_solved_by_what_it_says_itself(world: PypiWorld) -> None:
    lib = _wheel("lib")
    world.path("lib").write_bytes(dataclasses.replace(lib, requires_dist=("tiny-none",)).data)
    assert world.found("solve") == [(place, UNSOLVED) for place in PLATFORMS]
    world.path("lib").write_bytes(lib.data)
    assert world.found("solve") == []


def test_a_link_that_is_escaped_more_than_it_must_be_is_the_same_link(world: PypiWorld) -> None:
    page = world.folder / "_pypi/index/tiny-local/index.html"
    _edit(page, r"\+own(?=[^<]*#sha256)", "%2Bown")
    assert world.found("index") == []
    # Control: to another name it does not lead.
    _edit(page, "%2Bown", "%2Bawn")
    assert [x for x, _ in world.found("index")] == ["index.html"] * 2


def test_an_sdist_is_solved_by_what_the_lock_says_of_it(world: PypiWorld) -> None:
    """Nobody builds it, nor another version: what the mirror has of that is no archive here."""
    page = world.folder / SDIST_PAGE
    link = '<a href="tiny_sdist-2.0.tar.gz">tiny_sdist-2.0.tar.gz</a>'
    (page.parent / "tiny_sdist-2.0.tar.gz").write_bytes(b"none")
    (page.parents[1] / ".DS_Store").write_bytes(b"no page")
    whole = page.read_text("utf-8")
    _edit(page, "</body>", f"{link}\\g<0>")
    told = world.verify("solve")[1]
    newer = {"locked": "tiny-sdist 1.0", "solved": "tiny-sdist 2.0"}
    assert [x["differences"] for x in told["solved"]] == [[newer]] * 2
    assert [x["not-proven"] for x in told["solved"]] == [[]] * 2
    # Controls: it has to be on its page, and what it requires to be there.
    page.write_text(whole, "utf-8")
    _edit(page, "<a .*</a>", "")
    assert world.found("solve") == [(place, UNSOLVED) for place in PLATFORMS]
    sdist = TinySdist(name="tiny-sdist", requires_dist=("tiny-lib>=2",))
    assert world.remade(sdist=sdist).found("solve") == [(place, UNSOLVED) for place in PLATFORMS]
    sdist = TinySdist(name="tiny-sdist", requires_python=">=3.12")
    assert world.remade(sdist=sdist).found("solve") == [(place, UNSOLVED) for place in PLATFORMS]


def test_an_archive_whose_name_says_no_version_is_not_asked_for(world: PypiWorld) -> None:
    """As a forge packs a repository: pixi has it by its URL, and no index leads there."""
    for needs, found in ("tiny-lib", []), ("tiny-lib>=2", [(x, UNSOLVED) for x in PLATFORMS]):
        sdist = TinySdist(name="tiny-sdist", requires_dist=(needs,))
        new = dataclasses.replace(world, packages={**PACKAGES, "sdist": sdist})
        rows = new.rows()
        url = f"https://forge.example.org/x/main.tar.gz#sha256={rows['sdist'].written.sha256}"
        new.lock({**rows, "sdist": dataclasses.replace(rows["sdist"], index=None, url=url)})
        for name in ("main.tar.gz", url.rpartition("/")[2]):
            target = new.folder / "_pypi/files/forge.example.org/x" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(sdist.data)
        assert new.run(index, "-q")[0] == 0
        told = new.verify("solve")[1]
        assert [x["not-proven"] for x in told["solved"]] == [["tiny-sdist (by its URL alone)"]] * 2
        assert new.found("solve") == found, "what it requires is asked"


def test_less_than_the_lock_is_found_by_solve(world: PypiWorld) -> None:
    """What nothing requires any more is not in uv's answer."""
    text = MANIFEST.replace('tiny-native = "*"\n', "")
    (world.root / "pixi.toml").write_text(text, encoding="utf-8")
    message = "solved from the mirror alone, it has less of PyPI than pixi.lock"
    assert world.found("solve") == [(place, message) for place in (LINUX, WINDOWS)]


def test_what_solve_cannot_ask_is_not_proven(
    world: PypiWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The report says so, too, all of it, for those who approve a transfer."""
    _lock_from_git(world)
    target = tmp_path / "report.md"

    def reported() -> list[str]:
        assert world.run(verify_task, "--level", "solve", "--report", str(target))[0] == 0
        text = target.read_text("utf-8").partition("\n## What is not proven\n")[2]
        lines = text.partition("\n## ")[0].splitlines()
        return [each for each in lines if each.startswith("- solve")]

    start = "- solve: not proven of default"
    open_ = "folder (not in the mirror)"
    assert reported() == [f"{start}/{each}: {open_}" for each in ("linux-64", "win-64")]
    monkeypatch.setattr("scripts.verify.solve.find_program", lambda *_: None)
    code, told = world.verify("solve")
    assert code == 0
    open_ = "its PyPI packages (there is no uv)"
    assert [x["not-proven"] for x in told["solved"]] == [[open_]] * 2
    assert reported() == [f"{start}/{each}: {open_}" for each in ("linux-64", "win-64")]


def test_a_free_threaded_python_is_none_to_ask_uv_of_from_another(
    world: PypiWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What uv knows are wheels for Pythons of the kind that this one is."""
    there = sysconfig.get_config_var
    native = {
        f"native {name}": TinyWheel(name="tiny-native", tags=f"cp311-cp311t-{tag}")
        for name, tag in PLATFORMS.items()
    }
    with_gil = world.remade(**native)
    assert with_gil.found("solve") == [(place, UNSOLVED) for place in PLATFORMS]
    free = dataclasses.replace(world, python_depends=("python_abi * *_cp311t",))
    code, told = free.remade(**native).verify("solve")
    reason = "of this Python and the locked one, one is free-threaded, and uv goes by this one"
    assert code == 0
    assert [x["not-proven"] for x in told["solved"]] == [[f"its PyPI packages ({reason})"]] * 2
    free_one = {"Py_GIL_DISABLED": 1}
    monkeypatch.setattr("sysconfig.get_config_var", lambda x: free_one.get(x, there(x)))
    assert free.found("solve") == [(place, UNSOLVED) for place in PLATFORMS]


@pytest.mark.parametrize("key", ["local", "sdist"])
def test_what_is_required_by_its_url_is_solved_by_its_page(key: str, world: PypiWorld) -> None:
    """The manifest names it, too, so pixi locks it; nobody leads uv from there to the mirror."""
    url = DIRECT.replace("direct", "app")
    needs = (*PACKAGES[key].requires_dist, f"tiny-direct @ {DIRECT}", f"Tiny.App[color] @ {url}")
    _edit(world.root / "pixi.toml", "tiny_app = .*", "")
    new = world.remade(**{key: dataclasses.replace(PACKAGES[key], requires_dist=needs)})
    assert new.found("closure") == []
    code, told = new.verify("solve")
    assert (code, [(x["solved"], x["not-proven"]) for x in told["solved"]]) == (0, [(True, [])] * 2)
    # Control: without the extra that it is asked for with, less comes.
    needs = (*needs[:-1], needs[-1].replace("[color]", ""))
    new = world.remade(**{key: dataclasses.replace(PACKAGES[key], requires_dist=needs)})
    message = "solved from the mirror alone, it has less of PyPI than pixi.lock"
    assert new.found("solve") == [(x, message) for x in PLATFORMS]


def test_a_level_that_is_not_proven_of_all_is_none_that_a_snapshot_is_proven_by(
    world: PypiWorld,
) -> None:
    """One row was not asked: `solve` is open, and whoever gets the bundle is not told of it."""
    _lock_from_git(world)
    assert world.run(mirror, "--level", "files,solve")[0] == 0
    assert [x["solve"] for x in world.verify("solve")[1]["environments"]] == [None] * 2
    assert world.run(snapshots)[1].splitlines()[-1].rpartition("  ")[2] == "files"
    assert world.run(mirror, "--level", "files,closure")[0] == 0
    assert world.run(snapshots)[1].splitlines()[-1].endswith("  files, closure")  # control


def stand_in(world: PypiWorld, does: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a script be the uv that solves."""
    program = world.root / "uv"
    program.write_text(f"#!/bin/sh\n{does}\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setattr("scripts.verify.solve.find_program", lambda *_: program)


@posix_scripts
@pytest.mark.parametrize(
    ("does", "code", "message"),
    [
        ("echo 'No space left on device (os error 28)' >&2; exit 2", 2, TROUBLE),
        ("kill -KILL $$", 4, "was ended by SIGKILL while it solved default/linux-64"),
        ("echo 'error: No solution found' >&2; exit 1", 1, UNSOLVED),
    ],
)
def test_trouble_of_this_machine_is_no_finding(
    does: str, code: int, message: str, world: PypiWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last is one; of neither other is anything remembered as proven."""
    stand_in(world, does, monkeypatch)
    actual, told = world.verify("solve")
    assert (actual, told["problems"][0]["message"]) == (code, message)
    is_finding = code == 1
    assert [x["solved"] for x in told["solved"]] == [False if is_finding else None] * 2
    reasons = {1: [None, None], 2: [TROUBLE] * 2}  # the place is told beside it
    reasons[4] = [f"uv: {message.replace('linux-64', x)}" for x in ("linux-64", "win-64")]
    assert [x.get("skip-reason") for x in told["solved"]] == reasons[code]


@posix_scripts
def test_a_uv_that_crashes_once_is_asked_again(
    world: PypiWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control, which crashes each time, is above."""
    mark = world.root / "crashed"
    crash = f'[ -e "{mark}" ] || {{ touch "{mark}"; kill -SEGV $$; }}'
    stand_in(world, f'{crash}\nexec {find_program(Client.UV, os.environ)} "$@"', monkeypatch)
    code, told = world.verify("solve")
    assert (code, [x["solved"] for x in told["solved"]], mark.exists()) == (0, [True] * 2, True)


@posix_scripts
def test_what_a_uv_says_that_takes_the_machine_of_windows_for_another_proves_nothing(
    world: PypiWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As uv does before 0.13.6, for which the real one is told that it is so."""
    app = PACKAGES["app"]
    needs = (*app.requires_dist, "tiny-win; platform_machine == 'AMD64'")
    new = world.remade(app=dataclasses.replace(app, requires_dist=needs))
    uv = find_program(Client.UV, os.environ)
    assert uv is not None
    machine = "x86_64"
    if uv_release(uv) >= (0, 13, 6):
        machine = "AMD64"
        code, told = new.verify("solve")
        assert (code, [x["not-proven"] for x in told["solved"]]) == (0, [[]] * 2)
    holds = f"sed -i \"s/machine == 'x86_64'/machine == '{machine}'/\""
    does = f'for x; do case $x in */in.txt) {holds} "$x";; esac; done\nexec {uv} "$@"'
    stand_in(world, does, monkeypatch)
    code, told = new.verify("solve")
    too_old = "its PyPI packages (this uv is too old: uv >=0.13.6 will do)"
    assert [x["not-proven"] for x in told["solved"]] == [[], [too_old]]
    assert (code, [x["solved"] for x in told["solved"]]) == (0, [True] * 2)
    # The control: of what asks for no machine it has to be right.
    code, told = world.remade().verify("solve")
    assert (code, [x["not-proven"] for x in told["solved"]]) == (0, [[]] * 2)


@posix_scripts
@pytest.mark.parametrize(
    "says",
    [
        "unexpected argument '--excludes' found",
        "invalid value 'x86_64-pc-windows-msvc' for '--python-platform <PYTHON_PLATFORM>'",
    ],
)
def test_a_uv_that_does_not_know_what_it_is_told_proves_nothing(
    says: str, world: PypiWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(world, f'echo "error: {says}" >&2; exit 2', monkeypatch)
    code, told = world.verify("solve")
    too_old = "its PyPI packages (this uv is too old: uv >=0.13.6 will do)"
    assert (code, told["problems"]) == (0, [])
    assert all(too_old in x["not-proven"] for x in told["solved"])


@posix_scripts
def test_a_tmpdir_that_is_none_is_not_handed_to_uv(
    world: PypiWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python takes another folder, and uv none; the control is uv by itself."""
    missing = tmp_path / "missing"
    monkeypatch.setenv("TMPDIR", str(missing))
    monkeypatch.setattr("tempfile.tempdir", None)  # what was found out before
    code, told = world.verify("solve")
    assert (code, told["problems"]) == (0, [])
    uv = find_program(Client.UV, os.environ)
    assert uv is not None
    (tmp_path / "in.txt").write_text("", encoding="utf-8")
    command = [str(uv), "pip", "compile", "--offline", "--no-cache", str(tmp_path / "in.txt")]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode != 0
    assert str(missing).encode() in done.stderr


@pytest.mark.parametrize("bound", ["<3.11", "!=3.11.*"])
def test_a_python_that_pixi_takes_and_pip_does_not(bound: str, world: PypiWorld) -> None:
    new = world.remade(lib=dataclasses.replace(_wheel("lib"), requires_python=bound))
    code, told = new.verify("closure")
    reason = "(pixi and uv take a newer one, pip does not)"
    assert code == 0
    assert [x["not-proven"] for x in told["closed"]] == [
        [f"{LIB} requires Python {bound} {reason}"]
    ] * 2


def test_what_is_retained_is_on_the_pages_just_so(world: PypiWorld) -> None:
    world.lock(without="color")
    assert world.run(index, "-q")[0] == 0
    assert world.found("index") == []
    page = world.folder / "_pypi/index/tiny-color/index.html"
    text = page.read_text(encoding="utf-8")
    _edit(page, "#sha256=[0-9a-f]{60}", "#sha256=" + "0" * 60)
    name = "tiny_color-1.0-py3-none-any.whl"
    assert world.found("index") == [("index.html", f"has another sha256 of {name}")]
    page.write_text(re.sub("<a .*</a>", "", text), encoding="utf-8")
    assert world.found("index") == [("index.html", f"does not name {name}")]


def _remembering(world: PypiWorld) -> list[str]:
    """Verify as `mirror` does, which remembers; return the messages of what was found."""
    workspace = open_workspace(world.root / "pixi.toml", SettingOverrides())
    selection = read_selection(workspace, read_locks(workspace, Console()))
    levels = frozenset(map(Level, LEVELS))
    report = verify(workspace, selection, VerifyOptions(levels=levels, remembers=True), Console())
    return [each.message for each in report.problems]


def test_what_was_proven_is_not_proven_again_but_where_something_changed(
    world: PypiWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _remembering(world) == []
    with monkeypatch.context() as context:
        for each in ("pypi_archives.read_distribution", "pypi_index.read_distribution"):
            context.setattr(f"scripts.verify.{each}", None)
        assert _remembering(world) == []
    page = world.folder / PAGE
    text = page.read_text(encoding="utf-8")
    _edit(page, "#sha256=[0-9a-f]{60}", "#sha256=" + "0" * 60)
    assert _remembering(world) == [f"has another sha256 of {LIB}"]
    page.write_text(text, encoding="utf-8")
    world.lock(without="win")
    assert 'requires tiny-win; sys_platform == "win32", which is not met' in _remembering(world)
    world.lock()
    _flip(world.path("lib"))
    assert _remembering(world)[0] == DIFFERS


@pytest.mark.parametrize("pages", ["one index", "find-links", "two indexes of an old lock"])
def test_the_self_check_breaks_wheels_and_their_pages(pages: str, world: PypiWorld) -> None:
    """Beside the conda artifacts, which it shows without PyPI packages."""
    lock, links = (
        world.root / "pixi.lock",
        "    find-links:\n    - url: https://links.example.org\n",
    )
    if pages == "find-links":
        _edit(lock, "    packages:\n", f"{links}    packages:\n")
    elif pages != "one index":
        _edit(lock, r"version: 7\n(?s:.*?)\nenv", "version: 6\nenv")
        _edit(lock, "direct[+]|  index: .*\n", "")
        _edit(lock, "    indexes:\n", "    indexes:\n    - https://more.example.org/simple\n")
    assert world.run(index, "-q")[0] == 0
    code, out, err = world.run(verify_task, "--self-check", "--json", "-q")
    assert code == 0, (out, err)
    rows = {(x["way"], x["level"]): x["noticed"] for x in json.loads(out)["self-check"]}
    assert rows["artifact cut", "files"] is True
    assert {way for way, seen in rows.items() if seen} >= {
        ("wheel missing", "files"),
        ("one bit of a wheel flipped", "files"),
        ("wheel cut", "archives"),
        ("page without a wheel", "index"),
        ("page with another sha256", "index"),
        ("METADATA altered", "index"),
    }
    assert False not in rows.values()
