"""Find the pixi program and run it on a workspace."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from scripts.core.child_process import ask_version, program_error
from scripts.core.errors import MirrorError
from scripts.core.invocation import launcher_of
from scripts.core.redact import redact

_INSTALL: Final = "install pixi (https://pixi.sh), or run this on a machine that has it"
# What activation sets (pixi_core/src/activation.rs) or a shell of pixi's (pixi_cli/src/shell.rs),
# and what the outer `pixi run` was told of locks and colours. All other PIXI_ variables configure
# pixi (PIXI_HOME, PIXI_CACHE_DIR, PIXI_CONFIG_FILE, PIXI_OFFLINE, …) and hold for the inner one.
# Then those of an activated conda environment; CONDA_OVERRIDE_* stand for virtual packages.
_OUTER: Final = re.compile(
    r"PIXI_((PROJECT|ENVIRONMENT)_\w*|EXE|PROMPT|IN_SHELL|SHELL_ACTIVATION_DONE"
    r"|FROZEN|LOCKED|COLOR|NO_PROGRESS)"
    r"|_?CONDA_(?!OVERRIDE_)\w*|_CE_(M|CONDA)|CLICOLOR(_FORCE)?|FORCE_COLOR"
)
# `pixi 0.77.0`; PyPI has another program of this name.
_VERSION_LINE: Final = re.compile(r"pixi \d+\.\d+\.\d+\S*\s*")


def find_pixi(environ: Mapping[str, str]) -> Path | None:
    """Return the pixi that runs this task (PIXI_EXE), else the first one on PATH; None: no pixi.

    Programs that only share the name are skipped. Raises the error of exit code 4 where every pixi
    that is there does not start.
    """
    broken: MirrorError | None = None
    for program in _candidates(environ):
        try:
            version = ask_version(program, pixi_environment(environ), help=_INSTALL)
            if _VERSION_LINE.fullmatch(version):
                return program
        except MirrorError as error:
            broken = broken or error
    if broken is not None:
        raise broken
    return None


def need_pixi(environ: Mapping[str, str], task: str) -> Path:
    """Return the pixi program, or raise the error of exit code 4 that says what needs it."""
    pixi = find_pixi(environ)
    if pixi is None:
        message = f"this program is not on PATH, and `{task}` cannot do without it"
        raise program_error("pixi", message, help=_INSTALL)
    return pixi


def is_run_by_pixi(environ: Mapping[str, str], manifest: Path) -> bool:
    """Tell whether `pixi run` started this task on this workspace: it has then renewed the lock.

    In a `pixi shell`, which renews nothing, `./run` and `pixi mirror` find the same variables.
    """
    if launcher_of(environ) is not None:
        return False
    named = environ.get("PIXI_PROJECT_MANIFEST")
    return bool(named) and Path(named or "").resolve() == manifest.resolve()


def run_pixi(pixi: Path, arguments: Sequence[str], manifest: Path) -> str:
    """Run one command of pixi on the workspace of this manifest and return its stdout.

    `arguments` begin with the command and hold no positional ones unless behind a `--`. Raises
    the error of exit code 4 with pixi's last lines where it fails.
    """
    command, *rest = arguments
    done = subprocess.run(
        [str(pixi), "--quiet", command, "--manifest-path", str(manifest), *rest],
        cwd=manifest.parent,
        env=pixi_environment(os.environ),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    if done.returncode == 0:
        return done.stdout.decode("utf-8", "replace")
    subject = redact(" ".join(["pixi", *arguments]))
    raise program_error(subject, f"failed with exit code {done.returncode}", done.stderr)


def _candidates(environ: Mapping[str, str]) -> Iterator[Path]:
    named = environ.get("PIXI_EXE")
    if named and os.path.isfile(named):  # noqa: PTH113 -- Path raises where nobody may look
        yield Path(named)
    for folder in environ.get("PATH", os.defpath).split(os.pathsep):
        found = shutil.which("pixi", path=folder) if folder else None
        if found is not None:
            yield Path(found).absolute()


def pixi_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment variables for a pixi that we start: no colours, no wrapped lines.

    Those of the outer `pixi run` are left out: the inner pixi would work on its environment.
    """
    kept = {name: text for name, text in environ.items() if not _OUTER.fullmatch(name.upper())}
    return kept | {"NO_COLOR": "1", "PIXI_NO_WRAP": "1"}
