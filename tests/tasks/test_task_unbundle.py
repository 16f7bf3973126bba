"""The tasks `unbundle` and `receipt`: what unbundle.py does alone, and a snapshot's files."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.core.channel_paths import channel_paths
from scripts.keep import snapshot_trees
from scripts.keep.snapshots import newest_snapshot, read_snapshots, tree_of
from tasks import receipt, snapshots, unbundle
from tests.support.bundles import (
    NEW,
    OLD,
    alone,
    digest_of,
    snapshot_id,
    there,
    write_bundle,
)
from tests.support.template import ROOT


@pytest.fixture
def bundles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A whole bundle, and one that follows it."""
    monkeypatch.setattr(os, "sync", lambda: None, raising=False)  # it waits for other programs
    full = write_bundle(tmp_path / "full", OLD)
    return full, write_bundle(tmp_path / "delta", NEW, base=OLD, day=2, volumes=1)


def test_a_channel_of_a_workspace_follows(
    bundles: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    full, delta = bundles
    root = tmp_path / "w"
    root.mkdir()
    (root / "pixi.toml").write_text('[workspace]\nname = "w"\nchannels = []\nplatforms = []\n')
    of_it = ("--manifest-path", str(root))
    assert unbundle.main([*of_it, str(full)]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(f"unbundled {snapshot_id(OLD, 1)}: placed 6, ")
    assert second.startswith("receipt: 6 files, 3100 bytes, read back ")
    assert unbundle.main([*of_it, "-q", "--grace", "0s", str(delta)]) == 0
    assert capsys.readouterr() == ("", "")
    place = channel_paths(root / "local-channel")
    assert there(place.folder) == NEW
    one, two = read_snapshots(place)
    assert there(tree_of(place, one)) == OLD
    assert there(tree_of(place, two)) == NEW
    artifact = "linux-64/b-1.0-0.conda"
    inodes = {(each / artifact).stat().st_ino for each in (place.folder, tree_of(place, one))}
    assert len(inodes) == 1, "it takes no room"
    # A tree that was lost is there again.
    shutil.rmtree(tree_of(place, two))
    assert unbundle.main([*of_it, "--json", str(delta)]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["changed"], said["signer"], said["problems"]) == (False, None, [])
    assert (said["placed"], said["waiting"], said["removed"]) == (0, 0, 0)
    assert said["receipt"]["content-digest"] == digest_of(NEW)
    assert there(tree_of(place, two)) == NEW
    assert receipt.main([*of_it, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["receipt"]["files"] == len(NEW)
    # What was damaged in both a whole bundle mends in both.
    (place.folder / artifact).write_bytes(b"x")
    assert there(tree_of(place, two)) != NEW
    again = str(write_bundle(tmp_path / "again", NEW, day=2))
    capsys.readouterr()
    assert unbundle.main([*of_it, "--json", again]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["changed"], said["placed"]) == (True, 2)  # it, and what is a link to it
    assert there(place.folder) == there(tree_of(place, two)) == NEW
    older = ("--allow-older", "--json", str(full))
    for grace, waiting in (("1h", len(NEW.keys() - OLD.keys())), ("0s", 0)):
        assert unbundle.main([*of_it, "--grace", grace, *older]) == 0
        said = json.loads(capsys.readouterr().out)
        gone = 0 if waiting else len(NEW.keys() - OLD.keys())
        assert (said["waiting"], said["removed"]) == (waiting, gone)


def test_any_channel_follows_without_workspace(
    bundles: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    full, delta = bundles
    for each in (full, delta):
        assert unbundle.main(["-q", str(each), "far/channel"]) == 0
    newest = newest_snapshot(channel_paths(tmp_path / "far" / "channel"))
    assert newest is not None
    assert newest.content_digest == digest_of(NEW)
    assert receipt.main(["far/channel"]) == 0
    capsys.readouterr()
    file = tmp_path / "far" / "channel" / "linux-64" / "b-1.0-0.conda"
    data = file.read_bytes()
    file.unlink()  # it is a link to another file with the same bytes
    file.write_bytes(b"c" + data[1:])
    assert receipt.main(["far/channel"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        f"error: {tmp_path / 'far' / 'channel'}: is not what it must be; damaged: 1, missing: 0\n"
        "  found  linux-64/b-1.0-0.conda\n"
        "help: on the builder: pixi run bundle OUT --full; unbundled here, it replaces what is"
        " wrong\n"
    )
    assert unbundle.main([str(full), "far/channel"]) == 1
    said = capsys.readouterr().err
    assert "holds a later snapshot than this bundle's: replayed, or out of order" in said
    assert f"  found  the bundle is {snapshot_id(OLD, 1)}, content digest " in said


@pytest.mark.skipif(os.name == "nt", reason="links are for few on Windows")
def test_of_a_link_the_state_is_beside_the_folder_that_it_leads_to(
    bundles: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where all other tasks look for it; the control: a link within the folder is refused."""
    folder, link = tmp_path / "disk" / "real", tmp_path / "srv" / "channel"
    for each in (folder, link):
        each.parent.mkdir()
    link.symlink_to(folder)
    assert unbundle.main(["-q", str(bundles[0]), str(link)]) == 0
    assert alone(bundles[1] / "unbundle.py", bundles[1], link).returncode == 0
    assert receipt.main(["-q", str(link)]) == 0
    (tmp_path / "pixi.toml").write_text('[workspace]\nname = "w"\nchannels = []\nplatforms = []\n')
    of_it = ["--manifest-path", str(tmp_path), "--channel-dir", str(link)]
    assert snapshots.main(of_it) == 0
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith(snapshot_id(OLD, 1))
    assert second.startswith(f"{snapshot_id(NEW, 2)} ")
    (folder / "linux-64").rename(folder.parent / "linux-64")
    (folder / "linux-64").symlink_to(folder.parent / "linux-64")
    assert unbundle.main(["-q", str(bundles[1]), str(link)]) == 2


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, Path]:
    """Two keys, and who may sign by the first of them."""
    if shutil.which("ssh-keygen") is None:
        pytest.skip("needs ssh-keygen, which is not on PATH")
    for name in ("mine", "other"):
        command = ("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name))
        subprocess.run(command, check=True)
    signers = tmp_path / "signers"
    kind, key, *_ = (tmp_path / "mine.pub").read_text().split()
    signers.write_text(f'a@example.org namespaces="pixi-mirror" {kind} {key}\n')
    return {"mine": tmp_path / "mine", "other": tmp_path / "other", "signers": signers}


def _sign(bundle: Path, key: Path, namespace: str = "pixi-mirror") -> None:
    command = ["ssh-keygen", "-Y", "sign", "-q", "-n", namespace, "-f", str(key)]
    subprocess.run([*command, str(bundle / "bundle.json")], check=True, capture_output=True)


def test_who_has_signed(
    bundles: tuple[Path, Path],
    keys: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    full, channel = bundles[0], tmp_path / "far" / "channel"
    options = ["--allowed-signers", str(keys["signers"]), str(full), str(channel)]

    def refused(code: int = 1) -> str:
        assert unbundle.main(options) == code
        out, err = capsys.readouterr()
        assert out == ""
        assert not channel.parent.exists(), "it was refused before anything was looked at"
        assert isinstance(err, str)
        return err

    assert "bundle.json: is not signed: there is no bundle.json.sig\n" in refused()
    wrong = "bundle.json: its signature is of none of the allowed signers, or it was altered\n"
    signature = full / "bundle.json.sig"
    for key, namespace in (("other", "pixi-mirror"), ("mine", "git")):
        _sign(full, keys[key], namespace)
        assert wrong in refused()
        signature.unlink()
    _sign(full, keys["mine"])
    document = (full / "bundle.json").read_bytes()
    (full / "bundle.json").write_bytes(document + b"\n")
    assert wrong in refused()
    (full / "bundle.json").write_bytes(document)
    good = signature.read_bytes()
    signature.write_bytes(good[: len(good) // 2])
    assert wrong in refused()
    signature.write_bytes(good)
    with monkeypatch.context() as patched:
        patched.setenv("PATH", str(tmp_path / "nothing"))
        assert refused(4) == (
            "error: ssh-keygen: is not on PATH\nhelp: install OpenSSH 8.2 or newer\n"
        )
    with monkeypatch.context() as patched:  # a stand-in for another user's, for whoever is root
        patched.setattr(os, "access", lambda path, _: path != str(keys["signers"]))
        assert f"error: {keys['signers']}: is no file that can be read\n" in refused(2)
    keys["signers"].rename(tmp_path / "away")
    gone = f"error: {keys['signers']}: is no file that can be read\n"
    assert refused(2) == f"{gone}help: name that of allowed signers\n"
    (tmp_path / "away").rename(keys["signers"])
    assert unbundle.main(options) == 0
    first, second, _ = capsys.readouterr().out.splitlines()
    assert first.startswith("signed by a@example.org (ED25519 key SHA256:")
    assert second.startswith("unbundled ")


@pytest.mark.skipif(os.name == "nt", reason="a script is no program there")
@pytest.mark.parametrize("said", ["No user exists for uid 4321", "No principal matched."])
def test_an_ssh_keygen_that_looks_at_no_signature(
    bundles: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    said: str,
) -> None:
    """As that of a container of OpenShift; the control is one that has looked."""
    (bundles[0] / "bundle.json.sig").write_bytes(b"")
    signers, program = tmp_path / "signers", tmp_path / "bin" / "ssh-keygen"
    signers.write_bytes(b"")
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "{said}" >&2\nexit 255\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    options = [str(bundles[0]), str(tmp_path / "far" / "channel")]
    code = unbundle.main(["--allowed-signers", str(signers), *options])
    err = capsys.readouterr().err
    if said == "No principal matched.":
        assert code == 1
        assert err.startswith("error: bundle.json: its signature is of none of the allowed signers")
    else:
        assert (code, err) == (
            4,
            f"error: ssh-keygen: fails: {said}\nhelp: see to OpenSSH (8.2 or newer)\n",
        )


def test_a_signature_that_nobody_asks_for_is_no_extra_file(
    bundles: tuple[Path, Path], keys: dict[str, Path], tmp_path: Path
) -> None:
    _sign(bundles[0], keys["mine"])
    assert unbundle.main(["-q", str(bundles[0]), str(tmp_path / "far" / "channel")]) == 0


def test_a_disk_that_refuses_the_files_of_the_snapshot(
    bundles: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    channel = tmp_path / "far" / "channel"

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "a tree")

    with monkeypatch.context() as patched:
        patched.setattr(snapshot_trees, "build_tree", full)
        assert unbundle.main([str(bundles[0]), str(channel)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: a tree: the files of the snapshot are not kept, as this cannot")
    assert unbundle.main(["-q", str(bundles[0]), str(channel)]) == 0, "said again, it is there"
    newest = newest_snapshot(channel_paths(channel))
    assert newest is not None
    assert there(tree_of(channel_paths(channel), newest)) == OLD


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_result_that_cannot_be_printed_stops_nothing(
    bundles: tuple[Path, Path], tmp_path: Path
) -> None:
    channel = tmp_path / "far" / "channel"
    command = [sys.executable, "-m", "tasks.unbundle", str(bundles[0]), str(channel)]
    with Path("/dev/full").open("w") as stdout:
        done = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, cwd=ROOT, check=False)
    assert done.returncode == 2
    assert done.stderr == b"error: stdout: cannot be written: No space left on device\n"
    assert there(channel) == OLD
    assert (channel_paths(channel).state / "receipt.json").exists()
