"""The programs pixi and conda install from the mirror, or say what they lack."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.core.errors import MirrorError
from scripts.verify.findings import Client
from scripts.verify.install.stage import find_programs
from tests.support.locks import EnvironmentRows, LockRow, PlatformRows, RawRow, write_lock
from tests.support.mirrors import CHANNEL, Mirror, make_mirror
from tests.support.packages import TinyPackage
from tests.support.terminal import unbroken
from tests.support.verified import World, conda_adds_pip, here

LIB = "noarch/lib-1.0-0.tar.bz2"
HELP = "help: pixi run verify --level files,index\n"
NO_RECORDS = '{"packages": {}, "packages.conda": {}}'
INSTALL = ("--level", "install", "--client")


@pytest.mark.needs_pixi
def test_pixi_installs_the_lock_unchanged(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    before = world.mirror.states()
    assert world.loud(*INSTALL, "pixi") == 0
    marks = [line.split()[2:] for line in capsys.readouterr().out.splitlines()[:3]]
    assert marks == [["install", "✓", "(pixi)"], ["install", "–"], ["install", "✓", "(pixi)"]]  # noqa: RUF001
    assert world.mirror.states() == before
    assert not (world.mirror.root / ".pixi").exists()


@pytest.mark.needs_pixi
def test_pixi_misses_an_artifact(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    (world.folder / LIB).unlink()
    assert world.verify(*INSTALL, "pixi", "-e", "small") == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == f"error: small/{here()}: pixi cannot install it from the channel alone"
    assert "failed to fetch lib-1.0-0.tar.bz2" in lines[1]
    assert "404" in lines[-3]
    assert lines[-2:] == ["  missing  1 of its 1 artifacts", "help: pixi run mirror"]
    assert f"/{LIB})" in lines[-3]


@pytest.mark.needs_pixi
def test_pixi_notices_a_swapped_artifact(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """Over HTTP it compares hashes, which nobody does for files."""
    other = TinyPackage(name="lib", extension=".tar.bz2", padding=2001)
    (world.folder / LIB).write_bytes(other.data)
    assert world.verify(*INSTALL, "pixi", "-e", "small") == 1
    assert f"expected {world.rows()['lib'].written.sha256}" in capsys.readouterr().err


@pytest.mark.needs_pixi
@pytest.mark.parametrize(
    ("row", "hindrance"),
    [
        (
            RawRow(key="conda_source", location="'mine[12345678] @ ./mine'"),
            "it has source packages, which pixi would have to build",
        ),
        (
            RawRow(
                key="pypi",
                location="https://pypi.example.org/x-1.0-py3-none-any.whl",
                lines=("name: x", "version: 1.0"),
            ),
            "it has PyPI packages that are not in the mirror",
        ),
    ],
)
def test_what_pixi_could_not_install_is_said(
    row: RawRow, hindrance: str, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    platform = PlatformRows(name=here(), rows=(world.rows()["lib"], row))
    world.lock(EnvironmentRows(platforms=(platform,)))
    assert world.loud(*INSTALL, "pixi", "--allow-incomplete", "pypi,source") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"default  {here()}  install –  incomplete, as allowed")  # noqa: RUF001
    assert f"not installed by pixi: default/{here()}; {hindrance}" in lines


CONDA = pytest.param("conda", marks=pytest.mark.needs_conda)
MICROMAMBA = pytest.param("micromamba", marks=pytest.mark.needs_micromamba)


@pytest.mark.parametrize("client", [CONDA, MICROMAMBA])
def test_conda_and_micromamba_install_what_the_lock_names(
    client: str, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    before = world.mirror.states()
    assert world.loud(*INSTALL, client, "-e", "default") == 0
    assert capsys.readouterr().out.splitlines()[0].split()[2:] == ["install", "✓", f"({client})"]
    assert world.mirror.states() == before


@pytest.mark.parametrize("client", [CONDA, MICROMAMBA])
@pytest.mark.parametrize("names", [("python", "pip"), ("python",)], ids=["pip", "no pip"])
def test_conda_and_micromamba_want_pip_beside_every_python(
    client: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], names: tuple[str, ...]
) -> None:
    """They add it to python's record as they read that; where there is none, that is said.

    conda's solver `rattler` reads repodata itself, and adds nothing.
    """
    mirror = make_mirror(tmp_path / "w")
    manifest = mirror.root / "pixi.toml"
    text = manifest.read_text(encoding="utf-8").replace("linux-64", here())
    manifest.write_text(f'{text}\n[dependencies]\npython = "*"\n', encoding="utf-8")
    packages = [TinyPackage(name=name, version="3.13.0", subdir=here()) for name in names]
    rows = tuple(LockRow(written=each.write(mirror.folder), channel=CHANNEL) for each in packages)
    platform = PlatformRows(name=here(), rows=rows)
    write_lock(mirror.root / "pixi.lock", (EnvironmentRows(platforms=(platform,)),))
    mirror.index()
    world = World(mirror=mirror, upstream=mirror.folder)
    assert world.loud(*INSTALL, client) == 0
    unnamed = ", and where nobody asks for python by its name" if client == "micromamba" else ""
    warning = (
        f"warning: {client} wants pip beside every python, and default/{here()} has none: it"
        f" installs only with add_pip_as_python_dependency: false{unnamed} (`pixi add pip`, then"
        " `pixi run mirror`)\n"
    )
    is_wanted = "pip" not in names and (client == "micromamba" or conda_adds_pip())
    assert (warning in capsys.readouterr().out) == is_wanted


@pytest.mark.needs_conda
def test_conda_misses_an_artifact(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    (world.folder / LIB).unlink()
    assert world.verify(*INSTALL, "conda", "-e", "small") == 1
    err = capsys.readouterr().err
    assert err.startswith(
        f"error: small/{here()}: conda cannot install it from the channel alone\n"
    )
    assert str(world.folder / LIB) in err
    assert err.endswith("  missing  1 of its 1 artifacts\nhelp: pixi run mirror\n")


@pytest.mark.needs_micromamba
def test_micromamba_says_why_it_refuses(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    (world.folder / "noarch" / "repodata.json").write_text(NO_RECORDS, encoding="utf-8")
    (world.folder / "noarch" / "repodata.json.zst").unlink()
    assert world.verify(*INSTALL, "micromamba", "-e", "small") == 1
    err = capsys.readouterr().err
    assert "  said  error    libmamba Could not solve for environment specs\n" in err
    assert re.search(r"  said +└─ lib .* does not exist", err)


@pytest.mark.needs_micromamba
@pytest.mark.parametrize("folder", ["a_folder", "a folder"])
def test_micromamba_reads_no_channel_below_a_blank(
    folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mirror = _mixed(tmp_path, folder)
    world = World(mirror=mirror, upstream=tmp_path / "upstream")
    capsys.readouterr()
    assert world.loud(*INSTALL, "micromamba") == 0
    out = capsys.readouterr().out
    reason = "the channel has a blank in its path, and micromamba reads no such file:// URL"
    assert (f"not installed by micromamba: default/{here()}; {reason}\n" in out) == (" " in folder)
    assert ("install ✓ (micromamba)" in out) == (" " not in folder)
    channels = [str(mirror.folder / each) for each in ("conda-forge", "nvidia/label/cuda-1")]
    options = [part for each in channels for part in ("-c", Path(each).as_uri())]
    offline = ("--offline", "--override-channels", "--yes", "--no-rc")
    command = ["micromamba", "create", "-p", str(tmp_path / "e"), *options, "two", *offline]
    own = {"MAMBA_ROOT_PREFIX": str(tmp_path / "root"), "HOME": str(tmp_path)}
    done = subprocess.run(command, env=os.environ | own, capture_output=True, check=False)
    assert (done.returncode == 0) == (" " not in folder), done.stderr  # as soon as it does: no skip


def _mixed(root: Path, folder: str = "a folder") -> Mirror:
    """Three channels, an odd version, a token, a path with a blank, one file of two packages."""
    mirror = make_mirror(root / folder, "by-channel")
    (mirror.root / "pixi.toml").write_text(
        '[workspace]\nname = "w"\n'
        'channels = ["conda-forge", "nvidia/label/cuda-1", "https://example.org:8080/chan"]\n'
        f'platforms = ["{here()}"]\n\n[dependencies]\nmodule = "*"\none = "*"\ntwo = "*"\n'
        'odd = { version = "*", channel = "https://example.org:8080/chan" }\n\n'
        '[tool.pixi-mirror]\nlayout = "by-channel"\n',
        encoding="utf-8",
    )
    packages = {
        CHANNEL: (
            TinyPackage(
                name="python",
                version="3.12.1",
                subdir=here(),
                files=(("bin/python3.12", b"#!/bin/sh\n"), ("python.exe", b"MZ")),
            ),
            TinyPackage(
                name="module",
                build="pyh0",
                noarch="python",
                files=(("site-packages/module.txt", b"x"), ("python-scripts/module", b"#!\n")),
                depends=("python",),
            ),
            TinyPackage(name="one", files=(("share/same", b"one"),)),
        ),
        "https://conda.anaconda.org/nvidia/label/cuda-1": (
            TinyPackage(name="two", files=(("share/same", b"two"),)),
        ),
        "https://user:word@example.org:8080/t/token-1/chan": (
            TinyPackage(name="odd", version="1!2.0+3", subdir=here()),
        ),
    }
    rows = [
        LockRow(written=package.write(root / "upstream"), channel=channel)
        for channel, some in packages.items()
        for package in some
    ]
    platform = PlatformRows(name=here(), rows=tuple(rows))
    write_lock(mirror.root / "pixi.lock", (EnvironmentRows(platforms=(platform,)),))
    for artifact, url in ((each, each.urls[0]) for each in mirror.selection.artifacts):
        target = mirror.folder / artifact.path
        target.parent.mkdir(parents=True, exist_ok=True)
        source = next(row.written.path for row in rows if row.location == url)
        shutil.copyfile(source, target)
    mirror.index()
    return mirror


@pytest.mark.parametrize(
    "client",
    [
        "rattler",
        pytest.param("pixi", marks=pytest.mark.needs_pixi),
        pytest.param("pixi-offline", marks=pytest.mark.needs_pixi),
        pytest.param("conda", marks=pytest.mark.needs_conda),
    ],
)
def test_by_channel(client: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = World(mirror=_mixed(tmp_path), upstream=tmp_path / "upstream")
    capsys.readouterr()
    assert world.loud("--client", client) == 0
    out, err = capsys.readouterr()
    program = Client(client).program
    assert unbroken(out).splitlines()[0] == (
        f"default  {here()}  files ✓  archives ✓  index ✓  closure ✓  solve ✓"
        f"  install ✓ ({program})"
    )
    assert "word" not in out + err
    assert "token-1" not in out + err


@pytest.mark.needs_pixi
@pytest.mark.parametrize("channel", ["s3://bucket/team", "oci://registry.example.org/team"])
def test_pixi_is_led_from_a_channel_of_any_scheme(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], channel: str
) -> None:
    """The bucket, of which nothing is set, is never asked; nor is there a network."""
    mirror = make_mirror(tmp_path / "w", "by-channel")
    manifest = mirror.root / "pixi.toml"
    text = manifest.read_text(encoding="utf-8").replace("linux-64", here())
    text = text.replace('"conda-forge"', f'"{channel}"') + '\n[dependencies]\nlib = "*"\n'
    manifest.write_text(text, encoding="utf-8")
    written = TinyPackage(name="lib", subdir=here()).write(tmp_path / "upstream")
    mirror.lock((LockRow(written=written, channel=channel),))
    mirror.index()
    world = World(mirror=mirror, upstream=tmp_path / "upstream")
    capsys.readouterr()
    assert world.loud(*INSTALL, "pixi") == 0
    assert capsys.readouterr().out.splitlines()[0].split()[2:] == ["install", "✓", "(pixi)"]


@pytest.mark.needs_pixi
@pytest.mark.parametrize("client", [Client.PIXI, Client.PIXI_OFFLINE])
def test_two_platforms_of_one_subdir(
    client: Client, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each is installed as the machine that it is locked for."""
    (world.mirror.root / "pixi.toml").write_text(
        '[workspace]\nname = "w"\nchannels = ["conda-forge"]\n'
        f'platforms = ["{here()}", {{ platform = "{here()}", cuda = "12", name = "gpu" }}]\n',
        encoding="utf-8",
    )
    rows = world.rows()
    gpu = LockRow(written=rows["lib"].written, channel=CHANNEL, depends=("__cuda >=12",))
    platforms = (
        PlatformRows(name=here(), rows=(rows["hello"], gpu)),
        PlatformRows(name="p1", subdir=here(), rows=(gpu,), virtual_packages=("__cuda=12",)),
    )
    world.lock(EnvironmentRows(platforms=platforms))
    assert world.loud(*INSTALL, client) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(maxsplit=3)[1:] for line in lines[:2]] == [
        [here(), "install", f"✓ ({client.program})"],
        ["p1", "install", f"✓ ({client.program})"],
    ]
    [said] = [line for line in lines if line.startswith("installed default/p1 with ")]
    assert "CONDA_OVERRIDE_CUDA=12" in said.split()


def _program(folder: Path, name: str, text: str) -> None:
    """Write a program that prints a line; a cmd file on Windows."""
    folder.mkdir(exist_ok=True)
    file = folder / (f"{name}.cmd" if sys.platform == "win32" else name)
    start = "@echo" if sys.platform == "win32" else "#!/bin/sh\necho"
    file.write_text(f"{start} {text}\n", encoding="utf-8")
    file.chmod(0o755)


def test_clients_are_those_on_path(tmp_path: Path) -> None:
    def found(wanted: tuple[Client, ...] | None, environ: dict[str, str]) -> list[Client]:
        return list(find_programs(wanted, environ))

    nothing = {"PATH": str(tmp_path)}
    assert found(None, nothing) == [Client.RATTLER]
    _program(tmp_path, "pixi", "pixi 0.77.0")
    _program(tmp_path, "conda", "conda 26.7.0")
    _program(tmp_path, "micromamba", "2.8.1")
    there = {"PATH": str(tmp_path), "PATHEXT": os.environ.get("PATHEXT", "")}
    assert found(None, there) == [x for x in Client if x not in {Client.UV, Client.PIP}]
    assert found((Client.CONDA,), there) == [Client.CONDA]


@pytest.mark.parametrize(
    "client", [Client.PIXI, Client.PIXI_OFFLINE, Client.CONDA, Client.MICROMAMBA]
)
def test_a_client_asked_for_that_is_not_there(client: Client, tmp_path: Path) -> None:
    with pytest.raises(MirrorError) as caught:
        find_programs((Client.RATTLER, client), {"PATH": str(tmp_path)})
    program = "pixi" if client is Client.PIXI_OFFLINE else client
    assert str(caught.value) == (
        f"{program}: this program is not on PATH, and --client {client} asks for it\n"
        "help: pixi run verify --client rattler"
    )
    assert caught.value.problems[0].code == 4


@pytest.mark.needs_pixi
@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_pixi_offline_misses_an_artifact(
    damage: str, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    data = (world.folder / LIB).read_bytes()
    (world.folder / LIB).unlink()
    if damage == "cut":
        (world.folder / LIB).write_bytes(data[:-100])
    assert world.verify(*INSTALL, "pixi-offline", "-e", "small") == 1
    lines = capsys.readouterr().err.splitlines()
    what = "pixi --offline cannot install it from the channel alone"
    assert lines[0] == f"error: small/{here()}: {what}"
    what = {"missing": "fetch", "cut": "link"}[damage]
    assert any(f"failed to {what} lib-1.0-0.tar.bz2" in line for line in lines)


@pytest.mark.needs_pixi
def test_pixi_offline_misses_a_record(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    (world.folder / "noarch" / "repodata.json").write_text(NO_RECORDS, encoding="utf-8")
    assert world.verify(*INSTALL, "pixi-offline", "-e", "small") == 1
    assert "No candidates were found for lib ==1.0 0." in capsys.readouterr().err


@pytest.mark.needs_conda
def test_conda_takes_records_from_the_zst(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """Where both are there, and differ, the level `index` must see it."""
    index = world.folder / "noarch" / "repodata.json"
    index.write_text(NO_RECORDS, encoding="utf-8")
    assert world.verify(*INSTALL, "conda", "-e", "small") == 0
    assert world.verify("--level", "index", "-e", "small") == 1
    index.with_name("repodata.json.zst").unlink()
    capsys.readouterr()
    assert world.verify(*INSTALL, "conda", "-e", "small") == 1
    # conda names the requirement or its pin, whichever its solver came to first.
    assert "  said    - lib" in capsys.readouterr().err


@pytest.mark.needs_conda
def test_what_conda_does_not_name_is_named(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a file that is cut short it says but that some file is."""
    (world.folder / LIB).write_bytes((world.folder / LIB).read_bytes()[:-100])
    assert world.verify(*INSTALL, "conda", "-e", "small") == 1
    err = capsys.readouterr().err
    assert f"  damaged  {LIB}: size differs from pixi.lock\n" in err
