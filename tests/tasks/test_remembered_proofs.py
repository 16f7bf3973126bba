"""What `mirror` has proven it does not prove again, until something of it changes."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scripts.verify import proofs
from scripts.verify.install import sandbox as sandboxes
from scripts.verify.install.clients import install_with
from tasks import mirror
from tests.support.conda_standin import standin
from tests.support.locks import EnvironmentRows, LockRow, PlatformRows
from tests.support.mirrors import CHANNEL
from tests.support.packages import TinyPackage
from tests.support.verified import World, elsewhere, here, made, stopped_clock, world

__all__ = ["made", "stopped_clock", "world"]

LEVELS = ("files", "archives", "index", "closure", "solve")
DEFAULT, SMALL, FAR = f"default/{here()}", f"small/{here()}", f"default/{elsewhere()}"
ALL = {DEFAULT: {*LEVELS, "install"}, SMALL: {*LEVELS, "install"}, FAR: {*LEVELS}}
NOTHING: dict[str, set[str]] = {DEFAULT: set(), SMALL: set(), FAR: set()}


def run(world: World, *options: str) -> int:
    """Mirror; py-rattler alone installs unless the options say otherwise."""
    clients = () if "--client" in options else ("--client", "rattler")
    return mirror.main(["--manifest-path", str(world.mirror.root), *clients, *options])


def proven_now(
    world: World, capsys: pytest.CaptureFixture[str], *options: str
) -> dict[str, set[str]]:
    """Mirror, and return the levels that were proven by this run alone, by place."""
    capsys.readouterr()
    assert run(world, "--json", *options) == 0
    said = json.loads(capsys.readouterr().out)["verify"]
    found = {}
    for row in said["environments"]:
        assert all(row[level] for level in LEVELS if level in said["levels"])
        now = set(LEVELS) & set(said["levels"]) - row["proven"].keys()
        if any(each["installed"] and each["proven"] is None for each in row["install"]):
            now.add("install")
        found[f"{row['environment']}/{row['platform']}"] = now
    return found


@pytest.fixture
def proven(world: World, capsys: pytest.CaptureFixture[str]) -> World:
    """A mirror of which all has been proven once; without a network there is nothing to fetch."""
    assert proven_now(world, capsys) == ALL
    assert proven_now(world, capsys) == NOTHING  # the control of all that follows
    return world


def test_it_says_when_it_was_proven(proven: World, capsys: pytest.CaptureFixture[str]) -> None:
    file = proven.mirror.workspace.place.proofs
    text = file.read_text(encoding="utf-8")
    today = json.loads(text)["proofs"].popitem()[1][0][:10]
    assert run(proven) == 0
    out, err = capsys.readouterr()
    shown = out[out.index("small ") : out.index("\ninstalled ")]
    assert re.split(r"\s{2,}", shown.strip())[-6:] == [
        f"files ✓ (hashed {today})",
        *(f"{level} ✓ (proven {today})" for level in (*LEVELS[1:], "install")),
    ]
    assert "read: 3 artifacts" in out
    assert ", 3 of them in earlier runs" in out
    assert "verify: installing" not in err
    assert "verify: reading 3 artifacts, but for what is proven\n" in err
    assert file.read_text(encoding="utf-8") == text


def _artifact(world: World, name: str) -> Path:
    (found,) = world.folder.glob(f"*/{name}-*")
    return found


def touch(world: World) -> None:
    status = _artifact(world, "lib").stat()
    # the least that NTFS tells apart
    os.utime(_artifact(world, "lib"), ns=(status.st_atime_ns, status.st_mtime_ns + 100))


def another_inode(world: World) -> None:
    path = _artifact(world, "hello")
    shutil.copy2(path, path.with_name("copy"))
    path.with_name("copy").replace(path)


def _manifest(world: World, old: str, new: str) -> None:
    path = world.mirror.root / "pixi.toml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def requirement(world: World) -> None:
    _manifest(world, 'hello = "*"', 'hello = ">=1"')


def priority(world: World) -> None:
    _manifest(world, 'name = "w"\n', 'name = "w"\nchannel-priority = "disabled"\n')


def hotfix(world: World) -> None:
    """The row of one artifact changes, and none of its bytes: so does the repodata."""
    rows = world.rows()
    far = replace(rows["far"], constrains=("other >=2",))
    world.lock(
        EnvironmentRows(
            platforms=(
                PlatformRows(name=here(), rows=(rows["hello"], rows["lib"])),
                PlatformRows(name=elsewhere(), rows=(far, rows["lib"])),
            )
        ),
        EnvironmentRows(name="small", platforms=(PlatformRows(name=here(), rows=(rows["lib"],)),)),
    )


def settings_alone(world: World) -> None:
    """The control: what no proof depends on."""
    _manifest(world, 'name = "w"', 'name = "renamed"')


BY_SOLVER = {"closure", "solve"}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (settings_alone, NOTHING),
        (
            touch,
            {DEFAULT: {"index", "install"}, SMALL: {*LEVELS[:3], "install"}, FAR: {"index"}},
        ),
        (
            another_inode,
            {DEFAULT: {"index", "install"}, SMALL: {"index"}, FAR: {"index"}},
        ),
        (requirement, {DEFAULT: {*BY_SOLVER, "install"}, SMALL: set(), FAR: set()}),
        (priority, {DEFAULT: {"solve", "install"}, SMALL: set(), FAR: {"solve"}}),
        (hotfix, {DEFAULT: {"index"}, SMALL: {"index"}, FAR: {"index", *BY_SOLVER}}),
    ],
)
def test_what_depends_on_a_change_is_proven_again(
    proven: World,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[World], None],
    expected: Mapping[str, set[str]],
) -> None:
    change(proven)
    assert proven_now(proven, capsys) == expected
    assert proven_now(proven, capsys) == NOTHING


@pytest.mark.parametrize("change", [touch, another_inode])
def test_one_artifact_alone_is_read_again(
    proven: World, capsys: pytest.CaptureFixture[str], change: Callable[[World], None]
) -> None:
    change(proven)
    assert run(proven, "--level", "files,archives") == 0
    assert ", 2 of them in earlier runs\n" in capsys.readouterr().out


def test_another_client_proves_for_itself(
    proven: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its path and its version count, and the sandbox."""
    installed = {**NOTHING, DEFAULT: {"install"}, SMALL: {"install"}}
    clients = ("--client", "micromamba")
    program = standin(tmp_path / "bin", "micromamba", monkeypatch)
    assert proven_now(proven, capsys, *clients) == installed
    assert proven_now(proven, capsys, *clients) == NOTHING
    text = program.path.read_text(encoding="utf-8")
    monkeypatch.setenv("STANDIN_VERSION", "2.0.9")
    assert proven_now(proven, capsys, *clients) == installed
    moved = tmp_path / "elsewhere" / "micromamba"
    moved.parent.mkdir()
    program.path.rename(moved)
    monkeypatch.setenv("PATH", f"{moved.parent}{os.pathsep}{os.environ['PATH']}")
    assert moved.read_text(encoding="utf-8") == text
    assert proven_now(proven, capsys, *clients) == installed
    assert proven_now(proven, capsys, *clients) == NOTHING


def test_another_sandbox_is_another_proof(
    proven: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As on a system that gives no network namespace; the real one cannot be taken away."""
    if not sandboxes.sandbox().command:
        pytest.skip("this machine gives no network of its own")
    monkeypatch.setattr(sandboxes, "_can_unshare", lambda _: False)
    sandboxes.sandbox.cache_clear()
    try:
        assert proven_now(proven, capsys) == {**NOTHING, DEFAULT: {"install"}, SMALL: {"install"}}
    finally:
        sandboxes.sandbox.cache_clear()


def test_another_pixi_mirror_proves_all(
    proven: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It takes a file of ours that is changed by a byte, which nobody does to the real ones."""
    copy = tmp_path / "scripts"
    shutil.copytree(proofs.SCRIPTS, copy)
    with (copy / "verify" / "files.py").open("a", encoding="utf-8") as file:
        file.write("#")
    monkeypatch.setattr(proofs, "SCRIPTS", copy)
    assert proven_now(proven, capsys) == ALL


def _changed(world: World, change: Callable[[Any], Any]) -> None:
    file = world.mirror.workspace.place.proofs
    file.write_text(json.dumps(change(json.loads(file.read_text(encoding="utf-8")))))


@pytest.mark.parametrize(
    "when", ["2020-01-01T00:00:00+00:00", "2999-01-01T00:00:00+00:00", "2026-01-01", "x", None]
)
def test_what_is_not_of_the_last_days_is_proven_again(
    proven: World, capsys: pytest.CaptureFixture[str], when: str | None
) -> None:
    """Nor believed where the clock went back, or where the date is none."""
    _changed(proven, lambda x: {**x, "proofs": dict.fromkeys(x["proofs"], (when, None))})
    assert proven_now(proven, capsys) == ALL


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b'{"tool": 1}', b"\xff", b"[" * 100_000])
def test_a_damaged_file_costs_one_proof(
    proven: World, capsys: pytest.CaptureFixture[str], data: bytes
) -> None:
    proven.mirror.workspace.place.proofs.write_bytes(data)
    assert proven_now(proven, capsys) == ALL
    assert proven_now(proven, capsys) == NOTHING


def test_the_age_is_a_setting(proven: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert proven_now(proven, capsys, "--proof-max-age", "0s") == ALL
    assert proven_now(proven, capsys, "--proof-max-age", "1h") == NOTHING


def test_verify_believes_no_proof(proven: World, capsys: pytest.CaptureFixture[str]) -> None:
    """A disk that has forgotten a bit without telling: `verify` reads every byte."""
    path = _artifact(proven, "lib")
    status, data = path.stat(), bytearray(path.read_bytes())
    data[-1] ^= 1
    with path.open("r+b") as file:
        file.write(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    before = proven.mirror.workspace.place.proofs.read_bytes()
    assert proven.verify("--level", "files") == 1
    assert "sha256 differs from pixi.lock" in capsys.readouterr().err
    assert proven.mirror.workspace.place.proofs.read_bytes() == before


def test_an_interrupted_run_keeps_what_it_has_proven(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C at a chosen moment: nobody can time a real one to be between two installations."""

    def interrupted(*arguments: Any) -> Any:
        if arguments[3].place.environment == "small":
            raise KeyboardInterrupt
        return install_with(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr("scripts.verify.install.stage.install_with", interrupted)
        assert run(world) == 130
    assert proven_now(world, capsys) == {DEFAULT: set(), SMALL: {"install"}, FAR: set()}


def test_what_is_wrong_is_not_remembered(proven: World, capsys: pytest.CaptureFixture[str]) -> None:
    """Nor what else was proven lost by it."""
    _manifest(proven, 'lib = "*"', 'lib = "*"\n[feature.small.constraints]\nlib = ">=9"')
    for _ in range(2):
        assert run(proven, "--level", "closure") == 1
        assert "constrains lib >=9, which is not kept" in capsys.readouterr().err
    _manifest(proven, '[feature.small.constraints]\nlib = ">=9"', "")
    assert proven_now(proven, capsys) == NOTHING


def test_equal_environments_are_installed_once(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """Under channels in another order it is another proof."""
    rows = world.rows()
    mine = (PlatformRows(name=here(), rows=(rows["hello"], rows["lib"])),)
    channels = (CHANNEL, "https://conda.anaconda.org/other")
    order = {"default": channels, "twin": channels, "turned": channels[::-1]}
    world.lock(
        *(
            EnvironmentRows(name=name, platforms=mine, channels=order[name])
            for name in ("default", "turned", "twin")
        )
    )
    (world.mirror.root / "pixi.toml").write_text(
        '[workspace]\nname = "w"\nchannels = ["conda-forge", "other"]\n'
        f'platforms = ["{here()}"]\n\n[dependencies]\nhello = "*"\n\n'
        '[feature.turned]\nchannels = [{ channel = "other", priority = 1 }]\n\n'
        '[environments]\ntwin = []\nturned = ["turned"]\n\n'
        '[tool.pixi-mirror]\nlayout = "by-channel"\n',
        encoding="utf-8",
    )
    shutil.rmtree(world.folder)
    for each in (rows["hello"], rows["lib"]):
        target = world.folder / "conda-forge" / each.written.package.subdir
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy2(each.written.path, target)
    shutil.rmtree(world.mirror.workspace.place.root)
    capsys.readouterr()
    assert run(world, "--level", "install") == 0
    out, err = capsys.readouterr()
    said = [line for line in err.splitlines() if "installing" in line]
    assert said == [
        f"verify: installing {name}/{here()} with py-rattler" for name in ("default", "turned")
    ]
    assert out.count("install ✓ (py-rattler)") == 3


def test_only_the_changed_one_of_twenty_is_installed(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = world.rows()
    names = [f"e{number}" for number in range(20)]
    own = [TinyPackage(name=f"own-{name}", subdir=here(), depends=("lib",)) for name in names]

    def lock(packages: Sequence[TinyPackage]) -> None:
        written = [each.write(world.upstream) for each in packages]
        for each in written:
            target = world.folder / each.package.subdir / each.path.name
            if not target.exists():
                shutil.copy2(each.path, target)
        mine = [(rows["lib"], LockRow(written=each, channel=CHANNEL)) for each in written]
        world.lock(
            *(
                EnvironmentRows(name=name, platforms=(PlatformRows(name=here(), rows=each),))
                for name, each in zip(("default", *names), (mine[0], *mine), strict=True)
            )
        )

    (world.mirror.root / "pixi.toml").write_text(
        f'[workspace]\nname = "w"\nchannels = ["conda-forge"]\nplatforms = ["{here()}"]\n'
        + "".join(f'[feature.{name}.dependencies]\nown-{name} = "*"\n' for name in names)
        + '[environments]\ndefault = { features = ["e0"], no-default-feature = true }\n'
        + "".join(f'{x} = {{ features = ["{x}"], no-default-feature = true }}\n' for x in names),
        encoding="utf-8",
    )
    lock(own)
    assert run(world) == 0
    assert capsys.readouterr().err.count("verify: installing") == 20
    lock([*own[:7], replace(own[7], version="2.0"), *own[8:]])
    assert run(world) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if "installing" in line]
    assert said == [f"verify: installing e7/{here()} with py-rattler"]


@pytest.mark.parametrize(
    ("options", "end"),
    [
        (("--level", "files,index"), "; not proven: archives, closure, solve, install"),
        (("--level", "install"), "; not proven: files, archives, index, closure, solve"),
        (("--client", "rattler"), "; not proven: install by others than rattler"),
        ((), ", verified"),
    ],
)
def test_options_narrow_what_is_proven(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    end: str,
) -> None:
    """And the last line says what was not; then it is no longer said to be verified."""
    monkeypatch.setenv("PATH", "")  # no other clients
    assert mirror.main(["--manifest-path", str(world.mirror.root), *options]) == 0
    closing = "mirror: local-channel holds what pixi.lock names"
    assert capsys.readouterr().out.splitlines()[-1] == closing + end
