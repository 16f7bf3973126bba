"""A mirror of several locks: what it holds, what each of them says, and what is refused."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scripts.core import rattler_child
from scripts.core.child_process import quoted
from scripts.keep.snapshot_locks import locks_of
from scripts.keep.snapshots import read_snapshots
from scripts.workspace.settings import SettingOverrides
from scripts.workspace.workspace import open_workspace
from tasks import channels, doctor, fetch, index, locks, mirror, plan, prune, rollback, verify, why
from tests.support.locks import EnvironmentRows, PlatformRows, RawRow, write_lock
from tests.support.packages import TinyPackage
from tests.support.replies import Reply, login_page, status
from tests.support.several import ALONE, BOTH, OWN, REMOTE, SERVICE, Several, make_several
from tests.support.upstream import Upstream
from tests.support.verified import here, stopped_clock
from tests.support.wheels import PypiRow, TinyWheel

__all__ = ["stopped_clock"]


ALL = [
    "linux-64/served-1.0-0.conda",
    "noarch/both-1.0-0.conda",
    "noarch/own-1.0-0.conda",
    "osx-arm64/remote-1.0-0.conda",
    "win-64/alone-1.0-0.conda",
]
PRIVATE = "; or, if it is private, give credentials: `pixi auth login HOST --token TOKEN`, or netrc"
BELOW_INSTALL = "files,archives,index,closure,solve"


@pytest.fixture
def several(tmp_path: Path, upstream: Upstream) -> Several:
    """Four locks, nothing fetched yet."""
    return make_several(tmp_path / "work", upstream)


def places(out: str) -> dict[str, Any]:
    """Return what `--json` says of each place."""
    found = json.loads(out)["environments"]
    return {f"{each.get('lock')}:{each['environment']}/{each['platform']}": each for each in found}


def test_all_locks_are_mirrored_and_each_is_proven(
    several: Several, capsys: pytest.CaptureFixture[str]
) -> None:
    """What `[tool.pixi-mirror]` of another workspace says is not read: it has `no-such`."""
    assert several.task(mirror.main, "--level", BELOW_INSTALL) == 0
    assert several.artifacts() == ALL
    assert "mirror: local-channel holds what 4 locks name; not proven: install" in (
        capsys.readouterr().out
    )
    assert several.task(verify.main, "--level", BELOW_INSTALL, "--json") == 0
    found = places(capsys.readouterr().out)
    url = several.url
    assert list(found) == [
        "mirror:default/linux-64",
        "service:default/linux-64",
        "../lone/team.lock:default/win-64",
        f"{url}:default/osx-arm64",
    ]
    solved = {place: each["solve"] for place, each in found.items()}
    assert list(solved.values()) == [True, True, None, None], "nobody says what a lone one is for"
    assert all(each[level] for each in found.values() for level in ("files", "index", "closure"))


@pytest.mark.parametrize("purls", [None, ()])
def test_what_one_lock_says_of_the_names_on_pypi_holds_for_all(
    several: Several, purls: tuple[str, ...] | None
) -> None:
    """Pixi writes `purls` where an environment has PyPI packages; none without a mapping."""
    several.lock(several.own / "pixi.lock", *several.rows(OWN, replace(BOTH, purls=purls)))
    served, said = several.rows(SERVICE, replace(BOTH, purls=("pkg:pypi/x",)))
    several.lock(several.root / "service" / "pixi.lock", served, said)
    assert several.task(mirror.main, "--level", "files,index", "-q") == 0
    data = json.loads((several.channel / "noarch" / "repodata.json").read_bytes())
    assert data["packages.conda"]["both-1.0-0.conda"]["purls"] == ["pkg:pypi/x"]
    for label in ("mirror", "service"):
        assert several.task(verify.main, "--level", "index", "--only", label, "-q") == 0


def test_a_hotfix_between_two_locks_is_told(
    several: Several, capsys: pytest.CaptureFixture[str]
) -> None:
    served, both = several.rows(SERVICE, BOTH)
    hotfixed = replace(both, depends=("served",))
    several.lock(several.root / "service" / "pixi.lock", served, hotfixed)
    assert several.task(mirror.main, "--level", "files,index") == 0
    assert (
        "warning: a lock says otherwise than the one whose row is indexed: a hotfix has come since"
        " one of them was locked, and `pixi update NAME` there takes it:"
        " noarch/both-1.0-0.conda (service: depends)\n"
    ) in capsys.readouterr().err
    data = json.loads((several.channel / "noarch" / "repodata.json").read_bytes())
    assert data["packages.conda"]["both-1.0-0.conda"]["depends"] == []
    # Control: where both say it, if otherwise, or in an old lock not at all, nothing is to tell.
    own, _ = several.rows(OWN, BOTH)
    several.lock(several.own / "pixi.lock", own, replace(hotfixed, constrains=("served <9",)))
    every = PlatformRows(name="linux-64", rows=(served, hotfixed))
    old = EnvironmentRows(platforms=(every,), channels=(f"{several.upstream.url}/ch",))
    write_lock(several.root / "service" / "pixi.lock", (old,), version=1)
    assert several.task(mirror.main, "--level", "files,index") == 0
    assert "a hotfix has come" not in capsys.readouterr().err
    data = json.loads((several.channel / "noarch" / "repodata.json").read_bytes())
    assert data["packages.conda"]["both-1.0-0.conda"]["depends"] == ["served"]


def test_after_a_rollback_the_lock_that_has_moved_is_named(
    several: Several, capsys: pytest.CaptureFixture[str]
) -> None:
    assert several.task(mirror.main, "--level", "files", "-q") == 0
    place = open_workspace(several.own / "pixi.toml", SettingOverrides()).place
    (first,) = read_snapshots(place)
    theirs = several.root / "service" / "pixi.lock"
    several.lock(theirs, *several.rows(replace(SERVICE, version="2.0"), BOTH))
    assert several.task(mirror.main, "--level", "files", "-q") == 0
    assert several.task(rollback.main, first.id, "-q") == 0
    last = read_snapshots(place)[-1]
    capsys.readouterr()
    assert several.task(verify.main, "--level", "files,index", "-q") == 1
    kept = (locks_of(place, last) / "2" / "pixi.lock").relative_to(several.own)
    copy = "copy" if os.name == "nt" else "cp"
    on = "`pixi run mirror`, which moves the channel on to the lock"
    assert capsys.readouterr().err.splitlines() == [
        "error: local-channel: was rolled back, and what is locked is not",
        f"  rolled back by  {last.id}",
        f"help: `{copy} {kept} {Path('../service/pixi.lock')}`, then this again; or {on}",
    ]
    shutil.copy(several.own / kept, theirs)
    assert several.task(verify.main, "--level", "files,index", "-q") == 0


def test_a_rollback_tells_how_to_get_back_each_lock_and_its_manifest(
    several: Several, capsys: pytest.CaptureFixture[str]
) -> None:
    assert several.task(mirror.main, "--level", "files", "-q") == 0
    place = open_workspace(several.own / "pixi.toml", SettingOverrides()).place
    (first,) = read_snapshots(place)
    theirs = several.root / "service"
    more = TinyPackage(name="more")
    several.manifest("service", ["served", "more"])
    several.lock(theirs / "pixi.lock", *several.rows(SERVICE, BOTH, more))
    assert several.task(mirror.main, "--level", "files", "-q") == 0
    capsys.readouterr()
    assert several.task(rollback.main, first.id) == 0
    lines = capsys.readouterr().out.splitlines()
    kept = (locks_of(place, first) / "2").relative_to(several.own)
    copy = "copy" if os.name == "nt" else "cp"
    there, left = Path("../service"), "../service/pixi.lock was left as it is"
    assert lines[-4:-1] == [
        f"{left}: `pixi run mirror` moves the channel on to it, unless you say",
        f"  {copy} {kept / 'pixi.lock'} {there / 'pixi.lock'}",
        f"  {copy} {kept / 'pixi.toml'} {there / 'pixi.toml'}",
    ]
    for name in ("pixi.lock", "pixi.toml"):
        shutil.copy(several.own / kept / name, theirs / name)
    assert several.task(mirror.main, "--level", "files,index", "-q") == 0
    own = (several.own / "pixi.lock").read_bytes()
    for each in (several.own, theirs):  # one file more, and no other package
        with (each / "pixi.lock").open("ab") as file:
            file.write(b"# moved\n")
    assert several.task(rollback.main, first.id) == 0
    said = capsys.readouterr().out
    assert "\npixi.lock, ../service/pixi.lock were left as they are: `pixi run mirror`" in said
    (several.own / "pixi.lock").write_bytes(own)
    shutil.copy(several.own / kept / "pixi.lock", theirs)
    # Control: nothing has moved, and nothing is said.
    assert several.task(rollback.main, first.id) == 0
    assert "was left as it is" not in capsys.readouterr().out
    (theirs / "pixi.lock").write_text("<<<<<<< HEAD\n", encoding="utf-8")
    assert several.task(rollback.main, first.id) == 0
    said = "which locks have moved on is not known: ../service/pixi.lock: "
    assert f"warning: {said}" in capsys.readouterr().err


def test_a_program_that_is_missing_is_told_after_a_rollback_too(
    several: Several, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    assert several.task(mirror.main, "--level", "files", "-q") == 0
    place = open_workspace(several.own / "pixi.toml", SettingOverrides()).place
    (first,) = read_snapshots(place)
    several.lock(several.own / "pixi.lock", *several.rows(OWN))
    several.lock(several.root / "lone" / "team.lock", *several.rows(TinyPackage(name="more")))
    assert several.task(mirror.main, "--level", "files", "-q") == 0
    assert several.task(rollback.main, first.id, "-q") == 0
    capsys.readouterr()
    assert several.task(verify.main, "-q", "--client", "conda") == 4
    assert "error: conda: this program is not on PATH" in capsys.readouterr().err


@pytest.mark.skipif(here() != "linux-64", reason="its locks are not for this machine")
def test_each_is_installed_with_its_own_manifest(
    several: Several, capsys: pytest.CaptureFixture[str]
) -> None:
    assert several.task(mirror.main, "--client", "rattler") == 0
    out = capsys.readouterr().out
    assert "\nservice " in out
    assert several.task(verify.main, "--client", "rattler", "--only", "service", "--json") == 0
    (place,) = json.loads(capsys.readouterr().out)["environments"]
    assert place["install"][0]["installed"] is True
    # Control: what only the other one's lock needs is gone, and its place alone fails.
    (several.channel / "linux-64" / "served-1.0-0.conda").unlink()
    assert several.task(verify.main, "--level", "files", "--json") == 1
    found = places(capsys.readouterr().out)
    assert {place: each["files"] for place, each in found.items()} == {
        place: not place.startswith("service:") for place in found
    }
    (several.channel / "osx-arm64" / "remote-1.0-0.conda").write_bytes(b"another one's")
    assert several.task(verify.main, "--level", "files", "--only", "mirror") == 0
    out, err = capsys.readouterr()
    assert "\nread: 2 artifacts, " in out
    assert err.endswith("verify: reading 2 artifacts\n")
    assert several.task(verify.main, "--level", "files", "--only", "service", "-q") == 1


def test_what_this_machine_could_install_of_a_lone_lock_is_told(
    several: Several, capsys: pytest.CaptureFixture[str]
) -> None:
    here, told = rattler_child.this_subdir(), "there is no manifest beside ../lone/team.lock"
    text = (several.own / "pixi.lock").read_text().replace("linux-64", here)
    (several.root / "lone" / "team.lock").write_text(text)
    assert several.task(mirror.main, "--client", "rattler") == 0
    assert f"\nnot installed: ../lone/team.lock:default/{here}; {told}\n" in capsys.readouterr().out
    only, report = ("--level", "install", "--only", "../lone/team.lock"), several.root / "r.md"
    assert several.task(verify.main, *only, "--report", str(report)) == 0
    assert capsys.readouterr().out == (
        f"../lone/team.lock  default  {here}  install –\n"  # noqa: RUF001
        f"not installed: default/{here}; {told}\n"
        f"report: {report}\n"
    )
    assert f"\n- install: was not done for default/{here}; {told}\n" in report.read_text("utf-8")
    # Control: with a manifest it is installed.
    shutil.copyfile(several.root / "lone" / "team.lock", several.root / "lone" / "pixi.lock")
    manifest = (several.own / "pixi.toml").read_text().replace("linux-64", here)
    (several.root / "lone" / "pixi.toml").write_text(manifest)
    options = ("--level", "install", "--client", "rattler", "--locks", "../lone/pixi.lock")
    assert several.task(verify.main, *options, "--only", "../lone/pixi.lock") == 0
    out = capsys.readouterr().out
    assert out.startswith(f"../lone/pixi.lock  default  {here}  install ✓ (py-rattler")


def test_only_names_a_lock_that_there_is(
    several: Several, capsys: pytest.CaptureFixture[str]
) -> None:
    assert several.task(fetch.main, "-q") == 0
    capsys.readouterr()
    assert several.task(verify.main, "--only", "servise", "-q") == 2
    assert capsys.readouterr().err == (
        "error: tool.pixi-mirror.locks: has no lock 'servise'\n"
        "  nearest  service\n"
        f"  it has   ../lone/team.lock, {several.url}, mirror, service\n"
    )
    assert several.task(channels.main, "--only", "service") == 0
    assert capsys.readouterr().out == (
        f"default  {several.upstream.url}/ch\n  serves: {several.upstream.url}/ch 2\n"
    )
    assert several.task(channels.main, "--json") == 0
    rows = json.loads(capsys.readouterr().out)["environments"]
    assert [each["lock"] for each in rows] == [
        "mirror",
        "service",
        "../lone/team.lock",
        several.url,
    ]


def test_a_report_of_one_lock_says_so(
    several: Several, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever approves the transfer would else take it for one of all that is carried."""
    assert several.task(mirror.main, "--level", "files", "-q") == 0
    options = ("--level", "files", "--report", str(tmp_path / "r.md"))
    others = f"- locks: not looked at: mirror, ../lone/team.lock, {several.url}"
    capsys.readouterr()
    assert several.task(verify.main, "--only", "service", *options) == 0
    assert capsys.readouterr().out.startswith("service  default  linux-64  files ✓\n")
    lines = (tmp_path / "r.md").read_text(encoding="utf-8").splitlines()
    assert "| lock | environment | platform | holds | files | complete |" in lines
    assert [each for each in lines if each.startswith("| service | default | linux-64 |")]
    assert others.replace("_", "\\_") in lines
    assert several.task(verify.main, "--only", "service", "--json", "--level", "files") == 0
    (row,) = json.loads(capsys.readouterr().out)["environments"]
    assert row["lock"] == "service"
    # Controls: of all locks, and of the only one there is.
    assert several.task(verify.main, *options, "-q") == 0
    assert "locks: not looked at" not in (tmp_path / "r.md").read_text(encoding="utf-8")
    several.manifest("mirror", ["own"])
    assert several.task(verify.main, "--only", "mirror", *options, "-q") == 0
    text = (tmp_path / "r.md").read_text(encoding="utf-8")
    assert "| environment | platform | holds |" in text
    assert "locks: not looked at" not in text


def test_locks_are_shown(several: Several, capsys: pytest.CaptureFixture[str]) -> None:
    assert several.task(fetch.main, "-q") == 0
    capsys.readouterr()
    several.manifest("mirror", ["own"], 'locks = ["../service/pixi.lock", "../lone/*.lock"]\n')
    assert several.task(locks.main) == 0
    assert capsys.readouterr().out == (
        "lock               version  environments  platforms  artifacts  size    alone\n"
        "mirror             7        default       linux-64   2          3.3 kB  1, 1.6 kB\n"
        "service            7        default       linux-64   2          3.1 kB  1, 1.5 kB\n"
        "../lone/team.lock  7        default       win-64     1          1.5 kB  1, 1.5 kB\n"
        "together 4 artifacts, 6.2 kB, what several name counted once\n"
    )
    assert several.task(locks.main, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [each["manifest"] for each in found["locks"]] == [
        "pixi.toml",
        "../service/pixi.toml",
        None,
    ]
    # Control: what one alone adds is gone with it.
    several.manifest("mirror", ["own"], 'locks = ["../lone/*.lock"]\n')
    assert several.task(locks.main, "--json") == 0
    fewer = json.loads(capsys.readouterr().out)
    assert found["size"] - fewer["size"] == found["locks"][1]["alone"]["size"]


def test_long_lists_are_whole_where_that_is_asked_for(
    several: Several, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"linux-{each}" for each in ("64", "aarch64", "ppc64le", "s390x")]
    platforms = tuple(PlatformRows(name=each) for each in names)
    write_lock(several.own / "pixi.lock", (EnvironmentRows(platforms=platforms),))
    manifest = several.own / "pixi.toml"
    text = re.sub("(?m)^platforms = .*$", f"platforms = {names}", manifest.read_text("utf-8"))
    manifest.write_text(text, encoding="utf-8")
    for options, shown in (
        ((), f"{', '.join(names[:3])} and 1 more, in --json"),
        (("-v",), ", ".join(names)),
    ):
        capsys.readouterr()
        assert several.task(locks.main, "--locks", "../service/pixi.lock", *options) == 0
        assert f"  default       {shown}  0 " in capsys.readouterr().out


def test_a_name_of_a_workspace_begins_no_line(
    several: Several, capsys: pytest.CaptureFixture[str]
) -> None:
    path = several.root / "service" / "pixi.toml"
    text = path.read_text(encoding="utf-8")
    new = text.replace('name = "service"', r'name = "a\nmirror: verified"')
    assert new != text
    path.write_text(new, encoding="utf-8")
    assert several.task(fetch.main, "-q") == 0
    capsys.readouterr()
    assert several.task(locks.main) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [x.partition("  ")[0] for x in lines if "verified" in x] == [r"a\nmirror: verified"]


def test_no_two_locks_have_one_label(several: Several, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever their workspaces are called, each lock is there."""
    served = several.root / "service"
    for folder in ("one", "other", "third"):
        several.manifest(folder, [])
        lock = several.root / folder / "pixi.lock"
        lock.write_bytes((served / "pixi.lock").read_bytes())
    url = f"{several.upstream.url}/git/pixi.lock"
    names = {"one": "../lone/team.lock (2)", "other": "../lone/team.lock", "third": f"{url} (2)"}
    for folder, name in names.items():
        path = several.root / folder / "pixi.toml"
        text = path.read_text(encoding="utf-8").replace(f'name = "{folder}"', f'name = "{name}"')
        path.write_text(text, encoding="utf-8")
    entries = [*(f"../{x}/pixi.lock" for x in names), "../lone/team.lock"]
    urls = [url.replace("//", f"//{user}@") for user in ("me:one", "me:other")]
    several.manifest("mirror", ["own"], f"locks = {[*entries, *urls]!r}\n")
    assert several.task(fetch.main, "-q") == 0
    capsys.readouterr()
    assert several.task(locks.main, "--json") == 0
    found = [each["lock"] for each in json.loads(capsys.readouterr().out)["locks"]]
    assert found == [
        *("mirror", "../lone/team.lock (2)", "../other/pixi.lock", f"{url} (2)"),
        *("../lone/team.lock", url, f"{url} (3)"),
    ]


def test_one_lock_has_no_label(several: Several, capsys: pytest.CaptureFixture[str]) -> None:
    """Reports are as they were where there is but one."""
    several.manifest("mirror", ["own"])
    assert several.task(mirror.main, "--level", BELOW_INSTALL, "--json") == 0
    found = json.loads(capsys.readouterr().out)["verify"]["environments"]
    assert [list(each)[:2] for each in found] == [["environment", "platform"]]
    assert several.artifacts() == ["noarch/both-1.0-0.conda", "noarch/own-1.0-0.conda"]


def test_settings_of_this_workspace_hold_for_its_own_lock_alone(several: Several) -> None:
    """Every other lock is mirrored whole, unless its entry says less."""
    locks = f'locks = ["../service/pixi.lock", "../lone/*.lock", "{several.url}"]\n'
    several.manifest("mirror", ["own"], f'{locks}exclude-environments = ["default"]\n')
    assert several.task(fetch.main, "-q") == 0
    assert several.artifacts() == [each for each in ALL if "own" not in each]


def test_which_locks_are_used_is_a_list_that_is_cut(
    several: Several, capsys: pytest.CaptureFixture[str]
) -> None:
    several.manifest("mirror", ["own"], 'locks = ["../lone/*.lock"]\n')
    (row,) = several.rows(ALONE)
    for number in range(30):
        several.lock(several.root / "lone" / f"{number}.lock", row, platform="win-64")
    for options, told in (((), 20), (("-v",), 32)):  # its own, team.lock, and these
        assert several.task(plan.main, *options) == 0
        err = capsys.readouterr().err
        assert err.count("plan: using ") == told
        assert ("and 12 more, which -v shows\n" in err) is (not options)


def test_an_entry_says_what_of_a_lock_is_mirrored(
    several: Several, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = '{ path = "../service/pixi.lock", exclude-environments = ["default"] }'
    # The last entry that names a lock holds.
    several.manifest("mirror", ["own"], f'locks = ["../*/pixi.lock", {entry}]\n')
    assert several.task(fetch.main, "-q") == 0
    assert several.artifacts() == ["noarch/both-1.0-0.conda", "noarch/own-1.0-0.conda"]
    capsys.readouterr()
    entry = '{ path = "../service/pixi.lock", platforms = ["linux-65"] }'
    several.manifest("mirror", ["own"], f"locks = [{entry}]\n")
    assert several.task(fetch.main, "-q") == 2
    assert capsys.readouterr().err.startswith(
        "error: ../service/pixi.lock: has no platform 'linux-65'\n  nearest  linux-64\n"
    )
    entry = '{ path = "pixi.lock", platforms = ["linux-64"] }'
    several.manifest("mirror", ["own"], f"locks = [{entry}]\n")
    assert several.task(fetch.main, "-q") == 2
    assert capsys.readouterr().err == (
        "error: pixi.lock: is this workspace's own lock, of which its settings say what is"
        " mirrored\n"
        "help: environments, exclude-environments, platforms under [tool.pixi-mirror]\n"
    )


def test_a_workspace_needs_no_lock_of_its_own(
    several: Several, capsys: pytest.CaptureFixture[str]
) -> None:
    (several.own / "pixi.lock").unlink()
    told = "warning: pixi.lock: there is none, so nothing that pixi.toml asks for is mirrored;"
    assert several.task(mirror.main, "--level", "files,index") == 0
    assert f"{told} `pixi lock` makes one\n" in capsys.readouterr().err
    assert several.artifacts() == [each for each in ALL if "own" not in each]
    # Control: where nothing is asked for, nothing is to be told.
    several.manifest("mirror", [], 'locks = ["../service/pixi.lock"]\n')
    assert several.task(mirror.main, "--level", "files,index") == 0
    said = capsys.readouterr()
    assert told not in said.err
    assert "mirror: local-channel holds what ../service/pixi.lock names; not proven" in said.out
    # Without others it does need one.
    several.manifest("mirror", ["own"])
    assert several.task(mirror.main, "-q") == 2
    assert "cannot read this lock file: there is no such file" in capsys.readouterr().err


def test_a_monorepo_by_option(several: Several, capsys: pytest.CaptureFixture[str]) -> None:
    """Own state, environments and what begins with a dot is passed over; so is the channel."""
    several.manifest("mirror", ["own"], 'channel-dir = "../local-channel"\n')
    inner = several.own / "inner"
    served = several.root / "service"
    inner.mkdir()
    for name in ("pixi.lock", "pixi.toml"):
        (inner / name).write_bytes((served / name).read_bytes())
        (several.own / ".pixi").mkdir(exist_ok=True)
        (several.own / ".pixi" / name).write_text("no lock", encoding="utf-8")
    options = ("--locks", "**/pixi.lock")
    assert several.task(mirror.main, *options, "--level", "files,index", "-q") == 0
    channel = several.root / "local-channel"
    assert sorted(each.name for each in channel.rglob("*.conda")) == [
        "both-1.0-0.conda",
        "own-1.0-0.conda",
        "served-1.0-0.conda",
    ]
    # What the option names, the workspace names: nothing of it is retained.
    assert several.task(prune.main, *options, "--now", "-q") == 0
    assert (channel / "linux-64" / "served-1.0-0.conda").exists()
    # What is to be run is told with it; the control is a run without.
    for each, said in (("served", options), ("own", ())):
        [file] = channel.rglob(f"{each}-*.conda")
        file.unlink()
        capsys.readouterr()
        assert several.task(verify.main, *said, "--level", "files") == 1
        helps = [x for x in capsys.readouterr().err.splitlines() if x.startswith("help:")]
        told = "help: each `pixi run` here takes what this run had, too: --locks"
        told = f"{told} {quoted('**/pixi.lock')}"
        assert helps == ["help: pixi run fetch", *([told] if said else [])]
        assert several.task(fetch.main, "-q") == 0
        assert file.exists() == (not said)
        assert several.task(fetch.main, "-q", *said) == 0
        assert file.exists()


def test_an_entry_taken_out_is_what_nobody_names(
    several: Several, capsys: pytest.CaptureFixture[str]
) -> None:
    assert several.task(mirror.main, "--level", "files,index", "-q") == 0
    several.manifest("mirror", ["own"], 'locks = ["../service/pixi.lock"]\n')
    assert several.task(index.main, "-q") == 0
    assert several.task(prune.main, "--now", "-q") == 0
    assert several.artifacts() == ALL[:3]
    capsys.readouterr()
    # Control: what is still named stays.
    assert several.task(prune.main, "--now") == 0
    assert "nothing to prune\n" in capsys.readouterr().out


def test_a_lock_that_cannot_be_read_stops_the_run_before_anything_changes(
    several: Several, capsys: pytest.CaptureFixture[str]
) -> None:
    assert several.task(mirror.main, "--level", "files,index", "-q") == 0
    before = {each: each.stat().st_mtime_ns for each in several.channel.rglob("*")}
    (several.root / "service" / "pixi.lock").write_text("version: 99\n", encoding="utf-8")
    several.manifest("mirror", ["own"], 'locks = ["../service/pixi.lock", "../none/*.lock"]\n')
    capsys.readouterr()
    for task in (fetch, index, mirror, prune, verify):
        assert several.task(task.main, "-q") == 2
        err = capsys.readouterr().err
        assert err == (
            "error: ../none/*.lock: no file is named so, and tool.pixi-mirror.locks asks for it\n"
            f"  looked in  {several.own}\n"
            "error: ../service/pixi.lock: lock file version 99 is newer than this pixi-mirror"
            " knows\n"
            "  known  1 to 7\n"
            "help: update pixi-mirror, or write the lock with an older pixi\n"
        )
    assert {each: each.stat().st_mtime_ns for each in several.channel.rglob("*")} == before


@pytest.mark.skipif(os.name == "nt", reason="chmod takes nothing away there")
def test_a_folder_that_cannot_be_read_hides_no_lock(
    several: Several, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What it names would else be missing, and pruned. A mock refuses: root may list everything."""
    several.manifest("mirror", ["own"], 'locks = ["../**/*.lock", "../s[e]rvice/pixi.loc?"]\n')
    assert several.task(mirror.main, "--level", "files,index", "-q") == 0
    before, shut = several.artifacts(), several.own / "../service"
    assert "linux-64/served-1.0-0.conda" in before

    def refuse_in(real: Any) -> Any:
        def ask(path: Any = ".", *args: Any, **kwargs: Any) -> Any:
            if os.path.abspath(path).startswith(os.path.abspath(shut)):  # noqa: PTH100
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return real(path, *args, **kwargs)

        return ask

    capsys.readouterr()
    with monkeypatch.context() as patched:
        patched.setattr(os, "scandir", refuse_in(os.scandir))
        for options in ([], ["--locks", "../service/*.lock"]):
            assert several.task(prune.main, "--now", "-q", *options) == 2
            err = capsys.readouterr().err
            assert err.startswith(
                f"error: {shut}: cannot look into this folder: Permission denied\n"
                "help: make it readable (`chmod a+rx FOLDER`), or write `locks` so that it is not"
                " in\n"
            )
        patched.setattr(os, "stat", refuse_in(os.stat))
        assert several.task(prune.main, "--now", "-q", "--locks", "../service/pixi.lock") == 2
        assert "cannot read this lock file: Permission denied\n" in capsys.readouterr().err
    assert several.artifacts() == before
    # Control: with the folder gone for good, so is what its lock named.
    (several.root / "service").rename(several.root / ".service")
    several.manifest("mirror", ["own"], 'locks = ["../**/*.lock"]\n')
    assert several.task(index.main, "-q") == several.task(prune.main, "--now", "-q") == 0
    assert several.artifacts() == [each for each in before if "served" not in each]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="the file system that takes no folder")
def test_where_no_remote_lock_can_be_kept(
    several: Several, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is the first thing that is written. Control: where it can be."""
    where = ("--level", "files", "-q", "--channel-dir")
    assert several.task(mirror.main, *where, "/proc/mirror") == 2
    assert capsys.readouterr().err == (
        "error: /proc/.pixi-mirror: cannot be written: No such file or directory\n"
        "help: see to it, then run this again: it goes on where it stopped\n"
    )
    assert several.task(mirror.main, *where, str(tmp_path / "mirror")) == 0


def test_what_a_pattern_finds(several: Several, capsys: pytest.CaptureFixture[str]) -> None:
    """As in a shell: `*` and `**` find nothing hidden, and links that lead in circles end."""
    shown = {
        "../**": [],
        "../*/team.lock": ["../lone/team.lock"],
        "../**/lone/**/team.lock": ["../lone/team.lock"],
        "../[!s]*/*.lock": ["../lone/team.lock"],
        "../.h*/*.lock": ["../.hidden/team.lock"],
        "../lone/deep/**/../*.lock": ["../lone/deep/../team.lock"],
        "../**/no.lock": [],
    }
    text = (several.root / "lone" / "team.lock").read_text(encoding="utf-8")
    for name in (".hidden", "lone/deep"):
        (several.root / name).mkdir()
    (several.root / ".hidden" / "team.lock").write_text(text, encoding="utf-8")
    (several.root / "lone" / "deep" / "up").symlink_to(several.root, target_is_directory=True)
    (several.root / "lone" / "deep" / "self").symlink_to("self")
    (several.own / "pixi.lock").unlink()
    for pattern, expected in shown.items():
        status_ = several.task(locks.main, "--json", "--locks", pattern)
        found = capsys.readouterr()
        if status_ == 0:
            assert [each["location"] for each in json.loads(found.out)["locks"]] == expected
        else:
            assert (status_, expected) == (2, [])


def test_a_folder_stands_for_its_lock(several: Several, capsys: pytest.CaptureFixture[str]) -> None:
    """As `--manifest-path` takes a folder; the control has no `pixi.lock` in it."""
    (several.root / "[link]").symlink_to("service", target_is_directory=True)
    shown = {each: f"{each}/pixi.lock" for each in ("../service", "../[link]")}
    shown |= dict.fromkeys((".", f"../{several.own.name}/"), "pixi.lock")
    for folder, location in shown.items():
        assert several.task(locks.main, "--json", "--locks", folder) == 0
        found = [each["location"] for each in json.loads(capsys.readouterr().out)["locks"]]
        assert found == list(dict.fromkeys(["pixi.lock", location]))
    assert several.task(locks.main, "--locks", "../lone") == 2
    lacking = several.root / "lone" / "pixi.lock"
    assert capsys.readouterr().err.startswith(
        f"error: {lacking}: cannot read this lock file: there is no such file\n"
    )


def test_a_lock_that_is_a_link_stands_with_the_manifest_beside_the_link(
    several: Several, capsys: pytest.CaptureFixture[str]
) -> None:
    """As pixi takes it; the manifest beside what it leads to is that lock's alone."""
    several.manifest("linked", ["served"])
    (several.root / "linked" / "pixi.lock").symlink_to("../common.lock")
    (several.root / "service" / "pixi.lock").rename(several.root / "common.lock")
    needed = "linux-64/served-1.0-0.conda: in linked:default/linux-64\n"
    assert several.task(why.main, "served", "--locks", "../linked/*.lock") == 0
    assert capsys.readouterr().out == f"{needed}  needed by  ../linked/pixi.toml: served *\n"
    # Control: a link to that one, of another name and without a manifest.
    (several.root / "lone" / "link.lock").symlink_to("../linked/pixi.lock")
    assert several.task(why.main, "served", "--locks", "../lone/link.lock") == 0
    alone = "nothing in that lock needs it; there is no manifest beside ../lone/link.lock"
    needed = "linux-64/served-1.0-0.conda: in ../lone/link.lock:default/linux-64\n"
    assert capsys.readouterr().out == f"{needed}  {alone}\n"


@pytest.mark.parametrize("of_pypi", [False, True])
def test_another_s_lock_that_no_longer_fits_its_manifest_is_mirrored_as_it_is(
    several: Several, capsys: pytest.CaptureFixture[str], *, of_pypi: bool
) -> None:
    """Nobody here can renew it; its team installs it with `--frozen`."""
    wanted = "more>=1" if of_pypi else "more *"
    asked = '\n[pypi-dependencies]\nmore = ">=1"\n' if of_pypi else ""
    several.manifest("service", ["served"] if of_pypi else ["served", "more"], asked)
    told = (
        ": ../service/pixi.lock: environment default does not meet a requirement any more"
        f" (expected {wanted}, actual no more, platforms linux-64); mirrored as it is, for `pixi"
        f" install --frozen`, until `pixi lock --manifest-path {several.root / 'service'}`\n"
    )
    quick = {plan: (), mirror: ("--level", "files,index,closure,solve")}
    for task, options in quick.items():
        status_ = several.task(task.main, *options)
        found = capsys.readouterr()
        assert (status_, found.err.count(f"warning{told}")) == (0, 1), found.err
        assert "using ../service/pixi.lock" not in found.err
        assert "using ../lone/team.lock as it is\n" in found.err
    assert "linux-64/served-1.0-0.conda" in several.artifacts()
    assert several.task(verify.main, "--level", "closure,solve", "--json") == 0
    solved = {x["lock"]: x for x in json.loads(capsys.readouterr().out)["solved"]}
    assert solved["service"]["skip-reason"] == (
        "../service/pixi.lock no longer fits the manifest beside it"
    )
    assert solved["mirror"]["solved"]
    assert several.task(verify.main, "--level", "install", "--client", "rattler") == 0
    reason = "../service/pixi.lock no longer fits the manifest beside it"
    assert (f"service:default/linux-64; {reason}\n" in capsys.readouterr().out) == (
        here() == "linux-64"
    )
    # The control: this workspace's own can be renewed, and is refused.
    own = f'locks = ["../service/pixi.lock"]\n{asked}'
    several.manifest("mirror", ["own"] if of_pypi else ["own", "more"], own)
    for task in (plan, mirror):
        assert several.task(task.main, "-q") == 2
        assert capsys.readouterr().err == (
            "error: pixi.lock: environment default does not meet a requirement any more\n"
            f"  expected   {wanted}\n"
            "  actual     no more\n"
            "  platforms  linux-64\n"
            "help: pixi lock\n"
        )


def test_one_path_with_two_digests_names_both_locks(
    several: Several, capsys: pytest.CaptureFixture[str]
) -> None:
    (row,) = several.rows(BOTH)
    other = "0" * 64
    lock = several.root / "service" / "pixi.lock"
    text = lock.read_text(encoding="utf-8")
    assert row.written.sha256 in text
    lock.write_text(text.replace(row.written.sha256, other), encoding="utf-8")
    assert several.task(fetch.main, "-q") == 2
    url = f"{several.upstream.url}/ch/noarch/both-1.0-0.conda"
    assert capsys.readouterr().err == (
        "error: noarch/both-1.0-0.conda: two locks name two different artifacts for this place\n"
        f"  one    {row.written.sha256} from {url}, of mirror\n"
        f"  other  {other} from {url}, of service\n"
        "help: have one of them locked anew, or leave it out of `locks` under"
        " [tool.pixi-mirror]\n"
    )
    assert not several.channel.exists()


@pytest.mark.parametrize("reply", [status(404), Reply(body=b"other")], ids=["gone", "other bytes"])
def test_what_upstream_no_longer_has_names_the_locks_and_what_renews_them(
    several: Several, capsys: pytest.CaptureFixture[str], *, reply: Reply
) -> None:
    """`update-mirror` moves the own lock alone; that is the control, with no word of a lock."""
    several.upstream.always("/ch/*.conda", reply)
    assert several.task(fetch.main, "--json") == 1
    problems = json.loads(capsys.readouterr().out)["problems"]
    said = {x["subject"].partition("/")[2].partition("-")[0]: x for x in problems}
    theirs = f"`pixi update --manifest-path {several.root / 'service'}`"
    renews = {
        "own": (None, "`pixi run update-mirror`"),
        "both": ("pixi.lock, ../service/pixi.lock", "`pixi run update-mirror`"),
        "served": ("../service/pixi.lock", theirs),
        "alone": ("../lone/team.lock", "`pixi update` where that lock is made"),
        "remote": (several.url, "`pixi update` where that lock is made"),
    }
    assert said.keys() == renews.keys()
    for name, (locked, command) in renews.items():
        assert said[name]["details"].get("locked in") == locked
        assert command in said[name]["help"]


def test_what_has_no_digest_names_the_lock(
    several: Several, capsys: pytest.CaptureFixture[str]
) -> None:
    served, both = several.rows(SERVICE, BOTH)
    bare = replace(served, without=frozenset({"sha256", "md5"}))
    several.lock(several.root / "service" / "pixi.lock", bare, both)
    assert several.task(plan.main, "-q") == 2
    assert capsys.readouterr().err == (
        "error: linux-64/served-1.0-0.conda: the lock has neither sha256 nor md5 for it\n"
        f"  from       {several.upstream.url}/ch/linux-64/served-1.0-0.conda\n"
        "  locked in  ../service/pixi.lock\n"
        f"help: pixi update --manifest-path {several.root / 'service'}, or fetch it all the same"
        " with --allow-unhashed\n"
    )


def test_what_closure_finds_in_another_lock_is_mended_there(
    several: Several, capsys: pytest.CaptureFixture[str]
) -> None:
    (served,) = several.rows(SERVICE)
    several.lock(several.root / "service" / "pixi.lock", served)
    several.manifest("mirror", ["own"], 'locks = ["../service/pixi.lock"]\n')
    assert several.task(mirror.main, "--level", "closure", "-q") == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == f"help: pixi lock --manifest-path {several.root / 'service'}"
    # The control: what is wrong with the own lock.
    (own,) = several.rows(OWN)
    several.lock(several.own / "pixi.lock", own)
    several.manifest("mirror", ["own"])
    assert several.task(mirror.main, "--level", "closure", "-q") == 1
    assert capsys.readouterr().err.splitlines()[-1] == "help: pixi lock"


def test_a_flat_mirror_is_flat_over_all_locks(
    several: Several, capsys: pytest.CaptureFixture[str]
) -> None:
    """One package name from two channels: no flat mirror keeps them apart, another layout does."""
    again = TinyPackage(name="both", version="2.0").write(several.upstream.folder / "fork")
    (served,) = several.rows(TinyPackage(name="served", subdir="linux-64"))
    row = type(served)(written=again, channel=f"{several.upstream.url}/fork")
    several.lock(several.root / "lone" / "team.lock", row)
    several.manifest("mirror", ["own"], 'locks = ["../lone/team.lock"]\n')
    assert several.task(fetch.main, "-q") == 2
    assert capsys.readouterr().err.startswith(
        "error: both: comes from two channels, which a flat mirror cannot keep apart\n"
    )
    assert several.task(fetch.main, "--layout", "by-channel", "-q") == 0


def test_what_lies_beside_another_lock_is_found_there(several: Several) -> None:
    """Relative locations are of the lock's folder."""
    beside = TinyPackage(name="beside").write(several.root / "lone" / "files")
    (row,) = several.rows(OWN)
    local = type(row)(
        written=beside,
        channel=row.channel,
        url="./files/noarch/beside-1.0-0.conda",
        without=frozenset({"channel"}),
    )
    several.lock(several.root / "lone" / "team.lock", local)
    several.manifest("mirror", ["own"], 'locks = ["../lone/team.lock"]\n')
    assert several.task(mirror.main, "--level", "files,index", "-q") == 0
    assert "noarch/beside-1.0-0.conda" in several.artifacts()


def test_what_was_first_seen_says_nothing_against_a_lock_that_has_a_digest(
    several: Several, capsys: pytest.CaptureFixture[str]
) -> None:
    """A lock without a digest takes whatever is there, so also what another lock pins."""
    first, second = TinyWheel(name="w"), TinyWheel(name="w", files=(("w.py", b"2"),))
    folder = several.upstream.folder / "dl"
    url = f"{several.upstream.url}/dl/{first.file_name}"
    manifest = f'[pypi-dependencies]\nw = {{ url = "{url}" }}\n'
    several.lock(
        several.own / "pixi.lock", PypiRow(written=first.write(folder), url=url, index=None)
    )
    several.manifest("mirror", [], f"allow-unhashed = true\n{manifest}")
    quick = ("--level", "files,archives,index", "-q")
    assert several.task(mirror.main, *quick) == 0
    place = several.channel / "_pypi" / "files"
    (there,) = place.rglob("*.whl")
    assert there.read_bytes() == first.data
    new = second.write(folder)
    locks = 'allow-unhashed = true\nlocks = ["../lone/team.lock"]\n'
    several.manifest("mirror", [], f"{locks}{manifest}")
    for pin, status_ in (("0" * 64, 1), (new.sha256, 0)):
        pinned = PypiRow(written=new, url=f"{url}#sha256={pin}", index=None)
        several.lock(several.root / "lone" / "team.lock", pinned)
        assert several.task(mirror.main, *quick) == status_
    assert there.read_bytes() == second.data
    for label in ("mirror", "../lone/team.lock"):
        assert several.task(verify.main, "--only", label, *quick) == 0
    # Nor once that lock is taken out: what it has let in is what was seen.
    several.manifest("mirror", [], f"allow-unhashed = true\n{manifest}")
    assert several.task(mirror.main, *quick) == 0
    assert there.read_bytes() == second.data
    # The control: what nobody pins is held against what was first seen.
    TinyWheel(name="w", files=(("w.py", b"3"),)).write(folder)
    there.unlink()
    capsys.readouterr()
    assert several.task(mirror.main, *quick) == 1
    assert "sha256 differs from the one first seen, and" in capsys.readouterr().err


def test_a_wheel_that_is_gone_beside_both_locks_is_missing(
    several: Several, capsys: pytest.CaptureFixture[str]
) -> None:
    """That its bytes cannot be compared makes no two artifacts of it."""
    wheels = [TinyWheel(name="w").write(x / "wheels") for x in (several.own, several.root / "lone")]
    name = wheels[0].path.name
    lines = ("name: w", "version: '1.0'", "requires_python: '>=3.8'")
    row = RawRow(key="pypi", location=f"./wheels/{name}", lines=lines)
    for folder in (several.own / "pixi.lock", several.root / "lone" / "team.lock"):
        several.lock(folder, row)
    several.manifest(
        "mirror",
        [],
        f'locks = ["../lone/team.lock"]\n[pypi-dependencies]\nw = {{ path = "wheels/{name}" }}\n',
    )
    assert several.task(fetch.main, "-q") == 0  # the same bytes
    wheels[1].path.unlink()
    assert several.task(plan.main, "-q") == 0
    wheels[0].path.unlink()
    assert several.task(plan.main, "-q") == 2
    assert capsys.readouterr().err == (
        f"error: _pypi/files/local/wheels/{name}: is missing beside both locks that name it, so"
        " that nobody can compare it\n"
        f"  one    no file from ./wheels/{name}, of mirror\n"
        f"  other  no file from {wheels[1].path}, of ../lone/team.lock\n"
        "help: put the same file beside both, or leave one of them out of `locks` under"
        " [tool.pixi-mirror]\n"
    )
    # The control: other bytes beside each are two artifacts.
    TinyWheel(name="w").write(several.own / "wheels")
    TinyWheel(name="w", files=(("w.py", b"2"),)).write(several.root / "lone" / "wheels")
    assert several.task(plan.main, "-q") == 2
    err = capsys.readouterr().err
    assert "two locks name two different artifacts for this place" in err
    assert "help: put the same file beside both, or leave one" in err  # no lock has its bytes


def test_a_remote_lock_is_renewed_by_fetch_and_kept_for_all_else(
    several: Several, capsys: pytest.CaptureFixture[str]
) -> None:
    def asked() -> list[str | None]:
        found = [
            x.headers.get("if-none-match") for x in several.upstream.requests if "git" in x.path
        ]
        several.upstream.requests.clear()
        return found

    assert several.task(verify.main, "-q") == 2
    assert capsys.readouterr().err == (
        f"error: {several.url}: this remote lock has not been fetched yet\n"
        "  channel folder  local-channel\nhelp: pixi run fetch\n"
    )
    assert several.task(mirror.main, "--level", "files,index", "-q") == 0
    assert asked() == [None]
    again = several.url.replace("http", "HTTP", 1)  # is the same
    assert several.task(locks.main, "-q", "--locks", again) == 0
    for task in (index, verify, prune, channels):
        assert several.task(task.main) in {0, 1}
        assert f"locks: {several.url} as it was on 20" in capsys.readouterr().err
    assert asked() == []
    assert several.task(fetch.main) == 0
    (tag,) = asked()
    assert tag is not None
    out, err = capsys.readouterr()
    assert out == "fetch: nothing to do, 5 artifacts are there\n"
    assert err.startswith(f"locks: asking for {several.url}\nlocks: {several.url} as it was on 20")
    # Another one has come.
    (row,) = several.rows(TinyPackage(name="newer", subdir="osx-arm64"))
    several.lock(several.upstream.folder / "git" / "pixi.lock", row, platform="osx-arm64")
    assert several.task(fetch.main, "-q") == 0
    assert "osx-arm64/newer-1.0-0.conda" in several.artifacts()


def test_the_channel_folder_of_an_option_is_that_of_all_tasks(
    several: Several, capsys: pytest.CaptureFixture[str]
) -> None:
    other = ("--channel-dir", "../other")
    assert several.task(mirror.main, *other, "--level", "files,index", "-q") == 0
    capsys.readouterr()
    tasks = {channels: (), why: ("remote",), locks: (), plan: ()}
    for task, options in tasks.items():
        assert several.task(task.main, *options, *other) == 0, capsys.readouterr().err
    capsys.readouterr()
    lock = ("--lock", str(several.own / "pixi.lock"))
    assert several.task(doctor.main, *lock, *other) == 1  # pixi is not led there
    assert f"looked at: {(several.root / 'other').as_uri()} (flat)" in capsys.readouterr().out
    # The controls: elsewhere is nothing, and it is said where that is.
    for task in (channels, locks):
        assert several.task(task.main, "--channel-dir", "none") == 2
        assert capsys.readouterr().err == (
            f"error: {several.url}: this remote lock has not been fetched yet\n"
            "  channel folder  none\nhelp: pixi run fetch\n"
        )
    assert several.task(doctor.main, *lock) == 2
    assert "local-channel: there is no such channel folder" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--grace=1d", "--proof-max-age=1d", "--jobs=1"])
def test_a_plan_takes_no_option_that_it_would_not_use(
    several: Several, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        several.task(plan.main, option)
    assert caught.value.code == 2
    assert f"error: unrecognized arguments: {option}" in capsys.readouterr().err
    assert several.task(mirror.main, option, "--level", "files", "-q") == 0  # the control


def test_one_that_cannot_be_reached(several: Several, capsys: pytest.CaptureFixture[str]) -> None:
    assert several.task(fetch.main, "-q") == 0
    several.upstream.always("/git/*", status(503))
    capsys.readouterr()
    assert several.task(mirror.main, "-q") == 3
    assert capsys.readouterr().err == (
        f"error: {several.url}: this remote lock could not be had: HTTP 503 Service Unavailable\n"
        f"  from  {several.url}\n"
        f"help: pixi run mirror --kept-locks, with the copy that is kept; or run"
        f" `pixi run mirror` again later\n"
    )
    assert several.task(mirror.main, "--kept-locks", "--level", "files,index", "-q") == 0


@pytest.mark.parametrize("bus", ["", "unix:path=/none"], ids=["no keyring", "a keyring"])
@pytest.mark.parametrize(
    ("reply", "message", "private"),
    [
        (status(404), "HTTP 404 Not Found", PRIVATE),
        (status(410), "HTTP 410 Gone", ""),
        (Reply(body=b"\xff"), "not UTF-8 text (byte 0); a lock file always is", ""),
    ],
)
def test_one_that_is_not_there(
    several: Several,
    *,
    reply: Reply,
    message: str,
    private: str,
    bus: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What mends it is not what mends a channel; where rattler is asked, too, it is said alike."""
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", bus)
    several.upstream.always("/git/*", reply)
    assert several.task(fetch.main, "-q") == 1
    assert capsys.readouterr().err == (
        f"error: {several.url}: this remote lock could not be had: {message}\n"
        f"  from  {several.url}\n"
        f"help: correct the URL in `locks`, or take the entry out{private}\n"
    )


def test_one_that_a_mirror_does_not_have(
    several: Several, capsys: pytest.CaptureFixture[str]
) -> None:
    """The URL may be right; the control: without the line that is named, it is."""
    config = several.own / ".pixi" / "config.toml"
    config.parent.mkdir(exist_ok=True)
    line = f'"{several.upstream.url}/git" = ["{several.upstream.url}/else"]\n'
    config.write_text(f"[mirrors]\n{line}", encoding="utf-8")
    assert several.task(fetch.main, "-q") == 1
    assert capsys.readouterr().err == (
        f"error: {several.url}: this remote lock could not be had: HTTP 404 Not Found\n"
        f"  mirrors  {several.upstream.url}/git → {several.upstream.url}/else (in {config})\n"
        f"  from     {several.upstream.url}/else/pixi.lock\n"
        f"help: correct that line of `[mirrors]`, or the URL in `locks`{PRIVATE}\n"
    )
    config.unlink()
    assert several.task(fetch.main, "-q") == 0


@pytest.mark.parametrize(
    "named",
    [
        "../../etc/secret-1.0-0.conda",
        "file:///etc/secret-1.0-0.conda",
        "file://localhost/etc/secret-1.0-0.conda",
    ],
)
def test_a_remote_lock_may_name_no_file_of_this_machine(
    several: Several, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who writes it could else have any file of the builder put into the mirror."""
    assert several.task(fetch.main, "-q") == 0
    before = several.artifacts()
    (row,) = several.rows(TinyPackage(name="secret", subdir="osx-arm64"))
    local = type(row)(written=row.written, channel=row.channel, url=named)
    several.lock(several.upstream.folder / "git" / "pixi.lock", local, platform="osx-arm64")
    capsys.readouterr()
    assert several.task(fetch.main, "-q") == 2
    assert capsys.readouterr().err == (
        f"error: {several.url}: a remote lock may name no file of this machine\n"
        f"  names  {named}\nhelp: --kept-locks takes the copy that is kept\n"
    )
    lock = several.upstream.folder / "git" / "pixi.lock"
    lock.write_text("version: 1000\n", encoding="utf-8")
    assert several.task(fetch.main, "-q") == 2
    assert capsys.readouterr().err.endswith(
        " with an older pixi, or --kept-locks takes the copy that is kept\n"
    )
    for text in ("version https://git-lfs.github.com/spec/v1\n", "version: 0\n"):
        lock.write_text(text, encoding="utf-8")
        assert several.task(fetch.main, "-q") == 2
        assert capsys.readouterr().err.endswith(
            "\nhelp: correct the URL in `locks`, or have it mended where it is kept, or"
            " --kept-locks takes the copy that is kept\n"
        )
    # The copy is as it was.
    assert several.task(fetch.main, "--kept-locks", "-q") == 0
    assert several.artifacts() == before


@pytest.mark.parametrize(
    ("name", "without", "size", "message"),
    [
        ("staging", "", 1, "URL: has no environment 'prod'\n  it has  staging\n"),
        ("prod", "digests", 1, "osx-arm64/newer-1.0-0.conda: the lock has neither sha256 nor md5"),
        ("prod", "", 2, "noarch/both-1.0-0.conda: two locks name two different artifacts"),
        ("prod", "", 1, None),
    ],
    ids=["no such environment", "no digest", "other bytes", "control"],
)
def test_a_remote_lock_that_is_refused_leaves_the_copy_as_it_was(
    several: Several,
    capsys: pytest.CaptureFixture[str],
    *,
    name: str,
    without: str,
    size: int,
    message: str | None,
) -> None:
    """Else all that goes by the copy would be refused from then on."""
    entry = f'locks = [{{ url = "{several.url}", environments = ["prod"] }}]\n'
    several.manifest("mirror", ["own"], entry)
    remote = several.upstream.folder / "git" / "pixi.lock"
    (row,) = several.rows(REMOTE)
    several.lock(remote, row, platform="osx-arm64", name="prod")
    assert several.task(mirror.main, "--level", "files,index", "-q") == 0
    before = several.artifacts()
    row, both = several.rows(TinyPackage(name="newer", subdir="osx-arm64"), BOTH)
    other = replace(both, written=replace(both.written, sha256="0" * 64))
    rows = [replace(row, without=frozenset({"sha256", "md5"} if without else ())), other][:size]
    several.lock(remote, *rows, platform="osx-arm64", name=name)
    capsys.readouterr()
    for task in (plan, fetch, mirror):
        assert several.task(task.main, "-q") == (0 if message is None else 2)
        said = capsys.readouterr().err
        assert message is None or message.replace("URL", several.url) in said
        assert ("help: correct `environments` in its entry of `locks` under" in said) == (
            name == "staging"
        )
    for task in (verify, prune):
        assert several.task(task.main, "-q") == 0
    assert several.task(fetch.main, "--kept-locks", "-q") == 0
    assert (several.artifacts() == before) == (message is not None)


def test_no_lock_comes_but_a_page(several: Several, capsys: pytest.CaptureFixture[str]) -> None:
    several.upstream.always("/git/*", login_page())
    assert several.task(fetch.main, "-q") == 1
    assert "a web page came instead of the lock file (a login page?)" in capsys.readouterr().err
    assert not several.channel.exists()
    # What comes twice is what the server has, as of an artifact; a failing server is asked on.
    assert [each.path for each in several.upstream.requests].count("/git/pixi.lock") == 2
    several.upstream.always("/git/*", status(500))
    assert several.task(fetch.main, "-q") == 3
    assert [each.path for each in several.upstream.requests].count("/git/pixi.lock") == 7


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ('"pixi.lock"', "is not a list of paths, URLs, or tables with one of them"),
        ("[1]", "is not a list of paths, URLs, or tables with one of them"),
        ('["s3://bucket/pixi.lock"]', "is not a path, or an http or https URL"),
        ('["http://[::1/pixi.lock"]', "is not a path, or an http or https URL"),
        ('["https://h:99999/pixi.lock"]', "is not a path, or an http or https URL"),
        ('[{ path = "a", url = "https://b" }]', "is not a table with either a path or a url"),
        ('[{ url = "a/pixi.lock" }]', "is not a table with either a path or a url"),
        (
            '[{ path = "a", platform = ["linux-64"] }]',
            "is not a table of path or url, environments, exclude-environments, platforms",
        ),
        ('[{ path = "a", platforms = [] }]', "is not a list with at least one name"),
    ],
)
def test_a_wrong_setting(
    several: Several, value: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    several.manifest("mirror", ["own"], f"locks = {value}\n")
    assert several.task(fetch.main, "-q") == 2
    assert f"error: pixi.toml: tool.pixi-mirror.locks {message}" in capsys.readouterr().err


def test_the_plan_is_by_lock_and_of_one(
    several: Several, capsys: pytest.CaptureFixture[str]
) -> None:
    """It renews the remote lock, too, and is told to ask nobody."""
    assert several.task(plan.main, "--offline", "-q") == 2, "there is no copy yet"
    assert several.task(plan.main, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    counts = {each["name"]: each["artifacts"] for each in found["by-lock"]}
    assert counts == {"mirror": 2, "service": 2, "../lone/team.lock": 1, several.url: 1}
    assert len(found["to-download"]) == 5, "the same artifact once"
    assert {each["name"] for each in found["by-environment"]} == {f"{x}:default" for x in counts}
    several.upstream.always("/git/*", status(404))
    assert several.task(plan.main, "--offline", "--only", "service", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (len(found["to-download"]), found["by-lock"]) == (2, [])
    assert several.task(plan.main, "-q") == 1
    assert not several.channel.exists()
    assert (several.own / ".pixi-mirror" / ".gitignore").read_bytes() == b"*\n"


def test_a_broken_py_rattler_changes_nothing(
    several: Several,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It says whether each lock fits its manifest, and that it cannot is no fault of a lock."""
    (tmp_path / "scripts").symlink_to(Path(rattler_child.__file__).parents[1])
    (tmp_path / "rattler.py").write_text('raise ImportError("no such thing")', encoding="utf-8")
    with monkeypatch.context() as patch:
        patch.setattr(rattler_child, "TEMPLATE", tmp_path)
        assert several.task(mirror.main, "-q") == 4
    assert capsys.readouterr().err == (
        "error: py-rattler (matches): cannot be imported: no such thing\n"
        "help: install py-rattler into the environment of the tasks anew, on no disk that is"
        " mounted with noexec\n"
    )
    assert not several.channel.exists()
    # Control: with a whole one, the same command.
    assert several.task(mirror.main, "-q", "--level", BELOW_INSTALL) == 0
    assert several.artifacts() == ALL


def test_what_renews_another_lock_is_told_of_it(
    several: Several, capsys: pytest.CaptureFixture[str]
) -> None:
    """By channel, where nothing else makes an answer right that has less than the lock."""
    several.manifest("service", [])
    options = ("--layout", "by-channel", "--level", "index,solve")
    assert several.task(mirror.main, *options, "-q") == 1
    told = "help: `pixi lock{}`, if the manifest asks for something else by now\n"
    renews = told.format(f" --manifest-path {quoted(str(several.root / 'service'))}")
    assert capsys.readouterr().err.endswith(renews)
    assert several.task(verify.main, *options, "-q", "--only", "service") == 1
    assert capsys.readouterr().err.endswith(renews)
    # Control: this workspace's own is renewed where it is.
    several.manifest("mirror", [])
    assert several.task(verify.main, *options, "-q") == 1
    assert capsys.readouterr().err.endswith(told.format(""))
