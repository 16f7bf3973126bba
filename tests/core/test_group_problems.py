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
    assert group_problems(missing(3), 1) == missing(3)


def test_more_are_one_with_the_count_and_the_first_few() -> None:
    (problem,) = group_problems(missing(97), 3)
    assert str(problem) == (
        "97 artifacts: are missing\n"
        "  first  noarch/p0-1.0-0.conda\n"
        "  from   https://host/p0\n"
        "  then   noarch/p1-1.0-0.conda\n"
        "         noarch/p2-1.0-0.conda\n"
        "         and 94 more, which -v shows\n"
        "help: pixi run fetch"
    )
    assert problem.code is ExitCode.FINDINGS


def test_all_are_named_where_so_many_names_are_wanted() -> None:
    (problem,) = group_problems(missing(4), 4)
    assert [text for _, text in problem.details] == [
        "noarch/p0-1.0-0.conda",
        "https://host/p0",
        "noarch/p1-1.0-0.conda",
        "noarch/p2-1.0-0.conda",
        "noarch/p3-1.0-0.conda",
    ]


@pytest.mark.parametrize(
    "other", [{"message": "is cut"}, {"code": ExitCode.USAGE}, {"help": "pixi run index"}]
)
def test_what_differs_stays_apart_in_the_order_of_the_first(other: dict[str, Any]) -> None:
    *same, _ = missing(6)
    odd = dataclasses.replace(same[0], subject="odd", **other)
    told = group_problems((*same[:2], odd, *same[2:]), 5)
    assert [each.subject for each in told] == ["5 artifacts", "odd"]


def test_what_is_no_artifact_is_counted_by_times() -> None:
    problems = [dataclasses.replace(each, subject="linux-64/repodata.json") for each in missing(5)]
    assert str(group_problems(problems, 1)[0]).splitlines()[0] == "5 times: is missing"


def test_the_console_gathers_unless_all_is_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report(problems=missing(9))
    Console().report(report)
    brief = capsys.readouterr().err
    assert brief.startswith("error: 9 artifacts: are missing\n")
    assert "         and 4 more, which -v shows\n" in brief
    Console(verbosity=Verbosity.VERBOSE).report(report)
    assert capsys.readouterr().err.count("error: noarch/p") == 9


def test_json_keeps_each(capsys: pytest.CaptureFixture[str]) -> None:
    Console(json_wanted=True).end("fetch", Report(problems=missing(9)))
    assert capsys.readouterr().out.count('"subject"') == 9
