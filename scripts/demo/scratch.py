"""The demo's own place: a copied workspace, a configuration with its mirror, tasks run there."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from scripts.core.console import Console, Verbosity
from scripts.core.errors import ExitCode, Problem, usage_error
from scripts.core.report import Json, Report
from scripts.core.scratch import scratch_folder
from scripts.core.version import TEMPLATE

DEMO: Final = Path(__file__).resolve().parent
UPSTREAM: Final = DEMO / "upstream"
WORKSPACE: Final = DEMO / "workspace"
HOST: Final = "https://conda.example.org"

# Settings of the user that must not reach the demo: it is the same for everybody.
_FOREIGN: Final = ("PIXI_", "CONDA_", "_CONDA_", "RATTLER_", "PYTHONHOME")
_LOOPBACK: Final = "127.0.0.1,localhost"
_LOUDNESS: Final = {Verbosity.QUIET: ["-q"], Verbosity.NORMAL: [], Verbosity.VERBOSE: ["-v"]}
_GRACE: Final = 0.5  # seconds until a task is told that nobody waits for it any more
# Those that a Problem can ask for; any other end is that of a program that failed.
_ASKED_FOR: Final = frozenset(
    {ExitCode.FINDINGS, ExitCode.USAGE, ExitCode.NETWORK, ExitCode.PROGRAM}
)


@contextlib.contextmanager
def demo_folder(keep: Path | None) -> Iterator[Path]:
    """Make the folder `keep`, which stays, or a temporary one, which does not.

    Raises the error of exit code 2 where `keep` is there and holds something.
    """
    if keep is None:
        with scratch_folder() as folder:
            yield folder
        return
    folder = keep.absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        is_empty = not any(folder.iterdir())
    except OSError as error:
        raise usage_error(str(folder), f"cannot be made: {error.strerror}") from None
    if not is_empty:
        raise usage_error(
            str(folder), "not empty, and the demo overwrites nothing", help="name a new folder"
        )
    yield folder


def make_workspace(root: Path, url: str) -> Path:
    """Copy the workspace, and write the pixi configuration that sends `HOST` to this URL."""
    (root / "pixi-home").mkdir()
    configuration = f'[mirrors]\n"{HOST}" = ["{url}"]\n'
    (root / "pixi-home" / "config.toml").write_bytes(configuration.encode())
    return Path(shutil.copytree(WORKSPACE, root / "workspace"))


def task_environment(root: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables for the tasks that the demo runs: loopback, and nobody's settings."""
    kept = {
        name: value
        for name, value in environ.items()
        if not name.upper().startswith(_FOREIGN) and not name.upper().endswith("_PROXY")
    }
    return kept | {
        "PIXI_HOME": str(root / "pixi-home"),
        "PIXI_CONFIG_FILE": str(root / "pixi-home" / "config.toml"),
        "PIXI_CACHE_DIR": str(root / "cache"),
        "RATTLER_CACHE_DIR": str(root / "cache"),
        "NO_PROXY": _LOOPBACK,
        "no_proxy": _LOOPBACK,
        "PYTHONIOENCODING": "utf-8",
        "PYTHONPATH": str(TEMPLATE),
    }


def run_task_on(workspace: Path, task: str, env: Mapping[str, str], console: Console) -> Report:
    """Run a task on a workspace; the report has its JSON, and a problem where it failed.

    What it has to say to people it says itself.
    """
    options = [*_LOUDNESS[console.verbosity], *(["--json"] if console.json_wanted else [])]
    command = [sys.executable, "-P", "-m", f"tasks.{task}", "--manifest-path", str(workspace)]
    stdout = subprocess.PIPE if console.json_wanted else None
    with subprocess.Popen([*command, *options], stdout=stdout, env=dict(env)) as child:
        try:
            printed, _ = child.communicate()
        except BaseException:  # Ctrl-C as a rule, of which a terminal tells the child as well
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(_GRACE)
            child.terminate()
            raise
    if child.returncode == ExitCode.INTERRUPTED:
        raise KeyboardInterrupt
    data: Json = None
    with contextlib.suppress(ValueError):  # it may have ended before it printed anything
        data = json.loads(printed or b"")
    if child.returncode == ExitCode.OK:
        return Report(data={task: data})
    code = ExitCode(child.returncode) if child.returncode in _ASKED_FOR else ExitCode.PROGRAM
    message = f"ended with exit code {child.returncode}, for the reason it gave"
    problem = Problem(subject=f"the demo's {task}", message=message, code=code)
    return Report(data={task: data}, problems=(problem,))
