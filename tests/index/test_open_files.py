"""A channel of more packages than a program may have files open, as many systems set it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.packages import TinyPackage
from tests.support.template import ROOT

_PACKAGES = 200
_RUN = """
import resource, sys
from pathlib import Path
from scripts.core.rattler_child import call_rattler
from scripts.index.indexer import Indexer, run_indexer
resource.setrlimit(resource.RLIMIT_NOFILE, (16, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
if sys.argv[2] == "ours":
    run_indexer(Indexer(program=None, identity=""), Path(sys.argv[1]), int(sys.argv[3]))
else:
    call_rattler("index", {"folder": sys.argv[1]})
"""


@pytest.mark.skipif(sys.platform == "win32", reason="it has no such limit")
@pytest.mark.parametrize("how", ["ours", "rattler alone"])
def test_more_packages_than_files_may_be_open(how: str, tmp_path: Path) -> None:
    for number in range(_PACKAGES):
        TinyPackage(name=f"p{number}").write(tmp_path)
    command = [sys.executable, "-c", _RUN, str(tmp_path), how, str(_PACKAGES)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if how == "ours":
        assert done.returncode == 0, done.stderr
        assert len(list((tmp_path / "noarch" / "shards").iterdir())) == _PACKAGES
    else:
        assert "Too many open files" in done.stderr
