"""Have pixi renew the lock, for real or on a copy."""

from __future__ import annotations

from pathlib import Path

from scripts.lock.model import LockFile
from scripts.lock.read import read_lock
from scripts.lock.update_plan import UpdatePlan
from scripts.lock.workspace_copy import read_scratch_lock, scratch_copy
from scripts.workspace.pixi import run_pixi
from scripts.workspace.workspace import Workspace


def renew_lock(pixi: Path, workspace: Workspace) -> LockFile:
    """Run `pixi lock` and return the lock as it is then."""
    run_pixi(pixi, ("lock",), workspace.manifest_path)
    return read_lock(workspace.lock_path)


def update_lock(pixi: Path, workspace: Workspace, plan: UpdatePlan) -> LockFile:
    """Run `pixi update` and return the lock as it is then."""
    run_pixi(pixi, plan.arguments, workspace.manifest_path)
    return read_lock(workspace.lock_path)


def try_update(pixi: Path, workspace: Workspace, plan: UpdatePlan) -> LockFile:
    """Return the lock that `update_lock` would leave; nothing of the workspace is touched."""
    with scratch_copy(workspace) as manifest:
        run_pixi(pixi, plan.arguments, manifest)
        return read_scratch_lock(manifest, workspace)
