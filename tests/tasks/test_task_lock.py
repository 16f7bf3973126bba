"""`pixi run lock`, from its arguments to what it prints and writes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tasks import fetch, index, verify
from tasks.lock import main
from tests.support.packages import TinyPackage
from tests.support.pixi_workspace import PixiWorkspace
from tests.support.upstream import Upstream

MANIFEST = """
[workspace]
name = "tiny"
channels = ["{channel}"]
platforms = ["linux-64"]

[dependencies]
a = "*"

[feature.tools.dependencies]
t = "*"

[environments]
tools = { features = ["tools"], no-default-feature = true }

[tool.pixi-mirror]
exclude-environments = ["tools"]
"""
SINCE_MADE = "since the channel was last made"
MARKDOWN = """### `default`

`linux-64`: 1 changed

| package | from | to | |
| --- | --- | --- | --- |
| `a` | `1.0 0` | `2.0 0` | changed |
"""


@pytest.fixture
def made(tmp_path: Path, upstream: Upstream) -> PixiWorkspace:
    """A workspace whose channel was made from its lock, and whose manifest was changed since."""
    made = PixiWorkspace.make(tmp_path / "workspace", upstream, MANIFEST)
    made.publish(TinyPackage(name="a"), TinyPackage(name="t"))
    made.lock()
    made.note_mirrored()
    made.publish(TinyPackage(name="a", version="2.0"), TinyPackage(name="t", version="2.0"))
    manifest = made.root / "pixi.toml"
    text = manifest.read_text(encoding="utf-8").replace('a = "*"', 'a = "2.*"')
    manifest.write_text(text, encoding="utf-8")
    return made


def run(made: PixiWorkspace, *arguments: str) -> int:
    return main(["--manifest-path", str(made.root), *arguments])


@pytest.mark.needs_pixi
def test_it_locks_and_tells_what_changed(
    made: PixiWorkspace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(made) == 0
    shown = capsys.readouterr()
    assert shown.out == (
        f"changed {SINCE_MADE}:\ndefault, linux-64: 1 changed\n  ~ a  1.0 0 -> 2.0 0\n"
    )
    assert shown.err == "lock: running `pixi lock`\n"
    assert "a-2.0-0.conda" in made.lock_text


@pytest.mark.needs_pixi
def test_it_tells_so_too_where_pixi_run_has_locked_before(
    made: PixiWorkspace, capsys: pytest.CaptureFixture[str]
) -> None:
    made.lock()
    assert run(made) == 0
    assert "  ~ a  1.0 0 -> 2.0 0\n" in capsys.readouterr().out


@pytest.mark.needs_pixi
def test_an_empty_path_is_refused_before_pixi_runs(
    made: PixiWorkspace, capsys: pytest.CaptureFixture[str]
) -> None:
    before = made.lock_text
    with pytest.raises(SystemExit) as caught:
        run(made, "--markdown", "")
    assert caught.value.code == 2
    assert capsys.readouterr().err.endswith("error: argument --markdown: a path is needed\n")
    assert made.lock_text == before
    assert run(made, "--markdown", "-") == 0
    assert made.lock_text != before


@pytest.mark.needs_pixi
def test_no_change_is_said(made: PixiWorkspace, capsys: pytest.CaptureFixture[str]) -> None:
    made.lock()
    made.note_mirrored()
    assert run(made) == 0
    assert capsys.readouterr().out == f"no change {SINCE_MADE}\n"


@pytest.mark.needs_pixi
def test_before_the_first_channel_it_tells_what_this_run_changed(
    made: PixiWorkspace, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(made.workspace.place.state)
    assert run(made) == 0
    first = "changed by this run (this lock had not been mirrored before):\n"
    assert capsys.readouterr().out.startswith(first + "default, linux-64: 1 changed\n")


@pytest.mark.needs_pixi
def test_a_channel_made_by_fetch_index_and_verify_is_known_to_be_made(
    made: PixiWorkspace, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is `index` that makes it, and notes by which lock; `verify` notes nothing."""
    shutil.rmtree(made.workspace.place.state)
    old = (made.root / "pixi.toml").read_text(encoding="utf-8")
    options = ["--manifest-path", str(made.root)]
    made.lock()
    assert fetch.main(options) == 0
    assert run(made) == 0
    assert "(this lock had not been mirrored before)" in capsys.readouterr().out  # the control
    assert index.main(options) == 0
    before = made.state()
    assert verify.main([*options, "--level", "index"]) == 0
    kept = {path: state for path, state in made.state().items() if "/cache" not in path}
    assert kept == {path: state for path, state in before.items() if "/cache" not in path}
    capsys.readouterr()
    assert run(made) == 0
    assert capsys.readouterr().out == f"no change {SINCE_MADE}\n"
    (made.root / "pixi.toml").write_text(old.replace('a = "2.*"', 'a = "1.*"'), encoding="utf-8")
    assert run(made) == 0
    assert capsys.readouterr().out == (
        f"changed {SINCE_MADE}:\ndefault, linux-64: 1 went back\n  < a  went back 2.0 0 -> 1.0 0\n"
    )


@pytest.mark.needs_pixi
def test_without_any_lock_everything_is_new(
    made: PixiWorkspace, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(made.workspace.place.state)
    (made.root / "pixi.lock").unlink()
    assert run(made) == 0
    assert capsys.readouterr().out.endswith("default, linux-64: 1 added\n  + a  2.0 0\n")


@pytest.mark.needs_pixi
def test_markdown_to_a_file_and_to_stdout(
    made: PixiWorkspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "new folder" / "changes.md"
    assert run(made, "--markdown", str(file)) == 0
    assert file.read_bytes() == MARKDOWN.encode()
    assert capsys.readouterr().out.startswith("changed ")
    assert run(made, "--markdown", "-") == 0
    assert capsys.readouterr().out == MARKDOWN


@pytest.mark.needs_pixi
def test_json(made: PixiWorkspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(made, "--json") == 0
    change = {
        "kind": "changed",
        "name": "a",
        "before": "1.0 0",
        "after": "2.0 0",
        "source": "conda",
        "license": None,
    }
    assert json.loads(capsys.readouterr().out) == {
        "task": "lock",
        "schema": 1,
        "exit-code": 0,
        "warnings": [],
        "since": SINCE_MADE,
        "changes": [
            {"environment": "default", "platform": "linux-64", "changes": [change]},
        ],
        "problems": [],
    }


@pytest.mark.needs_pixi
def test_what_cannot_be_solved_is_an_error_of_pixi(
    made: PixiWorkspace, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = made.root / "pixi.toml"
    text = manifest.read_text(encoding="utf-8").replace('a = "2.*"', 'a = "3.*"')
    manifest.write_text(text, encoding="utf-8")
    before = made.lock_text
    assert run(made) == 4
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "error: pixi lock: failed with exit code 1\n" in shown.err
    assert "No candidates were found for a 3.*" in shown.err
    assert made.lock_text == before


def test_without_pixi(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pixi.toml").write_text("[workspace]\nchannels = []\n", encoding="utf-8")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["--manifest-path", str(tmp_path)]) == 4
    assert capsys.readouterr().err == (
        "error: pixi: this program is not on PATH, and `lock` cannot do without it\n"
        "help: install pixi (https://pixi.sh), or run this on a machine that has it\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["pixi.toml"]
