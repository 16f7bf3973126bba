"""unbundle.py alone: what it takes, what it refuses, and the receipt."""

from __future__ import annotations

import ast
import errno
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from scripts.channel.state import read_state
from scripts.core.artifact import ArtifactKind
from scripts.core.channel_paths import Layout, channel_paths
from scripts.core.errors import ExitCode
from scripts.core.file_lock import file_lock
from scripts.index.pypi_pages import PAGE_JSON
from scripts.keep import snapshots
from scripts.keep import unbundle as far
from scripts.keep.snapshots import INDEX_KIND, newest_snapshot, read_snapshot_files, read_snapshots
from tests.support.bundles import (
    NEW,
    OLD,
    digest_of,
    snapshot_id,
    there,
    write_bundle,
)
from tests.support.mirrors import forbid

PROGRAM = Path(far.__file__)
FULL = "on the builder: pixi run bundle OUT --full"
FULL_HELP = f"help: {FULL}"
NEXT = {**NEW, "linux-64/c-3.0-0.conda": b"c"}
FORMS = pytest.mark.parametrize("volumes", [0, 1, 3])


def run(*options: object, python: str = sys.executable) -> tuple[int, str, str]:
    """Run the program as the far side does; return its code and what it said."""
    command = [python, "-I", "-S", str(PROGRAM), *map(str, options)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(autouse=True)
def _no_waiting_for_other_writers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do without `os.sync` in this process: it waits for all that any program has written."""
    monkeypatch.setattr(os, "sync", lambda: None, raising=False)


@pytest.fixture
def channel(tmp_path: Path) -> Path:
    """A channel at OLD."""
    full = write_bundle(tmp_path / "full", OLD)
    channel = tmp_path / "far" / "channel"
    far.unbundle(str(full), str(channel))
    return channel


def states(channel: Path) -> dict[str, tuple[bytes, int]]:
    """Read all that the channel and what must not be lost beside it hold, with the times."""
    return {
        str(path): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(channel.parent.rglob("*"))
        if path.is_file() and "cache" not in path.parts and path.name != "run.lock"
    }


def refusal(bundle: Path, channel: Path, **options: Any) -> far.Refused:
    """Return how a bundle is refused, with the channel as it was, and nothing left."""
    before = states(channel)
    with pytest.raises(far.Refused) as raised:
        far.unbundle(str(bundle), str(channel), **options)
    assert states(channel) == before
    assert not (channel_paths(channel).cache / "incoming").exists()
    return raised.value


@FORMS
def test_a_channel_follows(tmp_path: Path, volumes: int) -> None:
    channel, place = tmp_path / "far" / "channel", channel_paths(tmp_path / "far" / "channel")
    full = write_bundle(tmp_path / "full", OLD, volumes=volumes)
    delta = write_bundle(tmp_path / "delta", NEW, base=OLD, day=2, volumes=volumes)
    code, out, err = run(full, channel)
    assert (code, err) == (0, "")
    first, second = out.splitlines()
    assert first == f"unbundled {snapshot_id(OLD, 1)}: placed 6, waiting for removal 0, removed 0"
    assert second.startswith("receipt: 6 files, 3100 bytes, read back 20")
    assert second.endswith(f"; content digest {digest_of(OLD)}")
    assert there(channel) == OLD
    assert run("-q", delta, channel) == (0, "", "")
    assert there(channel) == {**OLD, **NEW}
    gone = sorted(OLD.keys() - NEW.keys())
    assert [str(each.path) for each in read_state(place).removals] == gone
    assert (read_state(place).layout, read_state(place).is_adopted) == (Layout.FLAT, False)
    # The records are the builder's.
    one, two = read_snapshots(place)
    assert (one.id, two.id) == (snapshot_id(OLD, 1), snapshot_id(NEW, 2))
    assert (one.parent, two.parent, two.made_by) == (None, one.id, "unbundle")
    assert two.content_digest == digest_of(NEW)
    files = {str(each.path): each.size for each in read_snapshot_files(place, two)}
    assert files == {path: len(data) for path, data in NEW.items()}
    assert [each.label for each in two.locks] == ["pixi.lock"]
    # Said again, and the next one removes what has waited.
    before = states(channel)
    code, out, err = run(delta, channel)
    assert (code, err) == (0, "")
    first, second = out.splitlines()
    assert first.startswith("receipt: 8 files, ")
    assert second == (
        f"the channel holds {two.id} already: waiting for removal {len(gone)}, removed 0"
    )
    after = states(channel)
    written = ("receipt.json", "receipt.txt", "unbundled.json")
    read_anew = {str(place.state / each) for each in written}
    assert {x: y for x, y in after.items() if x not in read_anew} == {
        x: y for x, y in before.items() if x not in read_anew
    }
    last = write_bundle(tmp_path / "last", NEXT, base=NEW, base_day=2, day=3, volumes=volumes)
    code, out, err = run("--grace", "0", last, channel)
    assert (code, err) == (0, "")
    assert out.startswith(
        f"unbundled {snapshot_id(NEXT, 3)}: placed 1, waiting for removal 0, removed 2"
    )
    assert there(channel) == NEXT
    assert read_state(place).removals == ()
    assert not (place.cache / "incoming").exists()
    assert not (place.state / "unbundling.json").exists()


def test_what_others_may_read_and_new_index_files(channel: Path, tmp_path: Path) -> None:
    repodata = channel / "linux-64" / "repodata.json"
    before = repodata.stat()
    os.utime(repodata, (time.time() + 5, time.time() + 5))
    far.unbundle(str(write_bundle(tmp_path / "delta", NEW, base=OLD, day=2)), str(channel))
    after = repodata.stat()
    assert int(after.st_mtime) > int(before.st_mtime), "servers tell whole seconds"
    assert after.st_mtime > time.time() + 4
    umask = os.umask(0)
    os.umask(umask)
    assert all(x.stat().st_mode & 0o777 == 0o666 & ~umask for x in channel.rglob("*.conda"))
    unchanged = channel / "linux-64" / "b-1.0-0.conda"
    assert unchanged.stat().st_mtime_ns < after.st_mtime_ns


def test_index_files_come_behind_what_they_name(
    channel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    replace = os.replace

    def noted(source: str, target: str) -> None:
        if str(channel) in target:
            order.append(Path(target).relative_to(channel).as_posix())
        replace(source, target)

    monkeypatch.setattr(os, "replace", noted)
    pages = {
        f"_pypi/{name}": name.encode()
        for name in (
            "simple/index.html",
            "simple/h/a/index.html",
            f"simple/h/a/{PAGE_JSON}",
            "f/a.whl.metadata",
        )
    }
    far.unbundle(
        str(write_bundle(tmp_path / "delta", {**NEW, **pages}, base=OLD, day=2)), str(channel)
    )
    assert order == [
        "linux-64/a-2.0-0.conda",
        "linux-64/empty-1.0-0.conda",
        "noarch/same-1.0-0.conda",
        "_pypi/f/a.whl.metadata",
        "linux-64/shards/2.msgpack.zst",
        "linux-64/repodata.json.zst",
        f"_pypi/simple/h/a/{PAGE_JSON}",
        "_pypi/simple/h/a/index.html",
        "_pypi/simple/index.html",
        "linux-64/repodata.json",
    ]


@FORMS
@pytest.mark.parametrize(
    ("given", "days", "message", "help_"),
    [
        (
            (OLD, None),
            (1, 1),
            "holds a later snapshot than this bundle's: replayed, or out of order",
            "to go back: --allow-older; or pixi run rollback ID on the builder, and bundle",
        ),
        (
            (NEW, OLD),
            (2, 1),
            "holds a later snapshot than this bundle's: replayed, or out of order",
            f"{FULL}; or --since-receipt, with the receipt of this channel",
        ),
        (
            ({**NEXT, "x": b""}, OLD),
            (9, 1),
            "has moved on from the snapshot that this bundle follows",
            f"{FULL}; or --since-receipt, with the receipt of this channel",
        ),
        (
            ({**NEXT, "x": b""}, {**NEW, "y": b""}),
            (9, 8),
            "never held the snapshot that this bundle follows: one was skipped",
            f"unbundle those between, in their order; or {FULL}",
        ),
    ],
)
def test_what_does_not_follow_is_refused(
    channel: Path,
    tmp_path: Path,
    *,
    given: Any,
    days: tuple[int, int],
    message: str,
    help_: str,
    volumes: int,
) -> None:
    for number, (base, new) in enumerate(((OLD, NEW), (NEW, NEXT)), 2):
        out = write_bundle(tmp_path / str(number), new, base=base, base_day=number - 1, day=number)
        far.unbundle(str(out), str(channel))
    (files, base), (day, base_day) = given, days
    out = write_bundle(
        tmp_path / "out", files, base=base, base_day=base_day, day=day, volumes=volumes
    )
    found = refusal(out, channel)
    assert (found.code, found.subject, found.message) == (1, str(channel), message)
    code, said, err = run(out, channel)
    assert (code, said) == (1, "")
    follows = "" if base is None else f"  it follows {_with_digest(base, base_day)}\n"
    assert err == (
        f"error: {channel}: {message}\n"
        f"  the bundle is {_with_digest(files, day)}\n"
        f"{follows}"
        f"  the channel has {_with_digest(NEXT, 3)}\n"
        f"help: {help_}\n"
    )


def _with_digest(files: dict[str, bytes], day: int) -> str:
    return f"{snapshot_id(files, day)}, content digest {digest_of(files)}"


def test_a_delta_for_a_channel_without_snapshot(tmp_path: Path) -> None:
    out = write_bundle(tmp_path / "out", NEW, base=OLD, day=2)
    code, said, err = run(out, tmp_path / "far" / "channel")
    assert (code, said) == (1, "")
    assert "holds no snapshot, and this bundle has only what follows one" in err
    assert err.endswith(f"{FULL_HELP}\n")
    assert not (tmp_path / "far" / "channel").exists()


def _remove(out: Path) -> None:
    next(out.rglob("*a-2.0-0.conda")).unlink()


def _cut(out: Path) -> None:
    file = next(out.rglob("*a-2.0-0.conda"))
    file.write_bytes(file.read_bytes()[:-1])


def _flip(out: Path) -> None:
    file = next(out.rglob("*a-2.0-0.conda"))
    file.write_bytes(b"b" + file.read_bytes()[1:])


def _link(out: Path) -> None:
    file = next(out.rglob("*a-2.0-0.conda"))
    file.rename(out.parent / "elsewhere")
    file.symlink_to(out.parent / "elsewhere")


def _add(out: Path) -> None:
    (out / "files" / "more").write_bytes(b"")


def _alter(out: Path) -> None:
    file = out / "bundle.json"
    file.write_bytes(file.read_bytes().replace(b"2026-11-02", b"2026-11-03"))


def _label(out: Path) -> None:
    (out / "LABEL.txt").write_bytes(b"b label\n")


def _sums(out: Path) -> None:
    file = out / "SHA256SUMS"
    file.write_bytes(file.read_bytes().replace(b"0", b"1"))


@pytest.mark.parametrize(
    ("do", "wrong"),
    [
        (_remove, "files/linux-64/a-2.0-0.conda is missing"),
        (_cut, "files/linux-64/a-2.0-0.conda: 3499, not 3500 bytes"),
        (_flip, "linux-64/a-2.0-0.conda is not what bundle.json says"),
        (_link, "files/linux-64/a-2.0-0.conda: link or device, not 3500 bytes"),
        (_add, "files/more is not of this bundle"),
        (_label, "LABEL.txt: its sha256"),
        (_sums, "SHA256SUMS: its sha256"),
        (_alter, "the id of the target is not of its time and its content"),
    ],
)
def test_a_bundle_that_is_not_whole_is_refused(
    channel: Path, tmp_path: Path, do: Callable[[Path], None], wrong: str
) -> None:
    out = write_bundle(tmp_path / "out", NEW, base=OLD, day=2)
    do(out)
    found = refusal(out, channel)
    assert (found.code, found.details, found.help) == (1, [wrong], "carry the bundle again")
    code, _, err = run(out, channel)
    assert (code, f"\n  {wrong}\n" in err) == (1, True)


def test_a_volume_that_is_not_whole_is_refused(channel: Path, tmp_path: Path) -> None:
    """Each byte of it follows from bundle.json: any other one is found."""
    out = write_bundle(tmp_path / "out", NEW, base=OLD, day=2, volumes=2)
    volume = out / "volume-001.tar"
    data = volume.read_bytes()
    for at in (0, 99, 156, 300, 512, 600, 512 + 3500, 512 + 3583, len(data) - 1, len(data) - 1025):
        volume.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        assert refusal(out, channel).message == (
            "is not whole, or was altered; nothing was changed"
        ), at
    volume.write_bytes(data[:-1] + b"\1")
    assert refusal(out, channel).details == [
        "volume-001.tar has not the size of its files, or another end"
    ]
    for size in (0, len(data) - 512):
        volume.write_bytes(data[:size])
        assert refusal(out, channel).details == [f"volume-001.tar: {size}, not {len(data)} bytes"]
    volume.unlink()
    assert refusal(out, channel).details == ["volume-001.tar is missing"]
    volume.write_bytes(data)
    far.unbundle(str(out), str(channel))


def test_a_folder_without_bundle_json_is_no_bundle(channel: Path, tmp_path: Path) -> None:
    out = write_bundle(tmp_path / "out", NEW, base=OLD, day=2)
    (out / "bundle.json").unlink()
    for folder in (out, tmp_path / "nothing"):
        found = refusal(folder, channel)
        assert found.code == 1
        assert found.message == "is no bundle: it has no file bundle.json, which is written last"
        assert found.help == "carry the whole folder that was made"


def test_a_bundle_is_no_place_for_a_channel(tmp_path: Path) -> None:
    out = write_bundle(tmp_path / "out", NEW)
    for each in (out, out / "files"):
        found = refusal(out, each)
        assert (found.code, found.subject) == (2, str(each))
        assert (found.message, found.help) == ("is in the bundle", "name another folder")
    assert run(out, tmp_path / "out2")[0] == 0  # a name that begins alike


def test_a_record_that_is_not_whole_is_named(channel: Path, tmp_path: Path) -> None:
    record = channel_paths(channel).snapshots / f"{snapshot_id(OLD, 1)}.jsonl"
    lines = record.read_bytes().splitlines(keepends=True)
    for data in (b"".join(lines[:-1]), lines[0].replace(b"content-digest", b"content")):
        record.write_bytes(data)
        found = refusal(write_bundle(tmp_path / "out", NEW, base=OLD, day=2), channel)
        assert (found.code, found.subject, found.message) == (2, str(record), "is damaged")
        assert found.help == (
            f"take the newer unbundle.py, or restore it from a backup; else remove it, {FULL}"
        )
        assert found.details == [
            "it has not its content digest" if data.count(b"\n") > 1 else "'content-digest'"
        ]


def test_another_format_says_what_to_do(channel: Path, tmp_path: Path) -> None:
    out = write_bundle(
        tmp_path / "out", NEW, base=OLD, day=2, change=lambda said: said.update(format=2)
    )
    found = refusal(out, channel)
    assert (found.message, found.help) == (
        "is of format 2, not 1",
        "use the unbundle.py of the pixi-mirror that made it",
    )


KEYS = "format, base, target, carried, volumes, tools, locks, files, removed"
NOT_SO = "what is carried, or removed, is not what it says"
X = "0" * 64


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda said: said.pop("locks"), f"its keys are not {KEYS}"),
        (lambda said: said.update(removed={}), "what must be a list is none"),
        (lambda said: said.update(volumes=[]), "None is no place in this bundle"),
        (
            lambda said: said["tools"].update({"x.py": said["tools"]["LABEL.txt"]}),
            "there is a file that no bundle has",
        ),
        (
            lambda said: said.update(volumes=[{"name": "volume-002.tar", "size": 0, "sha256": X}]),
            "the volumes are not numbered from 1 on",
        ),
        (lambda said: said.update(format=True), f"its keys are not {KEYS}"),
        (lambda said: said["removed"].append(said["files"][0][0]), "a path is there twice"),
        (lambda said: said["files"][0].pop(), "a file is not of path, kind, size, sha256, where"),
        (lambda said: said["carried"].update(files=0), NOT_SO),
        (lambda said: said["carried"].update(bytes=1), NOT_SO),
        (lambda said: said.update(base=None), NOT_SO),
        (
            lambda said: said["target"].update(id=f"{'0' * 8}T{'0' * 6}Z-{'0' * 8}"),
            "the id of the target is not of its time and its content",
        ),
        (
            lambda said: said["target"].pop("layout"),
            (
                "it must have id, created, layout, content-digest, files, artifacts, bytes,"
                " each once, and nothing else"
            ),
        ),
        (lambda said: said["files"][0].__setitem__(2, -1), "its size cannot be -1"),
    ],
)
def test_what_bundle_json_cannot_say_is_told(
    channel: Path, tmp_path: Path, change: Callable[[dict[str, Any]], object], said: str
) -> None:
    found = refusal(write_bundle(tmp_path / "out", NEW, base=OLD, day=2, change=change), channel)
    assert (found.code, found.message) == (1, "is damaged or altered")
    assert found.details == [said]


def _alter_digest(said: dict[str, Any]) -> None:
    said["target"]["content-digest"] = said["target"]["id"][-8:] + X[8:]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_alter_digest, "the content digest"),
        (lambda said: said["target"].update(files=99), "the number of files, or their bytes"),
        (lambda said: said["target"].update(artifacts=0), "the number of files, or their bytes"),
        (lambda said: said["target"].update(bytes=0), "the number of files, or their bytes"),
        (lambda said: said["removed"].append("linux-64/none.conda"), "linux-64/none.conda"),
        (lambda said: said["removed"].clear(), "the number of files, or their bytes"),
    ],
)
def test_what_a_bundle_does_not_make_is_told(
    channel: Path, tmp_path: Path, change: Callable[[dict[str, Any]], object], said: str
) -> None:
    found = refusal(write_bundle(tmp_path / "out", NEW, base=OLD, day=2, change=change), channel)
    assert (found.code, found.message) == (1, "does not make what it says")
    assert (found.details[0], found.help) == (said, "on the builder: pixi run bundle OUT --full")


@pytest.mark.parametrize(
    ("paths", "said"),
    [
        (("../x", "/x", "a/../../x", "a//b", "./a", "a/."), "leads out of the channel, or is abs"),
        (("C:/x", "a\\b", "a\0b", "a\nb", "a:b", "\u202ea", "a?b", "a*b"), "has a character that"),
        (("CON", "a/nul.conda", "aux", "Lpt1.tar.bz2", "com\u00b9", "conin$"), "is reserved"),
        (("prn .txt", ".pixi-mirror/x", "a.1f2e3d4c.pixi-mirror.tmp"), "is reserved"),
        (("a.", "a ", " a"), "has a space or dot at an end, lost on Windows"),
        (("x" * 256, "\u00e9" * 128), "is over-long"),
        (("a/" * 600 + "a", "a/" * 64 + "b", ""), "is no string, is empty, or is over-long"),
    ],
)
def test_names_that_not_every_disk_takes(paths: tuple[str, ...], said: str) -> None:
    for path in paths:
        with pytest.raises(ValueError, match=r".") as found:
            far.check_name(path)
        assert str(found.value).startswith(f"{path!r:.200} {said}")


def test_names_that_every_disk_takes() -> None:
    for path in (*NEW, "_pypi/files/a-1.0!2+b#sha256=1.whl", "console/a", "com10/x", "\u00e9/x"):
        assert far.check_name(path)


@pytest.mark.parametrize(
    ("paths", "clash"),
    [
        (("a/x", "A/y"), ("A", "a")),
        (("a/B", "a/b"), ("a/B", "a/b")),
        (("a", "a/b"), ("a", "a")),
        (("\u00e9", "e\u0301"), ("\u00e9", "e\u0301")),
        (("\u00c9", "e\u0301"), ("\u00c9", "e\u0301")),
        (("STRASSE", "stra\u00dfe"), ("STRASSE", "stra\u00dfe")),
        (("a/x", "a/y", "b/x"), None),
    ],
)
def test_names_that_some_disk_keeps_as_one(paths: Any, clash: Any) -> None:
    assert far.find_clash(paths) == clash


def test_a_clash_with_what_stays_is_refused(channel: Path, tmp_path: Path) -> None:
    files = {**OLD, "linux-64/A-1.0-0.conda": b"x"}
    found = refusal(write_bundle(tmp_path / "out", files, base=OLD, day=2), channel)
    assert found.message == "does not make what it says"
    assert found.details == [
        "linux-64/a-1.0-0.conda and linux-64/A-1.0-0.conda, which some disk keeps as one"
    ]


def test_nothing_is_written_through_a_link(channel: Path, tmp_path: Path) -> None:
    out = write_bundle(tmp_path / "out", {**NEW, "osx-64/x.conda": b""}, base=OLD, day=2)
    outside = tmp_path / "outside"
    outside.mkdir()
    (channel / "osx-64").symlink_to(outside)
    found = refusal(out, channel)
    assert (found.code, found.details) == (2, [str(channel / "osx-64")])
    message = "is a link, of another kind than it must be, or has a second disk in it"
    help_ = "put the folder and its .pixi-mirror on one disk, with no links in them"
    assert (found.message, found.help) == (message, help_)
    (channel / "osx-64").unlink()
    incoming = channel_paths(channel).cache / "incoming"
    incoming.symlink_to(outside)
    with pytest.raises(far.Refused, match="a link"):
        far.unbundle(str(out), str(channel))
    assert list(outside.iterdir()) == []


def test_another_run_is_at_work(channel: Path, tmp_path: Path) -> None:
    out = write_bundle(tmp_path / "out", NEW, base=OLD, day=2)
    with file_lock(channel_paths(channel).lock, "channel"):
        found = refusal(out, channel)
        assert found.code == 2
        assert found.message.startswith("another run is at work on it")
    far.unbundle(str(out), str(channel))


def test_room_is_told_before(
    channel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = write_bundle(tmp_path / "out", NEW, base=OLD, day=2)
    needed = 3500 + len(NEW["linux-64/shards/2.msgpack.zst"])

    def usage(_: str) -> Any:
        return shutil._ntuple_diskusage(0, 0, needed - 1)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    found = refusal(out, channel)
    assert (found.code, found.message) == (
        2,
        f"has too little room: {needed} bytes are needed, {needed - 1} are free",
    )


def test_what_is_read_is_not_written(channel: Path, tmp_path: Path) -> None:
    """As from read-only media: not a time of the bundle changes, and no folder of it is made."""
    out = write_bundle(tmp_path / "out", NEW, base=OLD, day=2)
    before = [(each, each.stat().st_mtime_ns, each.stat().st_ctime_ns) for each in out.rglob("*")]
    for each in (out, *out.rglob("*")):
        each.chmod(0o555 if each.is_dir() else 0o444)
    before = [(each, each.stat().st_mtime_ns, each.stat().st_ctime_ns) for each in out.rglob("*")]
    try:
        assert run(out, channel)[0] == 0
    finally:
        for each in (out, *out.rglob("*")):
            each.chmod(0o755)
    after = [each for each, *_ in before]
    assert after == list(out.rglob("*"))
    assert all(each.stat().st_mtime_ns == time for each, time, _ in before)


def test_an_interrupted_one_is_named(
    channel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    delta = write_bundle(tmp_path / "delta", NEW, base=OLD, day=2)
    other = write_bundle(tmp_path / "other", NEXT, base=OLD, day=3)
    whole = write_bundle(tmp_path / "whole", NEXT, day=3)
    with monkeypatch.context() as patched:
        patched.setattr(os, "utime", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            far.unbundle(str(delta), str(channel))
    assert (channel / "linux-64" / "a-2.0-0.conda").exists()
    found = None
    with pytest.raises(far.Refused) as raised:
        far.unbundle(str(other), str(channel))
    found = raised.value
    assert found.code == 2
    assert found.message == (
        f"is between two snapshots: unbundling {snapshot_id(NEW, 2)} was interrupted"
    )
    whole_one = "on the builder: pixi run bundle OUT --full"
    assert found.help == f"unbundle {snapshot_id(NEW, 2)} again, which ends it; or {whole_one}"
    with pytest.raises(far.Refused, match="is between two"):
        far.write_receipt(str(channel))
    copy = tmp_path / "copied" / "channel"
    shutil.copytree(channel.parent, copy.parent)
    # Either ends it: that one, or a whole one.
    far.unbundle(str(delta), str(channel))
    assert there(channel) == {**OLD, **NEW}
    far.unbundle(str(whole), str(copy), grace=0)
    assert there(copy) == NEXT


def test_the_receipt(channel: Path, tmp_path: Path) -> None:
    state = channel_paths(channel).state
    code, out, err = run("--receipt", channel)
    assert (code, err, out.count("\n")) == (0, "", 1)
    data, text = ((state / name).read_bytes() for name in ("receipt.json", "receipt.txt"))
    assert max(len(data), len(text)) < 1024
    receipt = far.parse_receipt(data)
    assert receipt == far.parse_receipt(text) == far.parse_receipt(text.replace(b"\n", b"\r\n"))
    assert receipt[:6] == (digest_of(OLD), snapshot_id(OLD, 1), 6, 3100, 0, 0)
    assert text.startswith(f"receipt: 1\ncontent-digest: {digest_of(OLD)}\n".encode())
    # A byte is flipped, and a file is lost.
    file = channel / "linux-64" / "a-1.0-0.conda"
    file.write_bytes(b"b" + file.read_bytes()[1:])
    (channel / "noarch" / "repodata.json").unlink()
    code, out, err = run("--receipt", channel)
    assert (code, out) == (1, "")
    assert err == (
        f"error: {channel}: is not what it must be; damaged: 1, missing: 1\n"
        "  linux-64/a-1.0-0.conda\n  noarch/repodata.json\n"
        f"{FULL_HELP}; unbundled here, it replaces what is wrong\n"
    )
    bad = far.parse_receipt((state / "receipt.json").read_bytes())
    assert (bad.damaged, bad.missing) == (1, 1)
    assert "damaged: 1\nmissing: 1\n" in (state / "receipt.txt").read_text()
    # A delta needs what is missing; a whole bundle mends all.
    (channel / "linux-64" / "b-1.0-0.conda").unlink()
    delta = write_bundle(tmp_path / "delta", NEW, base=OLD, day=2)
    found = refusal(delta, channel)
    message = "is not as its snapshot says: files are missing, or have another size"
    lost = ["linux-64/b-1.0-0.conda", "noarch/repodata.json"]
    assert (found.code, found.message, found.details, found.help) == (1, message, lost, FULL)
    assert run(tmp_path / "full", channel)[0] == 0
    assert there(channel) == OLD
    assert len(read_snapshots(channel_paths(channel))) == 1
    assert far.parse_receipt((state / "receipt.json").read_bytes())[4:6] == (0, 0)
    far.unbundle(str(delta), str(channel))


@pytest.mark.parametrize("function", [os.lstat, os.open])
def test_what_one_may_not_look_at_is_neither_damaged_nor_missing(
    channel: Path, function: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for a folder, and for files, of another user, for whoever is root."""
    folder, file = channel / "linux-64", channel_paths(channel).state / "receipt.json"
    before = file.read_bytes()
    with monkeypatch.context() as patched:
        forbid(patched, folder, function)
        with pytest.raises(far.Refused, match="cannot be read or written: Permission denied") as on:
            far.write_receipt(str(channel))
    assert (on.value.code, Path(on.value.subject).parent) == (2, folder)
    assert file.read_bytes() == before
    assert far.write_receipt(str(channel))[4:6] == (0, 0)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO])
def test_what_this_machine_has_no_room_to_open_is_not_damaged(
    channel: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EIO is the control: the disk itself cannot read it."""
    file, real = channel_paths(channel).state / "receipt.json", os.open
    before = file.read_bytes()

    def refuse(path: Any, *more: Any) -> int:
        if Path(path).is_relative_to(channel):
            raise OSError(number, os.strerror(number), str(path))
        return real(path, *more)

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", refuse)
        with pytest.raises(far.Refused) as on:
            far.write_receipt(str(channel))
    if number == errno.EIO:
        said = (1, "is not what it must be; damaged: 6, missing: 0")
    else:
        said = (2, f"cannot be read or written: {os.strerror(number)}")
    assert (on.value.code, on.value.message) == said
    assert (file.read_bytes() == before) is (number != errno.EIO)


def test_snapshots_that_one_may_not_list_are_not_called_none(
    channel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = channel_paths(channel).state / "snapshots"
    with monkeypatch.context() as patched:
        forbid(patched, folder.parent, os.stat)
        forbid(patched, folder, os.listdir)
        with pytest.raises(far.Refused, match="cannot be read or written: Permission denied"):
            far.write_receipt(str(channel))
    assert far.write_receipt(str(channel)).missing == 0


def test_damage_to_what_stays_is_found_when_all_is_read(channel: Path, tmp_path: Path) -> None:
    file = channel / "linux-64" / "b-1.0-0.conda"
    file.write_bytes(b"c" + file.read_bytes()[1:])
    delta = write_bundle(
        tmp_path / "delta", {**OLD, "linux-64/z-1.0-0.conda": b"z"}, base=OLD, day=2
    )
    code, out, err = run(delta, channel)
    assert (code, err) == (
        1,
        (
            f"error: {channel}: is not what it must be; damaged: 1, missing: 0\n"
            "  linux-64/b-1.0-0.conda\n"
            f"{FULL_HELP}; unbundled here, it replaces what is wrong\n"
        ),
    )
    assert out.startswith("unbundled ")
    assert run(delta, channel)[0] == 1, "said again it is read again"
    state = channel_paths(channel).state
    assert far.parse_receipt((state / "receipt.json").read_bytes()).damaged == 1


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"[]", b"receipt: 1\n", b"\xff", b"receipt: x" * 200, b'{"receipt": 1}', b"{" * 9],
)
def test_what_is_no_receipt(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        far.parse_receipt(data)


def test_a_machine_that_does_not_know_the_year_makes_bundles_and_receipts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a battery the clock begins in 1970. The control: a time that is none."""
    said = datetime(1970, 1, 1, 0, 10, tzinfo=UTC)

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return said.astimezone(tz)

    def set_back(document: dict[str, Any]) -> None:
        id_ = f"{said:%Y%m%dT%H%M%SZ}-{digest_of(OLD)[:8]}"
        document["target"] |= {"id": id_, "created": said.isoformat()}

    channel = tmp_path / "far" / "channel"
    bundle = write_bundle(tmp_path / "bundle", OLD, change=set_back)
    with monkeypatch.context() as patched:
        patched.setattr(far, "datetime", Clock)
        far.unbundle(str(bundle), str(channel))
    text = (channel_paths(channel).state / "receipt.txt").read_bytes()
    assert far.parse_receipt(text).read == "1970-01-01T00:10:00+00:00"
    with pytest.raises(ValueError, match=r"^its read cannot be '1970-01-01'$"):
        far.parse_receipt(text.replace(b"T00:10:00+00:00", b""))
    far.unbundle(str(write_bundle(tmp_path / "delta", NEW, base=OLD, day=2)), str(channel))


def test_a_receipt_without_snapshot(tmp_path: Path) -> None:
    channel = tmp_path / "channel"
    assert run("--receipt", channel) == (
        2,
        "",
        (
            f"error: {channel}: holds no snapshot, so that nobody knows what must be in it\n"
            "help: name the folder of a channel; or unbundle a whole bundle first:"
            " on the builder: pixi run bundle OUT --full\n"
        ),
    )


@pytest.mark.parametrize("name", ["removals.json", "unbundling.json", "channel.json", "record"])
def test_damaged_state_is_a_sentence(channel: Path, tmp_path: Path, name: str) -> None:
    out = write_bundle(tmp_path / "out", NEW, base=OLD, day=2)
    path = channel_paths(channel).state / name
    if name == "record":
        (path,) = (path.parent / "snapshots").iterdir()
    for data in (
        b"",
        b"[1]",
        b'{"removals": [{"path": "../x"}], "added": ["/x"], "id": "x"}',
        b"\xff",
    ):
        if name == "channel.json" and data.startswith(b"{"):
            continue
        path.write_bytes(data)
        code, said, err = run(out, channel)
        assert (code, said) == (2, ""), data
        assert err.startswith(f"error: {path}: is damaged\n")


def test_what_both_sides_call_the_same() -> None:
    assert INDEX_KIND == far.INDEX_KIND
    kinds = {*ArtifactKind, INDEX_KIND}
    assert all(far._CHECKS["kind"](each) for each in kinds)
    assert all(far._CHECKS["layout"](each) for each in Layout)
    codes = (ExitCode.FINDINGS, ExitCode.USAGE, ExitCode.PROGRAM, ExitCode.INTERRUPTED)
    assert codes == (far.FINDINGS, far.USAGE, far.PROGRAM, far.INTERRUPTED)


def test_an_older_python_is_told_a_sentence() -> None:
    """It can read the file as far as that: 3.6 the whole of it."""
    source = PROGRAM.read_text(encoding="utf-8")
    ast.parse(source, feature_version=(3, 6))
    with pytest.raises(SyntaxError):  # the control
        ast.parse("if (n := 1): pass", feature_version=(3, 6))
    program = f"import sys; sys.version_info = (3, 6, 15); exec(open({str(PROGRAM)!r}).read())"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "error: unbundle.py needs Python 3.8 or newer; this is 3.6\n"
        "help: run it with a newer one: python3 -I -S unbundle.py BUNDLE CHANNEL\n"
    )


def test_nothing_but_the_standard_library_is_imported() -> None:
    names = set()
    for node in ast.walk(ast.parse(PROGRAM.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or ".")
    assert {name.partition(".")[0] for name in names} <= sys.stdlib_module_names


def _python_38() -> str | None:
    python = shutil.which("python3.8")
    if python and subprocess.run([python, "-V"], capture_output=True, check=False).returncode == 0:
        return python
    return None


@pytest.mark.skipif(_python_38() is None, reason="needs python3.8, which is not on PATH")
@FORMS
def test_with_python_38(tmp_path: Path, volumes: int) -> None:
    python, channel = str(_python_38()), tmp_path / "far" / "channel"
    full = write_bundle(tmp_path / "full", OLD, volumes=volumes)
    delta = write_bundle(tmp_path / "delta", NEW, base=OLD, day=2, volumes=volumes)
    for options in ((full, channel), (delta, channel), (delta, channel), ("--receipt", channel)):
        assert run(*options, python=python)[0] == 0
    assert run(full, channel, python=python)[0] == 1
    newest = newest_snapshot(channel_paths(channel))
    assert newest is not None
    assert newest.content_digest == digest_of(NEW)


def test_options_that_do_not_fit(tmp_path: Path) -> None:
    assert run(tmp_path)[2].endswith("unbundle.py: error: give a bundle and a channel\n")
    code, _, err = run("--receipt", tmp_path, tmp_path)
    assert (code, err.endswith("unbundle.py: error: give a channel\n")) == (2, True)


@pytest.mark.skipif(os.name == "nt", reason="no such name can be made on Windows")
def test_hostile_text_is_told_plainly(channel: Path, tmp_path: Path) -> None:
    out = write_bundle(tmp_path / "out", NEW, base=OLD, day=2)
    (out / "x\x1b[31m").write_bytes(b"")
    code, _, err = run(out, channel)
    assert (code, "  x\\x1b[31m is not of this bundle\n" in err) == (1, True)


def test_the_documented_json(tmp_path: Path) -> None:
    """The record is one that the builder writes, to the key."""
    far.unbundle(str(write_bundle(tmp_path / "full", OLD)), str(tmp_path / "channel"))
    (record,) = (channel_paths(tmp_path / "channel").state / "snapshots").iterdir()
    header, first, *_ = map(json.loads, record.read_text().splitlines())
    newest = newest_snapshot(channel_paths(tmp_path / "channel"))
    assert newest is not None
    assert header.keys() == snapshots._header(newest).keys()
    assert first[0] == "linux-64/a-1.0-0.conda"
    assert first[1:3] == ["conda", 1500]
    assert first[4:] == [None, None]
