"""The one list of what belongs to the template."""

from __future__ import annotations

import subprocess
import tomllib

import pytest

from scripts.core.template_files import FILES, FOLDERS, template_files
from tests.support.template import ROOT

SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
of_the_template = pytest.mark.skipif(
    "hatch" not in SETTINGS, reason="this is a builder: it has files of its own, and no wheel"
)


@of_the_template
def test_the_wheel_is_built_of_what_is_listed() -> None:
    assert SETTINGS["hatch"]["build"]["only-include"] == sorted({*FILES, *FOLDERS})


@of_the_template
@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="this copy has no git to compare with")
def test_what_git_keeps_is_listed() -> None:
    """A file at the top that the list does not name would be missing in every wheel."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    kept = {name for name in done.stdout.decode().split("\0") if (ROOT / name).is_file()}
    assert kept <= {str(path) for path in template_files()}
