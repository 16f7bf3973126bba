"""The task `why`: who has a package, and who needs it, up to a manifest's own requirement."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tasks import fetch, why
from tests.support.locks import EnvironmentRows, PlatformRows, RawRow, write_lock
from tests.support.several import ALONE, BOTH, OWN, Several, make_several
from tests.support.template import ROOT
from tests.support.upstream import Upstream

PYPI = ROOT / "tests" / "data" / "pypi"


@pytest.fixture
def several(tmp_path: Path, upstream: Upstream, capsys: pytest.CaptureFixture[str]) -> Several:
    """Four locks, the remote one fetched."""
    made = make_several(tmp_path / "work", upstream)
    assert made.task(fetch.main, "-q") == 0
    capsys.readouterr()
    return made


def test_every_lock_that_has_it_and_the_way_up_to_its_manifest(
    several: Several, capsys: pytest.CaptureFixture[str]
) -> None:
    assert several.task(why.main, "Both") == 0
    both = (
        "noarch/both-1.0-0.conda: in service:default/linux-64\n"
        "  needed by  served-1.0-0: both\n"
        "        and  ../service/pixi.toml: served *\n"
    )
    assert capsys.readouterr().out == (
        "noarch/both-1.0-0.conda: in mirror:default/linux-64\n"
        "  needed by  own-1.0-0: both\n"
        "        and  pixi.toml: own *\n" + both
    )
    assert several.task(why.main, "both", "--only", "service") == 0
    assert capsys.readouterr().out == both.replace("service:default", "default")


def test_of_a_lone_lock_nobody_says_what_it_is_for(
    several: Several, capsys: pytest.CaptureFixture[str]
) -> None:
    assert several.task(why.main, "alone") == 0
    assert capsys.readouterr().out == (
        "win-64/alone-1.0-0.conda: in ../lone/team.lock:default/win-64\n"
        "  nothing in that lock needs it; there is no manifest beside ../lone/team.lock\n"
    )
    assert several.task(why.main, "remote") == 0
    assert capsys.readouterr().out.endswith(f"; there is no manifest beside {several.url}\n")


def test_a_way_up_in_a_lock_without_a_manifest(
    several: Several, capsys: pytest.CaptureFixture[str]
) -> None:
    own, both = several.rows(replace(OWN, subdir="win-64"), BOTH)
    several.lock(several.root / "lone" / "team.lock", own, both, platform="win-64")
    assert several.task(why.main, "both", "--only", "../lone/team.lock") == 0
    assert capsys.readouterr().out == (
        "noarch/both-1.0-0.conda: in default/win-64\n"
        "  needed by  own-1.0-0: both\n"
        "  and no other in that lock needs that; there is no manifest beside ../lone/team.lock\n"
    )


def test_of_many_places_twenty_are_named(
    several: Several, capsys: pytest.CaptureFixture[str]
) -> None:
    """As many as are named, and one more."""
    [alone] = several.rows(ALONE)
    platforms = (PlatformRows(name="win-64", rows=(alone,)),)
    names = [f"e{number:02}" for number in range(21)]
    for count, more in ((20, ""), (21, " and 1 more, in --json")):
        lock = several.root / "lone" / "team.lock"
        write_lock(lock, [EnvironmentRows(name=x, platforms=platforms) for x in names[:count]])
        assert several.task(why.main, "alone", "--only", "../lone/team.lock") == 0
        told = ", ".join(f"{name}/win-64" for name in names[:20])
        first = capsys.readouterr().out.partition("\n")[0]
        assert first == f"win-64/alone-1.0-0.conda: in {told}{more}"
        assert several.task(why.main, "alone", "--only", "../lone/team.lock", "--json") == 0
        assert len(json.loads(capsys.readouterr().out)["found"]) == count


def test_none_has_it(several: Several, capsys: pytest.CaptureFixture[str]) -> None:
    assert several.task(why.main, "bth") == 1
    assert capsys.readouterr().err.endswith(
        "error: bth: is in none of the 4 environments and platforms that are mirrored\n"
        "help: did you mean both?\n"
    )
    # Control: nothing that is there is like it.
    assert several.task(why.main, "bolts", "--only", "service") == 1
    assert capsys.readouterr().err.endswith(
        "error: bolts: is not in the one environment and platform of service that is mirrored\n"
    )


def test_what_is_built_from_source_is_not_mirrored(
    several: Several, capsys: pytest.CaptureFixture[str]
) -> None:
    source = RawRow(key="conda_source", location="'own[12345678] @ ./own'")
    several.lock(several.own / "pixi.lock", source)
    assert several.task(why.main, "own", "--only", "mirror") == 0
    assert capsys.readouterr().out == (
        "own (./own): in default/linux-64\n"
        "  is not mirrored: a source package, built where it is installed\n"
        "  needed by  pixi.toml: own *\n"
    )


def test_what_needs_itself_ends(several: Several, capsys: pytest.CaptureFixture[str]) -> None:
    """The way up ends with the last of a circle that nothing else needs."""
    one, other = several.rows(
        replace(OWN, name="one", depends=("other",)), replace(OWN, name="other", depends=("one",))
    )
    several.lock(several.own / "pixi.lock", one, other)
    several.manifest("mirror", [])
    assert several.task(why.main, "one", "--json") == 0
    (found,) = json.loads(capsys.readouterr().out)["found"]
    assert (found["way"], found["required"]) == (["other-1.0-0: one"], False)
    below, one = several.rows(
        replace(OWN, name="below"), replace(OWN, name="one", depends=("other", "below"))
    )
    several.lock(several.own / "pixi.lock", one, other, below)
    assert several.task(why.main, "below") == 0
    assert capsys.readouterr().out == (
        "noarch/below-1.0-0.conda: in default/linux-64\n"
        "  needed by  one-1.0-0: below\n"
        "        and  other-1.0-0: one\n"
        "  and nothing that a manifest requires needs that\n"
    )


@pytest.mark.parametrize(
    ("name", "way"),
    [
        (
            "Tiny_Color",
            [
                "tiny_extras-1.0-py3-none-any.whl: tiny-color>=1 ; extra == 'color'",
                "pixi.toml: Tiny.Extras[color]",
            ],
        ),
        ("tiny-pure", ["pixi.toml: tiny-pure>=1,<2"]),
        ("tiny-git", ["pixi.toml: tiny-git"]),  # is not mirrored, and locked
        ("numpy", ["pixi.toml: numpy >=2"]),
    ],
)
def test_conda_and_pypi_alike(
    tmp_path: Path, name: str, way: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for each in ("pixi.toml", "pixi.lock"):
        shutil.copy(PYPI / each, tmp_path)
    assert why.main(["--manifest-path", str(tmp_path), name, "-p", "linux-64", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["found"]
    assert (found["way"], found["required"]) == (way, True)
    labels = {"tiny-git": "tiny-git", "tiny-pure": "tiny_pure-1.1-py3-none-any.whl"}
    assert found["package"] == labels.get(name, found["package"])  # not the repository's
    reason = "a PyPI package built from git" if name == "tiny-git" else None
    assert found["not-mirrored"] == reason
    assert why.main(["--manifest-path", str(tmp_path), name, "-p", "linux-64"]) == 0
    said = "  is not mirrored: a PyPI package built from git\n"
    assert (said in capsys.readouterr().out) == (reason is not None)
    # Control: an extra that nobody asks for needs nothing.
    manifest = tmp_path / "pixi.toml"
    text = manifest.read_text(encoding="utf-8").replace('extras = ["color"]', "extras = []")
    manifest.write_text(text, encoding="utf-8")
    assert why.main(["--manifest-path", str(tmp_path), "tiny-color", "-p", "linux-64"]) == 0
    assert "nothing there needs it" in capsys.readouterr().out


def test_a_way_that_ends_at_a_package_that_pypi_has_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody needs numpy by either name; the control has a manifest that does."""
    for each in ("pixi.toml", "pixi.lock"):
        text = (PYPI / each).read_text(encoding="utf-8")
        for line in ('python = "3.11.*"\n', "  - numpy>=2\n"):
            text = text.replace(line, "")
        (tmp_path / each).write_text(text, encoding="utf-8")
    command = ["--manifest-path", str(tmp_path), "python", "-p", "linux-64"]
    said = (
        "linux-64/python-3.11.7-h0_0_cpython.conda: in default/linux-64\n"
        "  needed by  numpy-2.4.6-py311h0_0: python\n"
    )
    assert why.main(command) == 0
    assert capsys.readouterr().out == f"{said}        and  pixi.toml: numpy >=2\n"
    manifest = tmp_path / "pixi.toml"
    text = manifest.read_text(encoding="utf-8").replace('numpy = ">=2"\n', "")
    manifest.write_text(text, encoding="utf-8")
    assert why.main(command) == 0
    ending = "  and nothing that a manifest requires needs that\n"
    assert capsys.readouterr().out == said + ending


def test_an_empty_name_is_refused(several: Several, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("", " "):
        with pytest.raises(SystemExit) as caught:
            several.task(why.main, name)
        assert caught.value.code == 2
        said = "error: argument NAME: the name of a package is needed\n"
        assert capsys.readouterr().err.endswith(said)
    assert several.task(why.main, "nowhere") == 1, "the control"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows names files in UTF-16")
def test_a_lock_that_the_locale_cannot_name(several: Several) -> None:
    (several.root / "ł").mkdir()
    (several.root / "service" / "pixi.lock").rename(several.root / "ł" / "pixi.lock")
    several.manifest("mirror", ["own"], 'locks = ["../ł/pixi.lock"]\n')
    command = [sys.executable, "-m", "tasks.why", "--manifest-path", str(several.own), "both"]
    refused = (
        f"error: {several.root}/\\u0142: no file can be named so in the locale of this machine"
        " (ascii)\nhelp: set PYTHONUTF8=1\n"
    )
    for mode, said in (("0", (2, refused)), ("1", (0, ""))):
        env = os.environ | {"PYTHONUTF8": mode, "LC_ALL": "POSIX"}
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, check=False)
        assert (done.returncode, done.stderr.decode()) == said
