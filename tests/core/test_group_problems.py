"""Many problems of one kind are told as one; all others as they are."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from scripts.core.console import Console, Verbosity, group_problems
from scripts.core.errors import ExitCode, Problem
from scripts.core.report import Report


def missing(count: int) -> tuple[Problem, ...]:
    return tuple(
        Problem(
            subject=f"noarch/p{number}-1.0-0.conda",
            message="is missing",
            code=ExitCode.FINDINGS,
            details=(("from", f"https://host/p{number}"),),
            help="pixi run fetch",
        )
        for number in range(count)
    )


def test_up_to_three_are_told_one_by_one() -> None:
    assert group_problems(missing(3)) == tuple(map(str, missing(3)))


def test_more_are_one_with_the_count_and_the_first_few() -> None:
    (text,) = group_problems(missing(97))
    assert text == (
        "97 artifacts are missing\n"
        "  first  noarch/p0-1.0-0.conda\n"
        "  from   https://host/p0\n"
        "  then   noarch/p1-1.0-0.conda\n"
        "         noarch/p2-1.0-0.conda\n"
        "         noarch/p3-1.0-0.conda\n"
        "         noarch/p4-1.0-0.conda\n"
        "         and 92 more, which -v shows\n"
        "help: pixi run fetch"
    )


def test_all_are_named_where_they_are_no_more() -> None:
    (text,) = group_problems(missing(5))
    assert text.count("noarch/p") == 5
    assert "more" not in text


@pytest.mark.parametrize(
    "other", [{"message": "is cut"}, {"code": ExitCode.USAGE}, {"help": "pixi run index"}]
)
def test_what_differs_stays_apart_in_the_order_of_the_first(other: dict[str, Any]) -> None:
    *same, _ = missing(6)
    odd = dataclasses.replace(same[0], subject="odd", **other)
    told = group_problems((*same[:2], odd, *same[2:]))
    assert [each.splitlines()[0] for each in told] == [
        "5 artifacts are missing",
        f"odd: {odd.message}",
    ]


@pytest.mark.parametrize(
    ("subject", "message", "sentence"),
    [
        ("noarch/p{}-1.0-0.conda", "is missing", "4 artifacts are missing"),
        ("p{}/repodata.json", "is missing", "4 files are missing"),
        ("p{}/linux-64", "cannot be solved from the channel alone", "these 4 cannot be solved"),
        ("p{}", "comes from two channels", "these 4 come from two channels"),
        ("noarch/p{}-1.0-0.conda", "requires x >=2, which is not met", "4 artifacts require x >=2"),
        ("noarch/p{}-1.0-0.conda", "has no record in", "4 artifacts have no record in"),
        (
            "noarch/p{}-1.0-0.conda",
            "is a link, not the file itself",
            "each of 4 artifacts is a link, not the file itself",
        ),
        (
            "noarch/p{}-1.0-0.conda",
            "is no artifact that can be opened",
            "each of 4 artifacts is no artifact that can be opened",
        ),
        (
            "noarch/p{}-1.0-0.conda",
            "HTTP 404 Not Found",
            "4 artifacts have the same problem: HTTP 404 Not Found",
        ),
        (
            "noarch/p{}-1.0-0.conda",
            "issues were found",  # begins like a verb, and is none
            "4 artifacts have the same problem: issues were found",
        ),
        *(
            ("noarch/p{}-1.0-0.conda", f"{verb} x", f"4 artifacts {plural} x")
            for verb, plural in (
                *(("has", "have"), ("was", "were"), ("comes", "come"), ("holds", "hold")),
                *(("leads", "lead"), ("says", "say"), ("requires", "require")),
                *(("constrains", "constrain"), ("cannot be", "cannot be")),
            )
        ),
        (
            "p{}/linux-64",
            "conda cannot install it from the channel alone",
            "these 4 have the same problem: conda cannot install it",
        ),
    ],
)
def test_what_is_told_as_one_is_a_sentence(subject: str, message: str, sentence: str) -> None:
    problems = [
        Problem(subject=subject.format(each), message=message, code=ExitCode.FINDINGS)
        for each in range(4)
    ]
    (text,) = group_problems(problems)
    assert text.splitlines()[0].startswith(sentence)


def test_one_thing_of_which_the_same_is_said_keeps_its_name() -> None:
    problems = [
        Problem(
            subject="pixi.lock",
            message="environment default does not meet a requirement any more",
            code=ExitCode.USAGE,
            details=(("expected", f"p{each} >=2"),),
        )
        for each in range(4)
    ]
    (text,) = group_problems(problems)
    assert text == (
        "pixi.lock: environment default does not meet a requirement any more\n"
        "  expected  p0 >=2\n"
        "  and       3 more like this, which -v shows"
    )


def test_many_places_are_cut_and_whole_with_v(capsys: pytest.CaptureFixture[str]) -> None:
    places = [f"e{each}/linux-64" for each in range(7)]
    many, few = (
        dataclasses.replace(each, details=(("used by", ", ".join(places[:count])),))
        for each, count in zip(missing(2), (7, 5), strict=True)
    )
    report = Report(problems=(many, few))
    Console().report(report)
    told = [line for line in capsys.readouterr().err.splitlines() if "used by" in line]
    assert told == [
        f"  used by  {', '.join(places[:5])} and 2 more, which -v shows",
        f"  used by  {', '.join(places[:5])}",
    ]
    Console(verbosity=Verbosity.VERBOSE).report(report)
    assert f"  used by  {', '.join(places)}\n" in capsys.readouterr().err


def test_the_console_gathers_unless_all_is_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report(problems=missing(9))
    Console().report(report)
    brief = capsys.readouterr().err
    assert brief.startswith("error: 9 artifacts are missing\n")
    assert "         and 4 more, which -v shows\n" in brief
    Console(verbosity=Verbosity.VERBOSE).report(report)
    assert capsys.readouterr().err.count("error: noarch/p") == 9


@pytest.mark.parametrize(("count", "shown", "last"), [(21, 21, "  n20"), (22, 20, "and 2 more")])
def test_a_long_list_is_cut_and_whole_with_v(
    count: int, shown: int, last: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line that would say `and 1 more` is worth that one."""
    report = Report(lines=("head:", tuple(f"  n{each}" for each in range(count)), "tail"))
    Console().report(report)
    head, *lines, tail = capsys.readouterr().out.splitlines()
    assert (head, tail) == ("head:", "tail")
    assert [each for each in lines if "more" not in each] == [f"  n{x}" for x in range(shown)]
    assert lines[-1] == (last if count == shown else f"  {last}, which -v shows")
    Console(verbosity=Verbosity.VERBOSE).report(report)
    whole = capsys.readouterr().out.splitlines()
    assert whole == ["head:", *(f"  n{each}" for each in range(count)), "tail"]


@pytest.mark.parametrize("verbosity", Verbosity)
def test_lines_that_a_help_refers_to_are_never_hidden(
    verbosity: Verbosity, capsys: pytest.CaptureFixture[str]
) -> None:
    report = Report(lines=("first", "paste this"), referred_to=("paste this",))
    Console(verbosity=verbosity).report(report)
    told = "".join(capsys.readouterr())
    assert told.count("paste this\n") == 1
    assert ("first" in told) is (verbosity is not Verbosity.QUIET)


def test_json_keeps_each(capsys: pytest.CaptureFixture[str]) -> None:
    Console(json_wanted=True).end("fetch", Report(problems=missing(9)))
    assert capsys.readouterr().out.count('"subject"') == 9
