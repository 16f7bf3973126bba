"""How many downloads there should be, by what small ones cost."""

from __future__ import annotations

import pytest

from scripts.fetch.adapt import FEWEST, MOST, Pace


def after(share: float, seconds: float = 10.0) -> Pace:
    return Pace().after(seconds=seconds, processor_seconds=share * seconds)


@pytest.mark.parametrize(
    ("share", "in_flight"),
    [(1.0, 3), (0.25, 3), (0.15, 4), (0.1, 6), (0.05, 12), (0.025, 24), (0.02, 30), (0.0, MOST)],
)
def test_the_less_they_compute_the_more_there_are(share: float, in_flight: int) -> None:
    assert after(share).in_flight == in_flight


def test_a_short_look_counts_little_and_many_of_them_much() -> None:
    pace = Pace()
    first = pace.after(seconds=0.02, processor_seconds=0.0)
    assert first.in_flight == pace.in_flight
    for _ in range(100):
        pace = pace.after(seconds=0.02, processor_seconds=0.0)
    assert pace.in_flight == MOST


def test_it_comes_down_again() -> None:
    pace = after(0.01)
    assert pace.in_flight == MOST
    for _ in range(20):
        pace = pace.after(seconds=0.5, processor_seconds=0.2)
    assert pace.in_flight == FEWEST


def test_no_time_and_a_clock_that_errs_teach_nothing_odd() -> None:
    assert Pace().after(seconds=0.0, processor_seconds=5.0) == Pace()
    assert after(7.0).in_flight == FEWEST
    assert after(-1.0).in_flight == MOST
