"""Run a program where it reaches no network, and none of the user's settings or caches."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from scripts.core.child_process import Done, run_program, timed_out
from scripts.core.scratch import temporary_folder
from scripts.workspace.pixi import pixi_environment

_UNSHARE: Final = "unshare"
_OF_ITS_OWN: Final = ("--user", "--map-root-user", "--net", "--")
_PROBE_TIMEOUT: Final = 10  # seconds; it takes hundredths of one, or is forbidden
TIMEOUT: Final = 3600.0  # seconds; the largest environments take a few minutes
_KILLED: Final = -9  # as SIGKILL, which Windows has not, ends a program

# Nobody answers at the discard port (RFC 863) of this machine.
_REFUSING: Final = "http://127.0.0.1:9"
_PROXIES: Final = ("http_proxy", "https_proxy", "all_proxy", "ftp_proxy")
_LOOPBACK: Final = "127.0.0.1,localhost,::1"

# As the systems' C libraries say ENOSPC and EDQUOT, Windows says it, and conda does.
DISK_FULL: Final = re.compile(
    r"No space left on device|Disk quota exceeded|not enough space on the disk|NoSpaceLeft"
)
# What else a program says that the channel is not to blame for: ENFILE and EMFILE, EIO, ESTALE,
# ENOMEM, or that the server on loopback could not answer (core/loopback_server.py).
MACHINE_TROUBLE: Final = re.compile(
    r"Too many open files|Input/output error|Stale file handle|Cannot allocate memory"
    r"|being used by another process|paging file is too small"  # of Windows
    r"|HTTP status server error|error sending request for url \(http://127\.0\.0\.1"
)

# Settings, caches and credentials of the user's own, and what would lead a Python astray.
_OF_THE_USER: Final = (
    *("PIXI_", "RATTLER_", "CONDA_", "MAMBA_", "XDG_", "UV_", "PIP_", "PYTHON", "NETRC"),
    *("SSL_CERT_", "REQUESTS_CA_", "CURL_CA_"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandbox:
    """How programs are kept from the network: `command` goes before theirs."""

    command: tuple[str, ...]
    description: str


@cache
def sandbox() -> Sandbox:
    """Find out how well this system can keep a program from the network.

    Linux gives it a network of its own, with nothing but loopback, where user namespaces are
    allowed; elsewhere all proxies lead to nowhere, and the artifacts come from files.
    """
    # By its path: the answer is kept, and PATH may be another one for what is run with it.
    program = shutil.which(_UNSHARE) if sys.platform == "linux" else None
    if program is not None and _can_unshare(program):
        return Sandbox(
            command=(program, *_OF_ITS_OWN),
            description="without a network (in a network namespace of its own)",
        )
    return Sandbox(
        command=(),
        description="with every proxy leading nowhere (this system gives no network of its own)",
    )


def _can_unshare(program: str) -> bool:
    command = [program, *_OF_ITS_OWN, sys.executable, "-I", "-S", "-c", ""]
    try:
        return run_program(command, os.environ, timeout=_PROBE_TIMEOUT).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def is_noexec() -> bool:
    """Tell whether no program may be started from the folder of temporary files, by its mount."""
    return sys.platform == "linux" and bool(os.statvfs(temporary_folder()).f_flag & os.ST_NOEXEC)


def sandbox_environment(home: Path, more: Mapping[str, str]) -> dict[str, str]:
    """Return the variables for a program with `home` for its home and no way to the network.

    Its temporary files go where ours do: other programs do not, as Python does, look for a folder
    that may be written to where TMPDIR is none.
    """
    kept = {
        name: text
        for name, text in pixi_environment(os.environ).items()
        if not name.upper().startswith(_OF_THE_USER) and not name.lower().endswith("_proxy")
    }
    folders = dict.fromkeys(("HOME", "USERPROFILE", "APPDATA", "LOCALAPPDATA"), str(home))
    proxies = {name: _REFUSING for each in _PROXIES for name in (each, each.upper())}
    temporary = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(temporary_folder()))
    fixed = {"no_proxy": _LOOPBACK, "NO_PROXY": _LOOPBACK, "PYTHONNOUSERSITE": "1"}
    return kept | folders | temporary | proxies | fixed | dict(more)


def certificates() -> dict[str, str]:
    """Return the variable that names Mozilla's, for what solves and installs.

    Nobody is asked over TLS, but without any certificate rattler makes no client, and pixi panics.
    """
    from requests.utils import DEFAULT_CA_BUNDLE_PATH  # which takes longer to load than a version

    return {"SSL_CERT_FILE": DEFAULT_CA_BUNDLE_PATH}


def run_sandboxed(
    command: Sequence[str], environment: Mapping[str, str], given: bytes = b""
) -> Done:
    """Run a program to its end, as `run_program` does, but without a network.

    One that hangs is ended, and says so as its last line.
    """
    whole = [*sandbox().command, *command]
    try:
        return run_program(whole, environment, input=given, timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        return Done(whole, _KILLED, b"", timed_out(TIMEOUT).encode())
