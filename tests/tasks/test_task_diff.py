"""`pixi run diff [A] [B]`: what changed between locks, snapshots, the lock and the channel."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from scripts.core.channel_paths import Layout
from scripts.core.report import human_size
from scripts.keep.snapshots import (
    SnapshotFile,
    new_snapshot,
    newest_snapshot,
    record_of,
    write_snapshot,
)
from scripts.keep.unbundle import Receipt, render_receipt
from tasks import diff, index
from tests.support.mirrors import Mirror, forbid, make_mirror, rows
from tests.support.packages import TinyPackage
from tests.support.wheels import PypiRow, TinyWheel

A1 = TinyPackage(name="a", subdir="linux-64", license="MIT")
A2 = replace(A1, version="2.0", license="BSD-3-Clause")
B = TinyPackage(name="b")
C = TinyPackage(name="c", subdir="linux-64", build="h1234567_3")


@dataclass(frozen=True)
class World:
    """A mirror whose lock moves on, and records of snapshots that are made up."""

    mirror: Mirror
    upstream: Path
    capsys: pytest.CaptureFixture[str]

    def lock(self, *packages: TinyPackage, pypi: tuple[PypiRow, ...] = ()) -> None:
        """Write the lock, and put its artifacts in place as `fetch` would."""
        self.mirror.lock((*rows(self.upstream, packages), *pypi))

    def publish(self, *packages: TinyPackage, pypi: tuple[PypiRow, ...] = ()) -> str:
        """Mirror these, and return the id of the snapshot that this leaves."""
        self.lock(*packages, pypi=pypi)
        assert index.main(["--manifest-path", str(self.mirror.root), "-q"]) == 0
        newest = newest_snapshot(self.mirror.workspace.place)
        assert newest is not None
        return newest.id

    def record(self, files: tuple[SnapshotFile, ...]) -> str:
        """Write the record of a snapshot with these files."""
        place = self.mirror.workspace.place
        made = new_snapshot(
            files,
            made_by="mirror",
            layout=Layout.FLAT,
            before=newest_snapshot(place),
            when=datetime(2026, 1, 1, tzinfo=UTC),
        )
        write_snapshot(place, made, files)
        return made.id

    def files(self, **artifacts: str) -> str:
        """Write the record of a snapshot of artifacts of linux-64: file name to sha256."""
        return self.record(made_up(artifacts))

    def diff(self, *names: str, code: int = 0) -> list[str]:
        """Run the task, and return its lines; of one that fails what it says on stderr."""
        self.capsys.readouterr()
        assert diff.main(["--manifest-path", str(self.mirror.root), *names]) == code
        out, err = self.capsys.readouterr()
        return (err if code else out).splitlines()

    def document(self, *names: str) -> Any:
        """Run the task with `--json`."""
        return json.loads("\n".join(self.diff("--json", *names)))


def made_up(artifacts: Mapping[str, str], license_: str | None = None) -> tuple[SnapshotFile, ...]:
    """Describe artifacts of linux-64, by name and sha256, of a byte each."""
    return tuple(
        SnapshotFile(
            path=PurePosixPath("linux-64", f"{name}.conda"),
            kind="conda",
            size=1,
            sha256=sha256,
            license=license_,
        )
        for name, sha256 in artifacts.items()
    )


@pytest.fixture
def world(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> World:
    return World(make_mirror(tmp_path / "workspace"), tmp_path / "upstream", capsys)


def test_without_a_name_it_says_what_the_next_mirror_changes(world: World) -> None:
    world.publish(A1, B)
    assert world.diff() == ["no package changed: channel -> lock", "to carry: 0 artifacts, 0 B"]
    world.lock(A2, C)
    size = human_size(len(A2.data) + len(C.data))
    assert world.diff() == [
        "channel -> lock:",
        "channel, linux-64: 1 added, 1 changed",
        "  ~ a  1.0 0 -> 2.0 0",
        "  + c  1.0 h1234567_3",
        "channel, noarch: 1 removed",
        "  - b  1.0 0",
        "other licences than before:",
        "channel, linux-64: 1 changed",
        "  ~ a  MIT -> BSD-3-Clause",
        f"to carry: 2 artifacts, {size}",
    ]
    # And it does: what is retained then is not told for ever.
    world.publish(A2, C)
    retained = human_size(len(A1.data) + len(B.data))
    assert world.diff() == [
        "no package changed: channel -> lock",
        f"besides: 2 artifacts, {retained}, retained or named by others",
        "to carry: 0 artifacts, 0 B",
    ]
    assert world.diff("lock", "channel") == [
        "no package changed: lock -> channel",
        f"besides: 2 artifacts, {retained}, retained or named by others",
        "to carry: 0 artifacts, 0 B",
    ]
    # Back to what is retained: nothing is to be carried for that.
    world.lock(A1, C)
    lines = world.diff()
    assert lines[2] == "  < a  went back 2.0 0 -> 1.0 0"
    assert lines[-1] == "to carry: 0 artifacts, 0 B"


def test_two_snapshots_and_the_channel(world: World) -> None:
    one, two = world.publish(A1, B), world.publish(A2, B)
    lines = world.diff(one, two)
    assert lines[:-1] == [
        f"snapshot {one} -> snapshot {two}:",
        "channel, linux-64: 1 changed",
        "  ~ a  1.0 0 -> 2.0 0",
        "other licences than before:",
        "channel, linux-64: 1 changed",
        "  ~ a  MIT -> BSD-3-Clause",
        f"their former versions are still in snapshot {two}: 1 package",
    ]
    assert lines[-1].startswith("to carry: 1 artifact and ")
    assert world.diff(one)[1:3] == lines[1:3]  # A alone: to the channel
    assert world.diff(two) == [
        f"no package changed: snapshot {two} -> channel",
        "to carry: 0 artifacts, 0 B",
    ]
    assert world.mirror.prune("--now") == 0
    assert world.diff(one)[2:6] == [
        "  ~ a  1.0 0 -> 2.0 0",
        "other licences than before:",
        "channel, linux-64: 1 changed",
        "  ~ a  MIT -> BSD-3-Clause",
    ]
    assert world.diff(two)[2] == "  - a  1.0 0"
    assert world.diff("channel", one)[2] == "  < a  went back 2.0 0 -> 1.0 0"


def test_what_is_to_be_carried_is_what_the_later_one_has_and_the_earlier_has_not(
    world: World,
) -> None:
    one, two = world.publish(A1, B), world.publish(A2, B)
    place = world.mirror.workspace.place
    texts = [record_of(place, each).read_text("utf-8").splitlines()[1:] for each in (one, two)]
    had, has = ({row[3]: row[2] for row in map(json.loads, each)} for each in texts)
    carried = world.document(one, two)["to-carry"]
    assert {each["sha256"] for each in carried["files"]} == has.keys() - had.keys()
    assert carried["bytes"] == sum(has[sha256] for sha256 in has.keys() - had.keys())


def test_a_lock_by_its_path(world: World, tmp_path: Path) -> None:
    world.publish(A1, B)
    earlier = tmp_path / "earlier.lock"
    earlier.write_bytes((world.mirror.root / "pixi.lock").read_bytes())
    world.lock(A2, B)
    changed = ["channel, linux-64: 1 changed", "  ~ a  1.0 0 -> 2.0 0"]
    assert world.diff(str(earlier), "lock")[:3] == [f"{earlier} -> lock:", *changed]
    assert world.diff(str(earlier))[0] == f"no package changed: {earlier} -> channel"
    world.publish(A2, B)
    assert world.diff(str(earlier))[:3] == [f"{earlier} -> channel:", *changed]
    assert world.diff("lock", str(earlier))[2] == "  < a  went back 2.0 0 -> 1.0 0"


def test_other_bytes_under_one_name_are_a_reupload(world: World) -> None:
    one = world.files(**{"a-1.0-0": "a" * 64, "b-1.0-0": "b" * 64})
    two = world.files(**{"a-1.0-0": "c" * 64, "b-1.0-0": "b" * 64})
    assert world.diff(one, two) == [
        f"snapshot {one} -> snapshot {two}:",
        "channel, linux-64: 1 re-uploaded",
        "  ! a  1.0 0 has other bytes than before (re-uploaded)",
        "to carry: 1 artifact, 1 B",
    ]


def test_another_file_of_one_version_is_a_change_that_names_both(world: World) -> None:
    one = world.files(**{"a-1.0-0": "a" * 64})
    other = replace(
        made_up({"a-1.0-0": "b" * 64})[0], path=PurePosixPath("linux-64/a-1.0-0.tar.bz2")
    )
    two = world.record((other,))
    assert world.diff(one, two)[1:3] == [
        "channel, linux-64: 1 changed",
        "  ~ a  1.0 0 (a-1.0-0.conda) -> 1.0 0 (a-1.0-0.tar.bz2)",
    ]


@pytest.mark.parametrize("more", ["", "subdirectory=py/own&"])
def test_a_direct_url_is_one_file_at_both_of_its_places(world: World, more: str) -> None:
    def files(**wheels: str) -> str:
        folder = PurePosixPath("_pypi/files/files.example.org")
        return world.record(
            tuple(
                SnapshotFile(path=folder / name, kind="wheel", size=1, sha256=sha256)
                for tags, sha256 in wheels.items()
                for plain in [f"w-1.0-{tags}-none-any.whl"]
                for name in (plain, f"{plain}#{more}sha256={sha256}")
            )
        )

    one, two = files(py3="a" * 64), files(py3="a" * 64, cp311="b" * 64, cp312="c" * 64)
    assert world.diff(one, two)[1:] == [
        "PyPI, files.example.org: 2 added",
        "  + w  [pypi] 1.0 (w-1.0-cp311-none-any.whl)",
        "  + w  [pypi] 1.0 (w-1.0-cp312-none-any.whl)",
        "to carry: 2 artifacts, 2 B",
    ]
    assert world.diff(one, files(py3="b" * 64))[1:3] == [
        "PyPI, files.example.org: 1 re-uploaded",
        "  ! w  [pypi] 1.0 has other bytes than before (re-uploaded)",
    ]
    # The control: another file it is, where its name is another.
    assert world.diff(one, files(cp311="a" * 64))[1:3] == [
        "PyPI, files.example.org: 1 changed",
        "  ~ w  [pypi] 1.0 (w-1.0-py3-none-any.whl) -> 1.0 (w-1.0-cp311-none-any.whl)",
    ]


def test_a_licence_is_what_any_file_of_the_version_says(world: World) -> None:
    def files(license_: str) -> tuple[SnapshotFile, ...]:
        silent, *_ = made_up({"a-1.0-0": "a" * 64})
        path = PurePosixPath("linux-64/a-1.0-0.tar.bz2")
        return silent, replace(silent, path=path, sha256="b" * 64, license=license_)

    one, two = world.record(files("MIT")), world.record(files("BSD-3-Clause"))
    assert world.diff(one, two)[1:4] == [
        "other licences than before:",
        "channel, linux-64: 1 changed",
        "  ~ a  MIT -> BSD-3-Clause",
    ]


def test_the_same_bytes_are_carried_once_and_not_where_they_are(world: World) -> None:
    one = world.files(**{"a-1.0-0": "a" * 64})
    two = world.files(
        **{"a-1.0-0": "a" * 64, "a2-1-0": "a" * 64, "x-1-0": "b" * 64, "y-1-0": "b" * 64}
    )
    assert world.diff(one, two)[-1] == "to carry: 1 artifact, 1 B"


def test_a_licence_that_changed_with_the_record_alone(world: World) -> None:
    one = world.record(made_up({"a-1.0-0": "a" * 64}, "MIT"))
    two = world.record(made_up({"a-1.0-0": "a" * 64}, "GPL-3.0-only\x1b[31m|"))
    assert world.diff(one, two) == [
        f"no package changed: snapshot {one} -> snapshot {two}",
        "other licences than before:",
        "channel, linux-64: 1 changed",
        "  ~ a  MIT -> GPL-3.0-only\\x1b[31m|",
        "to carry: 0 artifacts, 0 B",
    ]
    assert "\n| `a` | `MIT` | `GPL-3.0-only\\x1b[31m\\|` | changed |\n" in "\n".join(
        world.diff(one, two, "--markdown", "-")
    )
    # One that nobody knows is none.
    three = world.record(made_up({"a-1.0-0": "a" * 64}))
    assert world.diff(two, three)[1:] == ["to carry: 0 artifacts, 0 B"]


@pytest.mark.parametrize(
    ("before", "after", "changes"),
    [
        # Two Pythons of two environments, one of which moves on.
        (("3.12.1", "3.13.1"), ("3.12.2", "3.13.1"), ["  ~ p  3.12.1 0 -> 3.12.2 0"]),
        (
            ("3.12.1", "3.13.1"),
            ("3.12.2", "3.13.2"),
            ["  ~ p  3.12.1 0 -> 3.12.2 0", "  ~ p  3.13.1 0 -> 3.13.2 0"],
        ),
        (("3.12.1",), ("3.12.1", "3.13.1"), ["  ~ p  3.12.1 0 -> 3.13.1 0"]),
        (("3.13.1",), ("3.12.1", "3.13.1"), ["  + p  3.12.1 0"]),
        (("1.9", "1.10"), ("1.10",), ["  - p  1.9 0"]),
        (("1.10",), ("1.9",), ["  < p  went back 1.10 0 -> 1.9 0"]),
        (("1", "2"), ("3",), ["  ~ p  2 0 -> 3 0", "  - p  1 0"]),
        (("1",), ("2", "3"), ["  ~ p  1 0 -> 2 0", "  + p  3 0"]),
        (("1-h1234567_1",), ("1-h7654321_0",), ["  < p  went back 1 h1234567_1 -> 1 h7654321_0"]),
        (("1-h1234567_1",), ("1-h7654321_1",), ["  ~ p  1 h1234567_1 -> 1 h7654321_1"]),
        (
            ("1-py312h1234567_0", "1-py313h1234567_0"),
            ("2-py312h7654321_0", "2-py313h7654321_0"),
            [
                "  ~ p  1 py312h1234567_0 -> 2 py312h7654321_0",
                "  ~ p  1 py313h1234567_0 -> 2 py313h7654321_0",
            ],
        ),
        (("1.0",), ("no_version!",), ["  ~ p  1.0 0 -> no_version! 0"]),  # nobody can tell
    ],
)
def test_which_version_follows_which(
    world: World, before: tuple[str, ...], after: tuple[str, ...], changes: list[str]
) -> None:
    """Of one package a channel has several versions: of several environments, and retained."""
    ids = [
        world.files(
            **{f"p-{each}" + ("" if "-" in each else "-0"): f"{each:0<64}" for each in versions}
        )
        for versions in (before, after)
    ]
    shown = [line for line in world.diff(*ids) if line.startswith("  ")]
    assert shown == changes


def test_by_channel_each_channel_is_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = World(make_mirror(tmp_path / "w", "by-channel"), tmp_path / "upstream", capsys)
    one = world.publish(A1, B)
    world.lock(A2, B)
    changed = ["conda-forge, linux-64: 1 changed", "  ~ a  1.0 0 -> 2.0 0"]
    assert world.diff()[1:3] == changed
    assert world.document()["changes"][0]["channel"] == "conda-forge"
    # Of snapshots the paths alone tell it.
    assert world.diff(one, world.publish(A2, B))[1:3] == changed


def test_what_other_workspaces_name_is_not_compared_with_the_lock(
    world: World, tmp_path: Path
) -> None:
    world.publish(A1, B)
    where = f'channel-dir = "{world.mirror.folder.as_posix()}"\n'
    other = make_mirror(tmp_path / "other", name="other", settings=where)
    other.lock(rows(world.upstream, (C,)))
    assert replace(world, mirror=other).diff()[:3] == [
        "channel -> lock:",
        "channel, linux-64: 1 added",
        "  + c  1.0 h1234567_3",
    ]
    other.index()
    size = human_size(len(C.data))
    assert world.diff() == [
        "no package changed: channel -> lock",
        f"besides: 1 artifact, {size}, retained or named by others",
        "to carry: 0 artifacts, 0 B",
    ]
    left = world.document()["not-compared"]
    assert [each["path"] for each in left["files"]] == [f"linux-64/{C.file_name}"]


def test_pypi_packages(world: World, tmp_path: Path) -> None:
    def row(wheel: TinyWheel) -> PypiRow:
        written = wheel.write(tmp_path / "pypi")
        url = f"https://files.example.org/{written.path.name}"
        return PypiRow(written=written, index="https://pypi.org/simple", url=url)

    w1 = row(TinyWheel(name="W_x", version="1.10", license="MIT"))
    w2 = row(TinyWheel(name="W_x", version="1.9", license="GPL-3.0-only"))
    more = row(TinyWheel(name="W_x", version="1.9", license="GPL-3.0-only", tags="cp311-none-any"))
    one = world.publish(B, pypi=(w1,))
    world.lock(B, pypi=(w2,))
    lines = world.diff()
    assert lines[:-1] == [
        "channel -> lock:",
        "PyPI, files.example.org: 1 went back",
        "  < w-x  [pypi] went back 1.10 -> 1.9 (GPL-3.0-only)",
        "other licences than before:",
        "PyPI, files.example.org: 1 changed",
        "  ~ w-x  [pypi] MIT -> GPL-3.0-only",
    ]
    assert lines[-1].startswith("to carry: 1 artifact, ")
    two = world.publish(B, pypi=(w2,))
    # The newer one is retained, and so the channel has not gone back.
    assert world.diff(one, two)[2] == "  + w-x  [pypi] 1.9 (GPL-3.0-only)"
    three = world.publish(B, pypi=(w2, more))
    assert world.diff(two, three)[2] == (
        "  + w-x  [pypi] 1.9 (w_x-1.9-cp311-none-any.whl) (GPL-3.0-only)"
    )
    # As the lock alone would have it, no wheel of 1.9 but one more.
    assert world.mirror.prune("--now") == 0
    assert world.diff(one)[2] == "  < w-x  [pypi] went back 1.10 -> 1.9 (GPL-3.0-only)"


def test_json_and_markdown(world: World, tmp_path: Path) -> None:
    one, two = world.publish(A1, B), world.publish(A2, B)
    document = world.document(one, two)
    assert document["changes"] == [
        {
            "channel": ".",
            "subdir": "linux-64",
            "changes": [
                {
                    "kind": "changed",
                    "name": "a",
                    "before": "1.0 0",
                    "after": "2.0 0",
                    "source": "conda",
                    "license": None,
                }
            ],
        }
    ]
    [place] = document["licenses"]
    [licence] = place["changes"]
    assert (place["channel"], place["subdir"], licence["name"]) == (".", "linux-64", "a")
    assert (licence["before"], licence["after"]) == ("MIT", "BSD-3-Clause")
    assert (document["from"], document["to"]) == (f"snapshot {one}", f"snapshot {two}")
    file = tmp_path / "changes.md"
    lines = world.diff(one, two, "--markdown", str(file))
    assert lines == world.diff(one, two)
    text = file.read_text("utf-8")
    assert text == (
        f"`snapshot {one}` -> `snapshot {two}`\n\n"
        "### `channel`\n\n"
        "`linux-64`: 1 changed\n\n"
        "| package | from | to | |\n| --- | --- | --- | --- |\n"
        "| `a` | `1.0 0` | `2.0 0` | changed |\n\n"
        "## Other licences than before\n\n"
        "### `channel`\n\n"
        "`linux-64`: 1 changed\n\n"
        "| package | from | to | |\n| --- | --- | --- | --- |\n"
        "| `a` | `MIT` | `BSD-3-Clause` | changed |\n\n"
        f"- their former versions are still in snapshot {two}: 1 package\n"
        f"- {lines[-1]}\n"
    )
    assert world.diff(one, two, "--markdown", "-") == text.splitlines()
    for folder in (".", str(tmp_path)):
        assert world.diff(one, two, "--markdown", folder, code=2) == [
            f"error: {folder}: cannot write this file: it is a folder"
        ]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no pipes in folders")
def test_where_markdown_goes_is_no_file(world: World, tmp_path: Path) -> None:
    """As `/dev/stdout` and `/dev/null`, which root may replace."""
    one, two = world.publish(A1, B), world.publish(A2, B)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "stdout").symlink_to("pipe")
    for name in ("pipe", "stdout"):
        said = f"error: {tmp_path / name}: cannot write this file: it is no file"
        assert world.diff(one, two, "--markdown", str(tmp_path / name), code=2) == [said]
    assert (tmp_path / "pipe").is_fifo()
    assert world.diff(one, two, "--markdown", 300 * "x", code=2) == [
        f"error: {300 * 'x'}: cannot write this file: {os.strerror(errno.ENAMETOOLONG)}"
    ]
    # Control: a link to a file leads to it.
    (tmp_path / "link").symlink_to("file")
    world.diff(one, two, "--markdown", str(tmp_path / "link"))
    assert (tmp_path / "file").read_text("utf-8").startswith(f"`snapshot {one}`")
    assert (tmp_path / "link").is_symlink()


def test_names_that_are_nothing(world: World) -> None:
    one, two = world.publish(A1, B), world.publish(A2, B)
    assert world.diff("nosuch", code=2) == [
        "error: nosuch: is the id of no snapshot",
        f"  there is  {two}",
        f"  there is  {one}",
        "help: pixi run snapshots",
    ]
    assert world.diff("2026", code=2)[0] == "error: 2026: begins the id of several snapshots"
    assert world.diff("no/such.lock", code=2) == [
        "error: no/such.lock: there is no such lock file",
        (
            "help: name `channel`, `lock`, the path of a lock or of a receipt, or a snapshot's id"
            " or how that begins"
        ),
    ]
    assert world.diff("", code=2)[0] == "error: diff: an empty name"


def test_a_receipt_that_was_typed_off_wrong(world: World, tmp_path: Path) -> None:
    """It is told what is wrong with it, and is taken for no lock; the control: as it was."""
    one = world.publish(A1, B)
    newest = newest_snapshot(world.mirror.workspace.place)
    assert newest is not None
    values = (newest.content_digest, one, 1, 1, 0, 0, "2026-11-01T00:00:00+00:00")
    said = render_receipt(Receipt(*values))[1].decode()
    file = tmp_path / "receipt.txt"
    for encoding in ("utf-8", "utf-16"):
        file.write_text(said.replace("files: 1", "files: l"), encoding=encoding)
        assert world.diff(str(file), code=2)[:2] == [
            f"error: {file}: is no receipt, or is damaged",
            "  reason  its files cannot be 'l'",
        ]
        file.write_text(said, encoding=encoding)
        assert world.diff(str(file))[0].startswith("no package changed: ")


def test_two_snapshots_need_no_lock(world: World) -> None:
    """As on the far side of a gap, where a channel was unbundled."""
    one, two = world.publish(A1, B), world.publish(A2, B)
    expected = world.diff(one, two)
    (world.mirror.root / "pixi.lock").unlink()
    assert world.diff(one, two) == expected
    assert world.diff(code=2)[0].endswith("cannot read this lock file: there is no such file")
    assert world.diff("lock", one, code=2) == world.diff(code=2)


def test_it_changes_nothing(world: World) -> None:
    world.publish(A1, B)
    world.lock(A2, B)

    def everything() -> dict[Path, bytes]:
        root = world.mirror.root
        return {each: each.read_bytes() for each in root.rglob("*") if each.is_file()}

    before = everything()
    world.diff()
    assert everything() == before


def test_what_one_may_not_look_at_is_named(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for another user's folders and files, for whoever is root."""
    world.publish(A1)
    subdir, lock = world.mirror.folder / "linux-64", tmp_path / "closed" / "pixi.lock"
    lock.parent.mkdir()
    shutil.copyfile(world.mirror.root / "pixi.lock", lock)
    file = subdir / "repodata_shards.msgpack.zst"
    for path, name, function in ((file, "channel", open), (lock, str(lock), os.stat)):
        with monkeypatch.context() as patched:
            forbid(patched, path.parent, function)
            said = world.diff(name, "lock", code=2)
        assert said[0].endswith(": cannot be read: Permission denied")
        assert Path(said[0].removeprefix("error: ").partition(": ")[0]).parent == path.parent
        assert world.diff(name, "lock")[-1] == "to carry: 0 artifacts, 0 B"


def test_of_a_file_that_one_may_not_look_at_nobody_knows_the_licence(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheels = [TinyWheel(name="w", version=x, license="MIT") for x in ("1.0", "1.1")]
    url = "https://files.example.org/"
    one, two = (
        PypiRow(written=each.write(tmp_path / "pypi"), url=url + each.file_name) for each in wheels
    )
    world.lock(pypi=(one,))
    shutil.copyfile(world.mirror.root / "pixi.lock", tmp_path / "one.lock")
    world.lock(pypi=(two,))
    names = (str(tmp_path / "one.lock"), "lock")
    with monkeypatch.context() as patched:
        forbid(patched, world.mirror.folder / "_pypi" / "files" / "files.example.org", os.stat)
        assert world.diff(*names)[2] == "  ~ w  [pypi] 1.0 -> 1.1"
    assert world.diff(*names)[2] == "  ~ w  [pypi] 1.0 -> 1.1 (MIT)"
