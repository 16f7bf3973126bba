"""`bundle`, from a mirror that tasks have made to a far side that has Python alone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scripts.keep import unbundle
from scripts.keep.snapshots import newest_snapshot, read_snapshots
from tasks import bundle, fetch, index, prune
from tests.support.bundles import alone
from tests.support.histories import contents
from tests.support.locks import EnvironmentRows, LockRow, PlatformRows, write_lock
from tests.support.mirrors import Mirror, copy_linked, make_mirror, rows
from tests.support.packages import TinyPackage
from tests.support.template import ROOT
from tests.support.terminal import on_terminal
from tests.support.upstream import Upstream
from tests.support.wheels import PypiRow, TinyWheel
from tests.tasks.conftest import BOTH, NEW, OLD

TOKEN = "tk-5f2c-secret"


@pytest.fixture(scope="session")
def made_bundled(tmp_path_factory: pytest.TempPathFactory) -> Mirror:
    """A mirror with three snapshots: `a` 1.0; `a` 2.0 with 1.0 retained; 2.0 alone."""
    root = tmp_path_factory.mktemp("bundled")
    mirror = make_mirror(root / "workspace")
    for packages in ((OLD, BOTH), (NEW, BOTH)):
        mirror.lock(rows(root / "upstream", packages))
        assert run(index, mirror, "-q") == 0
    assert run(prune, mirror, "-q", "--now") == 0
    copy_linked(mirror.root, root / "kept")
    return mirror


@pytest.fixture
def mirror(made_bundled: Mirror, capsys: pytest.CaptureFixture[str]) -> Mirror:
    """The same for each test."""
    shutil.rmtree(made_bundled.root)
    copy_linked(made_bundled.root.parent / "kept", made_bundled.root)
    capsys.readouterr()
    return made_bundled


def run(task: Any, mirror: Mirror, *options: str) -> int:
    code = task.main(["--manifest-path", str(mirror.root), *options])
    assert isinstance(code, int)
    return code


def published(mirror: Mirror) -> dict[str, bytes]:
    """Read what the index of a mirror names, with the index itself."""
    waiting = mirror.waiting()
    return {path: data for path, data in mirror.contents().items() if path not in waiting}


def test_a_far_side_follows_by_its_receipts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mirror, far = make_mirror(tmp_path / "workspace"), tmp_path / "far" / "channel"
    receipt = tmp_path / "far" / ".pixi-mirror" / "channel" / "state" / "receipt.txt"
    steps: tuple[tuple[TinyPackage, ...], ...] = ((OLD, BOTH), (NEW, BOTH), (NEW,))
    before = None
    for number, packages in enumerate(steps):
        mirror.lock(rows(tmp_path / "upstream", packages))
        assert run(index, mirror, "-q") == 0
        assert run(prune, mirror, "-q", "--now") == 0 if number == 2 else True
        out = tmp_path / f"out{number}"
        base = ("--full",) if before is None else ("--since-receipt", str(receipt))
        capsys.readouterr()
        assert run(bundle, mirror, str(out), *base, *(("--tar",) if number == 1 else ())) == 0
        now = newest_snapshot(mirror.workspace.place)
        assert now is not None
        first, proven, second = capsys.readouterr().out.splitlines()
        assert proven == "bundle: not proven"
        what = "all of it" if before is None else f"for channels at {before.id}"
        assert first.startswith(f"bundle: {now.id}, {what}: ")
        there = contents(out)
        size = sum(map(len, there.values()))
        assert second == f"bundle: {out} takes {size} bytes in {len(there)} files"
        done = alone(out / "unbundle.py", "--grace", "0", out, far)
        assert (done.returncode, done.stderr) == (0, "")
        assert contents(far) == published(mirror)
        assert f"content-digest: {now.content_digest}\n" in receipt.read_text()
        before = now
    assert not (far / "linux-64" / "a-1.0-0.conda").exists()
    # A byte is flipped there: the receipt says so, and no delta is made from it.
    (far / "linux-64" / "a-2.0-0.conda").write_bytes(b"")
    assert alone(tmp_path / "out2" / "unbundle.py", "--receipt", far).returncode == 1
    out = tmp_path / "refused"
    assert run(bundle, mirror, str(out), "--since-receipt", str(receipt)) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"error: {receipt}: says that the channel there is not whole")
    assert said.endswith("help: pixi run bundle OUT --full, which needs no base\n")
    assert not out.exists()


def test_a_dry_run_tells_the_size(
    mirror: Mirror, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, *_ = read_snapshots(mirror.workspace.place)
    options = (str(tmp_path / "out"), "--since", first.id[:-1], "--json")
    assert run(bundle, mirror, *options, "--dry-run") == 0
    predicted = json.loads(capsys.readouterr().out)
    assert not (tmp_path / "out").exists()
    assert run(bundle, mirror, *options) == 0
    assert json.loads(capsys.readouterr().out) == predicted
    assert predicted["bytes"] == sum(map(len, contents(tmp_path / "out").values()))
    assert predicted["base"] == first.id
    before = {
        path: (tmp_path / "out" / path).stat().st_mtime_ns for path in contents(tmp_path / "out")
    }
    assert run(bundle, mirror, *options) == 0
    assert before == {path: (tmp_path / "out" / path).stat().st_mtime_ns for path in before}


def test_what_is_refused(
    mirror: Mirror, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, place = tmp_path / "out", mirror.workspace.place
    *_, newest = read_snapshots(place)
    assert run(bundle, mirror, str(out), "--since", newest.id) == 0
    assert capsys.readouterr().out == (
        f"bundle: nothing to carry: the base is what is published now ({newest.id})\n"
    )
    assert run(bundle, mirror, str(out), "--since", newest.id, "--tar", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    carried = [told[each] for each in ("carried", "removed", "bytes", "files", "volumes")]
    assert (told["target"], told["base"]) == (newest.id, newest.id)
    assert carried == [{"files": 0, "bytes": 0}, 0, 0, 0, []]
    assert not out.exists()
    assert run(bundle, mirror, str(out), "--since", "2019") == 2
    assert capsys.readouterr().err.endswith(
        "help: pixi run snapshots lists them; or pixi run bundle OUT --full, which needs no base\n"
    )
    for name in ("repodata.json", "repodata_shards.msgpack.zst"):
        index_file = mirror.folder / "noarch" / name
        data = index_file.read_bytes()
        index_file.unlink()  # by which it is another file, and not the one that is linked elsewhere
        index_file.write_bytes(data + b" ")
    for base in (("--full",), ("--since", newest.id)):  # of which there is something to carry
        assert run(bundle, mirror, str(out), *base) == 1
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err == (
            f"error: {mirror.folder}: is no longer what its newest snapshot says: a run was"
            " stopped, or somebody else has changed it\n"
            f"  snapshot  {newest.id}\n"
            "  differs   noarch/repodata.json and 1 more\n"
            "help: pixi run mirror, which leaves a snapshot of what is there; then run this again\n"
        )
    assert not out.exists()
    for options, fault in (
        ((), "one of the arguments --full --since --since-receipt is required"),
        (("--full", "--since", newest.id), "argument --since: not allowed with argument --full"),
        (("--full", "--volume-size", "1GB"), "--volume-size is of tar files: give --tar, too"),
        (
            ("--full", "--volume-size", "much"),
            "argument --volume-size: 'much' is no size, as 4.7GB",
        ),
    ):
        with pytest.raises(SystemExit) as ended:
            run(bundle, mirror, str(out), *options)
        assert (ended.value.code, f"error: {fault}" in capsys.readouterr().err) == (2, True)
    shutil.rmtree(place.state / "snapshots")
    assert run(bundle, mirror, str(out), "--full") == 2
    assert capsys.readouterr().err == (
        f"error: {mirror.folder}: has no snapshot, which a bundle is made of\n"
        "help: pixi run mirror\n"
    )


@pytest.mark.skipif(os.name == "nt", reason="Windows has no limit for the size of a file")
def test_a_disk_that_takes_no_large_files(mirror: Mirror, tmp_path: Path) -> None:
    """As FAT32 at 4 GiB: EFBIG, here at 512 bytes or 1 KiB, whichever the shell takes for one."""
    out = tmp_path / "out"
    command = f"{sys.executable} -m tasks.bundle --manifest-path {mirror.root} {out} --full --tar"
    for limit, code in (("ulimit -f 1; ", 2), ("", 0)):
        done = subprocess.run(
            ["sh", "-c", limit + command], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == code, done.stderr
        assert (out / "bundle.json").exists() is (code == 0)
        if code:
            assert done.stderr == (
                f"error: {out / 'volume-001.tar'}: cannot be read or written: File too large\n"
                "help: use a disk with exFAT or NTFS, or volumes: --tar --volume-size 4GB\n"
            )


def test_another_run_is_at_work(
    mirror: Mirror, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from scripts.core.file_lock import file_lock

    with file_lock(mirror.workspace.place.lock, "test"):
        assert run(bundle, mirror, str(tmp_path / "out"), "--full") == 2
    assert "another run is at work on it" in capsys.readouterr().err


def test_locks_go_along(mirror: Mirror, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert run(bundle, mirror, str(out), "--full", "-q") == 0
    document = json.loads((out / "bundle.json").read_bytes())
    *_, newest = read_snapshots(mirror.workspace.place)
    assert [each["lock-sha256"] for each in document["locks"]] == [
        each.lock_sha256 for each in newest.locks
    ]
    assert not (out / "locks").exists()
    shutil.rmtree(out)
    assert run(bundle, mirror, str(out), "--full", "--with-locks", "-q") == 0
    assert contents(out / "locks") == {
        f"1/{name}": (mirror.root / name).read_bytes() for name in ("pixi.lock", "pixi.toml")
    }
    assert alone(out / "unbundle.py", out, tmp_path / "far" / "channel").returncode == 0
    # From there they do not go on, though that bundle had them.
    hop = ("--channel-dir", str(tmp_path / "far" / "channel"), str(tmp_path / "hop"), "--full")
    capsys.readouterr()
    assert run(bundle, mirror, *hop, "--with-locks") == 2
    assert capsys.readouterr().err == (
        f"error: {newest.locks[0].label}: its lock and manifest are not kept here (`unbundle` keeps"
        " none)\n"
        "help: leave --with-locks out: their sha256 are carried all the same\n"
    )
    assert run(bundle, mirror, *hop, "-q") == 0


def test_a_token_stays_at_home(
    tmp_path: Path, upstream: Upstream, capsys: pytest.CaptureFixture[str]
) -> None:
    upstream.token = TOKEN
    channel, mirror = f"{upstream.url}/t/{TOKEN}/ch", make_mirror(tmp_path / "workspace")
    manifest = mirror.root / "pixi.toml"
    manifest.write_text(manifest.read_text().replace('"conda-forge"', f'"{channel}"'))
    row = LockRow(written=BOTH.write(upstream.folder / "ch"), channel=channel)
    platforms = (PlatformRows(name="linux-64", rows=(row,)),)
    environment = EnvironmentRows(platforms=platforms, channels=(channel,))
    write_lock(mirror.root / "pixi.lock", (environment,))
    for task in (fetch, index):
        assert run(task, mirror, "-q") == 0, capsys.readouterr().err
    out, far = tmp_path / "out", tmp_path / "far"
    assert run(bundle, mirror, str(out), "--full", "--with-locks") == 2
    said = capsys.readouterr().err
    assert "holds what may be a secret, and is not carried" in said
    assert TOKEN not in said
    assert not out.exists()
    assert TOKEN.encode() in (mirror.root / "pixi.lock").read_bytes()  # which a grep would find
    for options in ((), ("--tar",)):
        assert run(bundle, mirror, str(out), "--full", *options) == 0
        assert alone(out / "unbundle.py", out, far / "channel").returncode == 0
        there = contents(out) | contents(far)
        assert any(path.endswith("receipt.json") for path in there)
        for path, data in there.items():
            assert TOKEN.encode() not in data, path
            assert TOKEN not in path
        shutil.rmtree(out)
        shutil.rmtree(far)


def test_a_fragment_may_be_a_secret(
    mirror: Mirror, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest, out = mirror.root / "pixi.toml", tmp_path / "out"
    before = manifest.read_text(encoding="utf-8")
    # Control: what is known to be none.
    for name, code in ((f"sha256={64 * '0'}&egg", 0), ("egg=x&access_token", 2)):
        manifest.write_text(f"{before}# https://example.org/x#{name}={TOKEN}\n", encoding="utf-8")
        assert run(index, mirror, "-q") == 0
        capsys.readouterr()
        assert run(bundle, mirror, str(out), "--full", "--with-locks") == code
        shutil.rmtree(out, ignore_errors=True)
    line = before.count("\n") + 1
    assert capsys.readouterr().err == (
        "error: mirrored: pixi.toml: holds what may be a secret, and is not carried\n"
        f"  line {line}  # https://example.org/x#egg=x&access_token=********\n"
        "help: take it out of the file (pixi auth login keeps secrets elsewhere), mirror again, or"
        " leave --with-locks out\n"
    )


@pytest.mark.skipif(os.name == "nt", reason="Windows has no pseudo-terminals")
def test_progress_is_shown_on_a_terminal(mirror: Mirror, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tasks.bundle", "--manifest-path", str(mirror.root), "--full"]
    code, said = on_terminal([*command, str(tmp_path / "out")], ROOT)
    assert code == 0
    count = len(json.loads((tmp_path / "out" / "bundle.json").read_bytes())["files"])
    assert f"{count}/{count}" in said
    assert "bundle: " in said.splitlines()[-1]


def test_three_hops_have_one_content_digest(mirror: Mirror, tmp_path: Path) -> None:
    """Each site unbundles what the one before has bundled, with no lock of its own."""
    *_, newest = read_snapshots(mirror.workspace.place)
    options: tuple[str, ...] = ()
    for hop in range(3):
        out, site = tmp_path / f"out{hop}", tmp_path / f"site{hop}"
        form = ("--tar", "--volume-size", "4KiB") if hop == 1 else ()
        assert run(bundle, mirror, str(out), "--full", "-q", *form, *options) == 0
        assert json.loads((out / "bundle.json").read_bytes())["target"]["content-digest"] == (
            newest.content_digest
        )
        assert unbundle.main([str(out), str(site / "channel"), "-q"]) == 0
        assert contents(site / "channel") == published(mirror)
        options = ("--channel-dir", str(site / "channel"))
    # Which is no matter of luck: another file is another content digest.
    (site / "channel" / "noarch" / "repodata.json").write_bytes(b"{}")
    assert run(bundle, mirror, str(tmp_path / "no"), "--full", "-q", *options) == 1


@pytest.mark.parametrize("layout", ["flat", "by-channel"])
def test_layouts_and_pages_of_pypi_come_along(tmp_path: Path, layout: str) -> None:
    mirror, sites = make_mirror(tmp_path / "workspace", layout), [tmp_path / "1", tmp_path / "2"]
    for version in ("1.0", "1.1"):
        conda = rows(tmp_path / "upstream", (OLD, BOTH))
        wheel = PypiRow(written=TinyWheel(name="pure", version=version).write(tmp_path / "pypi"))
        mirror.lock((*conda, wheel))
        assert run(index, mirror, "-q") == 0
        base, options = "--full", tuple[str, ...]()
        for hop, site in enumerate(sites):
            out = tmp_path / f"out{hop}-{version}"
            assert run(bundle, mirror, str(out), base, "-q", *options) == 0
            assert unbundle.main([str(out), str(site / "channel"), "-q", "--grace", "0"]) == 0
            assert contents(site / "channel") == published(mirror)
            options = ("--channel-dir", str(site / "channel"))
    pages = [path for path in published(mirror) if path.endswith("index.html")]
    assert any("pure" in page for page in pages)
