"""The tree that the demo shows."""

from __future__ import annotations

from pathlib import PurePosixPath

from scripts.demo.tree import draw_tree


def test_folders_stand_before_files_and_shards_are_counted() -> None:
    files = (
        "top.txt",
        "noarch/shards/b.msgpack.zst",
        "noarch/repodata.json",
        "noarch/shards/a.msgpack.zst",
        "linux-64/x-1-0.conda",
        "linux-64/shards/c.msgpack.zst",
    )
    assert draw_tree("local-channel", map(PurePosixPath, files), "shards") == (
        "local-channel/",
        "  linux-64/",
        "    shards/  (1 file)",
        "    x-1-0.conda",
        "  noarch/",
        "    shards/  (2 files)",
        "    repodata.json",
        "  top.txt",
    )


def test_an_empty_folder_is_its_name() -> None:
    assert draw_tree("local-channel", (), "shards") == ("local-channel/",)
