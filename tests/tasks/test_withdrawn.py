"""Upstream withdraws a version, so the lock goes back: what the mirror still offers is told."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from scripts.core.report import human_size
from scripts.keep.changes import Baseline, changes_report
from scripts.lock.read import read_lock
from tasks import prune, verify
from tests.support.mirrors import Mirror, make_mirror, rows
from tests.support.packages import TinyPackage
from tests.support.wheels import PypiRow, TinySdist, TinyWheel

OLD = TinyPackage(name="alder", version="1.9")
WITHDRAWN = TinyPackage(name="alder", version="1.10")  # which is older as a text alone
STILL = (
    "the mirror still offers {0}noarch/alder-1.10-0.conda, newer than pixi.lock's 1.9 0;"
    " `pixi run prune` removes it"
)


def mirrored(root: Path, layout: str, before: TinyPackage, after: TinyPackage) -> Mirror:
    """Make a mirror whose lock has moved from one package to the other."""
    mirror = make_mirror(root / "workspace", layout, settings='grace = "0s"\n')
    manifest = mirror.root / "pixi.toml"
    text = manifest.read_text(encoding="utf-8") + '\n[dependencies]\nalder = "*"\n'
    manifest.write_text(text, encoding="utf-8")
    for package in (before, after):
        mirror.lock(rows(root / "upstream", (package,)))
        mirror.index()
    return mirror


def verified(mirror: Mirror, capsys: pytest.CaptureFixture[str], *options: str) -> list[str]:
    capsys.readouterr()
    options = ("--level", "solve", *options)
    assert verify.main(["--manifest-path", str(mirror.root), *options]) == 0
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(("layout", "channel"), [("flat", ""), ("by-channel", "conda-forge/")])
def test_the_withdrawn_one_is_named_until_it_is_pruned(
    tmp_path: Path, layout: str, channel: str, capsys: pytest.CaptureFixture[str]
) -> None:
    mirror = mirrored(tmp_path, layout, WITHDRAWN, OLD)
    name = f"{channel}noarch/alder-1.10-0.conda"
    size = human_size(len(WITHDRAWN.data))
    lines = verified(mirror, capsys)
    assert lines[0] == "default  linux-64  solve ✓"
    assert lines[2:] == [
        (
            f"solved default/linux-64 otherwise than pixi.lock (the mirror still offers {name},"
            " retained from an earlier lock):"
        ),
        f"  {channel}noarch/alder-1.9-0.conda → {name}",
        f"retained (indexed, in no lock): 1 artifact, {size}; `pixi run prune` removes them",
        STILL.format(channel),
    ]
    document = json.loads("\n".join(verified(mirror, capsys, "--json")))
    assert document["still-offered"] == [
        {
            "path": name,
            "locked": "1.9 0",
            "environments": [{"environment": "default", "platform": "linux-64"}],
        }
    ]
    assert prune.main(["--manifest-path", str(mirror.root)]) == 0
    assert len(verified(mirror, capsys)) == 2


@pytest.mark.parametrize(
    "before",
    [
        OLD,
        dataclasses.replace(WITHDRAWN, name="birch"),
        dataclasses.replace(WITHDRAWN, subdir="win-64"),
    ],
    ids=["older", "another name", "for nobody's platform"],
)
def test_what_no_solver_would_take_is_not_named(
    tmp_path: Path, before: TinyPackage, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = verified(mirrored(tmp_path, "flat", before, WITHDRAWN), capsys)
    assert len(lines) == 3
    assert lines[2].startswith("retained (indexed, in no lock): 1 artifact, ")


def test_of_one_version_the_build_number_tells(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    newer = dataclasses.replace(OLD, build="1", build_number=1)
    assert verified(mirrored(tmp_path, "flat", newer, OLD), capsys)[-1] == (
        "the mirror still offers noarch/alder-1.9-1.conda, newer than pixi.lock's 1.9 0;"
        " `pixi run prune` removes it"
    )
    capsys.readouterr()
    assert len(verified(mirrored(tmp_path / "b", "flat", OLD, newer), capsys)) == 3


@pytest.mark.parametrize(
    ("before", "is_told"),
    [
        (TinyWheel(name="larch", version="1.10"), True),
        (TinySdist(name="larch", version="1.10"), True),
        (TinyWheel(name="larch", version="1.8"), False),
        (TinyWheel(name="larch", version="2.0rc1"), False),
        (TinyWheel(name="birch", version="1.10"), False),
        (TinyWheel(name="larch", version="1.10", tags="cp311-cp311-win_amd64"), False),
    ],
    ids=["newer", "sdist", "older", "pre-release", "another name", "for another platform"],
)
def test_of_pypi_packages_too(
    before: TinyWheel | TinySdist,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    *,
    is_told: bool,
) -> None:
    mirror = make_mirror(tmp_path / "workspace")
    python = TinyPackage(name="python", version="3.11.7", subdir="linux-64")
    for package in (before, TinyWheel(name="larch", version="1.9")):
        written = PypiRow(written=package.write(tmp_path))
        mirror.lock([written, *rows(tmp_path / "upstream", (python,))])
        mirror.index()
    capsys.readouterr()
    where = ["--manifest-path", str(mirror.root), "--level", "files"]
    assert verify.main(where) == 0
    told = [x for x in capsys.readouterr().out.splitlines() if x.startswith("the mirror still")]
    (kept,) = mirror.root.rglob(f"{before.file_name}")
    path = kept.relative_to(mirror.root / "local-channel").as_posix()
    expected = f"the mirror still offers {path}, newer than pixi.lock's 1.9; `pixi run prune`"
    assert told == ([f"{expected} removes it"] if is_told else [])


def test_the_change_list_has_a_word_for_it(tmp_path: Path) -> None:
    mirror = mirrored(tmp_path, "flat", OLD, WITHDRAWN)
    newer = read_lock(mirror.root / "pixi.lock")
    mirror.lock(rows(tmp_path / "upstream", (OLD,)))
    older = read_lock(mirror.root / "pixi.lock")
    workspace = mirror.workspace
    file = tmp_path / "changes.md"
    back = changes_report(Baseline(lock=newer, since="since then"), older, workspace, file)
    assert back.lines == (
        "changed since then:",
        "default, linux-64: 1 went back",
        ("  < alder  went back 1.10 0 -> 1.9 0",),
    )
    assert "`linux-64`: 1 went back\n" in file.read_text(encoding="utf-8")
    row = "| `alder` | `1.10 0` | `1.9 0` | went back |\n"
    assert file.read_text(encoding="utf-8").endswith(row)
    assert '"kind": "went-back"' in json.dumps(back.data)
    on = changes_report(Baseline(lock=older, since="since then"), newer, workspace, None)  # control
    assert on.lines[1:] == ("default, linux-64: 1 changed", ("  ~ alder  1.9 0 -> 1.10 0",))
