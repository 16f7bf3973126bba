"""unbundle.py after what happens to a far side: kills, rollbacks there, odd files, lost output."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from scripts.channel.state import Removal, read_state, write_removals
from scripts.core.channel_paths import Layout, channel_paths
from scripts.keep import unbundle as far
from scripts.keep.snapshots import (
    Snapshot,
    new_snapshot,
    newest_snapshot,
    read_snapshot_files,
    read_snapshots,
    write_snapshot,
)
from tests.support.bundles import NEW, OLD, digest_of, snapshot_id, there, write_bundle
from tests.support.mirrors import let_grace_pass

PROGRAM = Path(far.__file__)
NEXT = {**NEW, "linux-64/c-3.0-0.conda": b"c"}
REPLAYED = "holds a later snapshot than this bundle's: replayed, or out of order"
LATER = datetime(2026, 12, 1, tzinfo=UTC)  # than any bundle
posix = pytest.mark.skipif(os.name == "nt", reason="needs a shell and files of POSIX")


@pytest.fixture(autouse=True)
def _no_waiting_for_other_writers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sync", lambda: None, raising=False)


@pytest.fixture
def channel(tmp_path: Path) -> Path:
    """A channel that was at OLD and is at NEW."""
    channel = tmp_path / "far" / "channel"
    far.unbundle(str(write_bundle(tmp_path / "full", OLD)), str(channel))
    far.unbundle(str(write_bundle(tmp_path / "delta", NEW, base=OLD, day=2)), str(channel))
    return channel


def refused(*options: str, **more: Any) -> far.Refused:
    with pytest.raises(far.Refused) as raised:
        far.unbundle(*options, **more)
    return raised.value


def roll_back(channel: Path) -> Snapshot:
    """Go back to OLD as `pixi run rollback` on that side leaves it: with a record of its own."""
    place = channel_paths(channel)
    old = read_snapshots(place)[0]
    files = read_snapshot_files(place, old)
    for path, data in OLD.items():
        (channel / path).write_bytes(data)
    before = newest_snapshot(place)
    local = new_snapshot(files, made_by="rollback", layout=Layout.FLAT, before=before, when=LATER)
    write_snapshot(place, local, files)
    return local


def program(*options: object, shell: str = "") -> subprocess.CompletedProcess[str]:
    """Run it as the far side does; `shell` is what follows the command."""
    command = [sys.executable, "-I", "-S", str(PROGRAM), *map(str, options)]
    if shell:
        command = ["sh", "-c", f'"$@" {shell}', "sh", *command]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def stop_in_the_switch(bundle: Path, channel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """End a run when the artifacts are placed and the index is not."""
    with monkeypatch.context() as patched:
        patched.setattr(os, "utime", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            far.unbundle(str(bundle), str(channel))


def test_room_for_one_copy_is_enough_to_go_on(
    channel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    big = {**NEXT, "linux-64/d-1.0-0.conda": bytes(90_000), "linux-64/shards/3": bytes(80_000)}
    out = write_bundle(tmp_path / "out", big, base=NEW, base_day=2, day=3)
    stop_in_the_switch(out, channel, monkeypatch)
    full = shutil._ntuple_diskusage(0, 0, 0)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    far.unbundle(str(out), str(channel), grace=0)
    assert there(channel) == big
    other = {**big, "linux-64/e-1.0-0.conda": b"e"}  # the control: what is still to be copied
    found = refused(
        str(write_bundle(tmp_path / "e", other, base=big, base_day=3, day=4)), str(channel)
    )
    assert found.message == "has too little room: 1 bytes are needed, 0 are free"


def test_a_delta_is_in_order_by_what_the_channel_holds(channel: Path, tmp_path: Path) -> None:
    local = roll_back(channel)
    receipt = far.write_receipt(str(channel))
    assert receipt.digest == digest_of(OLD)
    assert receipt.id == local.id
    moved_on = refused(
        str(write_bundle(tmp_path / "n", NEXT, base=NEW, base_day=2, day=3)), str(channel)
    )
    assert moved_on.message == "has moved on from the snapshot that this bundle follows"
    far.unbundle(str(write_bundle(tmp_path / "next", NEXT, base=OLD, day=3)), str(channel))
    newest = newest_snapshot(channel_paths(channel))
    assert newest is not None
    assert (newest.content_digest, newest.parent) == (digest_of(NEXT), local.id)
    assert newest.id > local.id
    assert newest.created > local.created
    assert newest.id == f"{newest.created:%Y%m%dT%H%M%SZ}-{digest_of(NEXT)[:8]}"
    assert far.write_receipt(str(channel)).digest == digest_of(NEXT)


def test_a_whole_bundle_is_a_replay_by_what_was_unbundled_last(
    channel: Path, tmp_path: Path
) -> None:
    full, other = tmp_path / "full", {**OLD, "linux-64/z-1.0-0.conda": b"z"}
    roll_back(channel)
    assert far.unbundle(str(full), str(channel)).counts[0] is None, "it holds that already"
    older = write_bundle(tmp_path / "older", other)
    found = refused(str(older), str(channel))
    assert found.code == 1
    assert found.message == REPLAYED
    assert found.help.startswith("to go back: --allow-older; or pixi run rollback ID")
    far.unbundle(str(write_bundle(tmp_path / "new", NEXT, day=3)), str(channel))
    assert refused(str(older), str(channel)).code == 1
    done = program("--allow-older", older, channel)
    assert (done.returncode, done.stderr) == (0, "")
    newest = newest_snapshot(channel_paths(channel))
    assert newest is not None
    assert newest.content_digest == digest_of(other)
    far.unbundle(str(write_bundle(tmp_path / "on", NEXT, day=3)), str(channel))


@pytest.mark.parametrize("is_whole", [False, True])
def test_a_late_bundle_is_a_replay_whatever_the_channel_holds(
    channel: Path,
    tmp_path: Path,
    is_whole: bool,  # noqa: FBT001
) -> None:
    back = write_bundle(tmp_path / "back", OLD, base=NEW, base_day=2, day=3)
    far.unbundle(str(back), str(channel))
    late = tmp_path / "delta"  # it follows OLD, which is what the channel has again
    if is_whole:
        late = write_bundle(tmp_path / "late", NEW, day=2)
    found = refused(str(late), str(channel))
    assert (found.code, found.message) == (1, REPLAYED)
    assert found.help.startswith("to go back: --allow-older; or pixi run rollback ID")
    assert there(channel) == {**NEW, **OLD}
    far.unbundle(str(late), str(channel), allow_older=True)  # the control: it was asked for
    assert far.write_receipt(str(channel)).digest == digest_of(NEW)
    far.unbundle(str(back), str(channel))


def test_what_is_held_already_counts_as_unbundled(tmp_path: Path) -> None:
    for held, name in ((True, "far"), (False, "control")):
        channel = tmp_path / name / "channel"
        far.unbundle(str(write_bundle(tmp_path / f"{name}-1", OLD)), str(channel))
        if held:
            again = write_bundle(tmp_path / f"{name}-3", OLD, day=3)
            assert far.unbundle(str(again), str(channel)).counts[0] is None
        late = str(write_bundle(tmp_path / f"{name}-2", NEW, base=OLD, day=2))
        if held:
            found = refused(late, str(channel))
            assert found.message == REPLAYED
            assert found.details[-1] == f"it unbundled last {snapshot_id(OLD, 3)}"
            far.unbundle(str(tmp_path / f"{name}-1"), str(channel))  # older, held, and no step back
            assert refused(late, str(channel)).message == REPLAYED
            next_ = write_bundle(tmp_path / "next", NEW, base=OLD, day=4)
            far.unbundle(str(next_), str(channel))
        else:
            far.unbundle(late, str(channel))
        assert far.write_receipt(str(channel)).digest == digest_of(NEW)


def test_an_interrupted_one_is_over_once_another_task_has_published(
    channel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {**NEXT, "linux-64/repodata.json": b"{}"}
    out = write_bundle(tmp_path / "out", files, base=NEW, base_day=2, day=3)
    stop_in_the_switch(out, channel, monkeypatch)
    with pytest.raises(far.Refused, match="is between two"):  # the control
        far.write_receipt(str(channel))
    roll_back(channel)
    assert far.write_receipt(str(channel)).digest == digest_of(OLD)
    far.unbundle(str(write_bundle(tmp_path / "next", NEXT, base=OLD, day=4)), str(channel))


def test_said_again_it_reads_all_and_a_whole_one_mends(channel: Path, tmp_path: Path) -> None:
    whole = write_bundle(tmp_path / "whole", NEW, day=2)
    assert far.unbundle(str(whole), str(channel)).counts[0] is None  # the control
    for bundle in (tmp_path / "delta", whole):
        (channel / "linux-64" / "a-2.0-0.conda").unlink(missing_ok=True)
        file = channel / "noarch" / "repodata.json"
        file.write_bytes(bytes(len(NEW["noarch/repodata.json"])))
        if bundle != whole:
            found = refused(str(bundle), str(channel))
            assert found.message == "is not what it must be; damaged: 1, missing: 1"
            assert found.help.startswith("on the builder: pixi run bundle OUT --full")
    outcome = far.unbundle(str(whole), str(channel), grace=0)
    assert outcome.counts[0] is not None
    assert outcome.receipt[4:6] == (0, 0)
    assert {path: (channel / path).read_bytes() for path in NEW} == NEW


def test_said_again_it_removes_what_is_due(channel: Path, tmp_path: Path) -> None:
    gone = sorted(OLD.keys() - NEW.keys())
    assert there(channel) == {**OLD, **NEW}
    done = program(tmp_path / "delta", channel)  # the control: nothing has waited for an hour
    assert done.stdout.endswith(f" already: waiting for removal {len(gone)}, removed 0\n")
    assert there(channel) == {**OLD, **NEW}
    done = program("--grace=0s", tmp_path / "delta", channel)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[1] == (
        f"the channel holds {snapshot_id(NEW, 2)} already: waiting for removal 0,"
        f" removed {len(gone)}"
    )
    assert there(channel) == NEW
    assert read_state(channel_paths(channel)).removals == ()
    assert far.write_receipt(str(channel)).digest == digest_of(NEW)


@posix
def test_what_is_due_is_removed_through_no_link(channel: Path, tmp_path: Path) -> None:
    place = channel_paths(channel)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_bytes(b"x")
    (channel / "linked").symlink_to(outside)
    when = datetime(2026, 11, 1, tzinfo=UTC)
    mtime_ns = (outside / "kept").stat().st_mtime_ns
    one = Removal(path=PurePosixPath("linked/kept"), size=1, mtime_ns=mtime_ns, dropped=when)
    write_removals(place, [*read_state(place).removals, one])
    found = refused(str(tmp_path / "delta"), str(channel), grace=0)
    assert found.message == "is a link, of another kind than it must be, or has a second disk in it"
    assert (outside / "kept").exists()
    assert there(channel).keys() >= OLD.keys()
    (channel / "linked").unlink()  # the control
    far.unbundle(str(tmp_path / "delta"), str(channel), grace=0)
    assert there(channel) == NEW


@pytest.mark.parametrize("name", ["channel.json", "removals.json", "snapshots/*.jsonl"])
def test_a_state_of_a_newer_version_stays_as_it_is(
    channel: Path, tmp_path: Path, name: str
) -> None:
    """Whoever goes on would write it as its own; the control: as it was, it is taken."""
    out = write_bundle(tmp_path / "out", NEXT, base=NEW, base_day=2, day=3)
    *_, file = sorted(channel_paths(channel).state.glob(name))
    known = file.read_bytes()
    newer = known.replace(b'"schema": 1', b'"schema": 2')
    file.write_bytes(newer)
    found = refused(str(out), str(channel))
    assert (found.code, found.subject, found.message) == (2, str(file), "is damaged")
    assert found.details == ["its schema is not 1"]
    assert found.help == (
        "take the newer unbundle.py, or restore it from a backup; else remove it, on the builder:"
        " pixi run bundle OUT --full"
    )
    assert file.read_bytes() == newer
    file.write_bytes(known)
    far.unbundle(str(out), str(channel))


def test_every_removal_of_the_builder_is_taken(channel: Path, tmp_path: Path) -> None:
    place = channel_paths(channel)
    for path, when in (("linux-64/old é:1", None), ("noarch/x", datetime(1969, 1, 1, tzinfo=UTC))):
        file = channel / path
        file.write_bytes(b"old")
        os.utime(file, ns=(-5_000_000_000, -5_000_000_000))
        one = Removal(path=PurePosixPath(path), size=3, mtime_ns=-5_000_000_000, dropped=when)
        write_removals(place, [*read_state(place).removals, one])
    out = write_bundle(tmp_path / "out", NEXT, base=NEW, base_day=2, day=3)
    far.unbundle(str(out), str(channel))
    assert not (channel / "noarch" / "x").exists(), "it has waited"
    old = channel / "linux-64/old é:1"  # of a rollback that was stopped: it waits from now on
    assert old.exists()
    listed = json.loads((place.state / "removals.json").read_bytes())["removals"]
    assert all(each["dropped"] for each in listed)
    let_grace_pass(place)
    far.unbundle(str(out), str(channel))
    assert not old.exists()
    for path in ("../x", "/x", "a\0b", "a/../../x"):  # the control
        text = json.dumps({"schema": 1, "removals": [{**listed[0], "path": path}]})
        (place.state / "removals.json").write_text(text)
        assert refused(str(tmp_path / "full"), str(channel), allow_older=True).message == (
            "is damaged"
        )


@posix
@pytest.mark.parametrize("name", ["bundle.json", "bundle.json.sig", "SHA256SUMS", "LABEL.txt"])
@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "link"])
def test_what_is_no_file_is_refused_at_once(tmp_path: Path, name: str, kind: str) -> None:
    out = write_bundle(tmp_path / "out", OLD)
    path = out / name
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        (path / "x").mkdir(parents=True)
        (path / "x" / "y").write_bytes(b"")
    else:
        path.symlink_to("/dev/zero" if kind == "device" else tmp_path / "full" / name)
    done = program(out, tmp_path / "far" / "channel")
    assert (done.returncode, done.stdout.replace("signed, and", "").count("\n") <= 1) == (1, True)
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "far").exists()


@posix
@pytest.mark.parametrize(
    ("shell", "code"),
    [(">&-", 0), (">&- 2>&-", 0), (">/dev/full", 2), ("2>/dev/full", 0), ("| true", None)],
)
def test_output_that_is_lost_stops_nothing(tmp_path: Path, shell: str, code: int | None) -> None:
    channel = tmp_path / "far" / "channel"
    done = program(write_bundle(tmp_path / "out", OLD), channel, shell=shell)
    assert code is None or done.returncode == code
    said = "error: stdout: cannot be written: No space left on device\n"
    assert done.stderr == (said if code == 2 else "")
    assert there(channel) == OLD
    state = channel_paths(channel).state
    assert far.parse_receipt((state / "receipt.json").read_bytes()).damaged == 0
    (channel / "linux-64" / "a-1.0-0.conda").unlink()
    done = program("--receipt", channel, shell=shell)
    assert code is None or done.returncode == 1, "it tells what was found"
    assert far.parse_receipt((state / "receipt.json").read_bytes()).missing == 1


@posix
def test_sigterm_ends_it_like_ctrl_c(tmp_path: Path) -> None:
    out = write_bundle(tmp_path / "out", {"noarch/big-1.0-0.conda": bytes(600 << 20)})
    command = [sys.executable, "-I", "-S", str(PROGRAM), str(out), str(tmp_path / "far" / "c")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as run:
        while not (tmp_path / "far").exists():
            time.sleep(0.01)
        run.send_signal(signal.SIGTERM)
        _, said = run.communicate(timeout=60)
    assert (run.returncode, said) == (
        130,
        "interrupted; run this again: it goes on where it stopped\n",
    )
    assert not (tmp_path / "far").exists()


def test_a_refusal_leaves_nothing_behind(tmp_path: Path) -> None:
    delta = write_bundle(tmp_path / "delta", NEW, base=OLD, day=2)
    flipped = write_bundle(tmp_path / "flipped", OLD)
    file = flipped / "files" / "linux-64" / "a-1.0-0.conda"
    file.write_bytes(b"b" + file.read_bytes()[1:])
    before = sorted(tmp_path.iterdir())
    channel = tmp_path / "far" / "deep" / "channel"
    assert refused(str(delta), str(channel)).message.startswith("holds no snapshot, and this")
    assert refused(str(flipped), str(channel)).message.startswith("is not whole, or was altered")
    with pytest.raises(far.Refused) as raised:
        far.write_receipt(str(channel))
    assert "that bundle" not in raised.value.help
    assert sorted(tmp_path.iterdir()) == before
    for options in ((delta, ""), ("", channel), ("--receipt", " ")):
        done = program(*options)
        assert done.returncode == 2
        assert "unbundle.py: error: give a " in done.stderr
    (tmp_path / "far").mkdir()  # what was there stays
    refused(str(delta), str(tmp_path / "far" / "channel"))
    assert list((tmp_path / "far").iterdir()) == []


def test_a_signature_that_nobody_has_checked(tmp_path: Path) -> None:
    out = write_bundle(tmp_path / "out", OLD)
    (out / "bundle.json.sig").write_bytes(b"x")
    first, *_ = program(out, tmp_path / "far" / "channel").stdout.splitlines()
    assert first == "signed, and not checked: --allowed-signers FILE says who may have signed"
    done = program("--allowed-signers", tmp_path / "none", out, tmp_path / "other" / "channel")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"error: {tmp_path / 'none'}: is no file that can be read\n"
        "help: name that of allowed signers\n"
    )


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1h", 3600),
        ("90s", 90),
        ("1h 30m", 5400),
        ("3600", 3600),
        ("0s", 0),
        ("0", 0),
        ("7d", 604800),
    ],
)
def test_grace_is_a_duration(text: str, seconds: int) -> None:
    assert far._seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "x", "-5", "1h30", "1.5h", "1y"])
def test_what_is_no_duration(tmp_path: Path, text: str) -> None:
    done = program(f"--grace={text}", tmp_path, tmp_path)
    assert done.returncode == 2
    assert f"{text!r} is no duration: 1h, 30m, 1h 30m, 0s, 7d" in done.stderr


def test_a_receipt_that_was_typed_off(channel: Path) -> None:
    state = channel_paths(channel).state
    text = (state / "receipt.txt").read_text()
    right = far.parse_receipt(text.encode())
    capitals = text.replace(digest_of(NEW), digest_of(NEW).upper())
    capitals = capitals.replace(snapshot_id(NEW, 2), snapshot_id(NEW, 2).upper())
    typed = capitals.replace(": ", ":").replace("\n", "  \n\n").replace("damaged", "Damaged")
    for data in (text, capitals, typed, f"\n\n{text}", (state / "receipt.json").read_text()):
        for encoding in ("utf-8", "utf-8-sig", "utf-16"):
            assert far.parse_receipt(data.encode(encoding)) == right


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "it must have receipt, content-digest, id"),
        (b"just a line", "it must have receipt, content-digest, id"),
        (b"id: 1\nid: 2", "it has a key twice"),
        (b'{"receipt": 1}', "it must have receipt, content-digest, id"),
    ],
)
def test_why_it_is_no_receipt(data: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=f"^{reason}"):
        far.parse_receipt(data)


def test_a_value_that_cannot_be(channel: Path) -> None:
    text = (channel_paths(channel).state / "receipt.txt").read_bytes()
    with pytest.raises(ValueError, match=r"^its damaged cannot be 'no'$"):
        far.parse_receipt(text.replace(b"damaged: 0", b"damaged: no"))


def test_it_is_ascii() -> None:
    assert PROGRAM.read_bytes().isascii()
