"""The real uv, whose judgement moves from release to release."""

from __future__ import annotations

import functools
import re
import subprocess
from pathlib import Path


@functools.cache
def uv_release(program: Path) -> tuple[int, ...]:
    """Return its version: (0, 13, 6)."""
    done = subprocess.run([str(program), "--version"], capture_output=True, text=True, check=True)
    return tuple(map(int, re.findall(r"\d+", done.stdout)[:3]))
