"""The main job on a small upstream: serve it, mirror it, install from the mirror, run."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from scripts.core.console import Console
from scripts.core.errors import ExitCode, MirrorError, Problem
from scripts.core.rattler_child import RattlerRefusedError, call_rattler
from scripts.core.report import Report, counted
from scripts.core.served import served
from scripts.demo.scratch import (
    HOST,
    UPSTREAM,
    demo_folder,
    make_workspace,
    run_task_on,
    task_environment,
)
from scripts.index.records import read_index_record
from scripts.index.repodata import REPODATA, SHARDS, parse_repodata

_PROGRAM: Final = "hello"
_LONGEST: Final = 30  # seconds that the program may take


def demo(keep: Path | None, console: Console) -> Report:
    """Show the main job; the problems are those of the task it runs, or what does not hold.

    It works in the new folder `keep`, else in a temporary one. Once the mirror is made the
    upstream is gone: what follows has the channel alone.
    """
    with demo_folder(keep) as root:
        env = task_environment(root, os.environ)
        with served(str(UPSTREAM)) as port:
            workspace = make_workspace(root, f"http://127.0.0.1:{port}")
            console.result(f"demo: {HOST}, served on loopback, mirrored by the task mirror:")
            made = run_task_on(workspace, "mirror", env, console)
        if made.problems:
            return made
        channel = workspace / "local-channel"
        tree = list(draw_tree(channel))
        hotfixes = list(find_hotfixes(channel))
        if not hotfixes:
            message = "says of every artifact what its archive says: the hotfix was lost"
            raise _failed("repodata.json", message)
        platform = str(call_rattler("current_platform", {}, env))
        said = _install_and_run(root, channel, env) if (channel / platform).is_dir() else None
        where = "nothing is left of it" if keep is None else f"kept in {root}"
        lines = [
            "demo: the channel that this made:",
            *(f"  {line}" for line in tree),
            *(
                f"demo: hotfix kept: {artifact} was built for {', '.join(before)};"
                f" the record says {', '.join(after)}"
                for artifact, before, after in hotfixes
            ),
        ]
        if said is None:
            lines += [
                f"demo: the program was not run, since it is not made for {platform}",
                f"demo: done, the channel was made and verified; {where}",
            ]
        else:
            lines += [
                "demo: the upstream is gone; installed from the channel alone, the program says:",
                f"  {said}",
                f"demo: done, the channel was made, verified and used; {where}",
            ]
        return Report(
            lines=tuple(lines),
            data={
                **made.data,
                "platform": platform,
                "said": said,
                "hotfixes": [
                    {"artifact": artifact, "archive": before, "channel": after}
                    for artifact, before, after in hotfixes
                ],
                "tree": tree,
                "kept": None if keep is None else root.as_posix(),
            },
        )


def draw_tree(folder: Path) -> Iterator[str]:
    """Draw a folder as indented lines, folders before files; of shards, how many there are."""
    inside = sorted(folder.iterdir(), key=lambda path: (path.is_file(), path.name))
    if folder.name == SHARDS:
        yield f"{folder.name}/  ({counted(len(inside), 'file')})"
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


def _install_and_run(root: Path, channel: Path, env: Mapping[str, str]) -> str:
    """Install the program into a prefix, with a cache that knows nothing, and let it speak."""
    prefix = root / "prefix"
    arguments = {
        "channel": channel.as_uri(),
        "specs": [_PROGRAM],
        "prefix": str(prefix),
        "cache": str(root / "install-cache"),
    }
    try:
        call_rattler("create", arguments, env)
    except RattlerRefusedError as error:
        message = "cannot be installed from the channel that was made"
        raise _failed(_PROGRAM, message, ("rattler", str(error))) from None
    return run_program(prefix)


def run_program(prefix: Path) -> str:
    """Run `hello` of a prefix and return what it says; else the error of exit code 1."""
    program = prefix / ("Scripts/hello.bat" if os.name == "nt" else "bin/hello")
    try:
        done = subprocess.run(
            [str(program)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=_LONGEST,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        message = "was installed, yet does not run"
        raise _failed(_PROGRAM, message, ("reason", str(error))) from None
    return done.stdout.strip()


def _failed(subject: str, message: str, *details: tuple[str, str]) -> MirrorError:
    return MirrorError(
        Problem(subject=subject, message=message, code=ExitCode.FINDINGS, details=details)
    )
