"""The task mirror: what its stages say, said once, and where the chain ends."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from scripts.network.retry import RetryPolicy
from tasks import channels, fetch, index, mirror, prune, update_mirror, verify
from tests.support.locks import LockRow, RawRow
from tests.support.mirrors import CHANNEL, Mirror, make_mirror, rows
from tests.support.packages import TinyPackage
from tests.support.replies import status
from tests.support.template import ROOT
from tests.support.upstream import Upstream

GIT = "git+https://git.example.org/x{0}.git#" + "c" * 40


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mirror:
    """A mirror whose lock names an artifact, which is there, and five packages built from git."""
    monkeypatch.setenv("PATH", "")  # py-rattler alone installs: the others take a second each
    from_git = [
        RawRow(key="pypi", location=GIT.format(each), lines=(f"name: x{each}", "version: '1.0'"))
        for each in range(5)
    ]
    made = make_mirror(tmp_path / "workspace")
    made.lock((*rows(tmp_path / "upstream", (TinyPackage(name="lib"),)), *from_git))
    return made


def run(made: Mirror, *options: str) -> int:
    return mirror.main(["--manifest-path", str(made.root), *options])


def test_what_several_stages_say_is_said_once(
    made: Mirror, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(made, "--allow-incomplete", "pypi") == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0] == "fetch: nothing to do, 1 artifact is there"
    assert lines[-1] == "mirror: local-channel holds what pixi.lock names, verified"
    assert "left out" not in out
    left_out = [line for line in err.splitlines() if "left out: " in line]
    assert [line.split()[3] for line in left_out] == [f"x{each}" for each in range(5)]


def test_that_nothing_is_mirrored_is_no_proof(
    made: Mirror, capsys: pytest.CaptureFixture[str]
) -> None:
    """A setting that leaves out every environment is a mistake; all that is there would be kept."""
    options = ("--allow-incomplete", "pypi", "--exclude-environments", "default")
    for task in (mirror, verify):
        assert task.main(["--manifest-path", str(made.root), *options]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.endswith(
            "error: pixi.lock: no environment is mirrored\n"
            "  left out  default\n"
            "help: take one out of `exclude-environments` under [tool.pixi-mirror], or say"
            " --environment\n"
        )
    assert run(made, *options[:2]) == 0
    made.lock(())  # the control: an environment without a package is mirrored
    assert run(made) == 0
    assert "left out: default: it has no packages to mirror" in capsys.readouterr().err


def test_what_fails_is_run_again_by_the_task_that_was_run(
    made: Mirror,
    upstream: Upstream,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("scripts.fetch.pool.RetryPolicy", lambda: RetryPolicy(total=1))
    upstream.always("*", status(503))
    far = TinyPackage(name="far").write(made.root / "far")
    url = f"{upstream.url}/noarch/{far.path.name}"
    made.lock((LockRow(written=far, channel=CHANNEL, url=url),))
    (made.folder / "noarch" / far.path.name).unlink()
    for task, words in ((mirror, "mirror"), (fetch, "fetch")):
        assert task.main(["--manifest-path", str(made.root)]) == 3
        assert capsys.readouterr().err.endswith(
            f"help: run `pixi run {words}` again later; it goes on where it stopped\n"
        )


WITHOUT_NETWORK = """\
import importlib, sys
task, *options = sys.argv[1:]
assert importlib.import_module(f"tasks.{task}").main(["-q", *options]) == 0
print(sum(name.startswith("scripts.network.") for name in sys.modules))
"""


@pytest.mark.parametrize(
    ("options", "is_there"),
    [
        (("mirror", "--level", "files", "--allow-incomplete", "pypi"), True),
        (("fetch",), True),
        (("fetch",), False),
    ],
)
def test_a_run_with_nothing_to_do_does_without_the_network(
    made: Mirror, upstream: Upstream, options: tuple[str, ...], *, is_there: bool
) -> None:
    """Its modules would be a third of the start; the control has something to fetch."""
    if not is_there:
        far = TinyPackage(name="far").write(upstream.folder)
        made.lock((LockRow(written=far, channel=upstream.url),))
        (made.folder / "noarch" / far.path.name).unlink()
    command = [sys.executable, "-c", WITHOUT_NETWORK, *options, "--manifest-path", str(made.root)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert (int(done.stdout) == 0) is is_there


@pytest.mark.parametrize(
    ("task", "said"),
    [
        (mirror, "mirror: interrupted; artifacts already placed are kept\n"),
        (update_mirror, "update-mirror: interrupted; artifacts already placed are kept\n"),
        (fetch, "fetch: interrupted; artifacts already placed are kept\n"),
        (index, "index: interrupted\n"),
        (verify, "verify: interrupted\n"),
        (prune, "prune: interrupted\n"),
        (channels, "channels: interrupted\n"),
    ],
)
def test_what_ctrl_c_says_fits_the_task(
    task: ModuleType,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def ctrl_c(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(task, "workspace_from", ctrl_c)
    assert task.main([]) == 130
    assert capsys.readouterr().err == said


ASIDE = ("source", "under a condition", "with flags")


def test_without_pixi_run_the_lock_must_fit(
    made: Mirror, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody has renewed it: it is taken as it is, or refused before anything is done."""
    assert run(made, "--allow-incomplete", "pypi") == 0
    fits = "mirror: using pixi.lock as it is; it fits the manifest"
    first, *notes = capsys.readouterr().err.splitlines()
    assert first == fits
    assert not any("not checked" in note for note in notes)
    assert run(made, "--allow-incomplete", "pypi", "--json") == 0
    unchecked = [
        "whether the packages' dependencies are met, all are needed, and alike in a solve-group",
        "channel-priority, solve-strategy, exclude-newer, constraints; pypi-options but URLs",
        f"requirements from {', '.join(ASIDE)}, or on virtual packages",
        "what requirements from PyPI say but name and version, and what cannot be decided of them",
    ]
    assert json.loads(capsys.readouterr().out)["not-checked"] == unchecked
    assert run(made, "--allow-incomplete", "pypi", "-v") == 0
    first, *notes = capsys.readouterr().err.splitlines()[:5]
    assert first == fits
    assert notes == [f"mirror: not checked: {each}" for each in unchecked]
    manifest, before = made.root / "pixi.toml", made.states()
    text = manifest.read_text(encoding="utf-8")
    manifest.write_text(text + '\n[dependencies]\nlib = ">=9"\n', encoding="utf-8")
    assert run(made) == 2
    out, err = capsys.readouterr()
    assert (out, err.partition(":")[0], "lib" in err, fits in err) == ("", "error", True, False)
    assert made.states() == before


def test_many_findings_are_counted_and_all_are_named_with_v(
    made: Mirror, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(made) == 1
    out, err = capsys.readouterr()
    assert "verified" not in out.splitlines()[-1]
    assert err[err.index("error: ") :] == (
        "error: each of these 5 is not mirrored: a PyPI package built from git\n"
        "  first    x0 1.0\n"
        f"  from     {GIT.format(0)}\n"
        "  used by  default/linux-64\n"
        "  then     x1 1.0\n"
        "           x2 1.0\n"
        "           x3 1.0\n"
        "           x4 1.0\n"
        'help: add "pypi" to allow-incomplete under [tool.pixi-mirror], if that will do\n'
    )
    assert run(made, "-v") == 1
    errors = capsys.readouterr().err
    assert all(f"error: x{each} 1.0: is not mirrored: " in errors for each in range(5))
