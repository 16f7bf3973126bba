"""Install an environment with `pixi install --offline`, from `file://` channels alone."""

from __future__ import annotations

from pathlib import Path

from scripts.core.errors import Problem
from scripts.verify.findings import Client
from scripts.verify.install.attempt import failed
from scripts.verify.install.by_pixi import pixi_variables
from scripts.verify.install.offline_manifest import offline_manifest
from scripts.verify.install.plan_install import Installation
from scripts.verify.install.sandbox import alone_environment, run_alone


def install_by_pixi_offline(
    pixi: Path, installation: Installation, folder: Path, scratch: Path
) -> tuple[Path, tuple[Problem, ...]]:
    """Install a new workspace below the empty folder `scratch`; return the prefix, what went wrong.

    pixi solves for exactly the locked packages, from the channel's own repodata.
    """
    home, manifest = scratch / "home", scratch / "workspace" / "pixi.toml"
    home.mkdir()
    manifest.parent.mkdir()
    manifest.write_text(offline_manifest(installation, folder), encoding="utf-8")
    done = run_alone(
        [str(pixi), "install", "--offline", "--manifest-path", str(manifest)],
        alone_environment(home, pixi_variables(installation, scratch)),
    )
    prefix = manifest.parent / ".pixi" / "envs" / "default"
    if done.returncode == 0:
        return prefix, ()
    return prefix, (failed(installation, Client.PIXI_OFFLINE, done),)
