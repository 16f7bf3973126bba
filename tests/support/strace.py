r"""A task of ours under strace: what it changes on the disk, and the same with one call gone wrong.

    changes = plain(run)                           # every change it made, in order
    disturb(run, changes[7], "signal=KILL")        # it ends before the eighth
    disturb(run, changes[7], "error=ENOSPC")       # the disk refuses the eighth

strace counts calls for each thread. So a change of the main thread is found by its number there,
with nothing else traced, and one of another thread, or of the indexer's process, by its path, where
that is the same each time, and its number among the calls on that. Acts.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.template import ROOT

# What makes, fills, renames or removes; not every machine knows all of them.
_CALLS: Final = (
    *("open", "openat", "creat", "mkdir", "mkdirat", "symlink", "symlinkat", "link", "linkat"),
    *("write", "writev", "pwrite64", "copy_file_range", "sendfile", "fallocate"),
    *("truncate", "ftruncate", "fsync", "fdatasync", "rename", "renameat", "renameat2"),
    *("unlink", "unlinkat", "rmdir"),
)
_OPENS: Final = frozenset({"open", "openat", "creat"})
_WRITES: Final = re.compile(r"\bO_(?:WRONLY|RDWR|CREAT|TRUNC)\b")
_LINE: Final = re.compile(r"(\d+) +(\w+)\((.*)\) += (-?\d+)", re.DOTALL)
_UNFINISHED: Final = re.compile(r"(\d+) +(\w+\(.*) <unfinished \.\.\.>$")
_RESUMED: Final = re.compile(r"(\d+) +<\.\.\. \w+ resumed>(.*)$")
_PATH: Final = re.compile(r'(?:(\w+)<([^>]*)>)?(?:, )?(?:"([^"]*)")?')
# The folder in which an index is made has another name each time.
_STAGING: Final = "{staging}"
_STRACE: Final = shutil.which("strace") or "strace"
# The indexer writes all its files under such names first.
_RANDOM: Final = re.compile(r"/\.tmp/.+\.\w{8}\Z")
_ON_ITS_WAY: Final = re.compile(
    r"\A(?:tmp)?[a-z0-9_]{8}\Z|(?:\.?\b[0-9a-f]{8}\.pixi-mirror)?\.(?:tmp|new)\Z"
    r"|(?:(?<=\.zst)|(?<=\.json))\.\w{8}\Z"
)
# A task whose children are started by another program than this Python: those can be traced.
_TASK: Final = (
    "import os, runpy, sys; sys.executable = os.environ['TRACED_PYTHON'];"
    "sys.argv = sys.argv[1:]; runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRun:
    """A task, its options, the workspace, and a folder for temporary files and traces."""

    task: str
    options: tuple[str, ...]
    root: Path
    scratch: Path

    @property
    def temporary(self) -> Path:
        """Its folder of temporary files."""
        return self.scratch / "tmp"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One call that changes a file, and how strace finds it again.

    It is the `number`th of its `call` in its thread, among those on `path` where that is given;
    `is_child`: in the indexer's process. `shown` is the file.
    """

    call: str
    number: int
    path: str | None
    is_child: bool
    shown: Path

    @property
    def name(self) -> str:
        """The file's name, or what is the same each time of that of a file on its way."""
        return _ON_ITS_WAY.sub("", self.shown.name)

    def __str__(self) -> str:
        """Name it for people."""
        return f"{self.call} {self.number} on {self.shown}{' by the indexer' * self.is_child}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    """One line of a trace: its thread, its name, the paths that strace can look for, the file."""

    thread: str
    name: str
    paths: tuple[str, ...]
    shown: Path | None
    is_change: bool


def plain(run: TaskRun) -> tuple[subprocess.CompletedProcess[str], tuple[Change, ...]]:
    """Run the task undisturbed; return what it said and every change below its folders."""
    main, child = run.scratch / "main.trace", run.scratch / "child.trace"
    child.unlink(missing_ok=True)
    calls_of = f"trace={','.join(f'?{call}' for call in _CALLS)}"
    traced = ("-qq", "-f", "-y", "-s", "0", "-e", calls_of, "-o")
    _write_python(run, _traced(run, (*traced, str(child)), None))
    done = _start(run, (_STRACE, "-b", "execve", *traced, str(main)))
    calls = list(_read(main))
    first = calls[0].thread
    changes = list(_changes(run, calls, is_child=False, main=first))
    if child.exists():
        changes += _changes(run, list(_read(child)), is_child=True, main=None)
    return done, tuple(changes)


def disturb(run: TaskRun, change: Change, what: str) -> tuple[int, str, bool]:
    """Run it with one call gone wrong; return its exit code, its stderr, and whether it was met.

    The indexer's threads share the work differently each time: there another call may be met.
    """
    trace = run.scratch / "disturbed.trace"
    trace.unlink(missing_ok=True)
    injected = ("-e", f"inject={change.call}:{what}:when={change.number}")
    options = ("-qq", "-y", "-o", str(trace), "-e", f"trace={change.call}", *injected)
    if change.is_child:
        _write_python(run, _traced(run, ("-f", *options), change.path))
        done = _start(run, ())
    else:
        _write_python(run)
        threads = () if change.path is None else ("-f", "-b", "execve", "-P", change.path)
        done = _start(run, (_STRACE, *threads, *options))
    said = trace.read_text(encoding="utf-8", errors="replace") if trace.exists() else ""
    lines = said.splitlines()
    hit = [line for line in lines if "(INJECTED)" in line]
    if "+++ killed by SIGKILL" in said:
        hit += [line for line in lines if line.endswith("<unfinished ...>") or " = ?" in line]
    met = [line for line in hit if change.is_child or change.name in line]
    return done.returncode, done.stderr, bool(met)


def orphan(run: TaskRun) -> int:
    """Run it and kill it as it starts the indexer, which goes on alone; return how it ended."""
    python = f'"{sys.executable}" "$@"'
    _write_python(run, f'asked=$(cat)\nkill -9 $PPID\necho "$asked" | {python}\nexit')
    return _start(run, ()).returncode


def _start(run: TaskRun, tracer: Sequence[str]) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "TRACED_PYTHON": str(run.scratch / "python"),
    }
    manifest = ("--manifest-path", str(run.root))
    return subprocess.run(
        [*tracer, sys.executable, "-P", "-B", "-c", _TASK, run.task, *manifest, *run.options],
        cwd=run.scratch,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


def _write_python(run: TaskRun, of_the_indexer: str = "") -> None:
    """Write the program that starts the children, with these lines of shell for the indexer."""
    program = run.scratch / "python"
    program.write_text(
        f'#!/bin/sh\ncase "$*" in *"rattler_worker index")\n{of_the_indexer or ":"};;\nesac\n'
        f'exec "{sys.executable}" "$@"\n',
        encoding="utf-8",
    )
    program.chmod(0o755)


def _traced(run: TaskRun, options: Sequence[str], path: str | None) -> str:
    """Have strace start the indexer. Killed, it takes the task along: that is how a run ends."""
    cache = run.root / ".pixi-mirror" / "local-channel" / "cache"
    asked = "" if path is None else f'-P "{path.replace(_STAGING, "$staging")}"'
    return (
        f'staging=$(echo "{cache}"/*.pixi-mirror.tmp/work)\n'
        f'"{_STRACE}" {shlex.join(options)} {asked} "{sys.executable}" "$@"\ncode=$?\n'
        "[ $code = 137 ] && kill -9 $PPID\nexit $code"
    )


def _changes(
    run: TaskRun, calls: Sequence[_Call], *, is_child: bool, main: str | None
) -> Iterator[Change]:
    """Yield the changes below the workspace and the temporary folder."""
    of_thread: Counter[tuple[str, str]] = Counter()
    on_path: Counter[tuple[str, str, str]] = Counter()
    for each in calls:
        of_thread[each.thread, each.name] += 1
        on_path.update({(each.thread, each.name, path) for path in each.paths})
        is_ours = each.shown is not None and (
            run.root in each.shown.parents or run.temporary in each.shown.parents
        )
        if not each.is_change or not is_ours or each.shown is None:
            continue
        # Of two paths strace looks at the first alone.
        path = each.paths[0] if each.paths and each.thread != main else None
        if path is not None and _RANDOM.search(path):
            if each.name in _OPENS:  # among all the files that its modules are in
                continue
            path = None
        yield Change(
            call=each.name,
            number=of_thread[each.thread, each.name]
            if path is None
            else on_path[each.thread, each.name, path],
            path=path,
            is_child=is_child,
            shown=each.shown,
        )


def _read(trace: Path) -> Iterator[_Call]:
    """Read a trace; a call that another thread's interrupted is put together again."""
    begun: dict[str, str] = {}
    for line in trace.read_text(encoding="utf-8", errors="replace").splitlines():
        unfinished, resumed = _UNFINISHED.match(line), _RESUMED.match(line)
        if unfinished is not None:
            begun[unfinished[1]] = unfinished[2]
            continue
        whole = f"{resumed[1]} {begun.pop(resumed[1])}{resumed[2]}" if resumed else line
        found = _LINE.match(whole)
        if found is not None:
            yield _call(*found.groups())


def _call(thread: str, name: str, arguments: str, result: str) -> _Call:
    paths: list[str] = []
    shown: Path | None = None
    for number, folder, text in _PATH.findall(arguments):
        if folder and number != "AT_FDCWD":
            paths.append(folder)
        if text.startswith("/"):
            paths.append(text)
        if text:
            shown = Path(folder, text) if folder else Path(text)
        elif folder and number != "AT_FDCWD" and shown is None:
            shown = Path(folder)
    is_change = int(result) >= 0 and (name not in _OPENS or bool(_WRITES.search(arguments)))
    named = tuple(re.sub(r".*/cache/[^/]+/work\b", _STAGING, each) for each in paths)
    return _Call(thread=thread, name=name, paths=named, shown=shown, is_change=is_change)
