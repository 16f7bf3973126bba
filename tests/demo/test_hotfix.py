"""Records that say other than their archives are found, and no others."""

from __future__ import annotations

from pathlib import Path

from scripts.demo.hotfix import Hotfix, find_hotfixes
from scripts.demo.scratch import UPSTREAM

KEPT = Hotfix(
    artifact="noarch/greetings-2.1-0.conda",
    archive=("words 1.*",),
    channel=("words >=2.0,<3.0a0",),
)


def test_the_one_of_the_demo_is_found() -> None:
    assert list(find_hotfixes(UPSTREAM / "data")) == [KEPT]


def test_a_channel_without_any_has_none(tmp_path: Path) -> None:
    """A control."""
    assert list(find_hotfixes(UPSTREAM / "tools")) == []
    assert list(find_hotfixes(tmp_path)) == []
