"""TOML into plain values: by two parsers that must agree."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from scripts.core.typed_values import load_toml, parse_toml

DATA = Path(__file__).parents[1] / "data"
MANIFESTS = sorted([*DATA.rglob("*.toml"), *DATA.parents[1].glob("*.toml")])
NEW = "[workspace]\nplatforms = [{\n  platform = 'linux-64',\n  cuda = '12',\n}]\n"


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_both_parsers_read_the_same(path: Path) -> None:
    text = path.read_bytes().decode()
    assert load_toml(text, path.name).fields == parse_toml(text, path.name).unwrap()


def test_toml_1_1_is_read_too() -> None:
    with pytest.raises(tomllib.TOMLDecodeError):  # control: the fast parser does not know it
        tomllib.loads(NEW)
    assert load_toml(NEW, "pixi.toml").fields == {
        "workspace": {"platforms": [{"platform": "linux-64", "cuda": "12"}]}
    }
