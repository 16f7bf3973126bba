"""The commands of the documents, as they stand there, in an empty folder.

Upstream is on loopback. Who follows the README says yes where conda asks. What a block is marked
with when none of this holds says CONTRIBUTING.md.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from scripts.verify.findings import Client
from scripts.verify.install.clients import find_program
from tests.support.mirrors import make_mirror, rows
from tests.support.packages import TinyPackage
from tests.support.pipelines import Repository
from tests.support.pixi import path_without_clients
from tests.support.servers import served
from tests.support.standin import CHANNEL, SUBDIRS, index, payload, pixi_with_stand_in
from tests.support.template import ROOT, copy_template, documents
from tests.support.upstream import Upstream
from tests.support.wheels import PypiRow, TinyWheel

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the commands are for a shell of POSIX")

_CONSUMERS: Final = "docs/consumers.md"
_SERVER: Final = "python -m http.server -d local-channel 8000"
_NEWER: Final = "A newer pixi-mirror"


def sections(document: str) -> dict[str, list[str]]:
    """Map the headings of a document to the lines of the `sh` blocks below them."""
    found = {}
    text = (ROOT / document).read_text(encoding="utf-8").removeprefix("# ")
    for section in text.split("\n## "):
        blocks = re.findall(r"^```sh\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
        if blocks:
            found[section.partition("\n")[0]] = "".join(blocks).splitlines()
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Somebody with a shell, who pastes commands."""

    folder: Path
    environment: Mapping[str, str]

    def paste(self, line: str) -> subprocess.CompletedProcess[str]:
        """Run a line, whatever its exit code."""
        return subprocess.run(
            ["sh", "-c", line],
            cwd=self.folder,
            env=self.environment,
            input="y\n",
            capture_output=True,
            text=True,
            check=False,
        )

    def follow(self, lines: list[str]) -> str:
        """Run them one after the other; each must succeed. Return the stdout of the last."""
        done = None
        for line in lines:
            done = self.paste(line)
            assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        assert done is not None
        return done.stdout


def _artifacts(folder: Path) -> set[str]:
    return {file.relative_to(folder).as_posix() for file in folder.glob("*/*.conda")}


def test_there_are_no_commands_but_those_that_are_followed() -> None:
    found = {document: [*sections(document)] for document in documents()}
    assert {document: headings for document, headings in found.items() if headings} == {
        "README.md": [
            "Try it",  # by tests/demo, and by this run itself
            "Make a mirror",
            "Use the channel",
            "Update it",
            "Your own builder",
        ],
        _CONSUMERS: ["With conda, micromamba and pixi", "Will it install over there?"],
        "builder/README.md": ["A mirror of conda packages", "Use the channel", _NEWER],
        "docs/airgap.md": [  # by tests/tasks/test_airgap.py, and test_rsync_order.py
            "The first time",
            "Every week after that",
            "Back, and forward again",
            "Hops",
        ],
        "docs/builder.md": ["Your own builder", _NEWER],
        "docs/ci.md": ["A mirror's own", "A release"],
        "docs/exit-codes.md": ["`--json`"],
    }


@pytest.fixture
def maker(tmp_path: Path, upstream: Upstream) -> Reader:
    """Somebody with pixi and a copy of the template, whose conda-forge is on loopback."""
    pixi = pixi_with_stand_in(upstream, tmp_path / "home")
    for each in SUBDIRS:
        TinyPackage(name="scipy", subdir=each).write(upstream.folder / CHANNEL)
    index(upstream.folder)
    folder = copy_template(tmp_path / "template")
    (folder / "pixi.lock").unlink()  # it names what conda-forge itself has
    return Reader(folder=folder, environment=pixi.environment)


@pytest.mark.needs_pixi
def test_a_mirror_is_made_looked_at_and_updated(
    maker: Reader, upstream: Upstream, tmp_path: Path
) -> None:
    said = maker.follow(sections("README.md")["Make a mirror"])
    assert said.splitlines()[-1] == "mirror: local-channel holds what pixi.lock names, verified"
    channel = maker.folder / "local-channel"
    assert _artifacts(channel) == payload(("linux-64", "win-64"), "pandas-3.0.0", "scipy-1.0")

    _look(maker, channel, tmp_path)

    for subdir in SUBDIRS:
        TinyPackage(name="pandas", version="3.0.1", subdir=subdir).write(upstream.folder / CHANNEL)
    index(upstream.folder)
    first, *others = sections("README.md")["Update it"]
    assert "3.0.1" in maker.follow([first])
    assert "win-64/pandas-3.0.1-0.conda" in _artifacts(channel)
    maker.follow(others)
    assert (maker.folder / "pr.md").read_text(encoding="utf-8") == "No change.\n"
    # The control: a task that is not there.
    assert maker.paste("pixi run update-miror").returncode != 0


def _look(maker: Reader, channel: Path, tmp_path: Path) -> None:
    """Follow what the documents say of doctor: a lock from the folder, and one from upstream."""
    (from_readme,) = (line for line in sections("README.md")["Use the channel"] if "doctor" in line)
    from_folder, from_server = sections(_CONSUMERS)["Will it install over there?"]
    app = Reader(folder=tmp_path / "app", environment=maker.environment)
    _lock(app, channel.as_uri())
    maker.follow([from_readme, from_folder])
    # A lock of upstream's URLs installs from a server, and not from a folder.
    _lock(app, "conda-forge")
    assert maker.paste(from_folder).returncode == 1
    (app.folder / ".pixi").mkdir()
    (app.folder / ".pixi" / "config.toml").write_text(
        '[mirrors]\n"https://conda.anaconda.org/conda-forge" = ["http://mirror.example.org"]\n',
        encoding="utf-8",
    )
    with Upstream(channel) as server:  # a proxy that knows the way to mirror.example.org
        Reader(
            folder=maker.folder, environment={**maker.environment, "http_proxy": server.url}
        ).follow([from_server])
    assert server.requests[0].target.startswith("http://mirror.example.org/")


def _lock(app: Reader, channel: str) -> None:
    app.folder.mkdir(exist_ok=True)
    (app.folder / "pixi.toml").write_text(
        f'[workspace]\nchannels = ["{channel}"]\nplatforms = ["linux-64"]\n\n'
        '[dependencies]\npandas = "*"\n',
        encoding="utf-8",
    )
    app.follow(["pixi lock"])


@pytest.mark.needs_pixi
def test_a_builder_is_made_and_brought_up_to_date(
    maker: Reader, upstream: Upstream, tmp_path: Path
) -> None:
    for subdir in SUBDIRS:
        TinyPackage(name="numpy", version="2.1", subdir=subdir).write(upstream.folder / CHANNEL)
    index(upstream.folder)
    documented = sections("docs/builder.md")
    new, upgrade = documented["Your own builder"], documented[_NEWER]
    assert new == sections("README.md")["Your own builder"]
    maker.follow(new)
    mine = Reader(folder=tmp_path / "my-mirror", environment=maker.environment)
    make, use, newer = (
        [line.replace("NAME", "scipy") for line in sections("builder/README.md")[heading]]
        for heading in ("A mirror of conda packages", "Use the channel", _NEWER)
    )
    mine.follow(make)
    assert "win-64/scipy-1.0-0.conda" in _artifacts(mine.folder / "local-channel")
    assert [line.replace("scipy", "pandas") for line in use] == [
        line for line in sections("README.md")["Use the channel"] if "conda" in line
    ]  # which has a test of its own
    # A newer one is beside it.
    shutil.copytree(maker.folder, tmp_path / "pixi-mirror", symlinks=True)
    before = (mine.folder / "pixi-mirror.pyz").read_bytes()
    with (tmp_path / "pixi-mirror" / "scripts" / "launch.py").open("a") as file:
        file.write("# newer\n")
    mine.follow(upgrade[:1])
    assert (mine.folder / "pixi-mirror.pyz").read_bytes() == before
    mine.follow([*upgrade, *newer])
    assert (mine.folder / "pixi-mirror.pyz").read_bytes() != before
    # The control: a folder that has none.
    assert mine.paste(upgrade[-1].replace("../pixi-mirror", "../home")).returncode == 2


@pytest.fixture
def pipeline(tmp_path: Path, upstream: Upstream) -> Reader:
    """A checkout with a lock, whose `run` needs no environment of its own, and no pixi."""
    made = make_mirror(tmp_path / "checkout")
    made.lock(rows(upstream.folder, (TinyPackage(name="pandas"),)))
    shutil.rmtree(made.folder)
    home = tmp_path / "home"
    home.mkdir()
    (home / "config.toml").write_text(
        f'[mirrors]\n"https://conda.anaconda.org/conda-forge" = ["{upstream.url}"]\n',
        encoding="utf-8",
    )
    run = made.root / "run"
    run.write_text(f'#!/bin/sh\nexec "{sys.executable}" -P -m "tasks.$@"\n', encoding="utf-8")
    run.chmod(0o755)
    return Reader(
        folder=made.root,
        environment={
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{path_without_clients()}",
            "PYTHONPATH": str(ROOT),
            "PIXI_HOME": str(home),
        },
    )


def test_a_pipeline_makes_a_mirror_and_reads_what_it_says(pipeline: Reader) -> None:
    pipeline.follow(sections("docs/ci.md")["A mirror's own"])
    made = json.loads((pipeline.folder / "made.json").read_text(encoding="utf-8"))
    assert (made["task"], made["exit-code"], made["problems"]) == ("mirror", 0, [])
    assert "pandas-1.0-0.conda" in (pipeline.folder / "transfer.md").read_text(encoding="utf-8")
    (count,) = sections("docs/exit-codes.md")["`--json`"]
    assert pipeline.follow([count]) == "0\n"
    artifact = next((pipeline.folder / "local-channel").glob("*/pandas-1.0-0.conda"))
    artifact.unlink()
    assert pipeline.follow([count]) == "1\n"
    # The control: what is damaged stops it.
    artifact.write_bytes(b"x")
    assert pipeline.paste("./run verify --report transfer.md").returncode == 1


@pytest.mark.skipif(
    shutil.which("git") is None or shutil.which("sha256sum") is None,
    reason="git and sha256sum are needed",
)
def test_a_release_is_tagged_and_checked(tmp_path: Path) -> None:
    made = Repository.make(tmp_path)
    made.updated("lock\n")
    made.publish()
    data = b"a tool"
    digest = hashlib.sha256(data).hexdigest()
    (made.work / "pixi-mirror.pyz").write_bytes(data)
    (made.work / "pixi-mirror.pyz.sha256").write_text(f"{digest}  pixi-mirror.pyz\n")
    author = Reader(folder=made.work, environment=os.environ)
    *_, check = lines = sections("docs/ci.md")["A release"]
    assert author.follow(lines) == "pixi-mirror.pyz: OK\n"
    assert made.git("tag", folder=made.remote) == "v0.1.0\n"
    # The control: another file.
    (made.work / "pixi-mirror.pyz").write_bytes(b"a fool")
    assert author.paste(check).returncode == 1


@pytest.fixture
def consumer(tmp_path: Path) -> Reader:
    """Somebody with conda and a channel folder that was carried to them."""
    made = make_mirror(tmp_path / "mirror")
    made.lock(rows(tmp_path / "upstream", (TinyPackage(name="pandas", version="3.0.0"),)))
    made.index()
    (tmp_path / "empty").mkdir()
    shutil.copytree(made.folder, tmp_path / "empty" / "local-channel")
    own = {"CONDA_ENVS_DIRS": str(tmp_path / "envs"), "CONDA_PKGS_DIRS": str(tmp_path / "cache")}
    return Reader(folder=tmp_path / "empty", environment=os.environ | own)


@pytest.mark.needs_conda
def test_conda_uses_the_channel(consumer: Reader, tmp_path: Path) -> None:
    (from_readme,) = (line for line in sections("README.md")["Use the channel"] if "conda" in line)
    documented = sections(_CONSUMERS)["With conda, micromamba and pixi"]
    from_folder, micromamba, server, from_server = documented
    assert (from_readme, server) == (from_folder, _SERVER)  # which has a test of its own
    consumer.follow([from_folder])
    assert _installed(tmp_path / "envs" / "test-offline") == {"pandas-3.0.0-0"}
    # The control: a package that the channel has not.
    wrong = from_folder.replace("pandas", "pandsa").replace("test-offline", "wrong")
    assert consumer.paste(wrong).returncode != 0
    assert micromamba == from_folder.replace("conda", "micromamba", 1)
    if shutil.which("micromamba") is not None:
        shutil.rmtree(tmp_path / "envs")
        consumer.follow([micromamba])
        assert _installed(tmp_path / "envs" / "test-offline") == {"pandas-3.0.0-0"}
    with Upstream(consumer.folder / "local-channel") as proxy:  # which knows mirror.example.org
        Reader(
            folder=consumer.folder,
            environment={**consumer.environment, "http_proxy": proxy.url},
        ).follow([from_server])
    assert _installed(tmp_path / "envs" / "test") == {"pandas-3.0.0-0"}
    assert {each.target.rpartition("/")[0] for each in proxy.requests} >= {
        "http://mirror.example.org:8000/noarch"
    }


def _installed(prefix: Path) -> set[str]:
    return {file.stem for file in (prefix / "conda-meta").glob("*.json")}


def test_any_web_server_will_do(consumer: Reader) -> None:
    """The one of Python, which the document names, until Ctrl-C."""
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", 8000)) == 0:
            pytest.skip("port 8000, which the document names, is somebody else's here")
    python = shutil.which("python")
    if python is None:
        pytest.skip("there is no program python")
    with subprocess.Popen(
        ["sh", "-c", f"exec {_SERVER}"],
        cwd=consumer.folder,
        env=consumer.environment,
        stderr=subprocess.PIPE,
    ) as server:
        try:
            text = _get("http://127.0.0.1:8000/noarch/repodata.json", server)
        finally:
            server.send_signal(signal.SIGINT)
            server.communicate()
    assert text == (consumer.folder / "local-channel/noarch/repodata.json").read_bytes()
    assert server.returncode == 0


def _nginx_lines() -> str:
    """What the document has in `server`, but for the port and the folder."""
    text = (ROOT / _CONSUMERS).read_text(encoding="utf-8")
    (block,) = re.findall(r"^```\nserver \{\n(.*?)^\}\n```$", text, re.DOTALL | re.MULTILINE)
    listen, _, root, *more = block.splitlines()
    assert (listen.strip(), root.strip()) == ("listen 8000;", "root /srv/local-channel;")
    return "".join(more)


@pytest.mark.needs_nginx
def test_nginx_will_do(consumer: Reader, tmp_path: Path) -> None:
    folder = consumer.folder / "local-channel"
    with served(folder, "nginx", tmp_path, more=_nginx_lines()) as url:
        for name, caching in (
            ("noarch/repodata.json", "no-cache"),
            ("noarch/pandas-3.0.0-0.conda", None),
        ):
            with urllib.request.urlopen(f"{url}/{name}") as opened:
                assert opened.read() == (folder / name).read_bytes()
                assert opened.headers["Cache-Control"] == caching


@pytest.mark.needs_nginx
@pytest.mark.parametrize("is_said", [True, False])
def test_uv_sees_an_update_at_once_by_nginx(tmp_path: Path, *, is_said: bool) -> None:
    """Where it has read the page already, a week after that was written; with the document's lines.

    The control: with none of them it does not ask for the page again.
    """
    uv = find_program(Client.UV, os.environ)
    if uv is None:
        pytest.skip("the program uv is not there")
    versions = (TinyWheel(name="tiny", version=each) for each in ("1.0", "2.0"))
    old, new = (PypiRow(written=each.write(tmp_path)) for each in versions)
    made = make_mirror(tmp_path / "mirror")
    (tmp_path / "in.txt").write_text("tiny")
    command = [str(uv), "pip", "compile", "--no-config", "--no-header", "--no-annotate", "in.txt"]
    command += ["--cache-dir", str(tmp_path / "cache"), "--index-url"]
    made.folder.mkdir()
    with served(made.folder, "nginx", tmp_path, more=_nginx_lines() if is_said else "") as url:
        seen = []
        for rows_of_lock in ([old], [old, new]):
            made.lock(rows_of_lock)
            made.index()
            for page in made.folder.rglob("index.html"):
                os.utime(page, (time.time() - 7 * 86400,) * 2)
            run = [*command, f"{url}/_pypi/index"]
            seen.append(subprocess.run(run, cwd=tmp_path, capture_output=True, check=True).stdout)
    assert seen == [b"tiny==1.0\n", b"tiny==2.0\n" if is_said else b"tiny==1.0\n"]


def _get(url: str, server: subprocess.Popen[bytes]) -> bytes:
    """Read a URL as soon as the server answers."""
    for _ in range(600):
        try:
            with urllib.request.urlopen(url) as opened:
                return bytes(opened.read())
        except OSError:
            assert server.poll() is None, server.communicate()
            time.sleep(0.05)
    raise AssertionError(url)
