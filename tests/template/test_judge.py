"""Three versions of a thing, and what becomes of it."""

from __future__ import annotations

import pytest

from scripts.template.compare import Judged, Verdict, Versions, judge, records, versions

# base, mine, new: the verdict, and what it is recorded to come from.
TABLE = [
    (None, None, "n", Verdict.TAKEN, "n"),
    (None, "n", "n", Verdict.SAME, "n"),
    (None, "m", "n", Verdict.DIFFERS, None),
    ("b", "b", "b", Verdict.SAME, "b"),
    ("b", "b", "n", Verdict.TAKEN, "n"),
    ("b", "b", None, Verdict.TAKEN, None),
    ("b", "m", "b", Verdict.YOURS, "b"),
    ("b", "m", "n", Verdict.DIFFERS, "b"),
    ("b", "m", None, Verdict.DIFFERS, "b"),
    ("b", "n", "n", Verdict.SAME, "n"),
    ("b", None, "b", Verdict.YOURS, "b"),
    ("b", None, "n", Verdict.MISSING, "n"),
    ("b", None, None, Verdict.SAME, None),
]


@pytest.mark.parametrize(("base", "mine", "new", "verdict", "record"), TABLE)
def test_verdicts(
    base: str | None, mine: str | None, new: str | None, verdict: Verdict, record: str | None
) -> None:
    (judged,) = judge([Versions(name="x", base=base, mine=mine, new=new)], frozenset())
    is_taken = verdict is Verdict.TAKEN
    assert judged == Judged(
        name="x",
        verdict=verdict,
        record=record,
        is_added=is_taken and mine is None,
        is_removed=is_taken and new is None,
    )
    # What is dealt with comes from the newer version from then on; nothing else is concerned.
    (kept,) = judge([Versions(name="x", base=base, mine=mine, new=new)], frozenset({"x"}))
    if verdict is Verdict.DIFFERS:
        assert kept == Judged(name="x", verdict=Verdict.YOURS, record=new)
    else:
        assert kept == judged


@pytest.mark.parametrize(("base", "mine", "new", "verdict", "record"), TABLE)
def test_said_again_it_finds_nothing_more_to_do(
    base: str | None, mine: str | None, new: str | None, verdict: Verdict, record: str | None
) -> None:
    after = new if verdict is Verdict.TAKEN else mine
    (again,) = judge([Versions(name="x", base=record, mine=after, new=new)], frozenset())
    expected = {Verdict.TAKEN: Verdict.SAME, Verdict.MISSING: Verdict.YOURS}
    assert again.verdict is expected.get(verdict, verdict)
    assert again.record == record
    del base


def test_what_only_the_user_has_is_none_of_it() -> None:
    found = versions({"a": "1", "gone": "2"}, {"a": "1", "mine": "3"}, {"a": "4", "new": "5"})
    assert list(found) == [
        Versions(name="a", base="1", mine="1", new="4"),
        Versions(name="new", base=None, mine=None, new="5"),
        Versions(name="gone", base="2", mine=None, new=None),
    ]


def test_records_hold_what_comes_from_the_template() -> None:
    judged = [
        Judged(name="a", verdict=Verdict.SAME, record="1"),
        Judged(name="b", verdict=Verdict.TAKEN, record=None, is_removed=True),
    ]
    assert records(judged) == {"a": "1"}
