"""`pixi run update-mirror`, from its arguments to the channel."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NoReturn

import pytest

from scripts.core.child_process import program_error
from tasks import mirror
from tasks.update_mirror import main
from tests.support.packages import TinyPackage
from tests.support.pixi_workspace import PixiWorkspace
from tests.support.upstream import Upstream

pytestmark = pytest.mark.needs_pixi

MANIFEST = """
[workspace]
name = "tiny"
channels = ["{channel}"]
platforms = ["linux-64"]

[dependencies]
a = "*"
b = "*"

[feature.tools.dependencies]
t = "*"

[environments]
default = { solve-group = "main" }
dev = { features = ["tools"], solve-group = "main" }
tools = { features = ["tools"], no-default-feature = true }

[tool.pixi-mirror]
exclude-environments = ["dev", "tools"]
"""


@pytest.fixture
def made(tmp_path: Path, upstream: Upstream, capsys: pytest.CaptureFixture[str]) -> PixiWorkspace:
    """A workspace whose channel was made, while upstream has moved on."""
    made = PixiWorkspace.make(tmp_path / "workspace", upstream, MANIFEST)
    made.publish(*(TinyPackage(name=name) for name in "abt"))
    made.lock()
    assert mirror.main(["--manifest-path", str(made.root)]) == 0
    made.publish(*(TinyPackage(name=name, version="2.0") for name in "abt"))
    capsys.readouterr()
    return made


def run(made: PixiWorkspace, *arguments: str) -> int:
    return main(["--manifest-path", str(made.root), *arguments])


def artifacts(made: PixiWorkspace) -> list[str]:
    return sorted(path.name for path in (made.root / "local-channel").rglob("*.conda"))


def test_it_updates_mirrors_and_ends_with_what_changed(
    made: PixiWorkspace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(made) == 0
    shown = capsys.readouterr()
    assert shown.out.endswith(
        "changed since the channel was last made:\n"
        "default, linux-64: 2 changed\n"
        "  ~ a  1.0 0 -> 2.0 0\n"
        "  ~ b  1.0 0 -> 2.0 0\n"
    )
    assert "also updating dev (not mirrored): it shares the solve group main\n" in shown.err
    assert artifacts(made) == [f"{name}-{n}.0-0.conda" for name in "ab" for n in (1, 2)]
    assert "t-1.0-0.conda" in made.lock_text  # the tools stay where they were
    assert run(made) == 0
    assert capsys.readouterr().out.endswith("no change since the channel was last made\n")


def test_one_package_alone(made: PixiWorkspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(made, "b", "-e", "default", "-p", "linux-64") == 0
    assert capsys.readouterr().out.endswith("default, linux-64: 1 changed\n  ~ b  1.0 0 -> 2.0 0\n")
    assert artifacts(made) == ["a-1.0-0.conda", "b-1.0-0.conda", "b-2.0-0.conda"]


def test_a_dry_run_changes_no_byte(made: PixiWorkspace, capsys: pytest.CaptureFixture[str]) -> None:
    state = made.state()
    assert run(made, "--dry-run") == 0
    assert made.state() == state
    assert capsys.readouterr().out == (
        "changed since the channel was last made, were this update made:\n"
        "default, linux-64: 2 changed\n"
        "  ~ a  1.0 0 -> 2.0 0\n"
        "  ~ b  1.0 0 -> 2.0 0\n"
    )
    assert run(made) == 0
    assert made.state() != state


def test_a_dry_run_before_the_first_channel_makes_no_folder(
    tmp_path: Path, upstream: Upstream
) -> None:
    made = PixiWorkspace.make(tmp_path / "new", upstream, MANIFEST)
    made.publish(*(TinyPackage(name=name) for name in "abt"))
    made.lock()
    assert run(made, "--dry-run") == 0
    assert sorted(path.name for path in made.root.iterdir()) == ["pixi.lock", "pixi.toml"]


def test_markdown_on_stdout_stands_alone(
    made: PixiWorkspace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(made, "a", "--markdown", "-") == 0
    assert capsys.readouterr().out == (
        "### `default`\n\n`linux-64`: 1 changed\n\n"
        "| package | from | to | |\n| --- | --- | --- | --- |\n"
        "| `a` | `1.0 0` | `2.0 0` | changed |\n"
    )


def test_json_holds_the_changes_and_the_stages(
    made: PixiWorkspace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(made, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["task"] == "update-mirror"
    assert [each["name"] for each in document["changes"][0]["changes"]] == ["a", "b"]
    assert {"fetch", "index", "verify"} <= document.keys()


def test_an_environment_that_is_not_locked(
    made: PixiWorkspace, capsys: pytest.CaptureFixture[str]
) -> None:
    state = made.state()
    assert run(made, "-e", "defualt") == 2
    assert capsys.readouterr().err == (
        "error: pixi.lock: has no environment 'defualt'\n"
        "  nearest  default\n"
        "  it has   default, dev, tools\n"
    )
    assert made.state() == state


def test_an_unknown_package_is_pixis_own_error(
    made: PixiWorkspace, capsys: pytest.CaptureFixture[str]
) -> None:
    before = made.lock_text
    assert run(made, "nosuch") == 4
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "could not find a package named 'nosuch'" in shown.err
    assert made.lock_text == before


def test_what_upstream_no_longer_has_fails_the_fetch_and_tells_the_changes(
    made: PixiWorkspace, capsys: pytest.CaptureFixture[str]
) -> None:
    """The lock has moved on by then, so what changed is told all the same."""
    (made.upstream.folder / "noarch" / "a-2.0-0.conda").unlink()
    assert run(made) == 1
    shown = capsys.readouterr()
    assert "  ~ a  1.0 0 -> 2.0 0\n" in shown.out
    assert "a-2.0-0.conda" in shown.err
    # Still to be told by the next run: the channel was not made from this lock.
    TinyPackage(name="a", version="2.0").write(made.upstream.folder)
    assert run(made) == 0
    assert "  ~ a  1.0 0 -> 2.0 0\n" in capsys.readouterr().out


@pytest.mark.parametrize("code", [4, 0])
def test_what_an_index_that_failed_did_not_publish_is_told_by_the_next_run(
    made: PixiWorkspace,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    code: int,
) -> None:
    """By then the state has the new lock, of which the channel has not been made."""
    report = tmp_path / "changes.md"
    with monkeypatch.context() as patched:
        if code:
            patched.setattr("scripts.index.stage.find_indexer", _no_indexer)
        assert run(made, "--markdown", str(report)) == code
    assert "  ~ a  1.0 0 -> 2.0 0\n" in capsys.readouterr().out
    assert run(made, "--markdown", str(report)) == 0
    told = "  ~ a  1.0 0 -> 2.0 0\n" in capsys.readouterr().out
    assert (
        told is ("| `a` | `1.0 0` | `2.0 0` | changed |" in report.read_text("utf-8")) is bool(code)
    )


def _no_indexer() -> NoReturn:
    raise program_error("rattler-index", "ended with status 3")
