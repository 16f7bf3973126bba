"""Bundles altered at random: nothing is written outside, nothing is believed, and no traceback.

Some hundreds in a normal run, 100,000 with `--deep`. Where SHA256SUMS was made anew, as whoever
alters a bundle on purpose would, it may be taken only if the channel gets just what was promised.
"""

from __future__ import annotations

import copy
import io
import json
import os
import random
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scripts.keep import unbundle as far
from tests.support.bundles import NEW, OLD, sha256, sum_again, there, write_bundle

CASES = 100_000
SAMPLE = 400
CHUNKS = 8

HOSTILE = (
    *("../../outside/x", "/tmp/x", "linux-64/../../../outside/x", "a\\..\\b", "C:x", "NUL", "a."),
    *(
        "linux-64/B-1.0-0.conda",
        "linux-64",
        "linux-64/a-2.0-0.conda/x",
        "\ud800",
        "a\0b",
        "x" * 300,
    ),
    *("noarch/\u212aelvin.conda", "../.pixi-mirror/channel/state/channel.json", "", ".", "=x"),
)
ODD: tuple[Any, ...] = (
    None,
    True,
    False,
    -1,
    0,
    1,
    1.5,
    1 << 70,
    "",
    "0",
    "=",
    [],
    {},
    [[]],
    float("nan"),
    *HOSTILE,
)


def _nodes(value: Any) -> list[tuple[Any, Any]]:
    """List every container of a document with each of its keys."""
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    found = [(value, key) for key in keys]
    for key in keys:
        if isinstance(value[key], (dict, list)):
            found += _nodes(value[key])
    return found


def _alter_document(out: Path, chance: random.Random) -> None:
    """Change what bundle.json says, keeping it JSON."""
    document = json.loads((out / "bundle.json").read_bytes())
    for _ in range(chance.randint(1, 2)):
        holder, key = chance.choice(_nodes(document))
        kind = chance.choice(["odd", "odd", "drop", "again", "swap", "hostile", "near"])
        if kind == "drop":
            del holder[key]
        elif kind == "again" and isinstance(holder, list):
            holder.append(copy.deepcopy(holder[key]))
        elif kind == "swap" and isinstance(holder, list):
            other = chance.randrange(len(holder))
            holder[key], holder[other] = holder[other], holder[key]
        elif kind == "near" and type(holder[key]) is int:
            holder[key] += chance.choice([-1, 1, 512])
        elif kind == "hostile":
            files = document.get("files")  # which the first change may have made anything
            row = chance.choice(files) if isinstance(files, list) and files else None
            if isinstance(row, list) and row:
                row[chance.choice([0, -1])] = chance.choice(("", "=")) + chance.choice(HOSTILE)
        else:
            holder[key] = copy.deepcopy(chance.choice(ODD))
        if not document:
            break
    (out / "bundle.json").write_text(json.dumps(document), encoding="utf-8")


def _alter_text(out: Path, chance: random.Random) -> None:
    """Change the text of bundle.json so that it may be JSON no more, or nested without end."""
    file = out / "bundle.json"
    text = file.read_text(encoding="utf-8")
    at = chance.randrange(len(text))
    text = chance.choice(
        [
            text[:at],
            text[:at] + chance.choice('{}[],:"\\0 \x00\u00e9') + text[at + 1 :],
            text.replace('"format": 1', '"format": 1, "format": 1'),
            text.replace('"removed": [', '"removed": [' + "[" * 100_000),
            text + "x",
            '{"a":' * 50_000,
        ]
    )
    file.write_text(text, encoding="utf-8")


def _alter_text_and_sums(out: Path, chance: random.Random) -> None:
    _alter_text(out, chance)


def _alter_file(out: Path, chance: random.Random) -> None:
    """Flip, cut, lengthen, empty, remove or replace a file."""
    file = chance.choice(sorted(each for each in out.rglob("*") if each.is_file()))
    data = bytearray(file.read_bytes())
    kind = chance.choice(
        ["flip", "flip", "flip", "cut", "more", "remove", "link", "hard", "folder"]
    )
    if kind == "flip" and data:
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        file.write_bytes(data)
    elif kind == "cut" and data:
        file.write_bytes(data[: chance.randrange(len(data))])
    elif kind == "more":
        file.write_bytes(data + bytes(chance.choice([1, 512, 1024])))
    else:
        file.unlink()
        if kind == "link":
            file.symlink_to(out.parent / "outside" / "x")
        elif kind == "hard":
            os.link(out.parent / "outside" / "x", file)
        elif kind == "folder":
            file.mkdir()


def _add_file(out: Path, chance: random.Random) -> None:
    """Put something into the bundle that it does not name."""
    name = chance.choice(
        ["x", "files/x", "files/linux-64/x", "locks/1/pixi.lock", "volume-009.tar"]
    )
    path = out / name
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = chance.choice(["file", "link", "folder link", "pipe"])
    if kind == "file":
        path.write_bytes(b"")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(out.parent / "outside", target_is_directory=kind == "folder link")


def _alter_volume(out: Path, chance: random.Random) -> None:
    """Write a tar file anew: PAX records, links, devices, sparse files, names that lead outside."""
    volume = chance.choice(sorted(out.glob("volume-*.tar")))
    written = io.BytesIO()
    form = chance.choice([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
    with tarfile.open(volume) as old, tarfile.open(fileobj=written, mode="w", format=form) as new:
        members = old.getmembers()
        chosen = chance.randrange(len(members))
        for number, member in enumerate(members):
            data = old.extractfile(member)
            assert data is not None
            if number == chosen:
                _make_odd(member, chance)
            new.addfile(member, data if member.isreg() else None)
    volume.write_bytes(written.getvalue())
    if chance.random() < 0.7:  # as long as it should be
        size = json.loads((out / "bundle.json").read_bytes())["volumes"][0]["size"]
        volume.write_bytes(written.getvalue()[:size].ljust(size, b"\0"))
    document = json.loads((out / "bundle.json").read_bytes())
    for said in document["volumes"]:
        if said["name"] == volume.name:
            said.update(size=volume.stat().st_size, sha256=sha256(volume.read_bytes()))
    (out / "bundle.json").write_text(json.dumps(document, indent=1), encoding="utf-8")


def _make_odd(member: tarfile.TarInfo, chance: random.Random) -> None:
    kind = chance.choice(["path", "pax", "pax size", "sparse", "link", "symlink", "device", "mode"])
    if kind == "path":
        member.name = chance.choice(["../outside/x", "/tmp/x", "files/../../outside/x"])
    elif kind == "pax":
        member.pax_headers = {"path": "../outside/x", "linkpath": "/etc/passwd"}
    elif kind == "pax size":
        member.pax_headers = {"size": "1", "GNU.sparse.realsize": "999999"}
    elif kind == "sparse":
        member.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}
    elif kind == "mode":
        member.mode, member.uid, member.uname = 0o6777, 1000, "x"
    else:
        member.type = {"link": tarfile.LNKTYPE, "symlink": tarfile.SYMTYPE}.get(
            kind, tarfile.CHRTYPE
        )
        member.linkname = "../../outside/x"


ALTER = (
    *(_alter_document, _alter_document, _alter_text, _alter_text_and_sums),
    *(_alter_file, _add_file),
)


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_no_altered_bundle_is_believed(chunk: int, tmp_path: Path, *, deep: bool) -> None:
    beginning = tmp_path / "beginning"
    far.unbundle(str(write_bundle(beginning / "full", OLD)), str(beginning / "far" / "channel"))
    for volumes in (0, 2):
        write_bundle(beginning / f"out{volumes}", NEW, base=OLD, day=2, volumes=volumes)
    (beginning / "outside").mkdir()
    (beginning / "outside" / "x").write_bytes(b"x")
    root = _begin(tmp_path, beginning)
    refused = 0
    for number in range(chunk, CASES if deep else SAMPLE, CHUNKS):
        chance = random.Random(number)
        out, before = root / "out", _everything(root)
        volumes = chance.choice([0, 2])
        shutil.copytree(beginning / f"out{volumes}", out)
        alter = chance.choice([*ALTER, *([_alter_volume, _alter_volume] if volumes else ())])
        is_refused = _is_refused(alter, out, chance, root)
        shutil.rmtree(out, ignore_errors=True)
        if is_refused:
            refused += 1
            assert _everything(root) == before, f"{number}: {alter.__name__}"
        else:
            assert alter in {_alter_document, _alter_text_and_sums}, (
                f"{number}: {alter.__name__} was taken"
            )
            # Another id, label, kind, layout or blank, with the very files: nothing can tell.
            assert there(root / "far" / "channel") == {**OLD, **NEW}, number
            assert (root / "outside" / "x").read_bytes() == b"x"
            assert sorted(each.name for each in root.iterdir()) == ["far", "outside"]
            shutil.rmtree(root)
            root = _begin(tmp_path, beginning)
    assert refused > 0.9 * len(range(chunk, CASES if deep else SAMPLE, CHUNKS))


@pytest.fixture(autouse=True)
def _no_waiting_for_other_writers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do without `os.sync`, which waits for all that any program has written."""
    monkeypatch.setattr(os, "sync", lambda: None, raising=False)


def _begin(tmp_path: Path, beginning: Path) -> Path:
    root = tmp_path / "root"
    for name in ("far", "outside"):
        shutil.copytree(beginning / name, root / name)
    return root


def _is_refused(
    alter: Callable[[Path, random.Random], None], out: Path, chance: random.Random, root: Path
) -> bool:
    """Alter a bundle and try it; any other exception than a refusal is a bug."""
    original = there(out)
    alter(out, chance)
    if alter in {_alter_document, _alter_volume, _alter_text_and_sums}:
        sum_again(out)
    if there(out) == original and alter is not _add_file:  # as if nothing had been altered
        return True
    return far.main(["-q", str(out), str(root / "far" / "channel")]) in {1, 2}


def _everything(root: Path) -> dict[str, tuple[int, bytes]]:
    """Read all that must not change: of every file its time and bytes."""
    return {
        str(each.relative_to(root)): (each.lstat().st_mtime_ns, each.read_bytes())
        for each in sorted(root.rglob("*"))
        if each.is_file() and each.name != "run.lock"
    }


def test_an_unaltered_bundle_is_believed(tmp_path: Path) -> None:
    """The control: the same bundles, with not a byte changed."""
    for volumes in (0, 2):
        channel = str(tmp_path / f"far{volumes}" / "channel")
        far.unbundle(str(write_bundle(tmp_path / f"full{volumes}", OLD)), channel)
        out = write_bundle(tmp_path / f"out{volumes}", NEW, base=OLD, day=2, volumes=volumes)
        sums = (out / "SHA256SUMS").read_bytes()
        sum_again(out)
        assert (out / "SHA256SUMS").read_bytes() == sums
        assert far.unbundle(str(out), channel).counts[0] is not None
