"""What the mirror does not hold: by name, with the reason, nothing in silence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scripts.core.console import Console
from scripts.core.errors import MirrorError
from scripts.core.redact import redact
from scripts.core.report import Report, flattened
from scripts.lock.read import parse_lock, read_lock
from scripts.lock.select import Selection, left_out_json, left_out_lines, unmirrorable
from scripts.workspace.settings import IncompleteKind, Settings
from tests.support.locks import EnvironmentRows, LockRow, PlatformRows, RawRow, lock_text
from tests.support.mirrored import select
from tests.support.packages import TinyPackage
from tests.support.template import ROOT

LOCKS = ROOT / "tests" / "data" / "locks"


def real(name: str, settings: Settings | None = None) -> Selection:
    return select(read_lock(LOCKS / name / "pixi.lock"), settings or Settings())


def test_nothing_is_left_out(tmp_path: Path) -> None:
    row = LockRow(written=TinyPackage(name="a").write(tmp_path), channel="https://host/x")
    text = lock_text((EnvironmentRows(platforms=(PlatformRows(name="linux-64", rows=(row,)),)),))
    selection = select(parse_lock(text, "pixi.lock"), Settings())
    assert tuple(flattened(left_out_lines(selection))) == ()
    assert left_out_json(selection) == {
        "environments": [],
        "platforms": [],
        "empty-environments": [],
        "packages": [],
    }


def test_source_packages_of_a_real_lock() -> None:
    built = "a source package, built where it is installed"
    assert tuple(flattened(left_out_lines(real("conda__rattler__20")))) == (
        (
            f"left out: minimal-project 0.1 (../minimal-project): {built}; "
            "in default/linux-64, default/win-64, second/win-64"
        ),
        f"left out: a-python-project 0.1 (../a-python-project): {built}; in default/win-64",
        f"left out: b-python-project 0.1 (../a-python-project): {built}; in default/win-64",
    )
    assert tuple(flattened(left_out_lines(real("prefix-dev__pixi__5")))) == (
        (
            "left out: my-package 0.1.0 (git+https://github.com/example/my-package.git?********"
            f"#abc123def456abc123def456abc123def456abc1): {built}; in default/linux-64"
        ),
    )


HOST = "https://files.pythonhosted.org/packages"


def test_pypi_rows_of_a_real_lock_that_are_not_wanted() -> None:
    selection = real("conda__rattler__49", Settings(pypi=False))
    numpy = f"{HOST}/numpy-1.26.0-cp311-cp311-linux_x86_64.whl"
    requests = "https://my-custom-index.example.com/packages/requests-2.31.0-py3-none-any.whl"
    unwanted = "a PyPI package, and pypi is false"
    assert tuple(flattened(left_out_lines(selection))) == (
        "left out: local-pkg (./local-pkg): part of the project; in default/linux-64",
        f"left out: numpy 1.26.0 ({numpy}): {unwanted}; in default/linux-64",
        f"left out: requests 2.31.0 ({requests}): {unwanted}; in default/linux-64",
    )
    assert left_out_json(selection) == {
        "environments": [],
        "platforms": [],
        "empty-environments": [],
        "packages": [
            {
                "name": name,
                "kind": kind,
                "location": location,
                "reason": reason,
                "in": ["default/linux-64"],
            }
            for name, kind, location, reason in (
                ("local-pkg", None, "./local-pkg", "part of the project"),
                ("numpy 1.26.0", "pypi", numpy, unwanted),
                ("requests 2.31.0", "pypi", requests, unwanted),
            )
        ],
    }
    # Control: they are mirrored, and what belongs to the project is still named.
    assert tuple(flattened(left_out_lines(real("conda__rattler__49")))) == (
        "left out: local-pkg (./local-pkg): part of the project; in default/linux-64",
    )


def test_empty_environments_of_a_real_lock() -> None:
    selection = real("conda__rattler__25")
    names = [environment.name for environment in selection.environments]
    assert len(names) == 6
    assert tuple(flattened(left_out_lines(selection))) == tuple(
        f"left out: {name}: it has no packages to mirror" for name in names
    )
    assert left_out_json(selection) == {
        "environments": [],
        "platforms": [],
        "empty-environments": names,
        "packages": [],
    }


def test_excluded_environments_are_named() -> None:
    settings = Settings(exclude_environments=("lint", "test"))
    selection = real("prefix-dev__pixi-build-backends", settings)
    first, *_ = left_out_lines(selection)
    assert first == "left out: lint, test (environments not mirrored)"
    assert left_out_json(selection)["platforms"] == []  # of what is left out as a whole, too
    # What only they want is not the mirror's business.
    inside = {place for where in unmirrorable(selection.environments).values() for place in where}
    assert {place.partition("/")[0] for place in inside} == {"default"}
    everything = unmirrorable(real("prefix-dev__pixi-build-backends").environments)
    assert any(place.startswith("test/") for where in everything.values() for place in where)


def test_platforms_that_are_not_mirrored_are_named() -> None:
    """What only they want is not; and an environment that has packages there is not empty."""
    selection = real("conda__rattler__20", Settings(platforms=("linux-64",)))
    assert left_out_json(selection)["platforms"] == ["default/win-64", "second/win-64"]
    assert left_out_json(selection)["empty-environments"] == []
    assert tuple(flattened(left_out_lines(selection))) == (
        "left out: default/win-64, second/win-64 (platforms not mirrored)",
        (
            "left out: minimal-project 0.1 (../minimal-project): "
            "a source package, built where it is installed; in default/linux-64"
        ),
    )


@pytest.mark.parametrize(
    "path", sorted(LOCKS.glob("*/pixi.lock")), ids=lambda path: path.parent.name
)
def test_every_row_that_is_no_artifact_is_named(path: Path) -> None:
    try:
        lock = read_lock(path)
    except MirrorError:
        return  # test_read_real_locks says which
    selection = select(lock, Settings())
    mirrored = {artifact.urls[0] for artifact in selection.pypi_artifacts}
    wanted = set[tuple[str, str]]()
    for environment in lock.environments:
        for rows in environment.platforms:
            all_rows = {row.location for row in rows.unmirrorable}
            all_rows |= {row.location for row in rows.pypi}
            place = f"{environment.name}/{rows.platform.name}"
            wanted |= {(each, place) for each in all_rows - mirrored}
    named = unmirrorable(selection.environments)
    assert {(row.location, place) for row, where in named.items() for place in where} == wanted
    lines = tuple(flattened(left_out_lines(selection)))
    told = {(x["name"], x["location"]): x["in"] for x in left_out_json(selection)["packages"]}
    for row, where in named.items():
        kinds = {
            IncompleteKind.SOURCE: "a source package, ",
            IncompleteKind.PYPI: "a PyPI package ",
            None: "part of the project",
        }
        assert row.reason.startswith(kinds[row.kind])
        places = told[row.name, redact(row.location)]
        for place in where:
            assert place in places
            shown = place if place in places[:5] else " more, in --json"
            assert any(row.name in x and row.reason in x and shown in x for x in lines)
    json.dumps(left_out_json(selection))


def test_no_secret_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    location = "https://user:hunter2@host/t/tk-SECRET/x-1.whl?sig=SIGNED"
    rows = (
        RawRow(key="pypi", location=location, lines=("name: x", "version: '1'")),
        RawRow(key="conda_source", location="y[00ff] @ git+https://tk-SECRET@host/y.git?rev=1"),
    )
    platform = PlatformRows(name="linux-64", rows=rows)
    selection = select(
        parse_lock(lock_text((EnvironmentRows(platforms=(platform,)),)), "pixi.lock"), Settings()
    )
    report = Report(lines=left_out_lines(selection), data={"left-out": left_out_json(selection)})
    Console().report(report)
    hidden = "https://********@host/t/********/x-1.whl?********"
    assert capsys.readouterr().out == (
        "left out: y (git+https://********@host/y.git?********): "
        "a source package, built where it is installed; in default/linux-64\n"
        f"left out: x 1 ({hidden}): a PyPI package of which the lock has no hash"
        " (allow-unhashed takes it); in default/linux-64\n"
    )
    Console(json_wanted=True).end("fetch", report)
    out = capsys.readouterr().out
    assert out.count(hidden) == 1
    assert not any(secret in out for secret in ("hunter2", "SECRET", "SIGNED"))
