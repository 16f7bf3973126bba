"""pixi, uv and pip install wheels and sdists from the mirror, or say why they do not."""

from __future__ import annotations

import pytest

from tests.support.pypi_world import PypiWorld

INSTALL = ("--level", "install", "--client")


@pytest.mark.parametrize(
    "client", ["uv", "pip", pytest.param("pixi", marks=pytest.mark.needs_pixi)]
)
def test_it_installs(
    client: str, pypi_world: PypiWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    before = pypi_world.mirror.states()
    code = pypi_world.loud(*INSTALL, client)
    out, err = capsys.readouterr()
    print(out, err)
    assert code == 0
    assert pypi_world.mirror.states() == before
