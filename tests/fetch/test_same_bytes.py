"""One digest, one download, and right bytes in every place, whatever the servers do."""

from __future__ import annotations

import dataclasses
import os
import random
from pathlib import Path

import pytest

from scripts.channel.part import PartFile
from tasks import fetch, verify
from tests.support.locks import EnvironmentRows, LockRow, PlatformRows, write_lock
from tests.support.packages import TinyPackage, WrittenPackage
from tests.support.replies import (
    Ranges,
    Reply,
    login_page,
    ranged,
    reset,
    status,
    truncated,
    wrong_bytes,
)
from tests.support.upstream import Upstream

MANIFEST = """\
[workspace]
name = "w"
channels = ["conda-forge"]
platforms = ["linux-64"]
[tool.pixi-mirror]
layout = "by-channel"
"""


@pytest.fixture
def written(upstream: Upstream) -> WrittenPackage:
    return TinyPackage(name="cedar", padding=300_000).write(upstream.folder / "ch0")


def make_workspace(root: Path, rows: list[LockRow]) -> None:
    """Write a manifest and a lock with an environment for each row."""
    root.mkdir()
    (root / "pixi.toml").write_text(MANIFEST, encoding="utf-8")
    environments = tuple(
        EnvironmentRows(
            name=f"e{number}" if number else "default",
            channels=(row.channel,),
            platforms=(PlatformRows(name="linux-64", rows=(row,)),),
        )
        for number, row in enumerate(rows)
    )
    write_lock(root / "pixi.lock", environments)


def offer(upstream: Upstream, written: WrittenPackage, channels: int) -> list[LockRow]:
    """Serve the same artifact from several channels, and name it once for each."""
    data = written.path.read_bytes()
    rows = []
    for number in range(channels):
        file = upstream.folder / f"ch{number}" / "noarch" / written.path.name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        rows.append(LockRow(written=written, channel=f"{upstream.url}/ch{number}"))
    return rows


def places(root: Path) -> dict[str, bytes]:
    """Read all that is under a final name, by channel."""
    channel = root / "local-channel"
    return {
        file.relative_to(channel).parts[1]: file.read_bytes()
        for file in sorted(channel.rglob("*"))
        if file.is_file()
    }


def run(root: Path, *options: str) -> int:
    return fetch.main(["--manifest-path", str(root), *options])


def test_two_places_take_one_download(
    upstream: Upstream, written: WrittenPackage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_workspace(tmp_path / "w", offer(upstream, written, 2))
    data = written.path.read_bytes()
    size = f"{len(data) / 1000:.1f} kB"
    assert run(tmp_path / "w") == 0
    out, err = capsys.readouterr()
    assert out == f"fetch: 2 artifacts fetched, {size}; 0 were there already\n"
    assert err.startswith(
        f"fetch: 1 to download into local-channel, {size}, 1 with the same bytes as another, "
    )
    assert places(tmp_path / "w") == {"ch0": data, "ch1": data}
    assert len(upstream.requests) == 1
    assert run(tmp_path / "w") == 0
    assert capsys.readouterr().out == "fetch: nothing to do, 2 artifacts are there\n"


def test_a_place_that_is_gone_or_wrong_is_made_from_the_other_with_no_network(
    upstream: Upstream, written: WrittenPackage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """So no byte of it has come."""
    root = tmp_path / "w"
    make_workspace(root, offer(upstream, written, 3))
    assert run(root) == 0
    [one, two, _] = sorted((root / "local-channel").rglob("*.conda"))
    one.unlink()
    two.unlink()
    two.write_bytes(b"wrong")
    upstream.always("*", status(500))
    capsys.readouterr()
    assert run(root) == 0
    assert capsys.readouterr().out == "fetch: 2 artifacts fetched, 0 B; 1 was there already\n"
    assert set(places(root).values()) == {written.path.read_bytes()}
    assert len(upstream.requests) == 1


def test_without_links_it_is_copied_and_hashed(
    upstream: Upstream,
    written: WrittenPackage,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A file system without hard links cannot be had here, so `os.link` stands in for one.

    The control: where the copy reads other bytes than were placed, nothing is placed.
    """

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    root = tmp_path / "w"
    make_workspace(root, offer(upstream, written, 2))
    assert run(root) == 0
    assert set(places(root).values()) == {written.path.read_bytes()}
    one, two = sorted((root / "local-channel").rglob("*.conda"))
    assert one.stat().st_ino != two.stat().st_ino
    two.unlink()
    status_ = one.stat()
    with one.open("r+b") as file:  # a bad disk: other bytes, the same size and time
        file.write(b"PKxx")
    os.utime(one, ns=(status_.st_atime_ns, status_.st_mtime_ns))
    capsys.readouterr()
    assert run(root) == 1
    assert "sha256 differs from pixi.lock" in capsys.readouterr().err
    assert not two.exists()


def test_a_row_with_another_size_is_told_and_not_placed(
    upstream: Upstream, written: WrittenPackage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = offer(upstream, written, 2)
    other = dataclasses.replace(two, written=dataclasses.replace(written, size=written.size + 1))
    make_workspace(tmp_path / "w", [one, other])
    assert run(tmp_path / "w") == 1
    assert "size differs from pixi.lock" in capsys.readouterr().err
    assert list(places(tmp_path / "w")) == ["ch0"]


def misbehaviour(chance: random.Random, size: int) -> Reply:
    """Choose how a server goes wrong once."""
    return chance.choice(
        [
            truncated(chance.randrange(size)),
            truncated(chance.randrange(size), has_length=False),
            reset(chance.randrange(size)),
            wrong_bytes(size),
            wrong_bytes(chance.randrange(size)),
            login_page(),
            status(503),
            Reply(ranges=Ranges.IGNORED, stop_after=chance.randrange(size)),
            Reply(ranges=Ranges.LIED, stop_after=chance.randrange(size)),
            Reply(ranges=Ranges.ELSEWHERE, stop_after=chance.randrange(size)),
        ]
    )


@pytest.mark.parametrize("seed", range(10))
def test_whatever_is_under_a_final_name_has_the_locked_sha256(
    upstream: Upstream, written: WrittenPackage, tmp_path: Path, seed: int
) -> None:
    """N places, M URLs, servers that cut, lie, restart without Range: right bytes or none."""
    chance = random.Random(seed)
    data = written.path.read_bytes()
    root = tmp_path / "w"
    channels = chance.randrange(2, 5)
    make_workspace(root, offer(upstream, written, channels))
    for number in range(channels):
        pattern = f"/ch{number}/*"
        upstream.once(
            pattern, *(misbehaviour(chance, len(data)) for _ in range(chance.randrange(3)))
        )
        upstream.always(
            pattern, ranged(chance.choice([Ranges.IGNORED, Ranges.LIED, Ranges.CORRECT]))
        )
    codes = [run(root)]
    assert set(places(root).values()) <= {data}
    upstream.behave()
    codes.append(run(root))
    assert codes[-1] == 0, codes
    assert list(places(root).values()) == [data] * channels


def test_a_part_has_one_writer(tmp_path: Path) -> None:
    """A second one would move the bytes under the first one's hands."""
    path = tmp_path / "x.part"
    with PartFile(path, "sha256") as part:
        part.write(b"first")
        with pytest.raises(OSError, match="another run is writing to it"), PartFile(path, "sha256"):
            pass
    with PartFile(path, "sha256") as part:  # the control: left, it can be gone on with
        assert part.size == 5


def test_what_is_placed_is_known_by_the_bytes_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.part"
    with PartFile(path, "sha256") as part:
        part.write(b"right")
        right = part.hex
        with path.open("ab") as other:
            other.write(b" and more")
        assert part.hex != right
        assert part.size == len(b"right and more")


@pytest.mark.skipif(os.name == "nt", reason="Windows removes no open file")
def test_a_part_whose_name_another_file_has_got_is_not_placed(tmp_path: Path) -> None:
    path = tmp_path / "x.part"
    with PartFile(path, "sha256") as part:
        part.write(b"right")
        path.unlink()
        path.write_bytes(b"wrong")
        with pytest.raises(OSError, match="another file has taken its place"):
            part.place(tmp_path / "target", durable=False)
    assert not (tmp_path / "target").exists()


def test_a_local_channel_that_moves_on_is_held_against_what_was_first_seen(tmp_path: Path) -> None:
    """Where the lock has no hash; the control: the mirror's own file is another."""
    root, options = tmp_path / "w", ["--manifest-path", str(tmp_path / "w"), "--allow-unhashed"]
    root.mkdir()
    (root / "pixi.toml").write_text(MANIFEST.replace('"by-channel"', '"flat"'), encoding="utf-8")
    written = TinyPackage(name="oak").write(tmp_path / "ch")
    row = LockRow(
        written=written,
        channel=(tmp_path / "ch").as_uri(),
        without=frozenset({"sha256", "md5", "size"}),
    )
    platforms = (PlatformRows(name="linux-64", rows=(row,)),)
    write_lock(root / "pixi.lock", (EnvironmentRows(platforms=platforms),))
    assert fetch.main([*options, "-q"]) == 0
    files = [*options, "--level", "files", "-q"]
    written.path.write_bytes(b"moved on")
    assert verify.main(files) == 0
    (root / "local-channel" / "noarch" / written.path.name).write_bytes(b"another")
    assert verify.main(files) == 1
