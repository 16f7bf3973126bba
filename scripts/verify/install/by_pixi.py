"""Install an environment with the pixi program, led to the mirror by `[mirrors]`.

The manifest and the lock are the workspace's own, so pixi asks for upstream's URLs.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from scripts.core import served
from scripts.core.errors import Problem
from scripts.lock.update import workspace_copy
from scripts.verify.findings import Client
from scripts.verify.install.attempt import failed
from scripts.verify.install.pixi_mirrors import config_text, mirrors_for
from scripts.verify.install.plan_install import Installation
from scripts.verify.install.sandbox import alone_environment, run_alone
from scripts.workspace.workspace import Workspace


def install_by_pixi(
    pixi: Path, workspace: Workspace, installation: Installation, scratch: Path
) -> tuple[Path, tuple[Problem, ...]]:
    """Install a copy of the workspace below `scratch`; return the prefix and what went wrong.

    `mirrors_for` has said that it can be done.
    """
    home = scratch / "home"
    home.mkdir()
    with workspace_copy(workspace) as manifest:
        copied = manifest.parent / ".pixi"
        copied.mkdir(exist_ok=True)
        request = {
            "folder": str(workspace.place.folder),
            "config": str(copied / "config.toml"),
            "text": config_text(mirrors_for(installation), f"http://127.0.0.1:{served.PORT}"),
            "command": [str(pixi), *_arguments(installation, manifest)],
        }
        environment = alone_environment(home, pixi_variables(installation, scratch))
        done = run_alone(
            [sys.executable, "-I", served.__file__], environment, json.dumps(request).encode()
        )
        prefix = scratch / "prefix"
        if done.returncode == 0:
            (copied / "envs" / installation.place.environment).rename(prefix)
            return prefix, ()
    return prefix, (failed(installation, Client.PIXI, done),)


def _arguments(installation: Installation, manifest: Path) -> list[str]:
    platform = installation.manifest_platform
    return [
        "install",
        "--frozen",
        *("--environment", installation.place.environment),
        *(("--platform", platform) if platform is not None else ()),
        *("--manifest-path", str(manifest)),
    ]


def pixi_variables(installation: Installation, scratch: Path) -> dict[str, str]:
    """Make every folder that pixi keeps something in a fresh one."""
    return {
        **dict(installation.overrides),
        "PIXI_HOME": str(scratch / "home"),
        "PIXI_CACHE_DIR": str(scratch / "cache"),
        "RATTLER_CACHE_DIR": str(scratch / "cache"),
        "PIXI_NO_CONFIG": "1",
        "NO_COLOR": "1",
        "PIXI_NO_WRAP": "1",
    }
