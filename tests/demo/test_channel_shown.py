"""What the demo shows of the channel that it made: its tree, and the hotfixes that were kept."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from scripts.core.errors import ExitCode, MirrorError
from scripts.demo import stage
from scripts.demo.stage import (
    SERVICE,
    UPSTREAM,
    WORKSPACE,
    draw_tree,
    find_hotfixes,
    install_and_run,
    task_environment,
)


def test_the_hotfix_of_the_demo_is_found_and_no_other(tmp_path: Path) -> None:
    artifact = "noarch/greetings-2.1-0.conda"
    hotfix = artifact, ("words 1.*",), ("words >=2.0,<3.0a0",)
    assert list(find_hotfixes(UPSTREAM / "data")) == [hotfix]
    assert list(find_hotfixes(UPSTREAM / "tools")) == []
    assert list(find_hotfixes(tmp_path)) == []
    repodata = shutil.copytree(UPSTREAM / "data" / "noarch", tmp_path / "noarch") / "repodata.json"
    text, built = repodata.read_text("utf-8"), "greetings >=2.0,<3.0a0"
    repodata.write_text(text.replace(built, "greetings 2.1"), encoding="utf-8")
    first = "noarch/farewell-1.0-0.conda", (built,), ("greetings 2.1",)
    assert list(find_hotfixes(tmp_path)) == [first, hotfix]


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
    for each in (WORKSPACE, SERVICE):
        shutil.copytree(each, tmp_path / each.name)
    for said in (
        "demo:default/linux-64: py-rattler cannot install it from the channel alone",
        "hello: installed from the channel alone, it ended with exit code",
    ):
        with pytest.raises(MirrorError) as caught:
            install_and_run(tmp_path / "workspace", "linux-64", has_python=False)
        (problem,) = caught.value.problems
        assert str(problem).startswith(said)
        assert problem.code == ExitCode.FINDINGS
        monkeypatch.setattr(stage, "install_with", lambda *_: (tmp_path / "empty", (), None))


def test_the_users_settings_stay_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "p")
    for name in (
        *("https_proxy", "NO_PROXY", "PIXI_HOME", "PIXI_PROJECT_MANIFEST", "CONDA_PREFIX"),
        *("RATTLER_AUTH_FILE", "UV_INDEX_URL", "PIP_INDEX_URL", "PYTHONHOME", "HOME"),
    ):
        monkeypatch.setenv(name, "theirs")
    env = task_environment(tmp_path)
    assert "theirs" not in env.values()
    assert env["PATH"] == "p"
    assert env["NO_PROXY"].startswith("127.0.0.1,")
    assert env["PIXI_HOME"] == str(tmp_path / "pixi-home")
