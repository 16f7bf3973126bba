"""`.template.json`: what a builder came from."""

from __future__ import annotations

import json
from pathlib import PurePosixPath

import pytest

from scripts.core.errors import MirrorError
from scripts.template.record import make_record, read_record, record_of, write_record

SHA = "a" * 64


def test_a_record_is_read_as_it_was_written() -> None:
    record = make_record([("b/c.py", "b" * 64), ("a", SHA)], [("feature.x.y", SHA)])
    data = write_record(record)
    assert read_record(data) == record
    assert data.decode().splitlines()[3:5] == [
        f'    "a": "{SHA}",',
        f'    "b/c.py": "{"b" * 64}"',
    ]
    assert write_record(read_record(data)) == data


def test_files_are_recorded_by_their_bytes_and_the_manifest_by_its_tables() -> None:
    text = '[feature.tasks.tasks.x]\ncmd = "y"\n'
    files = {PurePosixPath("run"): b"", PurePosixPath("pixi.toml"): text.encode()}
    record = record_of(files, text)
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert record.files == (("run", empty),)
    assert [name for name, _ in record.tables] == ["feature.tasks.tasks.x"]


def document(**changes: object) -> bytes:
    return json.dumps({"version": 1, "files": {"a": SHA}, "tables": {}} | changes).encode()


@pytest.mark.parametrize(
    ("data", "trouble"),
    [
        (b"", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "its version is not 1, the one that this template reads"),
        (document(version=2), "its version is not 1, the one that this template reads"),
        (document(files=[]), "files is no table of sha256"),
        (document(tables={"a": 1}), "tables: a has no sha256"),
        (document(files={"a": SHA.upper()}), "files: a has no sha256"),
        (document(files={"../a": SHA}), "'../a' is no path inside of the builder"),
        (document(files={"/etc/a": SHA}), "'/etc/a' is no path inside of the builder"),
        (document(files={"C:/a": SHA}), "'C:/a' is no path inside of the builder"),
        (document(files={"a\\b": SHA}), "'a\\\\b' is no path inside of the builder"),
        (document(files={"a//b": SHA}), "'a//b' is no path inside of the builder"),
        (document(files={".": SHA}), "'.' is no path inside of the builder"),
        (document(files={"": SHA}), "'' is no path inside of the builder"),
        (document(files={"\ud800": SHA}), "files: '\\ud800' is no text"),
        *(
            (document(files={path: SHA}), f"{path!r} is yours, and of no template")
            for path in (
                *("pixi.toml", "PIXI.toml", "pixi.lock", ".template.json", ".git/config"),
                *("a/.git/config", ".pixi/config.toml", ".pixi-mirror/x/lock"),
                *("a/.pixi-mirror/x", "Channel/noarch/a.conda"),
            )
        ),
        *(
            (document(tables={name: SHA}), f"{name!r} is no table of a template")
            for name in (
                *("dependencies.numpy", "dependencies", "workspace.name", "workspace.channels"),
                *("workspace.platforms", "tool.pixi-mirror.layout", "tool.x", "target.x.y.z"),
                *("environments.default", "feature.mirror.platforms", "feature.x", "a.b.c"),
                *("feature.x.y.z.a", "a = 0\n[x]\nb", "x = {}\ny", "#x", "", "[x]", "a b"),
                *("feature.a.b = 0 #", "environments.a = 1 #", f"feature.{'a' * 600}.b"),
                *("feature." + "a." * 20_000 + "b", "feature.x.y\t"),
            )
        ),
        (
            document(tables={'feature."\ud800".x': SHA}),
            "tables: 'feature.\"\\ud800\".x' is no text",
        ),
    ],
)
def test_what_is_no_record_is_refused(data: bytes, trouble: str) -> None:
    with pytest.raises(MirrorError) as refused:
        read_record(data, PurePosixPath("channel"))
    assert str(refused.value) == (
        f".template.json: cannot be used: {trouble}\n"
        "help: take it back from version control: git checkout .template.json"
    )


def test_the_record_that_the_others_spoil_is_read() -> None:
    assert read_record(document()) == make_record([("a", SHA)], [])
    files = [("channel2/a", SHA), (".gitignore", SHA), ("scripts/pixi.toml", SHA)]
    names = ("workspace.requires-pixi", "tool.pixi-mirror.exclude-environments")
    tables = [(name, SHA) for name in (*names, 'feature."x y".a."b.c"', "environments.x")]
    data = write_record(make_record(files, tables))
    assert read_record(data, PurePosixPath("channel")) == make_record(files, tables)
