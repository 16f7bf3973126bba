"""Install an environment from the mirror alone, with py-rattler, pixi, conda or micromamba.

uv and pip install its PyPI packages, by their hashes, into the prefix that py-rattler has made.
For another machine uv puts its wheels into a folder.

py-rattler: by the mirror's own records, as most consumers do over HTTP, by the shards; the records
that `file://` gives must be there too.

pixi: led to the mirror by `[mirrors]`, with the workspace's own manifest and lock, so that it asks
for upstream's URLs; wheels that lie beside the lock are put there, from the mirror. And
`--offline`, from `file://` channels alone, with a manifest that requires just the locked packages;
that the requirements alone lead there is what the level `solve` proves.

conda, micromamba: by the command that the README documents. It names what the manifest asks for;
beside that stand all locked packages, each with its version, build and channel, since the channel
may hold other answers, too. conda takes its records from `repodata.json.zst` where a channel has
one, from `file://` as well; the other clients take them from `repodata.json`. That both say the
same is the level `index`. Offline, micromamba reads the index of a `file://` channel all the same
(libmamba, subdir_index.cpp: what is local is never taken from a cache).
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import json
import os
import re
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from scripts.core import loopback_server
from scripts.core.artifact import Artifact, ArtifactKind
from scripts.core.channel_url import CUT_BY_CONDA, is_cut_by_conda
from scripts.core.child_process import (
    Done,
    describe_exit,
    is_crash,
    program_error,
    stderr_tail,
)
from scripts.core.errors import MirrorError, Problem, finding_problem, first_details
from scripts.core.files import replace
from scripts.core.pep508 import pypi_name
from scripts.core.rattler_child import RattlerRefusedError, call_rattler
from scripts.core.report import Json
from scripts.index.pypi_pages import INDEX
from scripts.lock.update import workspace_copy
from scripts.verify.findings import FOR_PYPI, Client, Level, look_at
from scripts.verify.install.mirrors import (
    NoMirrorError,
    local_files,
    mirrors_for,
    render_config,
)
from scripts.verify.install.plan import InstallJob
from scripts.verify.install.sandbox import (
    certificates,
    run_sandboxed,
    sandbox,
    sandbox_environment,
)
from scripts.workspace.pixi import find_pixi
from scripts.workspace.virtual_packages import is_default
from scripts.workspace.workspace import Workspace

NAME: Final = "test-offline"
_SHOWN: Final = 5  # records that one problem names
_PIP: Final = re.compile(r"\bpip\b")
# What Python says when a library crashes while the interpreter ends.
_CRASHED: Final = b"Fatal Python error:"

# The variables of each program: fresh folders below that of `{0}` for all that it keeps, and
# against settings that would ask for more than the lock names, or for somebody else.
_PIXI: Final = {
    "PIXI_HOME": "{0}/home",
    "PIXI_CACHE_DIR": "{0}/cache",
    "RATTLER_CACHE_DIR": "{0}/cache",
    "PIXI_NO_CONFIG": "1",
    "NO_COLOR": "1",
    "PIXI_NO_WRAP": "1",
}
_VARIABLES: Final = {
    Client.RATTLER: {},
    Client.PIXI: _PIXI,
    Client.PIXI_OFFLINE: _PIXI,
    Client.CONDA: {
        "CONDARC": "{0}/home/.condarc",
        "CONDA_CHANNEL_PRIORITY": "flexible",
        "CONDA_ENVS_DIRS": "{0}/envs",
        "CONDA_NOTIFY_OUTDATED_CONDA": "false",
        "CONDA_NUMBER_CHANNEL_NOTICES": "0",
        "CONDA_PKGS_DIRS": "{0}/cache",
        "CONDA_REGISTER_ENVS": "false",
        "CONDA_REPORT_ERRORS": "false",
        "CONDA_SHORTCUTS": "false",
    },
    Client.MICROMAMBA: {
        "CONDA_PKGS_DIRS": "{0}/cache",
        "MAMBA_CHANNEL_PRIORITY": "flexible",
        "MAMBA_ROOT_PREFIX": "{0}",
        "MAMBA_SHORTCUTS": "false",
    },
    Client.UV: {
        "NO_COLOR": "1",
        "UV_BREAK_SYSTEM_PACKAGES": "1",
        "UV_CACHE_DIR": "{0}/uv-cache",
        "UV_NO_CONFIG": "1",
        "UV_NO_PROGRESS": "1",
        "UV_PYTHON_DOWNLOADS": "never",
    },
    Client.PIP: {
        "PIP_BREAK_SYSTEM_PACKAGES": "1",
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_INPUT": "1",
        "PIP_RETRIES": "0",
    },
}


def find_program(client: Client, environ: Mapping[str, str]) -> Path | None:
    """Return the program of a client, None where there is none; py-rattler's is this Python.

    pip's is this Python, too, where it is a module of it. uv may be beside this Python.
    """
    named, path = None, environ.get("PATH", os.defpath)
    match client:
        case Client.RATTLER:
            return Path(sys.executable)
        case Client.PIXI | Client.PIXI_OFFLINE:
            return find_pixi(environ)
        case Client.CONDA:  # in a shell of its own it is a function, and here not
            named = environ.get("CONDA_EXE")
        case Client.MICROMAMBA:  # the program that its shell functions call
            named = environ.get("MAMBA_EXE", "")
            if Path(named).stem != client:  # mamba, the larger program, sets it too
                named = None
        case Client.UV:
            path = os.pathsep.join(filter(None, (path, str(Path(sys.executable).parent))))
        case Client.PIP if importlib.util.find_spec("pip") is not None:
            return Path(sys.executable)
    if not (named and os.path.isfile(named)):  # noqa: PTH113 -- Path raises where nobody may look
        named = shutil.which(client, path=path)
    return None if named is None else Path(named)


def skip_reason(job: InstallJob, client: Client, folder: Path, root: Path) -> str | None:
    """Say why an environment cannot even be tried, as a sentence's end; None: it can.

    py-rattler takes the mirror's records as they are. pixi asks for all that the lock names; the
    others solve, so all that the artifacts depend on must be there. `folder` is the channel
    folder, `root` the lock's.
    """
    if client in FOR_PYPI:
        return _pypi_skip_reason(job)
    if client is Client.PIXI:
        return _pixi_reason(job, root)
    if client is not Client.RATTLER and job.missing_source_packages:
        names = ", ".join(job.missing_source_packages)
        return f"its packages depend on what is built from source: {names}"
    if client is Client.CONDA and any(map(is_cut_by_conda, _channel_urls(job, folder))):
        return f"the channel {CUT_BY_CONDA}"
    if client is Client.MICROMAMBA and " " in str(folder):  # 2.8 cannot parse what it has decoded
        return "the channel has a blank in its path, and micromamba reads no such file:// URL"
    return None


def _pixi_reason(job: InstallJob, root: Path) -> str | None:
    try:
        mirrors_for(job)
        local_files(job, root)
    except NoMirrorError as error:
        return str(error)
    return None


def _pypi_skip_reason(job: InstallJob) -> str | None:
    """Say why uv and pip cannot even be tried, as a sentence's end; None: they can."""
    if job.pypi_obstacle is not None:
        return job.pypi_obstacle
    if unhashed := sorted(each.name for each in job.pypi_files if each.digest is None):
        return f"nobody knows a hash of {', '.join(unhashed)}"
    if job.wheels_only:
        none = "it has no wheels, but sdists, which are built where they are installed"
        return None if job.pypi_files else none
    from packaging.tags import platform_tags

    # They go by the machine that they run on, whatever libc or system the locked one has.
    here = {"any", *platform_tags()}
    wheels = [each.path for each in job.pypi_files if each.kind is ArtifactKind.WHEEL]
    other = [x.name for x in wheels if here.isdisjoint(x.stem.rpartition("-")[2].split("."))]
    return f"this machine takes no {min(other)}" if other else None


def install_with(
    client: Client, program: Path, workspace: Workspace, job: InstallJob, scratch: Path
) -> tuple[Path, tuple[Problem, ...], str | None]:
    """Install below the empty folder `scratch`; nothing stands in the way (`skip_reason`).

    Returns the prefix, what went wrong, and what a consumer has to do beside the documented
    command.
    """
    folder = workspace.place.folder
    match client:
        case Client.RATTLER:
            return *_by_rattler(job, folder, scratch), None
        case Client.PIXI:
            return *_by_pixi(program, workspace, job, scratch), None
        case Client.PIXI_OFFLINE:
            return *_by_pixi_offline(program, job, folder, scratch), None
        case Client.UV | Client.PIP:
            return *_for_pypi(client, program, job, folder, scratch), None
    prefix, problems = _by_conda(client, program, job, folder, scratch / "documented")
    if not _fails_for_pip(job, problems):
        return prefix, problems, None
    # Only where it fails for pip alone, it is run again with the setting.
    setting = f"{'CONDA' if client is Client.CONDA else 'MAMBA'}_ADD_PIP_AS_PYTHON_DEPENDENCY"
    only, scratch = "with add_pip_as_python_dependency: false", scratch / "without-pip"
    if client is Client.MICROMAMBA:
        only += ", and where nobody asks for python by its name"
        job = dataclasses.replace(job, asked=tuple(each for each in job.asked if each != "python"))
    prefix, problems = _by_conda(client, program, job, folder, scratch, (setting, "false"))
    warning = (
        f"{client} wants pip beside every python, and {job.place} has none: it installs"
        f" only {only} (`pixi add pip`, then `pixi run mirror`)"
    )
    return prefix, problems, None if problems else warning


def _environment(
    client: Client, job: InstallJob, scratch: Path, *more: tuple[str, str]
) -> dict[str, str]:
    """Return the variables that make the environment's machine, and fresh folders for all."""
    home = scratch / "home"
    home.mkdir(parents=True, exist_ok=True)
    own = {name: text.format(scratch) for name, text in _VARIABLES[client].items()}
    return sandbox_environment(home, {**certificates(), **dict(job.overrides), **own, **dict(more)})


def _outcome(job: InstallJob, client: Client, done: Done) -> tuple[Problem, ...]:
    """Return what went wrong: it refused, or it is of exit code 4."""
    if done.returncode == 0:
        return ()
    details = stderr_tail(done.stderr if done.stderr.strip() else done.stdout)
    crash = describe_exit(done.returncode) if is_crash(done.returncode) else None
    return (_failed(job, client, details, crash),)


def _failed(
    job: InstallJob, client: Client, details: Iterable[tuple[str, str]], crash: str | None = None
) -> Problem:
    """Make a failure's problem; `crash`: how one ended that did not come to say yes or no."""
    if crash is not None:
        message = f"{crash} while it installed {job.place}"
        help_ = "see to this program, then pixi run verify --level install"
        return program_error(client.program, message, b"", *details, help=help_).problems[0]
    what = "it"
    if client in FOR_PYPI:
        what = "its wheels" if job.wheels_only else "its PyPI packages"
    message = f"{client.program} cannot install {what} from the channel alone"
    return finding_problem(job.place, message, *details, help=look_at(Level.FILES, Level.INDEX))


def _by_rattler(job: InstallJob, folder: Path, scratch: Path) -> tuple[Path, tuple[Problem, ...]]:
    prefix = scratch / "prefix"
    arguments: dict[str, Json] = {
        "folder": str(folder),
        "subdirs": [
            {
                "path": str(path),
                "names": sorted({x.name for x in job.artifacts if x.path.parent == path}),
                "files": [x.path.name for x in job.artifacts if x.path.parent == path],
            }
            for path in sorted({each.path.parent for each in job.artifacts})
        ],
        "prefix": str(prefix),
        "cache": str(scratch / "cache"),
    }
    environment = _environment(Client.RATTLER, job, scratch)
    try:
        missing = call_rattler("install", arguments, environment, sandbox().command)
        assert isinstance(missing, list)
        details = first_details([("no record of", str(path)) for path in missing], _SHOWN)
    except RattlerRefusedError as error:
        details = stderr_tail(str(error))
    except MirrorError as error:  # it died without an answer
        (died,) = error.problems
        return prefix, (_failed(job, Client.RATTLER, died.details, died.message),)
    return prefix, (_failed(job, Client.RATTLER, details),) if details else ()


def _by_pixi(
    pixi: Path, workspace: Workspace, job: InstallJob, scratch: Path
) -> tuple[Path, tuple[Problem, ...]]:
    """Install a copy of the workspace."""
    prefix, platform = scratch / "prefix", job.manifest_platform
    others = set[str]()
    if job.project:
        others = {x.name for x in job.artifacts} | {pypi_name(x.name) for x in job.pypi}
    with workspace_copy(workspace) as manifest:
        for place, path in local_files(job, workspace.root).items():
            target = manifest.parent / place
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            with contextlib.suppress(FileNotFoundError):  # pixi will say it
                shutil.copyfile(workspace.place.folder / path, target)
        copied = manifest.parent / ".pixi"
        copied.mkdir(exist_ok=True)
        request = {
            "folder": str(workspace.place.folder),
            "config": str(copied / "config.toml"),
            "text": render_config(mirrors_for(job), f"http://127.0.0.1:{loopback_server.PORT}"),
            "command": [
                *(str(pixi), "install", "--frozen", "--environment", job.place.environment),
                *(("--platform", platform) if platform is not None else ()),
                # They are built where they are, with what no lock names. By `--skip` alone pixi
                # leaves out what only a circle requires, too, extras counted (install_subset.rs).
                *(part for name in job.project for part in ("--skip", name)),
                *(part for name in sorted(others) for part in ("--only", name)),
                *("--manifest-path", str(manifest)),
            ],
        }
        done = run_sandboxed(
            [sys.executable, "-I", loopback_server.__file__],
            _environment(Client.PIXI, job, scratch),
            json.dumps(request).encode(),
        )
        if done.returncode == 0:
            replace(copied / "envs" / job.place.environment, prefix)
    return prefix, _outcome(job, Client.PIXI, done)


def _by_pixi_offline(
    pixi: Path, job: InstallJob, folder: Path, scratch: Path
) -> tuple[Path, tuple[Problem, ...]]:
    """Install a new workspace: pixi solves for exactly the locked packages, from the repodata."""
    manifest = scratch / "workspace" / "pixi.toml"
    manifest.parent.mkdir()
    manifest.write_text(render_offline_manifest(job, folder), encoding="utf-8")
    done = run_sandboxed(
        [str(pixi), "install", "--offline", "--manifest-path", str(manifest)],
        _environment(Client.PIXI_OFFLINE, job, scratch),
    )
    prefix = manifest.parent / ".pixi" / "envs" / "default"
    return prefix, _outcome(job, Client.PIXI_OFFLINE, done)


def _by_conda(
    client: Client,
    program: Path,
    job: InstallJob,
    folder: Path,
    scratch: Path,
    *variables: tuple[str, str],
) -> tuple[Path, tuple[Problem, ...]]:
    """Run the documented command, with conda or micromamba."""
    environment, specs = _environment(client, job, scratch, *variables), scratch / "wanted.txt"
    specs.write_text(render_specs(job, folder), encoding="utf-8")
    last = "--no-default-packages" if client is Client.CONDA else "--no-rc"
    # Not `--quiet`: micromamba would not say either why it refuses.
    done = run_sandboxed([*create_command(program, job, folder, specs), last], environment)
    prefix = scratch / "envs" / NAME
    # conda's rattler may crash when the work is done.
    if _CRASHED in done.stderr and _is_whole(prefix, job):
        return prefix, ()
    done.stderr = done.stderr.partition(_CRASHED)[0]
    return prefix, _outcome(job, client, done)


def _for_pypi(
    client: Client, program: Path, job: InstallJob, folder: Path, scratch: Path
) -> tuple[Path, tuple[Problem, ...]]:
    """Install wheels and sdists into a prefix with the environment's conda packages.

    Of another machine it is a folder with the wheels alone.
    """
    place, problems = scratch / "prefix", tuple[Problem, ...]()
    if not job.wheels_only:
        place, problems = _by_rattler(job, folder, scratch)
    if problems:
        return place, problems
    wanted, environment = scratch / "wanted.txt", _environment(client, job, scratch)
    wanted.write_text(_render_requirements(job.pypi_files, folder), encoding="utf-8")
    options = [
        *("--no-deps", "--require-hashes", "--index-url", (folder / INDEX).as_uri()),
        *("-r", str(wanted)),
    ]
    if all(each.kind is ArtifactKind.WHEEL for each in job.pypi_files):
        options += ["--only-binary", ":all:"]
    python = str(place / ("python.exe" if job.subdir.startswith("win-") else "bin/python"))
    start = [str(program), "pip", "install", "--python"]
    if job.wheels_only:
        assert job.python_version is not None and job.uv_platform is not None  # noqa: PT018
        start += [sys.executable, "--target", str(place)]
        start += ["--python-version", job.python_version, "--python-platform", job.uv_platform]
    elif client is Client.UV:
        start.append(python)
    else:
        module = ["-I", "-m", "pip"] if program == Path(sys.executable) else []
        # Compiling takes it longer than all else, and uv and pixi leave it to Python.
        start = [str(program), *module, "--python", python, "install"]
        start += ["--no-cache-dir", "--no-compile"]
    return place, _outcome(job, client, run_sandboxed([*start, *options], environment))


def _render_requirements(artifacts: Iterable[Artifact], folder: Path) -> str:
    """Write the file of requirements; what is not called by name and version, by its place.

    On a page, nobody finds it: an archive of a tag, whatever package is in it (`v1.0.tar.gz`).
    """
    lines = []
    for each in artifacts:
        assert each.digest is not None  # it would not be tried
        called = pypi_name(f"{each.name}-{each.version}")
        wanted = f"{each.name}=={each.version}"
        if not (each.version and pypi_name(each.path.name).startswith(called)):
            wanted = f"{each.name} @ {(folder / each.path).as_uri()}"
        lines.append(f"{wanted} --hash={each.digest.algorithm}:{each.digest.hex}\n")
    return "".join(sorted(lines))


def create_command(program: Path, job: InstallJob, folder: Path, specs: Path) -> Sequence[str]:
    """Return the command; `folder` is the channel folder, `specs` the file with the specs."""
    return [
        *(str(program), "create", "-n", NAME),
        *(option for url in _channel_urls(job, folder) for option in ("-c", url)),
        *job.asked,
        *("--offline", "--override-channels"),
        *("--yes", "--file", str(specs)),
    ]


def render_specs(job: InstallJob, folder: Path) -> str:
    """Write the file of specs, one a line: no other build, of no other channel."""
    text = ""
    for artifact in job.artifacts:
        record = artifact.conda_record
        channel = f"{(folder / artifact.channel).as_uri()}::" if len(job.channels) > 1 else ""
        text += f"{channel}{record.name}[version='=={record.version}',build='{record.build}']\n"
    return text


def _channel_urls(job: InstallJob, folder: Path) -> list[str]:
    return [(folder / channel).as_uri() for channel in job.channels]


def _is_whole(prefix: Path, job: InstallJob) -> bool:
    """Tell whether everything was linked."""
    records = prefix / "conda-meta"
    return all((records / f"{each.distribution}.json").is_file() for each in job.artifacts)


def _fails_for_pip(job: InstallJob, problems: Iterable[Problem]) -> bool:
    """Tell whether there is a python and no pip, which is what the program complains of.

    conda and mamba require pip of every python: they add it to its record as they read it
    (conda/core/subdir_data.py), unless their setting `add_pip_as_python_dependency` says false;
    mamba from 2.6 on also of who asks for python, whatever is set (api/install.cpp).
    """
    names = {artifact.name for artifact in job.artifacts}
    lacks_pip = "python" in names and "pip" not in names
    return lacks_pip and any(_PIP.search(text) for each in problems for _, text in each.details)


def render_offline_manifest(job: InstallJob, folder: Path) -> str:
    """Write a manifest whose channels are the mirror's own; `folder` is the channel folder."""
    import tomlkit  # where pixi is asked, which is seldom

    others = (each for each in job.virtual_packages if not is_default(each, job.subdir))
    declared = {name: value or "0" for name, _, value in (each.partition("=") for each in others)}
    platform = {"name": "locked", "platform": job.subdir, **declared} if declared else job.subdir
    workspace = {"name": NAME, "channels": _channel_urls(job, folder), "platforms": [platform]}
    dependencies = {
        each.conda_record.name: {
            "version": f"=={each.conda_record.version}",
            "build": each.conda_record.build,
            "channel": (folder / each.channel).as_uri(),
        }
        for each in job.artifacts
    }
    return tomlkit.dumps({"workspace": workspace, "dependencies": dependencies})
