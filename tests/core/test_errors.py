"""Problems as text, and the one exit code for several of them."""

from __future__ import annotations

import itertools

import pytest

from scripts.core.errors import ExitCode, MirrorError, Problem, exit_code_of, usage_error


def problem(code: ExitCode) -> Problem:
    return Problem(subject="it", message="is wrong", code=code)


def test_a_problem_is_sentences_with_its_facts_in_columns() -> None:
    text = str(
        Problem(
            subject="linux-64/zstd-1.5.7-0.conda",
            message="sha256 differs from pixi.lock",
            code=ExitCode.FINDINGS,
            details=(("expected", "1dd3"), ("actual", "9f0a"), ("from", "https://host/zstd")),
            help="pixi run fetch",
        )
    )
    assert text == (
        "linux-64/zstd-1.5.7-0.conda: sha256 differs from pixi.lock\n"
        "  expected  1dd3\n"
        "  actual    9f0a\n"
        "  from      https://host/zstd\n"
        "help: pixi run fetch"
    )


def test_a_problem_with_nothing_more_to_say_is_one_line() -> None:
    assert str(problem(ExitCode.USAGE)) == "it: is wrong"


def test_a_usage_error_is_one_problem_of_exit_code_2() -> None:
    error = usage_error("pixi.lock", "is missing", ("at", "here"), help="pixi lock")
    assert error.problems == (
        Problem(
            subject="pixi.lock",
            message="is missing",
            code=ExitCode.USAGE,
            details=(("at", "here"),),
            help="pixi lock",
        ),
    )


def test_several_problems_are_shown_in_their_order() -> None:
    error = MirrorError(
        Problem(subject="b", message="first", code=ExitCode.FINDINGS),
        Problem(subject="a", message="second", code=ExitCode.NETWORK),
    )
    assert str(error) == "b: first\na: second"


@pytest.mark.parametrize(
    ("codes", "chosen"),
    [
        ((), 0),
        ((3,), 3),
        ((3, 1), 1),
        ((3, 1, 2), 2),
        ((3, 1, 2, 4), 4),
        ((3, 3), 3),
    ],
)
def test_what_trying_again_cannot_mend_outweighs_what_it_can(
    codes: tuple[int, ...], chosen: int
) -> None:
    for order in itertools.permutations(codes):
        assert exit_code_of(tuple(problem(ExitCode(code)) for code in order)) == chosen
