"""The main job on a small upstream: serve it, mirror it, install from the mirror, run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from scripts.core.console import Console
from scripts.core.errors import ExitCode, MirrorError, Problem
from scripts.core.rattler_child import RattlerRefusedError, call_rattler
from scripts.core.report import Json, Report, to_json
from scripts.demo.child import run_task_on
from scripts.demo.hotfix import Hotfix, find_hotfixes
from scripts.demo.program import run_program
from scripts.demo.scratch import HOST, UPSTREAM, Scratch, demo_folder, environment_for, fill
from scripts.demo.server import serve
from scripts.demo.tree import draw_tree
from scripts.index.repodata import SHARDS

_PROGRAM = "hello"


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """What the task demo can be told; `keep` is the folder to work in, None a temporary one."""

    keep: Path | None = None


def demo(options: DemoOptions, console: Console) -> Report:
    """Show the main job; the problems are those of the tasks it runs, or what does not hold.

    Once the mirror is made the upstream is gone: what follows has the channel alone.
    """
    with demo_folder(options.keep) as scratch:
        env = environment_for(scratch, os.environ)
        with serve(UPSTREAM) as url:
            fill(scratch, url)
            console.result(f"demo: {HOST}, served on loopback, mirrored by the task mirror:")
            made = run_task_on(scratch.workspace, "mirror", env, console)
        if made.problems:
            return made
        return _use(scratch, env, made.data, options)


def _use(
    scratch: Scratch, env: Mapping[str, str], made: Mapping[str, Json], options: DemoOptions
) -> Report:
    """Look at the channel that was made, install from it and run what was installed."""
    tree = _tree(scratch.channel)
    hotfixes = tuple(find_hotfixes(scratch.channel))
    if not hotfixes:
        raise _lost_hotfix()
    platform = call_rattler("current_platform", {}, env)
    said = _install_and_run(scratch, env) if (scratch.channel / str(platform)).is_dir() else None
    where = "nothing is left of it" if options.keep is None else f"kept in {scratch.root}"
    lines = (
        "demo: the channel that this made:",
        *(f"  {line}" for line in tree),
        *(_hotfix_line(each) for each in hotfixes),
        *_program_lines(str(platform), said, where),
    )
    data: dict[str, Json] = {
        **made,
        "platform": platform,
        "said": said,
        "hotfixes": to_json(hotfixes),
        "tree": tree,
        "kept": to_json(None if options.keep is None else scratch.root),
    }
    return Report(lines=lines, data=data)


def _program_lines(platform: str, said: str | None, where: str) -> tuple[str, ...]:
    if said is None:
        return (
            f"demo: the program was not run, since it is not made for {platform}",
            f"demo: done, the channel was made and verified; {where}",
        )
    return (
        "demo: the upstream is gone; installed from the channel alone, the program says:",
        f"  {said}",
        f"demo: done, the channel was made, verified and used; {where}",
    )


def _tree(channel: Path) -> tuple[str, ...]:
    files = (
        PurePosixPath(path.relative_to(channel).as_posix())
        for path in channel.rglob("*")
        if path.is_file()
    )
    return draw_tree(channel.name, files, SHARDS)


def _install_and_run(scratch: Scratch, env: Mapping[str, str]) -> str:
    arguments: dict[str, Json] = {
        "channel": scratch.channel.as_uri(),
        "specs": [_PROGRAM],
        "prefix": str(scratch.prefix),
        "cache": str(scratch.install_cache),
    }
    try:
        call_rattler("create", arguments, env)
    except RattlerRefusedError as error:
        raise MirrorError(
            Problem(
                subject=_PROGRAM,
                trouble="cannot be installed from the channel that was made",
                code=ExitCode.NO,
                facts=(("rattler", str(error)),),
            )
        ) from None
    return run_program(scratch.prefix)


def _hotfix_line(hotfix: Hotfix) -> str:
    archive, channel = ", ".join(hotfix.archive), ", ".join(hotfix.channel)
    return (
        f"demo: hotfix kept: {hotfix.artifact} was built for {archive}; the record says {channel}"
    )


def _lost_hotfix() -> MirrorError:
    return MirrorError(
        Problem(
            subject="repodata.json",
            trouble="says of every artifact what its archive says: the hotfix was lost",
            code=ExitCode.NO,
        )
    )
