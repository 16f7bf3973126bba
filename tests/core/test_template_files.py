"""The one list of what belongs to the template."""

from __future__ import annotations

import subprocess
import tomllib

import pytest

from scripts.core.template_files import FILES, FOLDERS, template_files
from tests.support.template import ROOT


def test_the_wheel_is_built_of_what_is_listed() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    if "hatch" not in settings:
        pytest.skip("this is a builder: no wheel is built of it")
    assert settings["hatch"]["build"]["only-include"] == sorted({*FILES, *FOLDERS})


def test_what_git_keeps_is_listed() -> None:
    """A file at the top that the list does not name would be missing in every wheel."""
    if not (ROOT / ".git").exists():
        pytest.skip("this copy has no git to compare with")
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    kept = {name for name in done.stdout.decode().split("\0") if (ROOT / name).is_file()}
    assert kept <= {str(path) for path in template_files()}
