"""What a person sees of `verify` on a real terminal of 80 columns, and what a log gets."""

from __future__ import annotations

import os
import re
import sys

import pytest

from tests.support.template import ROOT
from tests.support.terminal import on_terminal
from tests.support.verified import World, here

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no pty")

_STEERING = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def watched(world: World, *options: str, **environment: str) -> str:
    """Run `verify` with stdout and stderr on a terminal of 80 columns; return all that it got."""
    command = [sys.executable, "-m", "tasks.verify", "--manifest-path", str(world.mirror.root)]
    command += ["--client", "rattler", *options]
    return on_terminal(command, ROOT, **environment)[1]


def test_the_table_stands_at_80_columns(world: World) -> None:
    """In colour, and without a single line that the terminal would break."""
    said = watched(world)
    assert "files \x1b[32m✓\x1b[0m" in said
    lines = _STEERING.sub("", said).replace("\r", "").splitlines()
    table = lines[lines.index(next(x for x in lines if x.startswith("default  "))) :]
    table = table[: table.index(next(x for x in table if x.startswith("installed")))]
    assert max(map(len, table)) <= 80
    indent = len(f"default  {here()}  ")
    assert table[0].startswith(f"default  {here()}  files ✓  archives ✓  index ✓  closure ✓  solve")
    assert re.fullmatch(" " * indent + r"install ✓ \(py-rattler [0-9.]+ s\)", table[1])


@pytest.mark.needs_pixi
def test_each_of_several_clients_has_a_line(world: World) -> None:
    said = watched(world, "--client", "pixi-offline", "--level", "install")
    lines = _STEERING.sub("", said).replace("\r", "").splitlines()
    head = f"default  {here()}  "
    at = lines.index(f"{head}install ✓")
    for line, client in zip(lines[at + 1 : at + 3], ("py-rattler", "pixi --offline"), strict=True):
        # the time is left out where it was no time to speak of
        assert re.fullmatch(rf"{' ' * len(head)}  {client}( [0-9.]+ s)?", line)


def test_what_is_missing_is_red(world: World) -> None:
    (artifact,) = world.folder.glob("*/hello-*")
    artifact.unlink()
    assert "files \x1b[31m✗\x1b[0m" in watched(world, "--level", "files")


def test_no_color_is_honoured(world: World) -> None:
    said = watched(world, "--level", "files", NO_COLOR="1")
    assert "files ✓" in said
    assert "\x1b[3" not in said


def test_the_installation_counts(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """A log gets a line for each, and nothing that steers a terminal."""
    said = _STEERING.sub("", watched(world, "--level", "install"))
    for number, name in ((1, "default"), (2, "small")):
        what = f"verify: installing {number} of 2: {name}/{here()} with py-rattler"
        assert re.search(rf"{re.escape(what)} 0:00:\d\d", said), said
    assert world.loud("--client", "rattler", "--level", "install") == 0
    assert capsys.readouterr().err == "".join(
        f"verify: installing {name}/{here()} with py-rattler\n" for name in ("default", "small")
    )


def test_a_small_temporary_disk_is_told_before(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No disk of a few bytes is to be had without root: what it says is free stands in."""
    monkeypatch.setattr("scripts.verify.install.stage.free_bytes", lambda _: 10)
    assert world.loud("--client", "rattler", "--level", "install", "-e", "small") == 2
    out, err = capsys.readouterr()
    assert "this disk has no room to install small/" in err
    assert "  free    10 B\n" in err
    assert "help: TMPDIR=/a/folder/with/room pixi run verify\n" in err
    assert "install –" in out  # noqa: RUF001
