"""pixi, uv and pip install wheels and sdists from the mirror, or say why they do not."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from scripts.core.console import Console
from scripts.verify.findings import Client, Level
from scripts.verify.install import sandbox as sandboxes
from scripts.verify.install.clients import find_program, install_with
from scripts.verify.install.stage import Program, find_programs
from scripts.verify.stage import VerifyOptions, verify
from tests.support.locks import RawRow
from tests.support.pypi_world import (
    DIRECT,
    INDEX,
    OTHER_INDEX,
    PYTHON,
    PypiWorld,
    pypi_rows,
    relock,
)
from tests.support.upstream import Upstream
from tests.support.wheels import PypiRow, TinySdist, TinyWheel

INSTALL = ("--level", "install", "--client")
HELP = "help: pixi run verify --level files,index"
UV = pytest.param(
    "uv", marks=pytest.mark.skipif(find_program(Client.UV, os.environ) is None, reason="needs uv")
)
PIP = pytest.param(
    "pip", marks=pytest.mark.skipif(find_program(Client.PIP, os.environ) is None, reason="no pip")
)
PIXI = pytest.param("pixi", marks=pytest.mark.needs_pixi)
GIT = RawRow(key="pypi", location="git+https://git.example.org/x.git#0123", lines=("name: x",))


def _rows(capsys: pytest.CaptureFixture[str]) -> dict[str, list[dict[str, Any]]]:
    """Read who installed what, by place, of what `--json` says."""
    rows = json.loads(capsys.readouterr().out)["environments"]
    return {f"{row['environment']}/{row['platform']}": row["install"] for row in rows}


@pytest.mark.parametrize("client", [UV, PIP, PIXI])
def test_wheels_and_sdists_are_installed(
    client: str, pypi_world: PypiWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    """The project itself, whose backend is nowhere, stands in nobody's way."""
    here = pypi_world.platforms[0]
    before = pypi_world.mirror.states()
    assert pypi_world.loud(*INSTALL, client, "--platforms", here) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[0] == f"default  {here}  install ✓ ({client})"
    assert err == f"verify: installing default/{here} with {client}\n"
    assert pypi_world.mirror.states() == before


@pytest.mark.parametrize("client", [PIXI])
def test_what_requires_each_other_arrives_beside_the_project(
    client: str, pypi_world: PypiWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    """Through extras that nobody asks for, too; pixi's `--skip` of the project left both out."""
    here, found = pypi_world.platforms[0], pypi_rows(pypi_world.upstream, pypi_world.platforms[0])
    needs = {"pure": "tiny-elsewhere", "elsewhere": 'Tiny.Pure ; extra == "x"'}
    some = [dataclasses.replace(found[x], requires_dist=(y,)) for x, y in needs.items()]
    relock(pypi_world, *some, RawRow(key="pypi", location="./", lines=("name: project",)))
    assert pypi_world.loud(*INSTALL, client) == 0
    out, _ = capsys.readouterr()
    assert out.splitlines()[0] == f"default  {here}  install ✓ ({client})"
    _damage(pypi_world, "elsewhere", "swapped")
    assert pypi_world.verify(*INSTALL, client) == 1
    assert "tiny_elsewhere-1.0" in capsys.readouterr().err


def two_locks(world: PypiWorld, own: Sequence[PypiRow], others: Sequence[PypiRow]) -> None:
    """Mirror the workspace's own lock, from one index, and that of `other`, from another."""
    root, here = world.mirror.root, world.platforms[0]
    other = root / "other"
    other.mkdir()
    relock(world, *others)
    (root / "pixi.lock").rename(other / "pixi.lock")
    for folder, name, index, rows in (
        (other, "other", OTHER_INDEX, others),
        (root, "w", INDEX, own),
    ):
        wanted = "".join(f'{each.written.package.name} = "*"\n' for each in rows)
        (folder / "pixi.toml").write_text(
            f'[workspace]\nname = "{name}"\nchannels = ["conda-forge"]\nplatforms = ["{here}"]\n\n'
            f'[dependencies]\npython = "*"\n\n[pypi-options]\nindex-url = "{index}"\n\n'
            f"[pypi-dependencies]\n{wanted}\n[tool.pixi-mirror]\nlocks = ['other/pixi.lock']\n",
            encoding="utf-8",
        )
    relock(world, *own)


@pytest.mark.parametrize("client", [PIXI])
def test_one_file_of_two_locks_is_asked_of_the_index_of_each(
    client: str, pypi_world: PypiWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of either index the pages are there; without those of its own it is built nowhere."""
    here, found = pypi_world.platforms[0], pypi_rows(pypi_world.upstream, pypi_world.platforms[0])
    some = found["sdist"], found["backend"]
    two_locks(pypi_world, some, [dataclasses.replace(each, index=OTHER_INDEX) for each in some])
    assert pypi_world.verify(*INSTALL, client) == 0
    shutil.rmtree(pypi_world.folder / "_pypi/simple/other.example.org")
    capsys.readouterr()
    assert pypi_world.verify(*INSTALL, client) == 1
    assert capsys.readouterr().err.startswith(
        f"error: other:default/{here}: pixi cannot install it from the channel alone\n"
    )


@pytest.mark.parametrize("client", [PIXI])
def test_a_direct_url_with_a_query_is_none_that_pixi_is_led_from(
    client: str, pypi_world: PypiWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    """Or a secret fragment: of a mirror, pixi asks for both as a part of the name."""
    wheel = pypi_rows(pypi_world.upstream, pypi_world.platforms[0])["direct"].written
    said = []
    for more in "#sha256=", "?download=1#sha256=", "#token=abc&sha256=":
        url = f"{DIRECT}{wheel.path.name}{more}{wheel.sha256}"
        relock(pypi_world, PypiRow(written=wheel, index=None, url=url))
        capsys.readouterr()
        assert pypi_world.loud(*INSTALL, client) == 0
        said.append(capsys.readouterr().out)
    reason = "pixi asks for tiny-direct by more than its URL's path"
    place = f"default/{pypi_world.platforms[0]}"
    assert [f"not installed by pixi: {place}; {reason}\n" in x for x in said] == [False, True, True]


@pytest.mark.parametrize("client", [UV, PIP])
def test_an_archive_that_is_called_by_its_tag_is_installed(
    client: str, pypi_world: PypiWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    """As forges name it; on a page neither finds it."""
    upstream, here = pypi_world.upstream, pypi_world.platforms[0]
    found = pypi_rows(upstream, here)
    sdist = found["sdist"].written
    shutil.copyfile(sdist.path, upstream / "v1.0.tar.gz")
    location = f"{DIRECT}v1.0.tar.gz#sha256={sdist.sha256}"
    relock(pypi_world, found["backend"], PypiRow(written=sdist, index=None, url=location))
    capsys.readouterr()
    assert pypi_world.verify(*INSTALL, client) == 0, capsys.readouterr().err
    file = pypi_world.folder / "_pypi/files/downloads.example.org/dl/v1.0.tar.gz"
    file.write_bytes(TinySdist(name="tiny-sdist", version="2.0").data)
    assert pypi_world.verify(*INSTALL, client) == 1


@pytest.mark.parametrize("client", [PIXI])
def test_a_page_of_find_links_on_another_host_than_its_files_is_read(
    client: str, pypi_world: PypiWorld
) -> None:
    found, page = pypi_rows(pypi_world.upstream, pypi_world.platforms[0]), "https://x.org/p.html"
    lock = pypi_world.mirror.root / "pixi.lock"
    url = f"https://files.example.org/{found['pure'].written.path.name}"
    relock(pypi_world, dataclasses.replace(found["pure"], index=page, url=url))
    text = lock.read_text(encoding="utf-8")
    links = f"    find-links:\n    - url: {page}\n    packages:\n"
    text = text.replace(f"    indexes:\n    - {page}\n", "").replace("    packages:\n", links)
    lock.write_text(text, encoding="utf-8")
    pypi_world.mirror.index()
    assert pypi_world.verify(*INSTALL, client) == 0
    (pypi_world.folder / "_pypi/files/files.example.org" / found["pure"].written.path.name).unlink()
    assert pypi_world.verify(*INSTALL, client) == 1


@pytest.mark.parametrize("client", [PIXI])
def test_what_builds_an_sdist_may_be_on_a_host_that_has_nothing_else_of_its_lock(
    client: str, pypi_world: PypiWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    here, found = pypi_world.platforms[0], pypi_rows(pypi_world.upstream, pypi_world.platforms[0])
    url = f"https://sources.example.org/{found['sdist'].written.path.name}"
    sdist = dataclasses.replace(found["sdist"], url=url)
    two_locks(pypi_world, (found["backend"],), (sdist,))
    manifest = pypi_world.mirror.root / "other" / "pixi.toml"
    text = manifest.read_text(encoding="utf-8").replace(OTHER_INDEX, INDEX)
    manifest.write_text(text, encoding="utf-8")
    assert pypi_world.loud(*INSTALL, client) == 0
    assert f"other  default  {here}  install ✓ ({client})" in capsys.readouterr().out
    (pypi_world.folder / pypi_world.path("backend")).unlink()
    assert pypi_world.verify(*INSTALL, client) == 1


@pytest.mark.parametrize("client", [UV, PIXI])
def test_who_asks_one_index_for_the_backend_does_not_find_it_on_another(
    client: str, pypi_world: PypiWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    """Uv and pip, led to the files of all indexes, do."""
    here, found = pypi_world.platforms[0], pypi_rows(pypi_world.upstream, pypi_world.platforms[0])
    two_locks(
        pypi_world,
        (found["backend"],),
        (dataclasses.replace(found["sdist"], index=OTHER_INDEX),),
    )
    # Whatever installs, the finding is there: pixi is what the lock is for.
    assert pypi_world.loud(*INSTALL, client, "--only", "other") == 1
    out, err = capsys.readouterr()
    assert "error: tiny-sdist 1.0: cannot be built over there: tiny-backend\n" in err
    reason = "its sdists are built with what pixi does not find: tiny-backend"
    said = f"not installed by pixi: default/{here}; {reason}\n"
    assert (f"{here}  install ✓ (uv)" in out, said in out) == (client == "uv", client == "pixi")


@pytest.mark.parametrize("client", [UV])
def test_of_other_machines_the_wheels_are_installed(
    client: str, pypi_world: PypiWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each set once: `twin` has the same as `default`."""
    assert pypi_world.loud(*INSTALL, client) == 0
    out, err = capsys.readouterr()
    here, *far = pypi_world.platforms
    cells = [line.split(maxsplit=2) for line in out.splitlines()[:4]]
    assert cells == [
        ["default", here, "install ✓ (uv)"],
        *(["default", each, "install (wheels) ✓ (uv)"] for each in far),
        ["twin", "win-64", "install (wheels) ✓ (uv)"],
    ]
    only = "its wheels alone, not what is built there: tiny-sdist"
    places = [*(f"default/{each}" for each in far), "twin/win-64"]
    assert [line for line in out.splitlines() if "wheels alone" in line] == [
        f"installed of {', '.join(places)}: {only}"
    ]
    assert err.splitlines() == [f"verify: installing default/{x} with uv" for x in (here, *far)]


@pytest.mark.parametrize(("requires", "code"), [(">=3.11.5", 0), (">=3.11.8", 1)])
@pytest.mark.parametrize("client", [UV])
def test_of_other_machines_the_whole_version_of_python_counts(
    client: str, requires: str, code: int, pypi_world: PypiWorld
) -> None:
    """As soupsieve 4.1 requires it; to uv, 3.11 is 3.11.0."""
    wheel = TinyWheel(name="tiny", requires_python=requires).write(pypi_world.upstream)
    relock(pypi_world, PypiRow(written=wheel, index=INDEX), far=pypi_world.platforms[1])
    assert pypi_world.verify(*INSTALL, client) == code


@pytest.mark.parametrize("client", [UV])
def test_wheels_of_a_free_threaded_python_are_not_installed_by_another(
    client: str, pypi_world: PypiWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are refused by uv wherever the Python that it asks is of another kind."""
    wheel = TinyWheel(name="tiny", tags="cp311-cp311t-win_amd64").write(pypi_world.upstream)
    for depends, code in ((), 1), (("python_abi 3.11.* *_cp311t",), 0):
        row = PypiRow(written=wheel, index=INDEX)
        relock(pypi_world, row, far="win-64", depends=depends)
        assert pypi_world.loud(*INSTALL, client) == code
    reason = "of this Python and the locked one, one is free-threaded, and uv goes by this one"
    assert f"not installed by uv: default/win-64; {reason}\n" in capsys.readouterr().out


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have one libc")
@pytest.mark.parametrize("client", [UV, PIP, PIXI])
def test_wheels_of_a_system_that_this_machine_is_not(
    client: str, pypi_world: PypiWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the platform that it is told goes pixi, by the machine the others."""
    here, root = pypi_world.platforms[0], pypi_world.mirror.root
    wheel = TinyWheel(name="tiny", tags=f"py3-none-musllinux_1_1_{platform.machine()}")
    relock(pypi_world, PypiRow(written=wheel.write(pypi_world.upstream), index=INDEX))
    (root / "pixi.toml").write_text(
        f'[workspace]\nname = "w"\nchannels = ["conda-forge"]\nplatforms = ["{here}"]\n\n'
        f'[dependencies]\npython = "*"\n\n[pypi-options]\nindex-url = "{INDEX}"\n\n'
        '[pypi-dependencies]\ntiny = "*"\n',
        encoding="utf-8",
    )
    assert pypi_world.loud(*INSTALL, client) == (client == "pixi")
    edits = {
        root / "pixi.toml": {f'["{here}"]': f'[{{ platform = "{here}", __musl = "1.2" }}]'},
        root / "pixi.lock": {
            f"- name: {here}\n": f"- name: p1\n  subdir: {here}\n",
            "  virtual-packages: []\n": "  virtual-packages:\n  - __musl=1.2\n",
            f"      {here}:\n": "      p1:\n",
        },
    }
    for file, changes in edits.items():
        text = file.read_text("utf-8")
        for old, new in changes.items():
            assert old in text
            text = text.replace(old, new)
        file.write_text(text, encoding="utf-8")
    capsys.readouterr()
    assert pypi_world.loud(*INSTALL, client) == 0
    out, _ = capsys.readouterr()
    said = f"not installed by {client}: default/p1; this machine takes no {wheel.file_name}\n"
    assert (said in out, "install ✓ (pixi)" in out) == (client != "pixi", client == "pixi")


@pytest.mark.skipif(os.name == "nt", reason="programs here are shell scripts")
@pytest.mark.parametrize("client", [UV])
def test_a_uv_that_does_not_know_a_platform_proves_nothing_of_it(
    client: str,
    pypi_world: PypiWorld,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As 0.8 does not know Windows on ARM; what else it says is a finding."""
    known, option = "aarch64-apple-darwin", "--python-platform <PYTHON_PLATFORM>"
    program, here = tmp_path / "uv", pypi_world.platforms[0]
    monkeypatch.setattr(
        "scripts.verify.install.stage.find_program",
        lambda each, environ: program if each is Client.UV else find_program(each, environ),
    )
    for message, asked, code in (
        ("No solution found", "osx-arm64", 1),
        (f"invalid value '{known}' for '{option}'", "osx-arm64", 0),
        ("unexpected argument '--require-hashes' found", here, 0),
    ):
        says = f'[ "$1" = --version ] && exec echo uv 0.8.0\necho "error: {message}" >&2\nexit 2\n'
        program.write_text(f"#!/bin/sh\n{says}", encoding="utf-8")
        program.chmod(0o755)
        capsys.readouterr()
        assert pypi_world.loud(*INSTALL, client, "--platforms", asked) == code
        said = f"not installed by uv: default/{asked}; this uv is too old for it\n"
        assert (said in capsys.readouterr().out) == (code == 0)


def test_what_was_not_installed_is_not_named_with_what_was(
    pypi_world: PypiWorld,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nor is its machine; the report says why not."""
    here, *far = pypi_world.platforms
    report = tmp_path / "report.md"
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(
        "scripts.verify.install.stage.find_program",
        lambda client, environ: None if client is Client.UV else find_program(client, environ),
    )
    assert pypi_world.loud("--level", "install", "--report", str(report)) == 0
    lines = capsys.readouterr().out.splitlines()
    said = [each for each in lines if each.startswith("installed default/")]
    assert [each.split(" with ")[0] for each in said] == [f"installed default/{here}"]
    reason = "this program is not on PATH"
    places = [f"default/{each}" for each in (here, *far)]
    assert [each for each in lines if each.startswith("not installed")] == [
        f"not installed by uv: {', '.join([*places, 'twin/win-64'])}; {reason}",
        f"not installed: {', '.join([*places[1:], 'twin/win-64'])}; this machine is {here}",
    ]
    text = report.read_text("utf-8")
    assert [each for each in text.splitlines() if each.startswith("- install by uv")] == [
        f"- install by uv: was not done for {each}; {reason}" for each in [*places, "twin/win-64"]
    ]


def test_json_and_the_report_tell_wheels_from_environments(
    pypi_world: PypiWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if find_program(Client.UV, os.environ) is None:
        pytest.skip("needs uv")
    report = tmp_path / "report.md"
    assert pypi_world.verify(*INSTALL, "uv", "-e", "twin", "--json", "--report", str(report)) == 0
    ((row,),) = _rows(capsys).values()
    assert (row["client"], row["installed"], row["wheels-only"]) == ("uv", True, True)
    text, not_built = report.read_text(encoding="utf-8"), "not what is built there: tiny-sdist"
    assert "(wheels) ✓ (uv)" in text
    assert f"its wheels alone, {not_built}" in text
    (line,) = (x for x in text.splitlines() if x.startswith("- install by uv: "))
    assert line == f"- install by uv: of twin/win-64 the wheels alone were installed, {not_built}"


def test_conda_alone_is_not_the_whole(
    pypi_world: PypiWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """py-rattler installs no PyPI package; nor has it to, where there is none."""
    here, report = pypi_world.platforms[0], tmp_path / "report.md"
    options = (*INSTALL, "rattler", "--platforms", here)
    assert pypi_world.loud(*options, "--report", str(report)) == 0
    assert capsys.readouterr().out.startswith(f"default  {here}  install (conda) ✓ (py-rattler)\n")
    text = report.read_text(encoding="utf-8")
    assert "(conda) ✓ (py-rattler)" in text
    assert f"install: of default/{here} the conda packages alone were installed" in text
    assert "wheels alone were installed" not in text
    assert pypi_world.verify(*options, "--json") == 0
    ((row,),) = _rows(capsys).values()
    assert (row["installed"], row["conda-only"], row["wheels-only"]) == (True, True, False)
    relock(pypi_world)
    capsys.readouterr()
    assert pypi_world.loud(*options, "--report", str(report)) == 0
    assert capsys.readouterr().out.startswith(f"default  {here}  install ✓ (py-rattler)\n")
    assert "the conda packages alone" not in report.read_text(encoding="utf-8")


def _damage(world: PypiWorld, name: str, damage: str) -> None:
    file = world.folder / world.path(name)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    match damage:
        case "cut":
            file.write_bytes(file.read_bytes()[:-20])
        case "flipped":
            file.write_bytes(data)
        case "swapped":
            file.write_bytes(TinyWheel(name="tiny-other").data)
        case "missing":
            file.unlink()


@pytest.mark.parametrize("damage", ["cut", "flipped", "swapped", "missing"])
@pytest.mark.parametrize(
    ("client", "what"), [(UV.values[0], "wheels"), ("pip", "PyPI packages"), ("pixi", "")]
)
def test_a_damaged_wheel_is_named(
    damage: str,
    client: str,
    what: str,
    pypi_world: PypiWorld,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """For another machine by uv, for this one by pip and pixi."""
    if not isinstance(find_programs(None, os.environ, with_pypi=True).get(Client(client)), Program):
        pytest.skip(f"needs {client}")
    place, where, count = "twin/win-64", ["-e", "twin"], 8
    if client != "uv":
        place, where, count = f"default/{pypi_world.platforms[0]}", [], 2
        relock(pypi_world, pypi_rows(pypi_world.upstream, pypi_world.platforms[0])["pure"])
    _damage(pypi_world, "pure", damage)
    capsys.readouterr()
    assert pypi_world.verify(*INSTALL, client, *where) == 1
    err = capsys.readouterr().err
    thing = f"its {what}" if what else "it"
    assert err.startswith(f"error: {place}: {client} cannot install {thing} from the channel")
    assert "tiny_pure-1.1" in err
    if damage == "missing":
        assert err.endswith(f"  missing  1 of its {count} artifacts\nhelp: pixi run mirror\n")
    else:
        assert err.endswith(f"{HELP}\n")


@pytest.mark.parametrize("client", [UV])
def test_a_page_without_the_file(
    client: str, pypi_world: PypiWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    page = pypi_world.folder / "_pypi" / "index" / "tiny-native" / "index.html"
    lines = page.read_text(encoding="utf-8").splitlines(keepends=True)
    page.write_text("".join(x for x in lines if "win_amd64" not in x), encoding="utf-8")
    assert pypi_world.verify(*INSTALL, client, "-e", "twin") == 1
    assert "tiny-native==1.0" in capsys.readouterr().err


@pytest.mark.parametrize("client", [UV, PIP])
def test_what_is_in_a_wheel_must_arrive_whatever_its_record_says(
    client: str,
    pypi_world: PypiWorld,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Such a wheel is installed without a word; `archives` tells of it."""
    record = b"tiny_odd.py,,\nabsent.py,,\ntiny_odd-1.0.dist-info/RECORD,,\n"
    odd = TinyWheel(name="tiny-odd", record=record).write(pypi_world.upstream)
    row = PypiRow(written=odd)
    relock(pypi_world, row)
    assert pypi_world.verify(*INSTALL, client) == 0

    def install(client: Client, *more: Any) -> Any:
        done = install_with(client, *more)
        next(done[0].rglob("tiny_odd.py")).unlink()
        return done

    monkeypatch.setattr("scripts.verify.install.stage.install_with", install)
    capsys.readouterr()
    assert pypi_world.verify(*INSTALL, client, "--platforms", pypi_world.platforms[0]) == 1
    place = f"default/{pypi_world.platforms[0]}"
    lib = f"lib/python{PYTHON}/site-packages"
    path = f"_pypi/files/{row.file_url.removeprefix('https://')}"
    assert capsys.readouterr().err == (
        f"error: {path}: a file of it did not arrive in {place}, installed by {client}\n"
        f"  missing  {lib}/tiny_odd.py\n"
    )


@pytest.mark.parametrize(
    ("rows", "clients", "reason"),
    [
        ((GIT,), ("pixi",), "it has PyPI packages that are not in the mirror"),
        (
            (TinySdist(name="built", build_requires=("absent>=1", "old; python_version<'3'")),),
            ("pixi", "uv", "pip"),
            "its sdists are built with what CLIENT does not find: absent",
        ),
        (  # of what is there, the version and the tags count
            (TinySdist(name="built", build_requires=("tiny-native>=99",)),),
            ("uv",),
            "its sdists are built with what CLIENT does not find: tiny-native",
        ),
        (  # of markers that nobody can decide, nothing is known to be missing
            (
                TinySdist(
                    name="built",
                    build_requires=("absent", "y; os_name ~= 'abc'"),
                ),
            ),
            ("uv",),
            "its sdists are built with what CLIENT does not find: absent",
        ),
    ],
)
def test_why_it_is_not_tried(
    rows: tuple[RawRow | TinySdist, ...],
    clients: tuple[str, ...],
    reason: str,
    pypi_world: PypiWorld,
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = find_programs(None, os.environ, with_pypi=True)
    written = (
        PypiRow(written=x.write(pypi_world.upstream)) if isinstance(x, TinySdist) else x
        for x in rows
    )
    relock(pypi_world, *written)
    for client in clients:
        if not isinstance(found.get(Client(client)), Program):
            continue
        capsys.readouterr()
        assert pypi_world.loud(*INSTALL, client, "--allow-incomplete", "pypi,build-requires") == 0
        said = f"not installed by {client}: default/{pypi_world.platforms[0]}; "
        said += f"{reason.replace('CLIENT', client)}\n"
        out, err = capsys.readouterr()
        assert said in out
        assert "verify: installing" not in err


def test_uv_and_pip_have_nothing_to_do_without_pypi_packages(
    pypi_world: PypiWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    relock(pypi_world)
    if find_program(Client.UV, os.environ) is None:
        pytest.skip("needs uv")
    capsys.readouterr()
    report = tmp_path / "report.md"
    assert pypi_world.loud(*INSTALL, "uv", "--report", str(report)) == 0
    here = pypi_world.platforms[0]
    lines = capsys.readouterr().out.splitlines()
    reason = "nothing in it is for the clients of this run"
    assert f"not installed: default/{here}; {reason}" in lines
    assert f"- install: was not done for default/{here}; {reason}\n" in report.read_text("utf-8")


def test_programs_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody asks for them by name, it is said and no error."""
    monkeypatch.setattr("scripts.verify.install.clients.importlib.util.find_spec", lambda _: None)
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    environ = {"PATH": str(tmp_path)}
    reason = "this program is not on PATH"
    found = find_programs(None, environ, with_pypi=True)
    assert (found[Client.UV], found[Client.PIP]) == (reason, reason)
    assert not {Client.UV, Client.PIP} & find_programs(None, environ).keys()


@pytest.mark.parametrize("client", [UV, PIP, PIXI])
def test_nobody_else_is_asked(
    client: str,
    pypi_world: PypiWorld,
    upstream: Upstream,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Every proxy leads to a server that takes down who asks; what asks is another file's."""
    monkeypatch.setattr(sandboxes, "_can_unshare", lambda _: False)
    monkeypatch.setattr(sandboxes, "_REFUSING", upstream.url)
    sandboxes.sandbox.cache_clear()
    try:
        assert pypi_world.verify(*INSTALL, client, "--platforms", pypi_world.platforms[0]) == 0
    finally:
        sandboxes.sandbox.cache_clear()
    assert upstream.requests == []


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Take down what is really installed."""
    calls: list[str] = []

    def install(client: Client, *more: Any) -> Any:
        calls.append(str(more[2].place))
        return install_with(client, *more)

    monkeypatch.setattr("scripts.verify.install.stage.install_with", install)
    return calls


def test_what_was_proven_is_not_proven_again(pypi_world: PypiWorld, tried: list[str]) -> None:
    if find_program(Client.UV, os.environ) is None:
        pytest.skip("needs uv")
    world, far = pypi_world, f"default/{pypi_world.platforms[-1]}"
    options = VerifyOptions(levels=frozenset({Level.INSTALL}), clients=(Client.UV,), remembers=True)
    selection = world.mirror.selection
    others = tuple(
        dataclasses.replace(
            x, platforms=tuple(y for y in x.platforms if y.platform.name != world.platforms[0])
        )
        for x in selection.environments
    )
    (lock,) = selection.locks
    narrowed = dataclasses.replace(lock, environments=others)
    selection = dataclasses.replace(selection, locks=(narrowed,))

    def run() -> list[str]:
        tried.clear()
        verify(world.mirror.workspace, selection, options, Console())
        return list(tried)

    assert run() == [f"default/{each}" for each in world.platforms[1:]]
    assert run() == []
    page = world.folder / "_pypi" / "index" / "tiny-pure" / "index.html"
    page.write_bytes(page.read_bytes() + b"\n")
    assert far in run()
    assert run() == []
    file = world.folder / world.path("native", "win-64")
    os.utime(file, (1, 1))
    assert run() == [far]
