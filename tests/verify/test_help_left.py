"""A help sends to no level that has just passed, nor to one that has just told what it found."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.conda_standin import standin
from tests.support.verified import World, here

LIB = "noarch/lib-1.0-0.tar.bz2"
CLIENTS = ("--client", "rattler,micromamba")
LEFT = "files and index have passed, so see what the program said; `pixi update` takes other builds"


@pytest.fixture
def refused(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A mirror that is right, and a micromamba that refuses it all the same."""
    standin(tmp_path / "bin", "micromamba", monkeypatch, "refusing")
    return world


@pytest.mark.parametrize(
    ("levels", "advice"),
    [
        ("install", "pixi run verify --level files,index"),
        ("closure,install", "pixi run verify --level files,index"),
        ("files,install", "pixi run verify --level index"),
        ("index,install", "pixi run verify --level files"),
        ("files,index,install", LEFT),
    ],
)
def test_only_levels_that_are_left(
    levels: str, advice: str, refused: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refused.verify("--level", levels, "--client", "micromamba", "-e", "small") == 1
    assert capsys.readouterr().err == (
        f"error: small/{here()}: micromamba cannot install it from the channel alone\n"
        "  said  error    libmamba Could not solve for environment specs\n"
        f"help: {advice}\n"
    )


def test_what_a_level_has_found_comes_first(
    refused: World, capsys: pytest.CaptureFixture[str]
) -> None:
    lib = refused.folder / LIB
    lib.write_bytes(lib.read_bytes()[:-100])
    options = ("--level", "files,index,install", "--client", "micromamba", "-e", "small")
    assert refused.verify(*options) == 1
    err = capsys.readouterr().err
    assert err.startswith(f"error: {LIB}: size differs from pixi.lock\n")
    assert err.endswith(
        f"  damaged  {LIB}: size differs from pixi.lock\nhelp: mend first what files found\n"
    )


def test_what_index_has_found_is_no_fault_of_the_lock(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """Control: alone, `closure` knows no better."""
    file = world.folder / here() / "repodata.json"
    file.write_text(
        file.read_text(encoding="utf-8").replace("lib >=1", "lib >=9"), encoding="utf-8"
    )
    unmet = (
        f"error: {here()}/hello-1.0-0.conda: requires lib >=9, which is not met\n"
        f"  has        {LIB}\n  elsewhere  nothing in the locks\n"
        f"  needed by  pixi.toml: hello *\n  used by    default/{here()}\nhelp: "
    )
    assert world.verify("--level", "index,closure") == 1
    assert f"{unmet}mend first what index found\n" in capsys.readouterr().err
    assert world.verify("--level", "closure") == 1
    assert capsys.readouterr().err == f"{unmet}pixi lock\n"


def test_of_a_channel_never_filled_each_client_counts(
    refused: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """The level `files` names what is missing, once."""
    for path in refused.folder.rglob("*"):
        if path.name.endswith((".conda", ".tar.bz2")) or "repodata" in path.name:
            path.unlink()
    assert refused.verify("--level", "files,install", *CLIENTS, "-e", "small") == 1
    err = capsys.readouterr().err
    assert err.count(f"error: {LIB}: is missing\n") == 1
    assert err.count(LIB) == 1 + err.count(f"/{LIB}\n")  # its URL, in the same finding
    for client in ("py-rattler", "micromamba"):
        told = err.partition(f"small/{here()}: {client} cannot install it")[2]
        assert told.partition("help: ")[2].startswith("pixi run mirror\n"), err
        assert "  missing  1 of its 1 artifacts\n" in told.partition("help: ")[0]
