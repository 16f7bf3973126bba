"""The order of docs/airgap.md, with the real rsync: no client finds an index that promises more."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path

import msgpack
import pytest
import zstandard

from scripts.core.errors import ExitCode
from scripts.keep import unbundle
from tasks import bundle, index, prune
from tests.support.histories import contents
from tests.support.mirrors import Mirror, make_mirror, rows
from tests.support.template import ROOT
from tests.tasks.conftest import BOTH, NEW, OLD

pytestmark = pytest.mark.needs_rsync

DOCUMENT = (ROOT / "docs" / "airgap.md").read_text(encoding="utf-8")


@pytest.fixture
def mirror(tmp_path: Path) -> Mirror:
    made = make_mirror(tmp_path / "workspace")
    _publish(made, tmp_path, OLD, BOTH)
    return made


def _publish(mirror: Mirror, root: Path, *packages: object) -> None:
    mirror.lock(rows(root / "upstream", packages))  # type: ignore[arg-type]
    assert index.main(["-q", "--manifest-path", str(mirror.root)]) == 0


def _commands(source: str, folder: Path, target: str, to: Path) -> list[list[str]]:
    """Take the commands out of the documentation, with folders of ours in place of its own."""
    found = [line for line in DOCUMENT.splitlines() if line.startswith("rsync ") and target in line]
    replaced = (
        line.partition("#")[0].replace(target, f"{to}/").replace(source, f"{folder}/")
        for line in found
    )
    return [shlex.split(line) for line in replaced]


def _missing(folder: Path) -> list[str]:
    """Name what an index file of a channel promises, whichever a client reads, and is not there."""
    promised = set[str]()
    for file in folder.glob("*/repodata*"):
        data = file.read_bytes()
        if file.suffix == ".zst":
            data = zstandard.ZstdDecompressor().decompressobj().decompress(data)
        if "shards" in file.name:
            shards = msgpack.unpackb(data)["shards"].values()
            names = {f"shards/{digest.hex()}.msgpack.zst" for digest in shards}
        else:
            document = json.loads(data)
            names = document["packages"].keys() | document["packages.conda"].keys()
        promised |= {f"{file.parent.name}/{name}" for name in names}
    return sorted(promised - contents(folder).keys())


def test_a_channel_is_served_while_it_is_copied(mirror: Mirror, tmp_path: Path) -> None:
    served = tmp_path / "www"
    commands = _commands("/srv/channel/", mirror.folder, "www:/srv/www/channel/", served)
    assert len(commands) == 4
    for packages in ((OLD, BOTH), (NEW,)):
        _publish(mirror, tmp_path, *packages)
        if packages == (NEW,):
            assert prune.main(["-q", "--now", "--manifest-path", str(mirror.root)]) == 0
        for command in commands:
            subprocess.run(command, check=True)
            assert _missing(served) == []
        assert contents(served) == mirror.contents()
    # All in one, and stopped before the packages came, it promises what is not there.
    _publish(mirror, tmp_path, OLD, BOTH)
    subprocess.run([*commands[2], "--exclude", "*.conda"], check=True)
    assert _missing(served) == ["linux-64/a-1.0-0.conda", "noarch/both-1.0-0.conda"]


def test_a_bundle_is_none_until_all_of_it_has_come(mirror: Mirror, tmp_path: Path) -> None:
    out, relay, far = tmp_path / "out", tmp_path / "relay", tmp_path / "far" / "channel"
    assert bundle.main(["-q", "--manifest-path", str(mirror.root), str(out), "--full"]) == 0
    source, target = "/media/stick/week-2/", "relay:/srv/incoming/week-2/"
    first, second = _commands(source, out, target, relay)
    subprocess.run(first, check=True)
    assert unbundle.main(["-q", str(relay), str(far)]) == ExitCode.FINDINGS
    assert not far.exists()
    subprocess.run(second, check=True)
    assert contents(relay) == contents(out)
    assert unbundle.main(["-q", str(relay), str(far)]) == 0
    assert contents(far) == mirror.contents()
