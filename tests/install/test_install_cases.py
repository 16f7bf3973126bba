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


EVERY = "a,b,c,default"


@pytest.mark.parametrize(
    ("name", "client", "environments"),
    [
        pytest.param("pytorch-nvidia", "pixi", "default", marks=PIXI),
        pytest.param("pytorch-nvidia", "pixi-offline", "default", marks=PIXI),
        pytest.param("pytorch-nvidia", "conda", "default", marks=CONDA),
        pytest.param("channel-priority", "pixi-offline", EVERY, marks=PIXI),
        pytest.param("channel-priority", "conda", "c", marks=CONDA),
    ],
)
def test_a_real_lock_installs(
    name: str,
    client: str,
    environments: str,
    made: Callable[[str], Case],
    capsys: pytest.CaptureFixture[str],
) -> None:
    if here() != "linux-64":
        pytest.skip("the cases are locked for linux-64")
    case = made(name)
    capsys.readouterr()
    manifest = ("--manifest-path", str(case.root), "-e", environments, "-q", "--json")
    code = verify.main([*manifest, "--level", "install", "--client", client])
    out, err = capsys.readouterr()
    assert (code, err) == (0, "")
    rows = json.loads(out)["environments"]
    assert [row["environment"] for row in rows] == environments.split(",")
    cuda = {"pytorch-nvidia": "11.8", "channel-priority": ""}[name]
    for row in rows:
        (attempt,) = row["install"]
        assert attempt["installed"] is True
        assert attempt["overrides"]["CONDA_OVERRIDE_CUDA"] == cuda
        assert attempt["overrides"]["CONDA_OVERRIDE_GLIBC"] == "2.28"
