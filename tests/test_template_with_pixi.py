"""The template in the hands of the real pixi: every task, without `-e` and without a terminal."""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.packages import TinyPackage
from tests.support.pixi import Pixi, find_pixi
from tests.support.standin import CHANNEL, SUBDIRS, index, payload, pixi_with_stand_in
from tests.support.template import ROOT, copy_template
from tests.support.upstream import Upstream

pytestmark = pytest.mark.needs_pixi

MIRRORED = ("linux-64", "osx-arm64", "win-64")
INDEX_FILES = {"repodata.json", "repodata.json.zst", "repodata_shards.msgpack.zst"}


@dataclass(kw_only=True)
class Workspace:
    """A copy of the template, the pixi that acts on it, and the tasks it has been told to run."""

    folder: Path
    pixi: Pixi
    ran: set[str] = field(default_factory=set)

    def task(self, name: str, *options: str, frozen: bool = False) -> str:
        """Run a task, which must succeed; return what it printed on stdout."""
        self.ran.add(name)
        before = ("--frozen",) if frozen else ()
        done = self.pixi.run(self.folder, "run", *before, name, *options)
        assert done.returncode == 0, f"pixi run {name}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def artifacts(self) -> set[str]:
        """The artifacts in the channel, as `subdir/file name`."""
        channel = self.folder / "local-channel"
        return {file.relative_to(channel).as_posix() for file in channel.glob("*/*.conda")}

    def contents(self) -> dict[str, str]:
        """The digest of each file that a dry run must leave alone."""
        files = [self.folder / "pixi.toml", self.folder / "pixi.lock"]
        for folder in ("local-channel", ".pixi-mirror"):
            files += [each for each in (self.folder / folder).rglob("*") if each.is_file()]
        return {
            each.relative_to(self.folder).as_posix(): hashlib.sha256(each.read_bytes()).hexdigest()
            for each in files
        }


def _payload(*versions: str) -> set[str]:
    """All that the template mirrors, with these versions of pandas."""
    return payload(MIRRORED, *(f"pandas-{each}" for each in versions))


@pytest.fixture
def workspace(tmp_path: Path, upstream: Upstream) -> Workspace:
    """The template with a stand-in for conda-forge within reach, and no lock yet."""
    pixi = pixi_with_stand_in(upstream, tmp_path / "home")
    folder = copy_template(tmp_path / "template")
    (folder / "pixi.lock").unlink()
    locked = pixi.run(folder, "lock")
    assert locked.returncode == 0, locked.stderr
    return Workspace(folder=folder, pixi=pixi)


def test_every_task_runs(workspace: Workspace, upstream: Upstream) -> None:
    # The stand-in is a mirror too, and pixi's configuration leads to it.
    workspace.task("doctor", "--lock", "pixi.lock", "--mirror", upstream.url)
    printed = workspace.task("platforms")
    assert "linux-64, osx-arm64, win-64" in printed
    workspace.task("lock")
    assert "conda-forge" in workspace.task("channels")
    assert "pixi-mirror" in workspace.task("locks")
    assert "pandas" in workspace.task("why", "pandas")
    assert "to download" in workspace.task("plan")
    assert "all as locked" in workspace.task("upstream")

    # The stages one by one, then all in one: which then finds nothing left to do.
    workspace.task("fetch")
    assert workspace.artifacts() == _payload("3.0.0")
    workspace.task("index")
    for subdir in (*MIRRORED, "noarch"):
        files = {each.name for each in (workspace.folder / "local-channel" / subdir).iterdir()}
        assert files >= INDEX_FILES
    workspace.task("verify")
    assert "no package changed: channel -> lock" in workspace.task("diff")
    before = workspace.contents()
    workspace.task("mirror")
    assert _channel(workspace.contents()) == _channel(before)

    # Upstream moves on. A dry run changes no byte, with `pixi run` kept from renewing the lock.
    for subdir in SUBDIRS:
        TinyPackage(name="pandas", version="3.0.1", subdir=subdir).write(upstream.folder / CHANNEL)
    index(upstream.folder)
    before = workspace.contents()
    workspace.task("update-mirror", "--dry-run", frozen=True)
    workspace.task("update-mirror", "--dry-run")
    assert workspace.contents() == before
    assert "3.0.1" in workspace.task("update-mirror")
    assert workspace.artifacts() == _payload("3.0.0", "3.0.1")
    before = workspace.contents()
    workspace.task("prune", "--dry-run")
    assert workspace.contents() == before
    workspace.task("prune", "--now")
    assert workspace.artifacts() == _payload("3.0.1")
    workspace.task("verify", frozen=True)
    *_, shown = workspace.task("snapshots").splitlines()
    workspace.task("rollback", shown.partition(" ")[0])  # the newest: nothing changes
    workspace.task("bundle", str(workspace.folder.parent / "bundled"), "--full")
    far = str(workspace.folder.parent / "far" / "channel")
    workspace.task("unbundle", str(workspace.folder.parent / "bundled"), far)
    workspace.task("receipt", far)

    # A builder of this very template is up to date with it.
    mine = workspace.folder.parent / "mine"
    assert workspace.task("new", str(mine)).splitlines()[3] == "packages   pandas, pip"
    assert workspace.task("upgrade", "--manifest-path", str(mine)) == (
        "upgrade: this builder is up to date with the template\n"
    )
    workspace.task("demo")
    # These would take minutes; that they start in an environment that has what they need is all.
    assert workspace.task("test", "--version").startswith("pytest ")
    workspace.task("lint", "--help")
    workspace.task("bench", "--help")

    features = tomllib.loads((ROOT / "pixi.toml").read_text(encoding="utf-8"))["feature"]
    assert workspace.ran == {*features["tasks"]["tasks"], *features["test"]["tasks"]}


def _channel(contents: dict[str, str]) -> dict[str, str]:
    return {name: digest for name, digest in contents.items() if name.startswith("local-channel/")}


def test_a_task_that_two_environments_have_does_not_run(tmp_path: Path) -> None:
    """The control: why the tasks are in a feature of their own."""
    folder = copy_template(tmp_path / "template")
    manifest = folder / "pixi.toml"
    text = manifest.read_text(encoding="utf-8")
    text = text.replace("[feature.tasks.", "[feature.tools.").replace(
        '["tools", "tasks"]', '["tools"]'
    )
    manifest.write_text(text, encoding="utf-8")
    done = find_pixi(tmp_path / "home").run(folder, "run", "--frozen", "platforms")
    assert "ambiguous" in done.stderr
    assert done.returncode != 0


def test_the_lock_of_the_template_fits_its_manifest(tmp_path: Path) -> None:
    """`--locked` compares the two, and reaches nothing where they agree."""
    folder = copy_template(tmp_path / "template")
    pixi = find_pixi(tmp_path / "home")
    pixi.configure("offline = true\n")
    done = pixi.run(folder, "lock", "--check")
    assert done.stderr.strip().endswith("Lock-file was already up-to-date")
    assert done.returncode == 0
    # The control: a requirement more.
    manifest = folder / "pixi.toml"
    text = manifest.read_text(encoding="utf-8")
    manifest.write_text(text.replace('pandas = "*"', 'pandas = "*"\nzlib = "*"'), encoding="utf-8")
    assert pixi.run(folder, "lock", "--check").returncode != 0
