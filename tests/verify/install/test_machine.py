"""What is locked for a machine with CUDA is proven on one without; controls: else it is refused."""

from __future__ import annotations

import pytest

from tests.support.locks import EnvironmentRows, LockRow, PlatformRows
from tests.support.mirrors import CHANNEL
from tests.support.verified import World, here

CLIENTS = [
    pytest.param("pixi", marks=pytest.mark.needs_pixi),
    pytest.param("pixi-offline", marks=pytest.mark.needs_pixi),
    pytest.param("conda", marks=pytest.mark.needs_conda),
]


@pytest.fixture
def cuda_world(world: World) -> World:
    """Its one package needs `__cuda`."""
    (world.mirror.root / "pixi.toml").write_text(
        '[workspace]\nname = "w"\nchannels = ["conda-forge"]\n'
        f'platforms = [{{ platform = "{here()}", cuda = "12", name = "gpu" }}]\n\n'
        '[dependencies]\nlib = "*"\n',
        encoding="utf-8",
    )
    row = LockRow(written=world.rows()["lib"].written, channel=CHANNEL, depends=("__cuda >=12",))
    packages = ("__unix=0=0", "__cuda=12") if not here().startswith("win") else ("__cuda=12",)
    platform = PlatformRows(name="p1", subdir=here(), rows=(row,), virtual_packages=packages)
    world.lock(EnvironmentRows(platforms=(platform,)))
    world.mirror.index()
    return world


@pytest.mark.parametrize("client", CLIENTS)
def test_the_locked_platform_is_the_machine(
    client: str, cuda_world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert cuda_world.loud("--level", "install", "--client", client) == 0
    lines = capsys.readouterr().out.splitlines()
    [said] = [line for line in lines if line.startswith("installed default/p1 with ")]
    assert "CONDA_OVERRIDE_CUDA=12" in said.split()


@pytest.mark.parametrize("client", CLIENTS)
def test_without_its_virtual_packages_it_is_refused(
    client: str,
    cuda_world: World,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Also where this machine has CUDA: the empty variable hides it."""
    monkeypatch.setattr(
        "scripts.verify.install.plan.overrides_of", lambda _: {"CONDA_OVERRIDE_CUDA": ""}
    )
    capsys.readouterr()
    assert cuda_world.verify("--level", "install", "--client", client) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: default/p1: ")
    assert "__cuda >=12" in err
