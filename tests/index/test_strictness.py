"""Our reading of index files beside py-rattler's own: what it refuses, is refused.

Left aside are its grammars of versions and purls: the indexer, which is rattler, has read them.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import msgpack
import pytest
import zstandard

from scripts.index.repodata import DamagedIndexError, parse_repodata, parse_shard, parse_shard_index
from tests.support.upstream import Upstream

GOOD: Final = {"name": "a", "version": "1.0", "build": "0", "build_number": 0, "depends": ["b >=1"]}
NAME: Final = "a-1.0-0.conda"

# What is put in place of a field of the record.
REFUSED: Final[dict[str, list[Any]]] = {
    "name": [None, 3],
    "version": [None, 3],
    "build": [None, 3],
    "build_number": [None, -1, 1.0, 2**64, True, "0"],
    "depends": [None, "b", [1], {}],
    "constrains": [None, [1]],
    "sha256": ["0" * 63, "0" * 66, "g" * 64, "", 3],
    "md5": ["0" * 31, "\u0661" * 32],
    "legacy_bz2_md5": ["x"],
    "legacy_bz2_size": [-1],
    "size": [-1, 1.5, "3", True, 2**64],
    "subdir": [None, 3],
    "timestamp": [1.5, "x", 2**63 - 1, 253402300799, 253402300800000, -377705116800],
    "noarch": ["other", 1],
    "track_features": [None, 3, [1]],
    "features": [3],
    "license": [3],
    "license_family": [3],
    "flags": [None, "a", [1]],
    "purls": ["pkg:pypi/a", [1]],
    "run_exports": [3, {"weak": 3}, {"weak": None}],
    "extra_depends": [None, [], {"a": "b"}],
    "python_site_packages_path": [3],
    "arch": [3],
    "platform": [3],
}
TAKEN: Final[dict[str, list[Any]]] = {
    "name": ["A B"],
    "build_number": [2**64 - 1],
    "depends": [[], ["x >=1,,<"]],
    "sha256": [None, "F" * 64],
    "size": [None, 0, 2**64 - 1],
    "subdir": ["", "other"],
    "timestamp": [None, -1, 0, 1_700_000_000, 253402207200, 253402207200000],
    "noarch": [True, False, "python", "generic", None],
    "track_features": ["a b", ["a"], ""],
    "purls": [None, [], ["pkg:pypi/a"]],
    "run_exports": [None, {}, {"other": ["x"]}],
    "license": [None],
    "unknown": [{}],
}


def _rows(values: dict[str, list[Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    for key, choices in values.items():
        for value in choices:
            yield f"{key} {value!r}", {**GOOD, key: value}


def _without(key: str) -> dict[str, Any]:
    return {name: value for name, value in GOOD.items() if name != key}


def _document(row: Any = GOOD, **more: Any) -> dict[str, Any]:
    document = {"info": {"subdir": "noarch"}, "packages": {}, "packages.conda": {NAME: row}}
    return {**document, "repodata_version": 1, **more}


def _refused_documents() -> Iterator[tuple[str, bytes]]:
    documents = [(label, _document(row)) for label, row in _rows(REFUSED)]
    documents += [(f"no {key}", _document(_without(key))) for key in GOOD if key != "depends"]
    documents += [("row", _document([]))]
    others: dict[str, list[Any]] = {
        "info": ["x", {"subdir": 3}, {"base_url": 3}, {"repodata_revisions": {"x": {}}}],
        "packages": [None, [], {"a.conda": GOOD}, {"x": GOOD}],
        "packages.conda": [None, []],
        "repodata_version": ["1", []],
        "removed": [None, {}, ["x"]],
        "v3": [None, {"conda": []}, {"conda": {"a": GOOD}}, {"conda": {"a-1.0-0": {}}}],
    }
    for key, values in others.items():
        documents += [(f"{key} {value!r}", _document(**{key: value})) for value in values]
    yield from ((label, json.dumps(each).encode()) for label, each in documents)
    data = json.dumps(_document()).encode()
    for label, bad in {
        "torn": data[:-1],
        "trailing": data + b" x",
        "byte order mark": b"\xef\xbb\xbf" + data,
        "UTF-16": data.decode().encode("utf-16"),
        "not a number": data.replace(b'"build_number": 0', b'"x": NaN, "build_number": 0'),
        "control character": data.replace(b'"1.0"', b'"1.0\x01"'),
        "half a pair": data.replace(b'"build": "0"', b'"build": "\\ud800"'),
        "field twice": data.replace(b'"build": "0"', b'"build": "0", "build": "1"'),
        "map twice": data.replace(b'"packages":', b'"packages.conda": {}, "packages":'),
    }.items():
        assert bad != data
        yield label, bad


def _taken_documents() -> Iterator[tuple[str, bytes]]:
    documents = [(label, _document(row)) for label, row in _rows(TAKEN)]
    others: dict[str, list[Any]] = {
        "info": [None, {}, {"subdir": "x", "repodata_revisions": {"v3": {"n_packages": 1}}}],
        "repodata_version": [None, 2],
        "removed": [[], [NAME]],
        "v3": [{}, {"conda": {"a-1.0-0": GOOD}}, {"other": {}}],
    }
    for key, values in others.items():
        documents += [(f"{key} {value!r}", _document(**{key: value})) for value in values]
    yield from ((label, json.dumps(each).encode()) for label, each in documents)


def _is_refused(read: Callable[[bytes, str], object], data: bytes) -> bool:
    try:
        read(data, "x")
    except DamagedIndexError:
        return True
    return False


# Leaves by `os._exit`, since rattler may crash while the interpreter ends.
READ_ALL = """
import json, os, sys
from rattler import Channel, RepoData
refused = []
for file in json.load(sys.stdin):
    try:
        RepoData.from_path(file).into_repo_data(Channel("https://h/c"))
    except Exception:
        refused.append(file)
print(json.dumps(refused), flush=True)
os._exit(0)
"""


def _refused_by_rattler(folder: Path, documents: list[tuple[str, bytes]]) -> set[str]:
    labels = {}
    for number, (label, data) in enumerate(documents):
        file = folder / str(number) / "repodata.json"
        file.parent.mkdir()
        file.write_bytes(data)
        labels[str(file)] = label
    assert len(set(labels.values())) == len(labels)
    done = subprocess.run(
        [sys.executable, "-c", READ_ALL],
        input=json.dumps(list(labels)),
        capture_output=True,
        text=True,
        check=True,
    )
    return {labels[file] for file in json.loads(done.stdout)}


@pytest.mark.parametrize(
    ("documents", "expected"), [(_refused_documents, True), (_taken_documents, False)]
)
def test_a_repodata_that_rattler_refuses(
    tmp_path: Path, documents: Callable[[], Iterator[tuple[str, bytes]]], *, expected: bool
) -> None:
    every = list(documents())
    theirs = _refused_by_rattler(tmp_path, every)
    ours = {label for label, data in every if _is_refused(parse_repodata, data)}
    labels = {label for label, _ in every}
    assert ours == theirs == (labels if expected else set())


def _packed(document: Any) -> bytes:
    return zstandard.compress(msgpack.packb(document))


INFO: Final = {
    "subdir": "noarch",
    "base_url": "",
    "shards_base_url": "./shards/",
    "created_at": "2026-01-01T00:00:00Z",
}
SHARD: Final = {"packages": {}, "packages.conda": {NAME: {**GOOD, "sha256": b"\1" * 32}}}
REFUSED_SHARDS: Final[dict[str, Any]] = {
    "no packages": {"packages.conda": {}},
    "packages null": {"packages": None},
    "a hash that is short": {**SHARD, "packages.conda": {NAME: {**GOOD, "sha256": b"\1" * 31}}},
    "depends null": {**SHARD, "packages.conda": {NAME: {**GOOD, "depends": None}}},
    "no build": {**SHARD, "packages.conda": {NAME: _without("build")}},
    "size a float": {**SHARD, "packages.conda": {NAME: {**GOOD, "size": 1.5}}},
    "name bytes": {**SHARD, "packages": {b"a": GOOD}},
}
REFUSED_INDEXES: Final[dict[str, Any]] = {
    "shards null": {"info": INFO, "shards": None},
    "no info": {"shards": {}},
    "info null": {"info": None, "shards": {}},
    "base_url a map": {"info": {**INFO, "base_url": {}}, "shards": {}},
    "no shards_base_url": {"info": {"subdir": "noarch", "base_url": ""}, "shards": {}},
    "month 13": {"info": {**INFO, "created_at": "2026-13-01T00:00:00Z"}, "shards": {}},
    "created_at a number": {"info": {**INFO, "created_at": 3}, "shards": {}},
    "a digest that is short": {"info": INFO, "shards": {"a": b"\1" * 31}},
    "a digest that is a number": {"info": INFO, "shards": {"a": 3}},
    "revisions": {"info": {**INFO, "repodata_revisions": {"x": {}}}, "shards": {}},
}

READ_SERVED = """
import asyncio, json, os, sys, tempfile
import rattler
from rattler import Gateway
noarch = getattr(rattler, "Subdir", getattr(rattler, "Platform", None))("noarch")
async def read(url):
    with tempfile.TemporaryDirectory() as cache:
        found = await Gateway(cache_dir=cache).query([url], [noarch], ["a"], recursive=False)
        return [record.file_name for records in found for record in records]
answers = {}
for url in json.load(sys.stdin):
    try:
        answers[url] = asyncio.run(read(url))
    except Exception as error:
        answers[url] = str(error) or type(error).__name__
print(json.dumps(answers), flush=True)
os._exit(0)
"""


def _serve(folder: Path, index: dict[str, Any], shard: Any) -> None:
    """Write the `noarch` of a channel: the shard, and its index with this `info`, or as it is."""
    data = _packed(shard)
    digest = hashlib.sha256(data)
    if "shards" not in index and index.get("info") == INFO:
        index = {**index, "shards": {"a": digest.digest()}}
    (folder / "noarch" / "shards").mkdir(parents=True)
    (folder / "noarch" / "repodata_shards.msgpack.zst").write_bytes(_packed(index))
    (folder / "noarch" / "shards" / f"{digest.hexdigest()}.msgpack.zst").write_bytes(data)


def test_shards_that_rattler_refuses_over_http(upstream: Upstream) -> None:
    """Control: it reads the same channel as it should be."""
    whole = {"info": INFO}
    channels = {"": (whole, SHARD)}
    channels |= {label: (whole, each) for label, each in REFUSED_SHARDS.items()}
    channels |= {label: (each, SHARD) for label, each in REFUSED_INDEXES.items()}
    labels = {}
    for number, (label, (index, shard)) in enumerate(channels.items()):
        _serve(upstream.folder / str(number), index, shard)
        labels[f"{upstream.url}/{number}"] = label
    done = subprocess.run(
        [sys.executable, "-c", READ_SERVED],
        input=json.dumps(list(labels)),
        capture_output=True,
        text=True,
        check=True,
    )
    answers = {labels[url]: answer for url, answer in json.loads(done.stdout).items()}
    assert answers.pop("") == [NAME]
    assert {label for label, answer in answers.items() if not isinstance(answer, str)} == set()


def test_shards_that_rattler_refuses_are_refused() -> None:
    """But for a month 13, which `verify` finds, as it compares the time to the letter."""
    shards, indexes = REFUSED_SHARDS.items(), REFUSED_INDEXES.items()
    taken = {label for label, each in shards if not _is_refused(parse_shard, _packed(each))}
    taken |= {label for label, each in indexes if not _is_refused(parse_shard_index, _packed(each))}
    assert taken == {"month 13"}
    assert not _is_refused(parse_shard, _packed(SHARD))
    assert not _is_refused(parse_shard_index, _packed({"info": INFO, "shards": {}}))
