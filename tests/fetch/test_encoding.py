"""What a server says of the bytes is not believed: their digest judges."""

from __future__ import annotations

import bz2
import dataclasses
import gzip
import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from scripts.core.files import CHUNK
from tests.fetch.conftest import Lone
from tests.support.packages import TinyPackage
from tests.support.replies import Reply
from tests.support.upstream import Upstream

NAME = "one-1.0-0.conda"
Pack = Callable[[bytes], bytes]


def as_they_are(data: bytes) -> bytes:
    """Do nothing."""
    return data


def in_two(data: bytes) -> bytes:
    """Pack in two members, which is one file for gzip."""
    return gzip.compress(data[:100]) + gzip.compress(data[100:])


def labelled(label: str, body: bytes, *, has_length: bool = True) -> Reply:
    headers = (("Content-Encoding", label),)
    return Reply(body=body, headers=headers, has_length=has_length)


def right_bytes(lone: Lone) -> bytes:
    return lone.written.path.read_bytes()


def placed(lone: Lone) -> Path:
    return lone.root / "local-channel" / "noarch" / NAME


@pytest.mark.parametrize("has_length", [True, False])
@pytest.mark.parametrize(
    ("label", "pack"),
    [
        ("bzip2", as_they_are),
        ("gzip", as_they_are),
        ("br", as_they_are),
        ("deflate", as_they_are),
        ("zstd", as_they_are),
        ("aws-chunked", as_they_are),
        ("Identity", as_they_are),
        ("gzip", gzip.compress),
        ("GZIP", in_two),
        ("x-gzip", gzip.compress),
        ("zstd", zstandard.ZstdCompressor().compress),
    ],
)
def test_taken(lone: Lone, upstream: Upstream, *, label: str, pack: Pack, has_length: bool) -> None:
    """With one request, and nothing left over."""
    right = right_bytes(lone)
    upstream.always("*.conda", labelled(label, pack(right), has_length=has_length))
    assert lone.fetch(f"{upstream.url}/ch") == (0, "")
    assert placed(lone).read_bytes() == right
    assert len(upstream.requests) == 1
    assert [*(lone.root / ".pixi-mirror").rglob("*.part")] == []


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.ZstdCompressor().compress])
def test_taken_however_large(lone: Lone, upstream: Upstream, pack: Pack) -> None:
    lone.written = TinyPackage(name="one", padding=3 * CHUNK).write(upstream.folder / "ch")
    label = "gzip" if pack is gzip.compress else "zstd"
    upstream.always("*.conda", labelled(label, pack(right_bytes(lone))))
    assert lone.fetch(f"{upstream.url}/ch") == (0, "")
    assert placed(lone).read_bytes() == right_bytes(lone)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def refused(lone: Lone, upstream: Upstream, label: str, body: bytes, undone: str | None) -> None:
    upstream.always("*.conda", labelled(label, body))
    code, err = lone.fetch(f"{upstream.url}/ch")
    rows = [("expected", lone.written.sha256), ("actual", sha256(body))]
    rows += [] if undone is None else [("undone", undone)]
    rows.append(("from", f"{upstream.url}/ch/noarch/{NAME}"))
    message = "sha256 differs from pixi.lock, as sent with Content-Encoding"
    assert code == 1
    assert err.splitlines() == [
        f"error: noarch/{NAME}: {message} {label}",
        *(f"  {key.ljust(8)}  {text}" for key, text in rows),
        (
            "help: nothing was kept; the server's keeper has to send archives without"
            " Content-Encoding, or name another server in `[mirrors]`"
        ),
    ]
    assert not placed(lone).exists()
    assert [*(lone.root / ".pixi-mirror").rglob("*.undone")] == []
    upstream.behave()
    assert lone.fetch(f"{upstream.url}/ch") == (0, "")  # nothing stayed that is in the way


def test_an_encoding_that_nobody_here_can_undo(lone: Lone, upstream: Upstream) -> None:
    refused(lone, upstream, "bzip2", bz2.compress(right_bytes(lone)), None)


def test_other_bytes_below_it(lone: Lone, upstream: Upstream) -> None:
    """Both digests are told. It is undone once: what is packed twice is not the lock's, either."""
    once = gzip.compress(right_bytes(lone))
    refused(lone, upstream, "gzip", gzip.compress(once), sha256(once))


def test_not_what_the_label_says(lone: Lone, upstream: Upstream) -> None:
    refused(lone, upstream, "gzip", b"x" * 100, "is no gzip: Not a gzipped file (b'xx')")


def test_more_than_the_lock_says_below_it(lone: Lone, upstream: Upstream) -> None:
    refused(
        lone, upstream, "zstd", zstandard.compress(bytes(1 << 24)), "is no zstd: it is too long"
    )


def test_cut_off_below_an_encoding(lone: Lone, upstream: Upstream) -> None:
    """Half of what is packed is no beginning of what is not; the whole is asked for again."""
    right = right_bytes(lone)
    whole = labelled("gzip", gzip.compress(right))
    upstream.once("*.conda", dataclasses.replace(whole, stop_after=200), whole)
    assert lone.fetch(f"{upstream.url}/ch") == (0, "")
    assert placed(lone).read_bytes() == right


def test_a_page_is_one_only_if_its_bytes_are(lone: Lone, upstream: Upstream) -> None:
    """The same of Content-Type: some servers call all that they do not know a page."""
    right = right_bytes(lone)
    html = (("Content-Type", "text/html"),)
    upstream.always("*.conda", Reply(body=right, headers=html))
    assert lone.fetch(f"{upstream.url}/ch") == (0, "")
    assert placed(lone).read_bytes() == right
    placed(lone).unlink()
    for body, has_length in ((b"<html>", False), (b"<html>", True), (b"<html>" + right, False)):
        upstream.always("*.conda", Reply(body=body, headers=html, has_length=has_length))
        code, err = lone.fetch(f"{upstream.url}/ch")
        assert (code, "a web page came instead of the artifact" in err) == (1, True)


def test_nothing_is_put_behind_a_page(lone: Lone, upstream: Upstream) -> None:
    """One without a length is known for what it is when it ends; the next try begins at 0."""
    page = Reply(body=b"<html>", headers=(("Content-Type", "text/html"),), has_length=False)
    upstream.once("*.conda", page)
    assert lone.fetch(f"{upstream.url}/ch") == (0, "")
    assert placed(lone).read_bytes() == right_bytes(lone)
    assert [each.headers.get("range") for each in upstream.requests] == [None, None]
