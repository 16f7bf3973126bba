"""The main job on a small upstream: serve it, mirror it, install from the mirror, run."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from scripts.channel.locks import read_locks
from scripts.channel.selection import read_selection
from scripts.core.child_process import describe_exit, stderr_tail
from scripts.core.console import Console, Verbosity
from scripts.core.errors import ExitCode, MirrorError, Problem, finding_problem, raise_problems
from scripts.core.invocation import TEMPLATE
from scripts.core.loopback_server import served
from scripts.core.rattler_child import call_rattler
from scripts.core.report import Json, Report, counted
from scripts.core.scratch import scratch_folder
from scripts.demo.python import bring_python
from scripts.index.records import read_index_record
from scripts.index.repodata import REPODATA, SHARDS, parse_repodata
from scripts.verify.findings import FOR_PYPI, Client
from scripts.verify.install.clients import find_program, install_with
from scripts.verify.install.plan import plan_installs
from scripts.verify.install.sandbox import is_noexec, run_sandboxed, sandbox_environment
from scripts.workspace.settings import SettingOverrides
from scripts.workspace.workspace import open_workspace

UPSTREAM: Final = Path(__file__).parent / "upstream"
WORKSPACE: Final = Path(__file__).parent / "workspace"
SERVICE: Final = Path(__file__).parent / "service"  # another one, whose lock is mirrored, too
HOST: Final = "https://conda.example.org"

PYPI_HOSTS: Final = ("pypi.example.org", "files.example.org")
_ALONE: Final = ("--client", "rattler")  # nothing is installed from PyPI
_COUNTED: Final = frozenset({SHARDS, *("simple", "index", "mapping")})
_VERBOSITY: Final = {Verbosity.QUIET: ["-q"], Verbosity.NORMAL: [], Verbosity.VERBOSE: ["-v"]}


def demo(console: Console) -> Report:
    """Show the main job; the problems are those of the task it runs, or what does not hold.

    It works in a temporary folder. Once the mirror is made the upstream is gone: what follows has
    the channel alone.
    """
    with scratch_folder() as root:
        env = task_environment(root)
        for each in (WORKSPACE, SERVICE, UPSTREAM):
            shutil.copytree(each, root / each.name)
        workspace, upstream = root / WORKSPACE.name, root / UPSTREAM.name
        platform = str(call_rattler("current_platform", {}, env))
        has_python = (upstream / "tools" / platform).is_dir() and os.name != "nt"
        if has_python:
            bring_python(upstream, workspace / "pixi.lock", platform)
        with served(str(upstream)) as port:
            (root / "pixi-home").mkdir()
            configuration = mirrors(f"http://127.0.0.1:{port}").encode()
            (root / "pixi-home" / "config.toml").write_bytes(configuration)
            console.result(f"demo: {HOST}, served on loopback, mirrored by the task mirror:")
            made = _run_mirror(workspace, env, console, () if has_python else _ALONE)
        if made.problems:
            return made
        channel = workspace / "local-channel"
        hotfixes = list(find_hotfixes(channel))
        lines = ["demo: the channel that this made:", *(f"  {each}" for each in draw_tree(channel))]
        lines += [
            f"demo: hotfix kept: {artifact} was built for {', '.join(before)};"
            f" the record says {', '.join(after)}"
            for artifact, before, after in hotfixes
        ]
        shutil.rmtree(upstream)
        said, of_pypi = None, None
        if (channel / platform).is_dir():
            said, of_pypi, client = install_and_run(workspace, platform, has_python=has_python)
            lines += [
                "demo: the upstream is gone; installed from the channel alone, the program says:",
                f"  {said}",
            ]
            if of_pypi is not None:
                lines += [f"demo: its PyPI packages, installed by {client}, say:", f"  {of_pypi}"]
            lines += ["demo: done, the channel was made, verified and used; nothing is left of it"]
        else:
            lines.append(f"demo: the program was not run, since it is not made for {platform}")
            lines.append("demo: done, the channel was made and verified; nothing is left of it")
        return Report(
            lines=tuple(lines),
            data={
                **made.data,
                "platform": platform,
                "said": said,
                "pypi-said": of_pypi,
                "hotfixes": [
                    {"artifact": artifact, "archive": before, "channel": after}
                    for artifact, before, after in hotfixes
                ],
            },
        )


def task_environment(root: Path) -> dict[str, str]:
    """Return the variables for the tasks that the demo runs: loopback, and nobody's settings."""
    cache, home = str(root / "cache"), root / "pixi-home"
    of_pixi = {"PIXI_HOME": str(home), "PIXI_CONFIG_FILE": str(home / "config.toml")}
    caches = {"PIXI_CACHE_DIR": cache, "RATTLER_CACHE_DIR": cache}
    of_python = {"PYTHONIOENCODING": "utf-8", "PYTHONPATH": str(TEMPLATE)}
    return sandbox_environment(root, of_pixi | caches | of_python)


def mirrors(url: str) -> str:
    """Write the configuration with which pixi finds the demo's hosts below a URL."""
    places = {HOST: url, **{f"https://{host}": f"{url}/{host}" for host in PYPI_HOSTS}}
    return "[mirrors]\n" + "".join(f'"{host}" = ["{at}"]\n' for host, at in places.items())


def _run_mirror(
    workspace: Path, env: Mapping[str, str], console: Console, more: Sequence[str]
) -> Report:
    """Run the task `mirror`, with `more` options; the report has its JSON, or the problem.

    The task itself prints what is for people.
    """
    command = [sys.executable, "-P", "-m", "tasks.mirror", "--manifest-path", str(workspace)]
    command += [*more, *_VERBOSITY[console.verbosity], *(["--json"] if console.json_wanted else [])]
    stdout = subprocess.PIPE if console.json_wanted else None
    done = subprocess.run(command, stdout=stdout, env=env, check=False)
    if done.returncode == ExitCode.INTERRUPTED:
        raise KeyboardInterrupt
    data: Json = None
    with contextlib.suppress(ValueError):  # it may have ended before it printed anything
        data = json.loads(done.stdout or b"")
    if done.returncode == ExitCode.OK:
        return Report(data={"mirror": data})
    is_told = done.returncode in {ExitCode.FINDINGS, ExitCode.USAGE, ExitCode.NETWORK}
    problem = Problem(
        subject="the demo's mirror",
        message=f"ended with exit code {done.returncode}, for the reason it gave",
        code=ExitCode(done.returncode) if is_told else ExitCode.PROGRAM,
    )
    return Report(data={"mirror": data}, problems=(problem,))


def draw_tree(folder: Path) -> Iterator[str]:
    """Draw a folder as indented lines, folders before files; of some only the number of files."""
    inside = sorted(folder.iterdir(), key=lambda path: (path.is_file(), path.name))
    if folder.name in _COUNTED:
        count = sum(path.is_file() for path in folder.rglob("*"))
        yield f"{folder.name}/  ({counted(count, 'file')})"
        return
    yield f"{folder.name}/"
    for path in inside:
        for line in [path.name] if path.is_file() else draw_tree(path):
            yield f"  {line}"


def find_hotfixes(channel: Path) -> Iterator[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    """Find records with other requirements than their archives, sorted by path.

    Yields the artifact, its archive's requirements and the record's.
    """
    for repodata in sorted(channel.glob(f"*/{REPODATA}")):
        subdir = repodata.parent
        records = parse_repodata(repodata.read_bytes(), f"{subdir.name}/{REPODATA}").records
        for file_name in sorted(records):
            artifact = f"{subdir.name}/{file_name}"
            archive = read_index_record(subdir / file_name, artifact)
            if records[file_name].depends != archive.depends:
                yield artifact, archive.depends, records[file_name].depends


def install_and_run(
    folder: Path, platform: str, *, has_python: bool
) -> tuple[str, str | None, str]:
    """Install the workspace in a folder as the level `install` does, and run what is in it.

    Where `has_python` uv, else pip, installs its PyPI packages. Returns what its program and its
    module printed (None: that is not installed), and what installed it. Raises the error of exit
    code 1 where something fails.
    """
    workspace, root = open_workspace(folder, SettingOverrides()), folder / "installed"
    selection = read_selection(workspace, read_locks(workspace, Console(verbosity=Verbosity.QUIET)))
    job = plan_installs(selection, platform)[0]  # behind it is what of `service` and others
    clients = (Client.UV, Client.PIP, Client.RATTLER) if has_python else (Client.RATTLER,)
    found = ((client, find_program(client, os.environ)) for client in clients)
    client, program = next((client, path) for client, path in found if path is not None)
    prefix, problems, _ = install_with(client, program, workspace, job, root)
    raise_problems(problems)
    env = sandbox_environment(root / "home", {})
    said = _run(env, prefix / ("Scripts/hello.bat" if os.name == "nt" else "bin/hello"))
    module = _run(env, prefix / "bin" / "python", "-m", "hello_py") if client in FOR_PYPI else None
    return said, module, client.program


def _run(env: Mapping[str, str], program: Path, *arguments: str) -> str:
    done = run_sandboxed([str(program), *arguments], env)
    if done.returncode != 0:
        message = f"installed from the channel alone, it {describe_exit(done.returncode)}"
        help_ = "TMPDIR=/a/folder/without/noexec pixi run demo" if is_noexec() else None
        said = stderr_tail(done.stderr)
        raise MirrorError(finding_problem(program.name, message, *said, help=help_))
    return done.stdout.decode("utf-8", "replace").strip()
