"""`pixi run channels`: the order that pixi's documentation tells, and what each channel serves."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from scripts.core.child_process import quoted
from tasks import locks, plan
from tasks.channels import main
from tests.support.cases import CASES
from tests.support.pixi import find_pixi
from tests.support.template import ROOT

LOCKS = ROOT / "tests" / "data" / "locks"

ORDERS = {
    "default": ["conda-forge"],
    "a": ["nvidia", "conda-forge"],
    "b": ["nvidia", "pytorch", "conda-forge"],
    "c": ["pytorch", "conda-forge", "nvidia"],
}


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """The documented example, in a folder of its own."""
    return Path(shutil.copytree(CASES / "channel-priority", tmp_path / "w"))


def _edit(folder: Path, file: str, old: str, new: str) -> None:
    path = folder / file
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def _json(folder: Path, capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, Any]:
    assert main(["--manifest-path", str(folder), "--json", *options]) == 0
    document = json.loads(capsys.readouterr().out)
    return {each["name"]: each for each in document["environments"]}


def test_the_documented_example(example: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--manifest-path", str(example), "--layout", "by-channel"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out == (
        "default  conda-forge\n"
        "  serves: conda-forge 7\n"
        "a        nvidia, conda-forge\n"
        "  serves: nvidia 1, conda-forge 0\n"
        "  cuda-cudart: from nvidia; in the mirror also conda-forge (lower)\n"
        "b        nvidia, pytorch, conda-forge\n"
        "  serves: nvidia 1, pytorch 0, conda-forge 0\n"
        "  cuda-cudart: from nvidia; in the mirror also conda-forge (lower)\n"
        "c        pytorch, conda-forge, nvidia\n"
        "  serves: pytorch 0, conda-forge 7, nvidia 0\n"
        "  cuda-cudart: from conda-forge; in the mirror also nvidia (lower)\n"
    )


def test_why_it_cannot_be_flat(example: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--manifest-path", str(example)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == (
        "from two channels, so this mirror cannot be flat: cuda-cudart; "
        'set layout = "by-channel" under [tool.pixi-mirror]'
    )


def test_json(example: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = _json(example, capsys)
    assert {name: each["channels"] for name, each in found.items()} == ORDERS
    assert found["c"] == {
        "name": "c",
        "channels": ["pytorch", "conda-forge", "nvidia"],
        "mirrored": True,
        "served": {"pytorch": 0, "conda-forge": 7, "nvidia": 0},
        "shared": [
            {"name": "cuda-cudart", "from": "conda-forge", "lower": ["nvidia"], "higher": []}
        ],
        "solved-with": None,
    }


def test_another_priority_is_another_order(
    example: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A control: the order is that of the numbers; the lock no longer fits."""
    _edit(example, "pixi.toml", "priority = 1 ", "priority = -2 ")
    assert main(["--manifest-path", str(example), "-e", "b"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2:5] == [
        "b        pytorch, conda-forge, nvidia",
        "  serves: pytorch 0, conda-forge 0, nvidia 1",
        "  pixi.lock was solved with nvidia, pytorch, conda-forge; `pixi lock` renews it",
    ]
    # Of another workspace's lock it is renewed there.
    own = example.parent / "own"
    own.mkdir()
    manifest = '[workspace]\nname = "own"\nchannels = ["a"]\nplatforms = ["linux-64"]\n'
    (own / "pixi.toml").write_text(manifest, encoding="utf-8")
    lock = f"../{example.name}/pixi.lock"
    assert main(["--manifest-path", str(own), "--locks", lock]) == 0
    assert (
        f"  {lock} was solved with nvidia, pytorch, conda-forge;"
        f" `pixi lock --manifest-path {quoted(str(example))}` renews it\n"
    ) in capsys.readouterr().out


def test_a_higher_channel_that_was_passed_over(
    example: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _edit(example, "pixi.toml", "priority = 1 ", "priority = -2 ")
    found = _json(example, capsys)
    assert found["b"]["shared"] == [
        {"name": "cuda-cudart", "from": "nvidia", "lower": [], "higher": ["conda-forge"]}
    ]


BUILT = {  # real locks with source packages: conda artifacts that are installed, and that build
    "prefix-dev__pixi__226": (136, 132),
    "matthewfeickert-talks__reproducible-cuda-workflows-with-pixi-scipy-2026__9": (52, 8),
}


@pytest.mark.parametrize("name", BUILT)
def test_what_builds_a_source_package_is_served_too(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(LOCKS / name, tmp_path / "w"))
    served = _json(folder, capsys)["default"]["served"]
    assert sum(served.values()) == sum(BUILT[name])
    assert locks.main(["--manifest-path", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["artifacts"] == sum(BUILT[name])
    # The control: without their builds it is what is installed.
    text = (folder / "pixi.lock").read_text(encoding="utf-8")
    text = re.sub(r"^  (build|host)_packages:", r"  no_\1_packages:", text, flags=re.MULTILINE)
    (folder / "pixi.lock").write_text(text, encoding="utf-8")
    assert sum(_json(folder, capsys)["default"]["served"].values()) == BUILT[name][0]


def test_what_is_not_mirrored_shares_nothing(
    example: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--manifest-path", str(example), "-e", "a"]) == 0
    assert capsys.readouterr().out == (
        "default  conda-forge  (not mirrored)\n"
        "a        nvidia, conda-forge\n"
        "  serves: nvidia 1, conda-forge 0\n"
        "b        nvidia, pytorch, conda-forge  (not mirrored)\n"
        "c        pytorch, conda-forge, nvidia  (not mirrored)\n"
    )


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:word@example.org/t/token-1/nvidia", "@example.org/t/********/nvidia"),
        ("https://conda.anaconda.org/t/token-1/nvidia", " t/********/nvidia"),
    ],
)
def test_secrets_are_not_shown(
    url: str, shown: str, example: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _edit(example, "pixi.toml", '["nvidia"]', f'["{url}"]')
    _edit(example, "pixi.lock", "https://conda.anaconda.org/nvidia", url)
    for options in ([], ["--json"]):
        assert main(["--manifest-path", str(example), *options]) == 0
        out, err = capsys.readouterr()
        assert shown in out.replace('"', " ")
        assert "word" not in out + err
        assert "token-1" not in out + err


@pytest.mark.needs_pixi
def test_a_channel_that_is_named_in_two_ways(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Pixi locks it twice, and the lock fits."""
    text = """
[workspace]
name = "w"
channels = ["https://conda.anaconda.org/conda-forge"]
platforms = ["linux-64"]
[feature.a]
channels = ["conda-forge", "bioconda"]
[environments]
a = ["a"]
"""
    (tmp_path / "pixi.toml").write_text(text, encoding="utf-8")
    assert find_pixi(tmp_path / "home").run(tmp_path, "lock").returncode == 0
    assert (tmp_path / "pixi.lock").read_text(encoding="utf-8").count("org/conda-forge/") == 3
    assert plan.main(["--manifest-path", str(tmp_path), "--offline"]) == 0
    assert "plan: using pixi.lock as it is; it fits the manifest\n" in capsys.readouterr().err
    found = _json(tmp_path, capsys)["a"]
    assert (found["channels"], found["solved-with"]) == (["conda-forge", "bioconda"], None)
    # The control: another order is not that of the lock.
    _edit(tmp_path, "pixi.toml", '"conda-forge", "bioconda"', '"bioconda", "conda-forge"')
    assert plan.main(["--manifest-path", str(tmp_path), "--offline"]) == 2
    message = "environment a was solved with other channels, or in another order\n"
    assert capsys.readouterr().err.startswith(f"error: pixi.lock: {message}")
    assert _json(tmp_path, capsys)["a"]["solved-with"] == ["conda-forge", "bioconda", "conda-forge"]


def test_without_a_lock(example: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (example / "pixi.lock").unlink()
    assert main(["--manifest-path", str(example)]) == 2
    assert "there is no such file" in capsys.readouterr().err


@pytest.mark.needs_pixi
@pytest.mark.parametrize("name", sorted(each.name for each in CASES.iterdir()))
def test_pixi_has_the_same_order(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(CASES / name, tmp_path / "w"))
    done = find_pixi(tmp_path / "home").run(folder, "info", "--json")
    told = {each["name"]: each["channels"] for each in json.loads(done.stdout)["environments_info"]}
    found = _json(folder, capsys)
    assert {name: each["channels"] for name, each in found.items()} == told
