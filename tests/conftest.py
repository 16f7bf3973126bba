"""What holds for every test: loopback alone, a clean environment, loud skips."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from scripts.core import console
from scripts.core.report import Json, Report
from tests.support import guard
from tests.support.template import ROOT
from tests.support.upstream import Upstream

# Marker and the program that its tests run.
_PROGRAMS = {
    "needs_pixi": "pixi",
    "needs_conda": "conda",
    "needs_micromamba": "micromamba",
    "needs_nginx": "nginx",
    "needs_rattler_index": "rattler-index",
    "needs_actionlint": "actionlint",
    "needs_strace": "strace",
    "needs_coreutils": "sha256sum",
    "needs_ssh_keygen": "ssh-keygen",
    "needs_rsync": "rsync",
}
_WANTING = "which is not on PATH"
# Linux's, where user namespaces are allowed, or for root.
_MOUNT = ("unshare", "--user", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "none", "/mnt")
_NO_LINKS = 1314  # ERROR_PRIVILEGE_NOT_HELD
_NO_MOUNT = "needs to mount a disk, which is not allowed here"

# What would lead a test to the user's own settings, caches, proxies or credentials.
_FOREIGN_PREFIXES = ("PIXI_", "CONDA_", "_CONDA_", "MAMBA_", "RATTLER_", "XDG_", "UV_", "PIP_")
_FOREIGN = frozenset(
    {"NETRC", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"}
    | {"NO_COLOR", "FORCE_COLOR", "COLUMNS", "PYTHONPATH", "PYTHONHOME", "PYTHONWARNINGS"}
)
_LOOPBACK = "127.0.0.1,localhost,::1"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take `--deep`, which `./run test --deep` passes on."""
    parser.addoption("--deep", action="store_true", help="sweep over every case, not a sample")


def pytest_configure(config: pytest.Config) -> None:
    """Guard this process before the first test is even imported."""
    guard.install()
    hypothesis.settings.register_profile("no-deadline", deadline=None)  # a busy machine is no bug
    hypothesis.settings.load_profile("no-deadline")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests whose program is not on PATH."""
    missing = {
        marker: program for marker, program in _PROGRAMS.items() if shutil.which(program) is None
    }
    can_mount = not any(map(_mounts, items)) or _can_mount()
    for item in items:
        if not can_mount and _mounts(item):
            item.add_marker(pytest.mark.skip(reason=_NO_MOUNT))
        for marker, program in missing.items():
            if item.get_closest_marker(marker) is not None:
                item.add_marker(pytest.mark.skip(reason=f"needs {program}, {_WANTING}"))


def _mounts(item: pytest.Item) -> bool:
    return item.get_closest_marker("needs_mount") is not None


def _can_mount() -> bool:
    if shutil.which(_MOUNT[0]) is None:
        return False
    return subprocess.run(_MOUNT, capture_output=True, check=False).returncode == 0


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Iterator[None]:
    """Skip a test that must make a symbolic link, which Windows grants to few."""
    try:
        yield
    except OSError as error:
        if getattr(error, "winerror", None) == _NO_LINKS:
            pytest.skip("this account may make no links")
        raise


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say at the end what was not tested for want of a program, or of a right."""
    reports = terminalreporter.getreports("skipped")
    reasons = Counter(str(report.longrepr[2]) for report in reports if report.longrepr)
    wanting = {
        reason: count for reason, count in reasons.items() if reason.endswith((_WANTING, _NO_MOUNT))
    }
    if wanting:
        terminalreporter.section("not tested here", yellow=True, bold=True)
    for reason, count in sorted(wanting.items()):
        tests = "1 test" if count == 1 else f"{count} tests"
        terminalreporter.line(f"{tests} skipped: {reason.removeprefix('Skipped: ')}")


@pytest.fixture(scope="session")
def deep(pytestconfig: pytest.Config) -> bool:
    """Tell whether a sweep is to try every case, however long that takes, or a sample."""
    return bool(pytestconfig.getoption("--deep"))


@pytest.fixture(autouse=True)
def clean_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Take the user's settings away and give a home folder of its own; return that folder.

    Child processes inherit it.
    """
    for name in list(os.environ):
        upper = name.upper()
        if upper in _FOREIGN or upper.startswith(_FOREIGN_PREFIXES) or upper.endswith("_PROXY"):
            monkeypatch.delenv(name)
    home = tmp_path_factory.mktemp("home")
    for name in ("HOME", "USERPROFILE", "APPDATA", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(home))
    monkeypatch.setenv("NO_PROXY", _LOOPBACK)
    if os.name != "nt":  # there one variable has both names
        monkeypatch.setenv("no_proxy", _LOOPBACK)
    return home


@pytest.fixture
def no_keyring(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have pixi and py-rattler find no keyring; skip where the system always has one."""
    if sys.platform in {"darwin", "win32"}:
        pytest.skip("its keyring may have it")
    for name in ("DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def schema() -> Any:
    """Read docs/json.schema.json, which describes what `--json` prints."""
    import jsonschema

    text = (ROOT / "docs" / "json.schema.json").read_text(encoding="utf-8")
    return jsonschema.Draft202012Validator(json.loads(text))


@pytest.fixture(autouse=True)
def _documents_are_as_described(monkeypatch: pytest.MonkeyPatch, schema: Any) -> None:
    """Hold every JSON document that a task prints in this process against its schema."""
    render = console.render_json

    def checked(task: str, report: Report, warnings: Sequence[str] = ()) -> dict[str, Json]:
        document = render(task, report, warnings)
        if task in schema.schema["properties"]["task"]["enum"]:  # not a test's own
            schema.validate(json.loads(json.dumps(document)))
        return document

    monkeypatch.setattr(console, "render_json", checked)


@pytest.fixture(autouse=True)
def _loopback_alone() -> Iterator[None]:
    """Fail a test that tried to leave this machine, though it caught the error."""
    guard.refused.clear()
    yield
    assert guard.refused == []


@pytest.fixture
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upstream]:
    """Serve an empty folder, `upstream.folder`."""
    with Upstream(tmp_path_factory.mktemp("upstream")) as server:
        yield server
