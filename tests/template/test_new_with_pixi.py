"""A new builder in the hands of the real pixi, and a week later in those of its pipeline."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest
import yaml

from scripts.core.rattler_child import call_rattler
from tests.support.builders import make_builder
from tests.support.packages import TinyPackage
from tests.support.pipelines import GitHub, Repository, github_scripts
from tests.support.pixi import Pixi
from tests.support.standin import (
    CHANNEL,
    index,
    led_to,
    payload,
    pixi_with_stand_in,
    this_subdir,
)
from tests.support.template import ROOT
from tests.support.upstream import Upstream

pytestmark = pytest.mark.needs_pixi

SUBDIR = this_subdir() or "linux-64"
NEWEST = "the newest snapshot"


@pytest.fixture
def pixi(tmp_path: Path, upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> Pixi:
    """A pixi for which a stand-in is conda-forge, and `tiny` a channel with one package."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
    pixi = pixi_with_stand_in(upstream, tmp_path / "home")
    tiny = upstream.folder / "tiny"
    TinyPackage(name="hello", version="1.0", subdir=SUBDIR).write(tiny)
    (tiny / "noarch").mkdir()
    call_rattler("index", {"folder": str(tiny)})
    return pixi


def said(pixi: Pixi, folder: Path, *arguments: str) -> str:
    """Run pixi, which must succeed; return what it printed on stdout."""
    done = pixi.run(folder, *arguments)
    assert done.returncode == 0, f"pixi {' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def artifacts(folder: Path) -> set[str]:
    channel = folder / "local-channel"
    return {path.relative_to(channel).as_posix() for path in channel.glob("*/*.conda")}


def test_pixi_locks_and_mirrors_a_new_builder_and_its_pipeline_updates_it(
    tmp_path: Path, pixi: Pixi, upstream: Upstream
) -> None:
    mine = make_builder(ROOT, tmp_path / "work", "pandas>=3", "-p", SUBDIR)
    assert not (mine / "pixi.lock").exists()
    said(pixi, mine, "lock")
    assert said(pixi, mine, "run", "mirror").splitlines()[-1] == (
        "mirror: local-channel holds what pixi.lock names, verified"
    )
    assert artifacts(mine) == payload((SUBDIR,), "pandas-3.0.0")
    tasks = tomllib.loads((mine / "pixi.toml").read_text(encoding="utf-8"))["feature"]["tasks"]
    assert {*said(pixi, mine, "task", "list", "--machine-readable").split()} == {*tasks["tasks"]}
    ran = {"mirror", "update-mirror"}  # which its pipeline runs, below
    for name, *options in (
        *(("platforms",), ("lock",), ("channels",), ("plan",), ("locks",), ("why", "pandas")),
        *(("upstream",), ("fetch",), ("index",), ("diff",), ("prune", "--now")),
        *(("snapshots",), ("rollback", NEWEST)),
        ("bundle", str(tmp_path / "bundled"), "--full"),
        ("unbundle", str(tmp_path / "bundled"), str(tmp_path / "far" / "channel")),
        ("receipt", str(tmp_path / "far" / "channel")),
        *(("verify", "--level", "index"), ("demo",), ("new", str(tmp_path / "other"))),
        ("doctor", "--lock", "pixi.lock", "--mirror", upstream.url),
        ("upgrade", "--from", str(ROOT)),
    ):
        ran.add(name)
        newest = max(mine.glob(".pixi-mirror/*/state/snapshots/*.jsonl"), default=mine).stem
        done = pixi.run(mine, "run", name, *(x.replace(NEWEST, newest) for x in options))
        assert (name, done.returncode) == (name, 0), done.stderr
    assert ran == {*tasks["tasks"]}

    # It becomes a repository; upstream moves on; the runner begins with a fresh clone of it, and
    # with nothing in its caches.
    first = Repository.make(tmp_path)
    first.publish()
    tracked = first.git("ls-files").split()
    assert not [name for name in tracked if name.startswith(("local-channel", ".pixi"))]
    TinyPackage(name="pandas", version="3.0.1", subdir=SUBDIR).write(upstream.folder / CHANNEL)
    index(upstream.folder)
    clone = Repository(work=tmp_path / "runner", remote=first.remote, temp=first.temp)
    clone.git("clone", "-q", str(first.remote), str(clone.work), folder=tmp_path)
    github = GitHub.make(clone)
    runner = led_to(upstream, tmp_path / "runner-home")
    for script in github_scripts():
        done = github.step(script, runner.environment)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert artifacts(clone.work) == payload((SUBDIR,), "pandas-3.0.1")
    proposed = clone.proposed()
    assert {*proposed} == {"pixi.lock", "titles"}
    assert "pandas-3.0.1-0.conda" in proposed["pixi.lock"]
    body = github.request()["body"]
    assert body == (first.temp / "summary.md").read_text(encoding="utf-8")
    assert "3.0.0" in body
    assert "3.0.1" in body


def test_the_tools_are_solved_though_another_channel_is_mirrored(
    tmp_path: Path, pixi: Pixi
) -> None:
    mine = make_builder(ROOT, tmp_path / "mine", "-c", "tiny", "-p", SUBDIR, "tiny::hello")
    said(pixi, mine, "lock")
    environments = yaml.safe_load((mine / "pixi.lock").read_text(encoding="utf-8"))["environments"]
    channels = {
        name: {row["conda"].split("/")[3] for rows in each["packages"].values() for row in rows}
        for name, each in environments.items()
    }
    assert channels == {"default": {"tiny"}, "tools": {CHANNEL}}
    said(pixi, mine, "run", "mirror")
    assert artifacts(mine) == {f"{SUBDIR}/hello-1.0-0.conda"}

    # The control: without a channel of their own, there are no tools in `tiny`.
    manifest = mine / "pixi.toml"
    text = manifest.read_text(encoding="utf-8")
    without = text.replace('channels = ["conda-forge"]', "")
    assert without != text
    manifest.write_text(without, encoding="utf-8")
    done = pixi.run(mine, "lock")
    assert done.returncode != 0
    assert "No candidates were found" in done.stderr
