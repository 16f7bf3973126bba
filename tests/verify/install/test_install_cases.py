"""Locks that pixi itself wrote, with tiny artifacts: the programs install them from the mirror."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache

import pytest

from tasks import verify
from tests.support.cases import Case, make_case
from tests.support.verified import here

PIXI = pytest.mark.needs_pixi
CONDA = pytest.mark.needs_conda


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Case]:
    """Make the mirror of a case, once; it is only looked at."""

    @cache
    def make(name: str) -> Case:
        case = make_case(name, tmp_path_factory.mktemp(name))
        case.place()
        case.index()
        return case

    return make


# The places of each case that are for linux-64, with the `__cuda` that each of them declares.
PLACES = {
    "channel-priority": dict.fromkeys(
        ("a/linux-64", "b/linux-64", "c/linux-64", "default/linux-64"), ""
    ),
    "pytorch-nvidia": {"default/p1": "11.8"},
    "rich-platforms": {"default/linux-64": "", "default/p1": "12"},
}


@pytest.mark.parametrize(
    "client",
    [
        "rattler",
        pytest.param("pixi", marks=PIXI),
        pytest.param("pixi-offline", marks=PIXI),
        pytest.param("conda", marks=CONDA),
    ],
)
@pytest.mark.parametrize("name", PLACES)
def test_a_real_lock_installs(
    name: str,
    client: str,
    made: Callable[[str], Case],
    capsys: pytest.CaptureFixture[str],
) -> None:
    if here() != "linux-64":
        pytest.skip("the cases are locked for linux-64")
    case = made(name)
    capsys.readouterr()
    manifest = ("--manifest-path", str(case.root), "-p", "linux-64", "-q", "--json")
    code = verify.main([*manifest, "--level", "install", "--client", client])
    out, err = capsys.readouterr()
    assert (code, err) == (0, "")
    rows = json.loads(out)["environments"]
    attempts = {}
    for row in rows:
        (attempt,) = row["install"]
        assert attempt["installed"] is True
        assert attempt["overrides"]["CONDA_OVERRIDE_GLIBC"] == "2.28"
        place = f"{row['environment']}/{row['platform']}"
        attempts[place] = attempt["overrides"]["CONDA_OVERRIDE_CUDA"]
    assert attempts == PLACES[name]
