"""A bundle, by what coreutils and ssh-keygen say of it; and all that is refused before one is."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from scripts.core.channel_paths import ChannelPaths, channel_paths
from scripts.core.console import Console
from scripts.core.errors import ExitCode, MirrorError
from scripts.core.report import human_size
from scripts.keep import bundle, unbundle
from scripts.keep.bundle import write_bundle
from scripts.keep.bundle_plan import LargeFile, parse_volume_size, render_label
from scripts.keep.bundle_sources import base_by_id, base_by_receipt, read_lock_files, secrets_in
from scripts.keep.snapshots import SnapshotFile, SnapshotLock, find_snapshot
from tests.support.histories import QUIET, Channel, contents, plan, write

MEND = (
    "help: pixi run mirror, which mends it; where the channel came out of a bundle,"
    " unbundle a --full one"
)
A, B, COPY = "noarch/a-1.0-0.conda", "noarch/b-1.0-0.conda", "linux-64/a-1.0-0.conda"


@pytest.fixture
def channel(tmp_path: Path) -> Channel:
    """A channel of two artifacts, the bytes of one of them at two paths."""
    found = Channel(place=channel_paths(tmp_path / "builder" / "channel"))
    found.named = {A: b"a" * 5000, B: b"b" * 700, COPY: b"a" * 5000}
    found.publish()
    return found


def _check(out: Path) -> subprocess.CompletedProcess[str]:
    """Have coreutils check a bundle."""
    command = ["sha256sum", "--check", "--strict", unbundle.SUMS]
    return subprocess.run(command, cwd=out, capture_output=True, text=True, check=False)


def _refused(code: ExitCode, do: Callable[..., object], *arguments: Any, **named: Any) -> str:
    with pytest.raises(MirrorError) as raised:
        do(*arguments, **named)
    assert {each.code for each in raised.value.problems} == {code}
    return str(raised.value)


@pytest.mark.needs_coreutils
@pytest.mark.parametrize("form", ["folder", "one volume", "volumes"])
def test_coreutils_and_tar_agree(channel: Channel, tmp_path: Path, form: str) -> None:
    out = tmp_path / "out"
    planned = plan(
        channel.place,
        is_tar=form != "folder",
        volume_size=7168 if form == "volumes" else None,
    )
    predicted = sum(write_bundle(planned, channel.place.folder, out, QUIET, dry_run=True))
    assert not out.exists()
    assert write(channel.place, planned, out) == predicted
    there = contents(out)
    assert predicted == sum(map(len, there.values()))
    checked = _check(out)
    assert (checked.returncode, checked.stderr) == (0, "")
    assert {line.removesuffix(": OK") for line in checked.stdout.splitlines()} == (
        there.keys() - {unbundle.SUMS}
    )
    volumes = sorted(path for path in there if path.endswith(".tar"))
    assert len(volumes) == {"folder": 0, "one volume": 1, "volumes": 2}[form]
    for each in volumes:
        subprocess.run(["tar", "-xf", each], cwd=out, check=True)
        assert len(there[each]) <= 7168 or form == "one volume"
    # The second path with the same bytes is an entry without a file.
    document = json.loads(there["bundle.json"])
    where = {path: place for path, *_, place in document["files"]}
    assert where[A] == f"={COPY}"
    carried = {path: data for path, data in channel.named.items() if path != A}
    assert contents(out / "files") == {
        path: data for path, data in carried.items() if not str(where[path]).startswith("=")
    }
    # Whatever lies between, the same bytes come out again, and a byte that is not so is noticed.
    again = tmp_path / "elsewhere" / "out"
    write(channel.place, planned, again)
    assert contents(again) == there
    largest = max(there, key=lambda each: len(there[each]))
    (again / largest).write_bytes(there[largest][:-1] + b"\1")
    assert f"{largest}: FAILED" in _check(again).stdout


def test_a_delta_costs_little_beside_its_bytes(tmp_path: Path) -> None:
    """What it costs beside them is 64 KiB, with all of unbundle.py, and 300 bytes a file."""
    place = channel_paths(tmp_path / "builder" / "channel")
    channel = Channel(place=place)
    channel.named = {f"linux-64/package-{each}-1.2.3-h0123456789.conda": b"" for each in range(400)}
    base = channel.publish()
    news = {
        path.replace("1.2.3", "1.2.4"): str(number).encode() * 500
        for number, path in enumerate(sorted(channel.named)[:200])
        if path.endswith(".conda")
    }
    channel.named |= news
    channel.publish()
    planned = replace(
        plan(place, base),
        other_files={"unbundle.py": Path(unbundle.__file__).read_bytes()},
    )
    size = write(place, planned, tmp_path / "out")
    count = len(planned.carried)
    assert count > 350
    new = sum(len(channel.named[str(each.path)]) for each in planned.carried)
    assert size <= new + (64 << 10) + 300 * count


def test_what_is_whole_is_kept(channel: Channel, tmp_path: Path) -> None:
    out, planned = tmp_path / "out", plan(channel.place)
    write(channel.place, planned, out)
    there = contents(out)
    whole, cut = out / "files" / COPY, out / "files" / B
    (out / "bundle.json").unlink()
    cut.write_bytes(b"b" * 10)
    times = {path: (out / path).stat().st_mtime_ns for path in there if path != "bundle.json"}
    write(channel.place, planned, out)
    assert contents(out) == there
    assert whole.stat().st_mtime_ns == times[f"files/{COPY}"]
    assert cut.stat().st_mtime_ns != times[f"files/{B}"]
    # With nothing to do nothing is written.
    times = {path: (out / path).stat().st_mtime_ns for path in there}
    write(channel.place, planned, out)
    assert {path: (out / path).stat().st_mtime_ns for path in there} == times


def test_a_whole_volume_is_kept(channel: Channel, tmp_path: Path) -> None:
    out = tmp_path / "out"
    planned = plan(channel.place, is_tar=True, volume_size=7168)
    write(channel.place, planned, out)
    there = contents(out)
    for each in ("volume-001.tar", "volume-002.tar"):
        times = {path: (out / path).stat().st_mtime_ns for path in there}
        (out / "bundle.json").unlink()
        (out / each).write_bytes(there[each][:600] + b"\1" + there[each][601:])
        write(channel.place, planned, out)
        assert contents(out) == there
        kept = {path for path in there if (out / path).stat().st_mtime_ns == times[path]}
        assert kept == there.keys() - {each, "bundle.json"}


@pytest.mark.needs_coreutils
@pytest.mark.parametrize("is_tar", [False, True])
def test_a_byte_that_differs_is_not_carried(
    channel: Channel, tmp_path: Path, *, is_tar: bool
) -> None:
    out, planned = tmp_path / "out", plan(channel.place, is_tar=is_tar)
    wrong, gone = channel.place.folder / COPY, channel.place.folder / B
    wrong.write_bytes(b"a" * 4999 + b"b")
    gone.unlink()
    said = _refused(ExitCode.FINDINGS, write, channel.place, planned, out)
    assert said == (
        f"{COPY}: sha256 differs from its snapshot: it is not carried\n"
        f"  expected  {sha256(channel.named[COPY]).hexdigest()}\n"
        f"  actual    {sha256(wrong.read_bytes()).hexdigest()}\n"
        f"{MEND}\n"
        f"{B}: is missing, and its snapshot has it\n{MEND}"
    )
    assert not (out / "bundle.json").exists()
    assert not (out / "files" / COPY).exists()
    assert not (out / "volume-001.tar").exists()
    wrong.write_bytes(channel.named[COPY])
    gone.write_bytes(channel.named[B])
    write(channel.place, planned, out)
    assert _check(out).returncode == 0


def test_a_file_that_no_volume_holds(channel: Channel) -> None:
    said = _refused(ExitCode.USAGE, plan, channel.place, is_tar=True, volume_size=4096)
    assert said == (
        f"{COPY}: is too large for a volume of 4.1 kB: a file is in one alone\n"
        "  needed  6656 bytes\n"
        "help: --volume-size 6656B, or more"
    )
    (volume, *_) = plan(channel.place, is_tar=True, volume_size=6656).large_files
    assert volume.size == 6656


def test_where_no_bundle_is_written(channel: Channel, tmp_path: Path) -> None:
    place, planned, out = channel.place, plan(channel.place), tmp_path / "out"
    inside = place.folder / "noarch" / "out"
    assert _refused(ExitCode.USAGE, write, place, planned, inside) == (
        f"{inside}: is in the channel folder, where a bundle would be served as part of it\n"
        "help: name a folder outside of it, or a disk"
    )
    out.write_bytes(b"")
    assert _refused(ExitCode.USAGE, write, place, planned, out) == (
        f"{out}: is a file, and a bundle is a folder\nhelp: name a new folder"
    )
    out.unlink()
    (out / "files" / "noarch").mkdir(parents=True)
    (out / "files" / "noarch" / "thesis.doc").write_bytes(b"mine")
    has_more = (
        f"{out}: has something else in it, and a bundle must hold nothing but its own files\n"
        "  found  {}\n"
        "help: name a new folder, or remove this one"
    )
    assert _refused(ExitCode.USAGE, write, place, planned, out) == has_more.format(
        "files/noarch/thesis.doc"
    )
    (out / "files" / "noarch" / "thesis.doc").unlink()
    (out / "files" / B).symlink_to(place.folder / B)
    assert _refused(ExitCode.USAGE, write, place, planned, out) == has_more.format(f"files/{B}")
    (out / "files" / B).unlink()
    write(place, planned, out)
    base, there = planned.target, contents(out)
    channel.named[A] = b"another"
    channel.publish()
    assert _refused(ExitCode.USAGE, write, place, plan(place), out) == has_more.format(
        "bundle.json of another bundle"
    )
    _refused(ExitCode.USAGE, write, place, plan(place, base), out)
    assert contents(out) == there


def test_a_finished_bundle_with_other_options(channel: Channel, tmp_path: Path) -> None:
    place, whole, out = channel.place, plan(channel.place), tmp_path / "out"
    channel.named[A] = b"another"
    channel.publish()
    delta = plan(place, whole.target)
    write(place, delta, out)
    there = contents(out)
    for other in (plan(place), plan(place, whole.target, is_tar=True)):
        said = _refused(ExitCode.USAGE, write, place, other, out)
        assert said.startswith(f"{out}: has something else in it, and a bundle must hold nothing ")
    assert contents(out) == there
    write(place, delta, out)  # the same once more is the same bundle


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
@pytest.mark.parametrize("name", ["LABEL.txt", "bundle.json", "SHA256SUMS", f"files/{B}"])
def test_what_is_no_file_is_in_the_way(channel: Channel, tmp_path: Path, name: str) -> None:
    place, planned, out = channel.place, plan(channel.place), tmp_path / "out"
    write(place, planned, out)
    file = out / name

    def pipe() -> None:
        os.mkfifo(file)

    for make in (pipe, file.mkdir, lambda: file.symlink_to(tmp_path)):
        file.unlink()
        make()
        said = _refused(ExitCode.USAGE, write, place, planned, out)
        assert said.startswith(f"{out}: has something else in it, and a bundle must hold nothing ")
        assert f"\n  found  {name}\n" in said
        if file.is_dir() and not file.is_symlink():
            file.rmdir()
            file.touch()
    file.unlink()
    write(place, planned, out)


def test_room_is_told_before(
    channel: Channel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, planned = tmp_path / "out", plan(channel.place)
    needed = write(channel.place, planned, out)
    shutil.rmtree(out)
    monkeypatch.setattr(bundle, "free_bytes", lambda _: needed - 1)
    assert _refused(ExitCode.USAGE, write, channel.place, planned, out) == (
        f"{out}: not enough room on this disk\n"
        f"  needed  {human_size(needed)}\n"
        f"  free    {human_size(needed - 1)}\n"
        "help: free some room, or name a folder on a larger disk"
    )
    assert not out.exists()
    # What is there takes no more room.
    (out / "files" / COPY).parent.mkdir(parents=True)
    (out / "files" / COPY).write_bytes(channel.named[COPY])
    assert write(channel.place, planned, out) == needed


def test_files_too_large_for_fat32_are_told(
    channel: Channel, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.setattr(bundle, "free_bytes", lambda _: 1 << 40)
    for size in ((1 << 32) - 1, 1 << 32):
        large = SnapshotFile(
            path=PurePosixPath("noarch/large-1.0-0.conda"), kind="conda", size=size, sha256="0" * 64
        )
        one = LargeFile(path=f"files/{large.path}", files=(large,), size=size)
        planned = replace(plan(channel.place), files=(large,), same_as={}, large_files=(one,))
        out = tmp_path / "out"
        write_bundle(planned, channel.place.folder, out, Console(), dry_run=True)
    assert capsys.readouterr().err == (
        "warning: larger files: files/noarch/large-1.0-0.conda, more than the 4 GiB that FAT32 can"
        " hold: exFAT, NTFS or --volume-size 4GB do\n"
    )


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4.7GB", 4_700_000_000),
        ("650 MiB", 681_574_400),
        ("4g", 4_000_000_000),
        ("1.5KiB", 1536),
        ("6656B", 6656),
        ("6656", 6656),
    ],
)
def test_volume_sizes(text: str, size: int) -> None:
    assert parse_volume_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "-1", "4.7 GB or so", "1e9", "GB", "inf", "4,7GB", "٣GB", f"{'9' * 400}GB"]
)
def test_what_is_no_volume_size(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        parse_volume_size(text)


def test_the_label_is_one_page(channel: Channel) -> None:
    digest = "0123456789abcdef" * 4
    locks = tuple(
        SnapshotLock(label=f"team {each}/pixi.lock", lock_sha256=digest, manifest_sha256=None)
        for each in range(30)
    )
    planned = plan(channel.place, is_tar=True)
    planned = replace(planned, target=replace(planned.target, locks=locks))
    for each in (planned, plan(channel.place, channel.past[0][0])):
        lines = render_label(each).decode().splitlines()
        assert len(lines) <= 60
        assert max(map(len, lines)) <= 100
    assert "                  and 22 more, in bundle.json" in render_label(planned).decode()


def test_the_label_is_a_page_for_people(channel: Channel) -> None:
    base = channel.past[0][0]
    del channel.named[B]
    target = channel.publish()
    locks = tuple(
        SnapshotLock(label=label, lock_sha256=digest, manifest_sha256=None)
        for label, digest in (("w\x1b", "1" * 64), ("other", None))
    )
    for options, rows, signers in (
        (
            {"base": None},
            (
                "  needs           nothing: all files are in here\n"
                "  carries         4 files, 5.2 kB\n"
                "  removes         0 files\n"
                "  form            a folder: each file is below files/, at its path in the"
                " channel\n"
                "  signed          no\n"
            ),
            "",
        ),
        (
            {"base": base, "is_tar": True, "is_signed": True},
            (
                f"  needs           {base.id}\n"
                f"  content digest  {base.content_digest}\n"
                "  carries         1 file, 86 B\n"
                "  removes         2 files\n"
                "  form            1 plain tar file volume-001.tar\n"
                "  signed          bundle.json.sig, namespace pixi-mirror\n"
            ),
            "--allowed-signers FILE ",
        ),
    ):
        planned = plan(channel.place, **options)
        planned = replace(planned, target=replace(target, locks=locks))
        assert (
            render_label(planned).decode()
            == f"""\
A bundle of pixi-mirror: it brings a conda channel, which pixi, conda and mamba install
from, to a state that its builder has published. Packages are data: nothing in here has
to be started to check it.

  channel         {target.id}, published 2026-01-05 12:00 UTC
                  {target.files} files, {human_size(target.size)}, layout flat
  content digest  {target.content_digest}
{rows}  proven          not proven
  made by         w\\x1b
  lock sha256     {"1" * 64}
  made by         other
  lock sha256     unknown

Check that every byte is here:

    sha256sum -c SHA256SUMS

Bring a channel to it, with Python 3.8 or newer alone, from this folder:

    python -I -S unbundle.py {signers}. /path/of/the/channel

Where you have a copy of unbundle.py already, start that one: it checks this bundle, the
one in here comes with it. All is checked before anything is changed. A channel that is
not at what the bundle needs is refused, and stays as it is.

It ends with a receipt, receipt.json and receipt.txt: give one of them to the builder,
who makes the next bundle by it (`pixi run bundle OUT --since-receipt receipt.json`).
"""
        )


def _receipt(place: ChannelPaths, name: str, **changed: Any) -> Path:
    snapshot = find_snapshot(place, name)
    receipt = unbundle.Receipt(
        digest=snapshot.content_digest,
        id=snapshot.id,
        files=snapshot.files,
        size=snapshot.size,
        damaged=0,
        missing=0,
        read="2026-01-12T08:00:00+00:00",
    )
    for file, data in zip(
        ("receipt.json", "receipt.txt"),
        unbundle.render_receipt(receipt._replace(**changed)),
        strict=True,
    ):
        (place.root / file).write_bytes(data)
    return place.root


def test_the_base_is_what_a_receipt_says(channel: Channel) -> None:
    place, first = channel.place, channel.past[0][0]
    channel.named[A] = b"another"
    channel.publish()
    folder = _receipt(place, first.id, id="20200101T000000Z-01234567")  # of another builder
    for each in ("receipt.json", "receipt.txt"):
        assert base_by_receipt(place, folder / each) == first
    full = "help: pixi run bundle OUT --full, which needs no base"
    folder = _receipt(place, first.id, damaged=1, missing=2)
    for each in ("receipt.json", "receipt.txt"):
        assert _refused(ExitCode.FINDINGS, base_by_receipt, place, folder / each) == (
            f"{folder / each}: says that the channel there is not whole, and no delta is made from"
            f" it\n  damaged  1\n  missing  2\n  read     2026-01-12T08:00:00+00:00\n{full}"
        )
    _receipt(place, first.id, digest="0" * 64)
    assert _refused(ExitCode.USAGE, base_by_receipt, place, folder / "receipt.json") == (
        f"{folder / 'receipt.json'}: is of a channel that no snapshot here is the same as\n"
        f"  snapshot        {first.id}\n  content digest  {'0' * 64}\n{full}"
    )
    for data in (b"", b"{}", b"[" * 10_000, b"\xff\xfe", b"receipt: 1\n", b"a" * 2000):
        (folder / "receipt.json").write_bytes(data)
        said = _refused(ExitCode.USAGE, base_by_receipt, place, folder / "receipt.json")
        assert said.startswith(f"{folder / 'receipt.json'}: is no receipt, or is damaged\n")
        assert said.endswith(full)
    assert _refused(ExitCode.USAGE, base_by_receipt, place, folder / "none") == (
        f"{folder / 'none'}: cannot read this receipt: there is no such file"
    )
    said = _refused(ExitCode.USAGE, base_by_id, place, "2031")
    assert said.startswith("2031: is the id of no snapshot\n")
    assert said.endswith(
        "\nhelp: pixi run snapshots lists them; or pixi run bundle OUT --full, which needs no base"
    )


@pytest.mark.parametrize(
    "line",
    [
        "- conda: https://conda.anaconda.org/t/tk-123/mine/noarch/a-1.0-0.conda",
        "- conda: https://me:word@example.org/mine/noarch/a-1.0-0.conda",
        "- pypi: https://example.org/a-1.0.whl?sig=abc",
        'url = "https://token@example.org/simple"',
        "- pypi: git+https://word@example.org/a.git?tag=v1.0#0a1b",
        "- pypi: git+https://example.org/a.git?tag=v1.0&private_token=abc#0a1b",
        "- pypi: https://example.org/a-1.0.whl?tag=abc",
    ],
)
def test_secrets_are_found(line: str) -> None:
    (problem,) = secrets_in("w: pixi.lock", f"version: 7\n{line}\n".encode())
    assert problem.code is ExitCode.USAGE
    ((label, told),) = problem.details
    assert label == "line 2"
    assert "********" in told
    assert not any(each in told for each in ("tk-123", "word", "abc", "token@"))


@pytest.mark.parametrize(
    "line",
    [
        "- conda: https://conda.anaconda.org/conda-forge/noarch/a-1.0-0.conda",
        "- pypi: https://files.pythonhosted.org/packages/source/t/toml/toml-0.10.2.tar.gz#sha256=0",
        'a = { git = "ssh://git@github.com/me/a.git" }',
        "- pypi: git+https://github.com/me/a.git?tag=v1.0#0a1b",
        "- conda: git+https://github.com/me/a?subdirectory=py&branch=main#0a1b",
        "- pypi: git+ssh://git@github.com/me/a.git?rev=0a1b",
    ],
)
def test_what_is_no_secret(line: str) -> None:
    assert secrets_in("w: pixi.lock", line.encode()) == []


# ---- Signatures: what docs/airgap.md says of them, with the real ssh-keygen ---------------------


def _key(folder: Path, name: str) -> Path:
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(folder / name)]
    subprocess.run(command, check=True)
    return folder / name


def _allow(signers: Path, *keys: Path) -> None:
    rows = (each.with_suffix(".pub").read_text().split()[:2] for each in keys)
    text = (f'builder@example.org namespaces="pixi-mirror" {" ".join(row)}\n' for row in rows)
    signers.write_text("".join(text), encoding="utf-8")


def _verified(out: Path, signers: Path) -> int:
    """Check by hand, as it is done the first time."""
    command = ["ssh-keygen", "-Y", "verify", "-f", str(signers), "-I", "builder@example.org"]
    command += ["-n", "pixi-mirror", "-s", "bundle.json.sig"]
    data = (out / "bundle.json").read_bytes()
    return subprocess.run(command, cwd=out, input=data, capture_output=True, check=False).returncode


@pytest.mark.needs_ssh_keygen
@pytest.mark.needs_coreutils
def test_a_key_is_rotated(channel: Channel, tmp_path: Path) -> None:
    """Both are allowed as long as bundles of the old one are under way, then the new one alone."""
    old, new, signers = _key(tmp_path, "old"), _key(tmp_path, "new"), tmp_path / "signers"
    planned = plan(channel.place, is_signed=True)
    for key in (old, new):
        out = tmp_path / f"by-{key.name}"
        said = write_bundle(planned, channel.place.folder, out, QUIET, key=key)
        assert sorted(said) == sorted(map(len, contents(out).values()))
        assert said == write_bundle(
            planned, channel.place.folder, tmp_path / "no", QUIET, key=key, dry_run=True
        )
        assert _check(out).returncode == 0
    for allowed, accepted in (((old,), {old}), ((old, new), {old, new}), ((new,), {new})):
        _allow(signers, *allowed)
        assert {x for x in (old, new) if _verified(tmp_path / f"by-{x.name}", signers) == 0} == (
            accepted
        )
        for key in (old, new):
            far = str(tmp_path / f"far-{len(allowed)}-{allowed[0].name}-{key.name}" / "channel")
            out = tmp_path / f"by-{key.name}"
            if key in accepted:
                outcome = unbundle.unbundle(str(out), far, signers=str(signers))
                assert (outcome.receipt.damaged, outcome.receipt.missing) == (0, 0)
            else:
                with pytest.raises(unbundle.Refused) as raised:
                    unbundle.unbundle(str(out), far, signers=str(signers))
                assert raised.value.code == ExitCode.FINDINGS
                assert not Path(far).exists()


@pytest.mark.needs_ssh_keygen
def test_what_cannot_sign(
    channel: Channel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = tmp_path / "bad"
    bad.write_text("no key\n")
    bad.chmod(0o600)
    planned, out = plan(channel.place, is_signed=True), tmp_path / "out"
    folder = channel.place.folder
    said = _refused(ExitCode.PROGRAM, write_bundle, planned, folder, out, QUIET, key=bad)
    assert said.startswith(
        f"{bad}: ssh-keygen could not sign with it (exit code 255)\n  ssh-keygen  "
    )
    assert said.endswith(
        "\nhelp: ssh-keygen -t ed25519 -f KEY makes one; ssh-add KEY asks for its passphrase"
    )
    assert not (out / "bundle.json").exists()
    monkeypatch.setenv("PATH", os.devnull)
    assert _refused(ExitCode.PROGRAM, write_bundle, planned, folder, out, QUIET, key=bad) == (
        "ssh-keygen: is not on PATH, and a bundle is signed by it\nhelp: install OpenSSH 8.1"
    )


def test_a_snapshot_that_no_lock_made_has_none_to_carry(channel: Channel) -> None:
    snapshot, _ = channel.past[0]
    assert _refused(ExitCode.USAGE, read_lock_files, channel.place, snapshot) == (
        f"{snapshot.id}: its lock and manifest are not kept here (`unbundle` keeps none)\n"
        "help: leave --with-locks out: their sha256 are carried all the same"
    )


def test_names_that_not_every_disk_keeps(channel: Channel, tmp_path: Path) -> None:
    channel.named |= {"noarch/aux.conda": b"1", "noarch/A-1.0-0.conda": b"2"}
    channel.publish()
    named = {"out": tmp_path / "out", "base": None}
    said = _refused(ExitCode.USAGE, bundle.bundle, channel.place, QUIET, **named)
    assert said == (
        "the channel: it has a name that cannot be carried to every disk, and a bundle is for any\n"
        "  reason  'noarch/aux.conda' is reserved\n"
        "help: mirror another build of it, then pixi run prune, then run this again"
    )
    del channel.named["noarch/aux.conda"]
    channel.publish()
    said = _refused(ExitCode.USAGE, bundle.bundle, channel.place, QUIET, **named)
    assert "  reason  noarch/A-1.0-0.conda and noarch/a-1.0-0.conda are one file to some" in said
