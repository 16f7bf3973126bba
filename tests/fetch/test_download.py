"""Downloads against a real server that misbehaves in every way it is told to."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import itertools
import json
import os
import re
import socketserver
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest

from scripts.channel.digest_cache import DigestCache
from scripts.core.artifact import Artifact
from scripts.core.channel_paths import ChannelPaths, channel_paths
from scripts.core.console import Console
from scripts.fetch.download import (
    Download,
    DownloadContext,
    StoppedError,
)
from scripts.fetch.plan import Downloaded
from scripts.lock.read import parse_lock
from scripts.network.errors import DownloadError, ErrorKind
from scripts.network.retry import RetryPolicy
from scripts.network.router import Router
from scripts.workspace.settings import Settings
from tests.support.locks import EnvironmentRows, LockRow, PlatformRows, lock_text
from tests.support.mirrored import select
from tests.support.packages import TinyPackage
from tests.support.replies import (
    Ending,
    Ranges,
    Reply,
    dripping,
    endless,
    late,
    login_page,
    ranged,
    redirect,
    reset,
    stalled,
    status,
    too_many,
    truncated,
    wrong_bytes,
)
from tests.support.upstream import Upstream

QUICK = RetryPolicy(
    total=3,
    backoff_factor=0.01,
    max_backoff=0.02,
    connect=2,
    read=0.3,
    min_speed_window=0.4,
    min_speed=5000,
)
RESET = Reply(body=b"x" * 100, stop_after=0, ending=Ending.RESET)
NAME = "padded-1.0-0.conda"


def router_of(root: Path, url: str, mirrors: tuple[str, ...]) -> Router:
    """Read what is set: these mirrors for an upstream, and a token for its host."""
    (root / ".pixi").mkdir(parents=True, exist_ok=True)
    table = f"[mirrors]\n{json.dumps(url)} = {json.dumps(mirrors)}\n" if mirrors else ""
    (root / ".pixi" / "config.toml").write_text(table, encoding="utf-8")
    stored = root / "credentials.json"
    stored.write_text('{"127.0.0.1": {"BearerToken": "s3cret"}}', encoding="utf-8")
    environ = {**os.environ, "RATTLER_AUTH_FILE": str(stored)}
    return Router(root / "pixi.toml", environ, Console())


@dataclass(frozen=True)
class World:
    """An upstream with one artifact of about 300 kB, and a place for it."""

    upstream: Upstream
    artifact: Artifact
    place: ChannelPaths
    data: bytes

    @property
    def target(self) -> Path:
        """Where the artifact belongs."""
        return self.place.folder / "noarch" / NAME

    @property
    def part(self) -> Path:
        """Where it grows."""
        digest = self.artifact.digest
        assert digest is not None
        return self.place.parts / f"{digest.hex}.part"

    def download(self, policy: RetryPolicy = QUICK, *mirrors: str) -> Downloaded:
        """Download it, from mirrors where some are named."""
        return fetch_one(self.artifact, self.place, policy, mirrors)


def fetch_one(
    artifact: Artifact,
    place: ChannelPaths,
    policy: RetryPolicy = QUICK,
    mirrors: tuple[str, ...] = (),
    stop: threading.Event | None = None,
) -> Downloaded:
    context = context_of(artifact, place, policy, mirrors)
    context.stop = stop or context.stop
    with contextlib.closing(context.client):
        return Download(artifact, context).run()


def context_of(
    artifact: Artifact, place: ChannelPaths, policy: RetryPolicy, mirrors: tuple[str, ...] = ()
) -> DownloadContext:
    parts = urlsplit(artifact.urls[0])
    router = router_of(place.folder.parent, f"{parts.scheme}://{parts.netloc}", mirrors)
    return DownloadContext(place, place.folder.parent, router, policy, DigestCache(place.digests))


def artifact_of(row: LockRow) -> Artifact:
    text = lock_text((EnvironmentRows(platforms=(PlatformRows(name="linux-64", rows=(row,)),)),))
    [artifact] = select(parse_lock(text, "pixi.lock"), Settings()).artifacts
    return artifact


@pytest.fixture
def world(upstream: Upstream, tmp_path: Path) -> World:
    written = TinyPackage(name="padded", padding=300_000).write(upstream.folder / "ch")
    return World(
        upstream=upstream,
        artifact=artifact_of(LockRow(written=written, channel=f"{upstream.url}/ch")),
        place=channel_paths(tmp_path / "local-channel"),
        data=written.path.read_bytes(),
    )


def assert_right(world: World, placed: Downloaded) -> None:
    assert world.target.read_bytes() == world.data
    assert placed.digest.hex == hashlib.sha256(world.data).hexdigest()
    assert placed.status.st_size == len(world.data)
    assert list(world.place.parts.iterdir()) == []


def assert_nothing_placed(world: World) -> None:
    assert not world.target.exists()


PASSING: dict[str, tuple[Reply, ...]] = {
    "408": (status(408),),
    "429 with Retry-After": (too_many("0"),),
    "429 with a date in the past": (too_many("Wed, 21 Oct 2015 07:28:00 GMT"),),
    "429 with a date that no calendar has": (
        too_many("Mon, 01 Jan 99999999999999 00:00:00 +0000"),
        too_many("Mon, 01 Jan 2020 00:00:00 +9999999999999999999"),
    ),
    "500": (status(500),),
    "502, then 503": (status(502), status(503)),
    "cut with a Content-Length": (truncated(1000),),
    "cut without a Content-Length": (truncated(1000, has_length=False),),
    "cut twice": (truncated(100_000), truncated(100_000)),
    "reset before the body": (reset(),),
    "reset within the body": (reset(200_000),),
    "stalled": (stalled(100_000),),
    "dripping": (dripping(100, 0.05),),
    "wrong bytes once": (wrong_bytes(300_000),),
    "a login page once": (login_page(),),
    "too long once": (Reply(body=b"*", has_length=False, endless=True),),
}


@pytest.mark.parametrize("replies", PASSING.values(), ids=PASSING.keys())
def test_gets_over(world: World, replies: tuple[Reply, ...]) -> None:
    world.upstream.once("*.conda", *replies)
    assert_right(world, world.download())
    assert len(world.upstream.requests) == len(replies) + 1


LASTING: dict[str, tuple[Reply, ErrorKind, str, int]] = {
    "404": (status(404), ErrorKind.GONE, "HTTP 404 Not Found", 1),
    "403": (status(403), ErrorKind.FORBIDDEN, "HTTP 403 Forbidden", 1),
    "410": (status(410), ErrorKind.GONE, "HTTP 410 Gone", 1),
    "503": (status(503), ErrorKind.SERVER_ERROR, "HTTP 503 Service Unavailable", 3),
    "login page": (
        login_page(),
        ErrorKind.WEB_PAGE,
        "a web page came instead of the artifact (a login page?)",
        2,
    ),
    "endless": (
        Reply(body=b"*", has_length=False, endless=True),
        ErrorKind.WRONG_BYTES,
        "longer than pixi.lock says",
        2,
    ),
    "another length": (
        wrong_bytes(17),
        ErrorKind.WRONG_BYTES,
        "size differs from pixi.lock",
        2,
    ),
    "redirected to a file": (
        redirect("file:///etc/passwd"),
        ErrorKind.REDIRECT,
        "redirected away from http, to file:///etc/passwd",
        1,
    ),
    "redirected to no host": (
        redirect("http://a..b/"),
        ErrorKind.REDIRECT,
        "redirected to what is no URL",
        1,
    ),
    "a number that is none": (
        Reply(status=206, headers=(("Content-Range", f"bytes {'9' * 5000}-1/1"),)),
        ErrorKind.REFUSED,
        "HTTP 206 with another range than was asked for",
        1,
    ),
    "redirected to no URL": (
        redirect("http://[x"),
        ErrorKind.REDIRECT,
        "redirected to what is no URL",
        1,
    ),
    "redirected in a circle": (
        redirect(f"/ch/noarch/{NAME}"),
        ErrorKind.REDIRECT,
        "redirected more than 10 times",
        11,
    ),
}


@pytest.mark.parametrize("case", LASTING.values(), ids=LASTING.keys())
def test_gives_up(world: World, case: tuple[Reply, ErrorKind, str, int]) -> None:
    reply, kind, text, requests_made = case
    world.upstream.always("*.conda", reply)
    with pytest.raises(DownloadError) as caught:
        world.download()
    assert caught.value.kind is kind
    assert caught.value.text == text
    assert len(world.upstream.requests) == requests_made
    assert_nothing_placed(world)


def test_wrong_bytes_of_the_right_size(world: World) -> None:
    world.upstream.always("*.conda", wrong_bytes(len(world.data)))
    with pytest.raises(DownloadError) as caught:
        world.download()
    assert caught.value.text == "sha256 differs from pixi.lock"
    digest = world.artifact.digest
    assert digest is not None
    actual = hashlib.sha256(b"*" * len(world.data)).hexdigest()
    assert caught.value.details == (("expected", digest.hex), ("actual", actual))
    assert len(world.upstream.requests) == 2
    assert_nothing_placed(world)
    assert world.part.read_bytes() == b""


@pytest.mark.parametrize("headers", [(), (("Connection", "close"),)], ids=["kept open", "closed"])
def test_a_stalled_body_ends(world: World, headers: tuple[tuple[str, str], ...]) -> None:
    """Sooner than an answer that has not begun; `min_speed_window` is another end."""
    world.upstream.always("*.conda", dataclasses.replace(stalled(10), headers=headers))
    began = time.monotonic()
    with pytest.raises(DownloadError) as caught:
        world.download(dataclasses.replace(QUICK, answer=10, min_speed_window=30))
    assert caught.value.kind is ErrorKind.CUT_OFF
    assert "timed out" in caught.value.text
    assert time.monotonic() - began < 10
    assert_nothing_placed(world)


def test_a_dripping_body_ends(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """In time: a proxy that looks into a file lets a byte by now and then, for minutes."""
    world.upstream.always("*.conda", dripping(10, 0.02))
    clock = SimpleNamespace(monotonic=itertools.count(step=50).__next__)
    with monkeypatch.context() as patch:
        patch.setattr("scripts.network.http.time", clock)
        with pytest.raises(DownloadError) as caught:
            world.download(RetryPolicy(total=1))
    assert re.fullmatch("too slow: [0-9]+ bytes in 300 seconds", caught.value.text)
    with pytest.raises(DownloadError) as caught:
        world.download()
    assert caught.value.text.startswith("too slow: ")
    assert_nothing_placed(world)


@pytest.mark.parametrize(
    "reply",
    [
        *(Reply(headers=(("Content-Length", text),)) for text in ("-1", "x", "9" * 9, "9" * 25)),
        endless(),
    ],
    ids=["negative", "no number", "too large", "far too large", "endless"],
)
def test_all_locked_bytes_are_enough(world: World, reply: Reply) -> None:
    """What the server promises beyond them is not waited for, nor met by the next request."""
    policy = RetryPolicy(total=1, read=20)
    other = TinyPackage(name="other", padding=300_000).write(world.upstream.folder / "ch")
    row = LockRow(written=other, channel=f"{world.upstream.url}/ch")
    world.upstream.always("*.conda", reply)
    context = context_of(world.artifact, world.place, policy)
    began = time.monotonic()
    for artifact in (world.artifact, artifact_of(row)):
        placed = Download(artifact, context).run()
        assert placed.digest == artifact.digest
    context.client.close()
    assert time.monotonic() - began < 10
    assert len(world.upstream.requests) == 2


@pytest.mark.parametrize("too_long", [False, True])
def test_a_connection_is_used_again_unless_more_may_come(
    world: World, monkeypatch: pytest.MonkeyPatch, *, too_long: bool
) -> None:
    connections: list[object] = []
    original = socketserver.TCPServer.finish_request

    def finish_request(self: Any, request: Any, address: Any) -> None:
        connections.append(address)
        original(self, request, address)

    monkeypatch.setattr(socketserver.TCPServer, "finish_request", finish_request)
    if too_long:
        world.upstream.always("*.conda", Reply(headers=(("Content-Length", "9" * 9),)))
    context = context_of(world.artifact, world.place, QUICK)
    for _ in range(3):
        Download(world.artifact, context).run()
    context.client.close()
    assert len(world.upstream.requests) == 3
    assert len(connections) == (3 if too_long else 1)


def test_of_a_longer_file_no_sha256_is_told(world: World) -> None:
    """That of its beginning is of no file. Control: other bytes of the same size."""
    file = world.upstream.folder / "ch" / "noarch" / NAME
    file.write_bytes(b"other" + world.data)
    with pytest.raises(DownloadError) as caught:
        world.download()
    sizes = ("expected", f"at most {len(world.data)} bytes"), ("actual", "more")
    assert (caught.value.text, caught.value.details) == ("longer than pixi.lock says", sizes)
    file.write_bytes(other := b"other" + world.data[5:])
    with pytest.raises(DownloadError) as caught:
        world.download()
    assert caught.value.text == "sha256 differs from pixi.lock"
    assert caught.value.details[1] == ("actual", hashlib.sha256(other).hexdigest())
    assert_nothing_placed(world)


def test_without_a_digest_a_longer_body_is_refused(world: World) -> None:
    """Nothing could tell that its beginning is what is wanted."""
    world.upstream.always("*.conda", endless())
    unhashed = dataclasses.replace(world.artifact, digest=None)
    with pytest.raises(DownloadError) as caught:
        fetch_one(unhashed, world.place)
    assert caught.value.text == "longer than pixi.lock says"
    assert_nothing_placed(world)


def test_without_a_digest_nothing_tells_what_an_encoding_hides(world: World) -> None:
    """Of the lock's size it is taken; the control."""
    world.upstream.always("*.conda", Reply(headers=(("Content-Encoding", "br"),)))
    unhashed = dataclasses.replace(world.artifact, digest=None, size=None)
    with pytest.raises(DownloadError) as caught:
        fetch_one(unhashed, world.place)
    assert caught.value.kind is ErrorKind.CONTENT_ENCODING
    assert caught.value.text == (
        "sent with Content-Encoding br, and the lock has no digest to judge it by"
    )
    assert_nothing_placed(world)
    fetch_one(dataclasses.replace(unhashed, size=world.artifact.size), world.place)
    assert world.target.stat().st_size == world.artifact.size


def test_without_a_digest_two_halves_are_never_joined(world: World) -> None:
    """Nothing could tell that the file was replaced in between."""
    world.upstream.once("*.conda", truncated(100))
    unhashed = dataclasses.replace(world.artifact, digest=None, size=None)
    fetch_one(unhashed, world.place)
    assert set(ranges(world)) == {None}


def test_late_is_not_wrong(world: World) -> None:
    """A proxy may look into the whole file before it answers; pixi waits for five minutes."""
    assert RetryPolicy().answer == 300
    world.upstream.always("*.conda", late(3 * QUICK.read))
    assert_right(world, world.download())
    assert len(world.upstream.requests) == 1
    world.target.unlink()
    # But from who never answers no artifact waits through all of its tries.
    policy = dataclasses.replace(QUICK, total=9, answer=QUICK.read, unreachable_after=0.2)
    with pytest.raises(DownloadError, match="read timed out") as caught:
        world.download(policy)
    assert (caught.value.kind, len(world.upstream.requests)) == (ErrorKind.UNANSWERED, 1 + 3)


def test_nobody_listens(world: World, tmp_path: Path) -> None:
    with Upstream(tmp_path) as gone:
        pass
    with pytest.raises(DownloadError) as caught:
        world.download(QUICK, gone.url)
    assert caught.value.kind is ErrorKind.UNREACHED
    assert "refused" in caught.value.text


def ranges(world: World) -> list[str | None]:
    return [request.headers.get("range") for request in world.upstream.requests]


def test_goes_on_where_it_was_cut(world: World) -> None:
    world.upstream.once("*.conda", truncated(100_000))
    assert_right(world, world.download())
    assert ranges(world) == [None, "bytes=100000-"]


def test_goes_on_where_an_earlier_run_stopped(world: World) -> None:
    world.place.parts.mkdir(parents=True)
    world.part.write_bytes(world.data[:123_456])
    assert_right(world, world.download())
    assert ranges(world) == ["bytes=123456-"]


def test_a_part_of_other_bytes_is_thrown_away(world: World) -> None:
    world.place.parts.mkdir(parents=True)
    world.part.write_bytes(b"x" * 1000)
    assert_right(world, world.download())
    assert ranges(world) == ["bytes=1000-", None]


def test_a_whole_part_needs_no_request(world: World) -> None:
    world.place.parts.mkdir(parents=True)
    world.part.write_bytes(world.data)
    assert_right(world, world.download())
    assert world.upstream.requests == []


def test_a_part_that_is_too_long_is_thrown_away(world: World) -> None:
    world.place.parts.mkdir(parents=True)
    world.part.write_bytes(world.data + b"more")
    assert_right(world, world.download())
    assert ranges(world) == [None]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (Ranges.IGNORED, ["bytes=1000-"]),
        (Ranges.ELSEWHERE, ["bytes=1000-", None]),
        (Ranges.LIED, ["bytes=1000-", None]),
    ],
)
def test_ranges_that_are_not_kept(world: World, kind: Ranges, expected: list[str | None]) -> None:
    world.place.parts.mkdir(parents=True)
    world.part.write_bytes(world.data[:1000])
    world.upstream.always("*.conda", ranged(kind))
    assert_right(world, world.download())
    assert ranges(world) == expected


def test_of_a_file_that_ends_before_the_part_the_size_is_told(world: World) -> None:
    """The server says 416, and then how short all of it is."""
    world.place.parts.mkdir(parents=True)
    world.part.write_bytes(world.data[:1000])
    (world.upstream.folder / "ch" / "noarch" / NAME).write_bytes(world.data[:500])
    with pytest.raises(DownloadError) as caught:
        world.download()
    assert caught.value.text == "size differs from pixi.lock"
    sizes = ("expected", f"{len(world.data)} bytes"), ("actual", "500 bytes")
    assert caught.value.details == sizes
    assert ranges(world)[:2] == ["bytes=1000-", None]


def test_the_body_of_a_redirect_is_not_read(world: World) -> None:
    (world.upstream.folder / "elsewhere.conda").write_bytes(world.data)
    away = redirect("/elsewhere.conda")
    bent = dataclasses.replace(stalled(3), status=302, headers=away.headers, body=away.body)
    world.upstream.always("/ch/*", bent)
    assert_right(world, world.download())
    assert world.upstream.paths == [f"/ch/noarch/{NAME}", "/elsewhere.conda"]


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_a_redirect_in_bytes_that_are_no_ascii(world: World, encoding: str) -> None:
    """They are UTF-8, as for pixi; the control: what is none is asked for as Latin-1."""
    (world.upstream.folder / "é.conda").write_bytes(world.data)
    world.upstream.always("/ch/*", redirect("/é.conda".encode(encoding).decode("latin-1")))
    assert_right(world, world.download())
    assert world.upstream.requests[-1].target == "/%C3%A9.conda"


def test_a_proxy_may_say_that_it_has_looked_at_the_bytes(world: World) -> None:
    """203 (RFC 9110, 15.3.4): the digest judges; the control: of other bytes, too."""
    world.upstream.once("*.conda", Reply(status=203, body=b"*" * len(world.data)))
    world.upstream.always("*.conda", Reply(status=203))
    assert_right(world, world.download())
    assert world.upstream.statuses == [203, 203]


def test_a_redirect_to_another_host_gets_no_credentials(world: World, tmp_path: Path) -> None:
    with Upstream(world.upstream.folder) as other:
        world.upstream.always("*.conda", redirect(f"{other.url}/ch/noarch/{NAME}"))
        assert_right(world, world.download())
        [request] = other.requests
        assert "authorization" not in request.headers
    # Control: the first host did get them.
    assert world.upstream.requests[0].headers["authorization"] == "Bearer s3cret"


def test_a_redirect_to_what_looks_like_the_same_host(world: World, tmp_path: Path) -> None:
    """Behind the backslash is the host for Python, and a path for who asks."""
    host = world.upstream.url.removeprefix("http://")
    with Upstream(world.upstream.folder) as other:
        world.upstream.always("*.conda", redirect(f"{other.url}\\@{host}/ch/noarch/{NAME}"))
        with pytest.raises(DownloadError) as caught:
            world.download()
        assert other.requests == []
    assert caught.value.kind is ErrorKind.REDIRECT
    assert caught.value.text == "redirected to what is no URL"
    assert_nothing_placed(world)
    # Control: a backslash in the path is one.
    world.upstream.behave()
    world.upstream.once("*.conda", redirect(f"/ch\\/../ch/noarch/{NAME}"))
    assert_right(world, world.download())


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (status(503), ErrorKind.SERVER_ERROR),
        (status(403), ErrorKind.FORBIDDEN),
        (login_page(), ErrorKind.WEB_PAGE),
        (status(204), ErrorKind.REFUSED),
    ],
)
def test_the_server_that_a_redirect_led_to_is_named(
    world: World, tmp_path: Path, reply: Reply, kind: ErrorKind
) -> None:
    """What fails there is no fault of the one that was asked; the path may be a secret."""
    with Upstream(tmp_path) as other:
        world.upstream.always("*.conda", redirect(f"{other.url}/signed?X-Signature=s3cret"))
        other.always("*", reply)
        with pytest.raises(DownloadError) as caught:
            world.download()
        assert caught.value.kind is kind
        assert ("redirected to", other.url) in caught.value.details
    # Controls: nobody is there any more; and the server that was asked fails by itself.
    with pytest.raises(DownloadError) as caught:
        world.download()
    assert caught.value.kind is ErrorKind.UNREACHED
    assert ("redirected to", other.url) in caught.value.details
    world.upstream.always("*.conda", redirect(f"/missing?{other.url}"))
    with pytest.raises(DownloadError) as caught:
        world.download()
    assert (caught.value.kind, caught.value.details) == (ErrorKind.GONE, ())


def test_a_redirect_on_the_same_host_keeps_them(world: World) -> None:
    world.upstream.once("*.conda", redirect(f"/ch/noarch/{NAME}?again"))
    assert_right(world, world.download())
    assert [r.headers["authorization"] for r in world.upstream.requests] == ["Bearer s3cret"] * 2


def test_an_identity_that_shouts(world: World) -> None:
    """Names of encodings are the same in capitals (RFC 9110, 8.4.1)."""
    world.upstream.always("*.conda", Reply(headers=(("Content-Encoding", "Identity"),)))
    assert_right(world, world.download())


def test_asks_for_the_bytes_as_they_are(world: World) -> None:
    world.download()
    assert world.upstream.requests[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("reply", [status(503), RESET, wrong_bytes(17)])
def test_another_mirror_is_asked(world: World, reply: Reply, tmp_path: Path) -> None:
    with Upstream(tmp_path) as first:
        first.always("*", reply)
        assert_right(world, world.download(QUICK, first.url, world.upstream.url))
        assert len(first.requests) == 1


def test_a_404_of_a_mirror_is_its_answer(world: World, tmp_path: Path) -> None:
    """As in pixi: a mirror that lacks the artifact is not helped out by the next one."""
    with Upstream(tmp_path) as first, pytest.raises(DownloadError) as caught:
        world.download(QUICK, first.url, world.upstream.url)
    assert caught.value.status == 404
    assert world.upstream.requests == []


def test_a_stop_keeps_the_part(world: World) -> None:
    stop = threading.Event()
    world.upstream.always("*.conda", dripping(50_000, 0.2))

    def stop_soon() -> None:
        while not world.upstream.requests:
            time.sleep(0.01)
        time.sleep(0.3)
        stop.set()

    threading.Thread(target=stop_soon).start()
    with pytest.raises(StoppedError):
        fetch_one(world.artifact, world.place, RetryPolicy(), (), stop)
    assert 0 < world.part.stat().st_size < len(world.data)
    assert world.data.startswith(world.part.read_bytes())


def test_a_file_is_copied(world: World, tmp_path: Path) -> None:
    written = TinyPackage(name="near").write(tmp_path / "ch")
    for location in (written.path.as_uri(), str(written.path), "ch/noarch/near-1.0-0.conda"):
        row = LockRow(written=written, channel="file:///ch", url=location)
        placed = fetch_one(artifact_of(row), world.place)
        assert placed.digest.hex == written.sha256
        target = world.place.folder / placed.artifact.path
        assert target.read_bytes() == written.path.read_bytes()
        target.unlink()


def test_a_file_that_is_not_there(world: World, tmp_path: Path) -> None:
    written = TinyPackage(name="near").write(tmp_path / "ch")
    missing = tmp_path / "gone" / "noarch" / "near-1.0-0.conda"
    row = LockRow(written=written, channel="file:///gone", url=missing.as_uri())
    with pytest.raises(DownloadError) as caught:
        fetch_one(artifact_of(row), world.place)
    assert caught.value.kind is ErrorKind.NO_CHANNEL_FOLDER
    missing.parent.mkdir(parents=True)
    with pytest.raises(DownloadError) as caught:
        fetch_one(artifact_of(row), world.place)
    assert caught.value.kind is ErrorKind.NO_FILE
    assert caught.value.text == f"{missing}: No such file or directory"
