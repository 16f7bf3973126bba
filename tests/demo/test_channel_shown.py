"""What the demo shows of the channel that it made: its tree, and the hotfixes that were kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.core.errors import ExitCode, MirrorError
from scripts.core.rattler_child import call_rattler
from scripts.demo import stage
from scripts.demo.stage import UPSTREAM, draw_tree, find_hotfixes, install_and_run, task_environment


def test_the_hotfix_of_the_demo_is_found_and_no_other(tmp_path: Path) -> None:
    artifact = "noarch/greetings-2.1-0.conda"
    assert list(find_hotfixes(UPSTREAM / "data")) == [
        (artifact, ("words 1.*",), ("words >=2.0,<3.0a0",))
    ]
    assert list(find_hotfixes(UPSTREAM / "tools")) == []
    assert list(find_hotfixes(tmp_path)) == []


def test_folders_stand_before_files_and_shards_are_counted(tmp_path: Path) -> None:
    folder = tmp_path / "local-channel"
    for name in (
        "top.txt",
        "noarch/shards/b.msgpack.zst",
        "noarch/repodata.json",
        "noarch/shards/a.msgpack.zst",
        "linux-64/x-1-0.conda",
        "linux-64/shards/c.msgpack.zst",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    assert list(draw_tree(folder)) == [
        "local-channel/",
        "  linux-64/",
        "    shards/  (1 file)",
        "    x-1-0.conda",
        "  noarch/",
        "    shards/  (2 files)",
        "    repodata.json",
        "  top.txt",
    ]


def test_a_program_that_does_not_run_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither one that cannot be installed, nor one that is not there when it is installed."""
    for install in (call_rattler, lambda *_: None):
        monkeypatch.setattr(stage, "call_rattler", install)
        with pytest.raises(MirrorError) as caught:
            install_and_run(tmp_path, tmp_path / "no-channel", task_environment(tmp_path, {}))
        (problem,) = caught.value.problems
        assert (str(problem).splitlines()[0], problem.code) == (
            "hello: cannot be installed from the channel alone and run",
            ExitCode.FINDINGS,
        )


def test_the_users_settings_stay_outside(tmp_path: Path) -> None:
    given = {
        "PATH": "p",
        "https_proxy": "http://proxy.example.org",
        "PIXI_HOME": "theirs",
        "PIXI_PROJECT_MANIFEST": "theirs",
        "CONDA_PREFIX": "theirs",
        "RATTLER_AUTH_FILE": "theirs",
        "UV_INDEX_URL": "theirs",
        "PIP_INDEX_URL": "theirs",
        "NO_PROXY": "theirs",
    }
    env = task_environment(tmp_path, given)
    assert "theirs" not in env.values()
    assert env["PATH"] == "p"
    assert {name for name in env if name.upper().endswith("_PROXY")} == {"NO_PROXY", "no_proxy"}
