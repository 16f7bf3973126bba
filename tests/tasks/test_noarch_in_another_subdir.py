"""A noarch package that its channel keeps in a platform's subdir: placed, indexed, installed."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from tasks import doctor, fetch, index, mirror, verify
from tests.support.locks import EnvironmentRows, LockRow, PlatformRows, write_lock
from tests.support.mirrors import INDEXERS, path_with
from tests.support.packages import TinyPackage
from tests.support.upstream import Upstream
from tests.support.verified import here

NAME = "alder-1.0-0.tar.bz2"
CLIENTS = (
    "rattler",
    pytest.param("pixi", marks=pytest.mark.needs_pixi),
    pytest.param("pixi-offline", marks=pytest.mark.needs_pixi),
    pytest.param("conda", marks=pytest.mark.needs_conda),
)


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """A workspace whose lock names `alder` (noarch) and `birch`, which needs it, in one subdir."""

    root: Path
    upstream: Upstream
    capsys: pytest.CaptureFixture[str]

    @property
    def channel(self) -> Path:
        """The folder of the channel in a by-channel mirror."""
        host = self.upstream.url.removeprefix("http://").replace(":", "_")
        return self.root / "local-channel" / host / "chan"

    def lock(self, version: int = 7) -> None:
        """Put the packages upstream, and write the lock that names them there."""
        url = f"{self.upstream.url}/chan"
        rows = []
        for package in (
            TinyPackage(name="alder", extension=".tar.bz2"),
            TinyPackage(name="birch", subdir=here(), depends=("alder",)),
        ):
            written = package.write(self.root / "made")
            target = self.upstream.folder / "chan" / here() / package.file_name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(written.path, target)
            rows.append(
                LockRow(written=written, channel=url, url=f"{url}/{here()}/{package.file_name}")
            )
        platform = PlatformRows(name=here(), rows=tuple(rows))
        write_lock(self.root / "pixi.lock", (EnvironmentRows(platforms=(platform,)),), version)

    def mirror(self, layout: str) -> tuple[int, str, str]:
        """Run the task; return exit code, stdout and stderr."""
        code = mirror.main(["--manifest-path", str(self.root), "--layout", layout])
        return code, *self.capsys.readouterr()

    def make(self, layout: str, version: int = 7) -> list[str]:
        """Lock, fetch and index; return the options for what comes next."""
        self.lock(version)
        options = ["--manifest-path", str(self.root), "--layout", layout]
        assert fetch.main(options) == index.main(options) == 0
        return options

    def records(self, subdir: str) -> dict[str, dict[str, object]]:
        """The records of a subdir of the channel in a by-channel mirror."""
        document = json.loads((self.channel / subdir / "repodata.json").read_bytes())
        assert document["info"]["subdir"] == subdir
        return {**document["packages"], **document["packages.conda"]}


@pytest.fixture
def workspace(tmp_path: Path, upstream: Upstream, capsys: pytest.CaptureFixture[str]) -> Workspace:
    root = tmp_path / "workspace"
    root.mkdir()
    (root / "pixi.toml").write_text(
        f'[workspace]\nname = "w"\nchannels = ["{upstream.url}/chan"]\nplatforms = ["{here()}"]\n\n'
        '[dependencies]\nbirch = "*"\n',
        encoding="utf-8",
    )
    return Workspace(root=root, upstream=upstream, capsys=capsys)


@pytest.mark.parametrize("indexer", INDEXERS)
@pytest.mark.parametrize("version", [3, 4, 6, 7])
def test_by_channel_it_stays_where_its_channel_keeps_it(
    version: int, indexer: str, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", path_with(indexer))
    ask = workspace.make("by-channel", version)
    assert verify.main([*ask, "--level", "index"]) == 0
    assert "unchanged" not in workspace.capsys.readouterr().out
    [placed] = (workspace.root / "local-channel").rglob(NAME)
    assert placed == workspace.channel / here() / NAME
    records = workspace.records(here())
    assert {name: row["subdir"] for name, row in records.items()} == {
        NAME: "noarch",
        "birch-1.0-0.conda": here(),
    }
    assert records[NAME]["noarch"] == "generic"
    assert workspace.records("noarch") == {}


@pytest.mark.parametrize("client", CLIENTS)
def test_it_installs(client: str, workspace: Workspace) -> None:
    """And is no more installed once it lies where its record's subdir says."""
    ask = [*workspace.make("by-channel"), "--client", client]
    workspace.capsys.readouterr()
    assert verify.main(ask) == 0
    assert " install ✓ (" in workspace.capsys.readouterr().out
    (workspace.channel / "noarch" / NAME).write_bytes(
        (workspace.channel / here() / NAME).read_bytes()
    )
    (workspace.channel / here() / NAME).unlink()
    assert verify.main([*ask, "--level", "install"]) == 1
    assert NAME in workspace.capsys.readouterr().err


@pytest.mark.parametrize("whole", [True, False], ids=["mirror", "one channel of it"])
def test_an_unchanged_lock_is_led_to_it(workspace: Workspace, *, whole: bool) -> None:
    workspace.make("by-channel")
    configuration = workspace.root / ".pixi" / "config.toml"
    configuration.parent.mkdir()
    ask = ["--lock", str(workspace.root / "pixi.lock"), "--mirror"]
    folder = workspace.root / "local-channel" if whole else workspace.channel
    with Upstream(folder) as server:
        target = f"{server.url}/{workspace.channel.relative_to(folder).as_posix()}".rstrip("/.")
        configuration.write_text(
            f'[mirrors]\n"{workspace.upstream.url}/chan" = ["{target}"]\n', encoding="utf-8"
        )
        assert doctor.main([*ask, server.url]) == 0
        (workspace.channel / here() / "repodata.json.zst").unlink()
        (workspace.channel / here() / "repodata.json").write_text("{}")
        assert doctor.main([*ask, server.url]) == 1


def test_flat_says_that_an_unchanged_lock_will_not_do(workspace: Workspace) -> None:
    """Once, in each of the stages' own runs too; a lock made from the mirror is none of this."""
    workspace.lock()
    code, out, err = workspace.mirror("flat")
    assert code == 0, err
    assert (workspace.root / "local-channel" / "noarch" / NAME).is_file()
    said = (
        f"an unchanged pixi.lock will not find here noarch/{NAME} (the lock: {here()}): a flat"
        " mirror goes by the record's subdir, and `[mirrors]` replaces but the beginning of a"
        ' URL; layout = "by-channel" keeps the URL\'s own path'
    )
    assert (out + err).splitlines().count(f"fetch: {said}") == 1
    assert said not in out
    lock = str(workspace.root / "pixi.lock")
    folder = str(workspace.root / "local-channel")
    assert doctor.main(["--lock", lock, "--mirror", folder]) == 1
    problem = (
        f"error: {workspace.upstream.url}/chan/{here()}/{NAME}: a flat mirror has it in the"
        " record's subdir, not in that of this URL, and `[mirrors]` replaces but the beginning of"
        " a URL\n"
        f"  mirror     noarch/{NAME}\n"
        f"  needed by  default/{here()}\n"
        'help: its keeper sets layout = "by-channel" under [tool.pixi-mirror], then'
        " `pixi run mirror --relayout`; or name the mirror itself in `channels`, then `pixi lock`\n"
    )
    out, err = workspace.capsys.readouterr()
    assert problem in err
    assert "http.server" not in out  # for this lock that would be no way
    assert f'\nchannels = ["{(workspace.root / "local-channel").as_uri()}"]\n' in out


@pytest.mark.needs_pixi
def test_pixi_is_not_asked_for_what_a_flat_mirror_has_elsewhere(workspace: Workspace) -> None:
    assert verify.main([*workspace.make("flat"), "--client", "pixi"]) == 0
    assert (
        f"not installed by pixi: default/{here()}; noarch/{NAME} is not at the path that the"
        " lock's URL ends in"
    ) in workspace.capsys.readouterr().out.splitlines()


def test_the_self_check_goes_through(workspace: Workspace) -> None:
    assert verify.main([*workspace.make("by-channel"), "--self-check"]) == 0
    assert "the channel itself is as it was" in workspace.capsys.readouterr().out


def test_a_platform_s_package_in_noarch(workspace: Workspace) -> None:
    """The other way round, it stays where it is as well."""
    workspace.lock()
    url = f"{workspace.upstream.url}/chan"
    row = LockRow(
        written=TinyPackage(name="cedar", subdir=here()).write(workspace.root / "made"),
        channel=url,
        url=f"{url}/noarch/cedar-1.0-0.conda",
    )
    target = workspace.upstream.folder / "chan" / "noarch" / "cedar-1.0-0.conda"
    target.parent.mkdir()
    shutil.copyfile(row.written.path, target)
    platform = PlatformRows(name=here(), rows=(row,))
    write_lock(workspace.root / "pixi.lock", (EnvironmentRows(platforms=(platform,)),))
    manifest = workspace.root / "pixi.toml"
    manifest.write_text(
        manifest.read_text(encoding="utf-8").replace("birch", "cedar"), encoding="utf-8"
    )
    code, _, err = workspace.mirror("by-channel")
    assert code == 0, err
    assert workspace.records("noarch")["cedar-1.0-0.conda"]["subdir"] == here()
