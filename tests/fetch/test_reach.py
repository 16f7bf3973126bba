"""A server that is not there is given up for all artifacts; one that is there never is."""

from __future__ import annotations

import time

from scripts.fetch.failure import DownloadError, Fault, Patience, UnreachedError
from scripts.fetch.reach import Reach

PATIENCE = Patience(silence=8.0)
HERE = "https://host/a.conda"
ALSO_HERE = "https://host:443/b.conda"
ELSEWHERE = "https://other/a.conda"
NOBODY = UnreachedError("connection refused")


def tries(reach: Reach, *seconds_ago: float, source: str = HERE) -> None:
    for ago in seconds_ago:
        reach.failed(source, NOBODY, time.monotonic() - ago)


def test_lost_after_the_silence_for_all_that_is_there() -> None:
    reach = Reach(PATIENCE)
    tries(reach, 9, 5, 1)
    for url in (HERE, ALSO_HERE):
        error = reach.lost(url)
        assert error is not None
        assert (error.fault, error.text) == (Fault.CONNECTION, "connection refused")
    # Control: another server is another matter.
    assert reach.lost(ELSEWHERE) is None


def test_not_after_a_short_time_or_few_tries() -> None:
    reach = Reach(PATIENCE)
    tries(reach, *[7] * 50)
    assert reach.lost(HERE) is None
    tries(reach, 100, 90, source=ELSEWHERE)
    assert reach.lost(ELSEWHERE) is None


def test_any_answer_begins_the_count_anew() -> None:
    reach = Reach(PATIENCE)
    tries(reach, 20, 15)
    reach.failed(HERE, DownloadError(Fault.STATUS, "HTTP 503", status=503), time.monotonic())
    tries(reach, 1, 1, 1)
    assert reach.lost(HERE) is None


def test_not_while_a_body_is_on_its_way() -> None:
    """A server may refuse more connections than it likes, and serve the others all the while."""
    reach = Reach(PATIENCE)
    with reach.body_from(HERE):
        tries(reach, 20, 15, 9)
        assert reach.lost(HERE) is None
    tries(reach, 1)
    assert reach.lost(HERE) is not None


def test_a_full_disk_says_nothing_of_a_server() -> None:
    reach = Reach(PATIENCE)
    tries(reach, 20, 15)
    reach.failed(HERE, DownloadError(Fault.DISK, "full"), time.monotonic())
    tries(reach, 1)
    assert reach.lost(HERE) is not None
