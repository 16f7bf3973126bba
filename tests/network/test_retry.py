"""A server that is not there is given up for all artifacts; one that is there never is."""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest

from scripts.network.errors import DownloadError, ErrorKind
from scripts.network.retry import HostHealth, RetryPolicy, backoff_delay

POLICY = RetryPolicy(unreachable_after=8.0, failing_after=30.0)
HERE = "https://host/a.conda"
ALSO_HERE = "https://host:443/b.conda"
ELSEWHERE = "https://other/a.conda"
NOBODY = DownloadError(ErrorKind.UNREACHED, "connection refused")


def tries(
    health: HostHealth, *seconds_ago: float, source: str = HERE, error: DownloadError = NOBODY
) -> None:
    now = time.monotonic()
    for ago in seconds_ago:
        with pytest.MonkeyPatch.context() as patch:
            clock = SimpleNamespace(monotonic=partial(float, now - ago))
            patch.setattr("scripts.network.retry.time", clock)
            health.failed(source, error)


def test_lost_after_the_silence_for_all_that_is_there() -> None:
    health = HostHealth(POLICY)
    tries(health, 9, 5, 1)
    for url in (HERE, ALSO_HERE):
        error = health.is_down(url)
        assert error is not None
        assert (error.kind, error.text) == (ErrorKind.UNREACHED, "connection refused")
    # Control: another server is another matter.
    assert health.is_down(ELSEWHERE) is None


def test_not_after_a_short_time_or_few_tries() -> None:
    health = HostHealth(POLICY)
    tries(health, *[7] * 50)
    assert health.is_down(HERE) is None
    tries(health, 100, 90, source=ELSEWHERE)
    assert health.is_down(ELSEWHERE) is None


def test_any_answer_begins_the_count_anew() -> None:
    health = HostHealth(POLICY)
    tries(health, 20, 15)
    health.failed(HERE, DownloadError(ErrorKind.SERVER_ERROR, "HTTP 503", status=503))
    tries(health, 1, 1, 1)
    assert health.is_down(HERE) is None


def test_not_while_a_body_is_on_its_way() -> None:
    """A server may refuse more connections than it likes, and serve the others all the while."""
    health = HostHealth(POLICY)
    with health.body_from(HERE):
        tries(health, 20, 15, 9)
        assert health.is_down(HERE) is None
    tries(health, 20, 15, 1)
    assert health.is_down(HERE) is not None


def test_who_lets_many_wait_at_once_may_answer_others_meanwhile() -> None:
    """A proxy that looks into large files for longer than anybody waits."""
    silent = DownloadError(ErrorKind.UNANSWERED, "read timed out.")
    health = HostHealth(POLICY)
    unwell(health, 32, 600, silent)
    assert health.is_down(HERE) is None
    with health.body_from(HERE):
        pass
    unwell(health, 32, 300, silent)
    assert health.is_down(HERE) is None
    # Control: nothing good came until the next try.
    unwell(health, 1, 0, silent)
    assert health.is_down(HERE) is not None


def test_a_full_disk_says_nothing_of_a_server() -> None:
    health = HostHealth(POLICY)
    tries(health, 20, 15)
    health.failed(HERE, DownloadError(ErrorKind.DISK_FULL, "full"))
    tries(health, 1)
    assert health.is_down(HERE) is not None


def unwell(health: HostHealth, count: int, seconds_ago: float, error: DownloadError) -> None:
    tries(health, *[seconds_ago] * count, error=error)


@pytest.mark.parametrize(
    "error",
    [
        DownloadError(ErrorKind.SERVER_ERROR, "HTTP 503 Service Unavailable", status=503),
        DownloadError(ErrorKind.CUT_OFF, "read timed out."),
    ],
)
def test_lost_where_nothing_good_came_for_long(error: DownloadError) -> None:
    health = HostHealth(POLICY)
    unwell(health, 19, 31, error)
    assert health.is_down(HERE) is None
    unwell(health, 1, 0, error)
    lost = health.is_down(HERE)
    assert lost is not None
    assert (lost.kind, lost.text, lost.status) == (error.kind, error.text, error.status)


@pytest.mark.parametrize(
    "error",
    [
        DownloadError(ErrorKind.GONE, "HTTP 404", status=404),
        DownloadError(ErrorKind.WRONG_BYTES, "sha256 differs"),
        DownloadError(ErrorKind.TOO_MANY_REQUESTS, "HTTP 429", status=429, retry_after=60),
    ],
)
def test_what_a_server_lacks_or_puts_off_is_no_failure_of_it(error: DownloadError) -> None:
    health = HostHealth(POLICY)
    unwell(health, 100, 300, error)
    assert health.is_down(HERE) is None


def test_downloads_that_are_put_off_together_do_not_come_back_together() -> None:
    """Or all of them meet the same limit again, and again, until each has used up its tries."""
    put_off = DownloadError(ErrorKind.TOO_MANY_REQUESTS, "HTTP 429", status=429, retry_after=1)
    delays = [backoff_delay(3, put_off, POLICY) for _ in range(32)]
    assert len(set(delays)) > 16
    assert 1.5 <= min(delays) <= max(delays) <= 2.0
    # Control: one who is told nothing waits as long, without what was told.
    told_nothing = replace(put_off, retry_after=None)
    assert 0.5 <= backoff_delay(3, told_nothing, POLICY) <= 1.0


def test_one_good_body_begins_the_count_anew() -> None:
    error = DownloadError(ErrorKind.SERVER_ERROR, "HTTP 503", status=503)
    health = HostHealth(POLICY)
    unwell(health, 30, 29, error)
    with health.body_from(HERE):
        pass
    unwell(health, 30, 5, error)
    assert health.is_down(HERE) is None


def test_a_body_that_breaks_off_is_not_good() -> None:
    error = DownloadError(ErrorKind.CUT_OFF, "ended too soon")
    health = HostHealth(POLICY)
    unwell(health, 19, 31, error)
    with pytest.raises(DownloadError), health.body_from(HERE):
        raise error
    unwell(health, 1, 0, error)
    assert health.is_down(HERE) is not None


def test_who_failed_least_is_asked_first() -> None:
    """As in rattler: what a mirror lacks is missing, and counts against nobody."""
    health = HostHealth(POLICY)
    health.failed(HERE, DownloadError(ErrorKind.GONE, "HTTP 404", status=404))
    assert sorted([HERE, ELSEWHERE], key=health.failures) == [HERE, ELSEWHERE]
    health.failed(HERE, DownloadError(ErrorKind.SERVER_ERROR, "HTTP 502", status=502))
    assert sorted([HERE, ELSEWHERE], key=health.failures) == [ELSEWHERE, HERE]
    health.failed(ELSEWHERE, NOBODY)
    assert sorted([HERE, ELSEWHERE], key=health.failures) == [HERE, ELSEWHERE]


def test_good_bodies_and_failures_at_the_same_moment() -> None:
    """Each thread counts while the other may be anywhere in its own count."""
    health, is_over = HostHealth(POLICY), threading.Event()

    def bodies() -> None:
        while not is_over.is_set():
            with health.body_from(HERE):
                pass

    other, interval = threading.Thread(target=bodies), sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        other.start()
        for _ in range(60_000):
            health.failed(HERE, NOBODY)
    finally:
        is_over.set()
        other.join()
        sys.setswitchinterval(interval)
    assert health.failures(HERE) == 60_000
