"""The doctor holds a lock's PyPI rows against a mirror's pages, and says what leads to them."""

from __future__ import annotations

import contextlib
import json
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tasks import doctor
from tests.support.locks import EnvironmentRows, PlatformRows, RawRow, write_lock
from tests.support.pixi import find_pixi
from tests.support.pypi_world import (
    DIRECT,
    INDEX,
    OTHER_INDEX,
    PypiWorld,
    made_with_pypi,
    pypi_rows,
    pypi_world,
    relock,
)
from tests.support.upstream import Upstream
from tests.support.verified import stopped_clock
from tests.support.wheels import PypiRow, TinyWheel

__all__ = ["made_with_pypi", "pypi_world", "stopped_clock"]

OFFLINE = "`pixi install --frozen --offline`"
CHANNEL = "https://conda.anaconda.org/conda-forge"


def _ask(
    world: PypiWorld, mirror: str, capsys: pytest.CaptureFixture[str], *options: str
) -> tuple[int, str, str]:
    """Run the task for the world's own lock; return exit code, stdout and stderr."""
    capsys.readouterr()
    code = doctor.main(["--lock", str(world.mirror.root), "--mirror", mirror, *options])
    out, err = capsys.readouterr()
    return code, out, err


def _lock_alone(world: PypiWorld, *rows: PypiRow | RawRow) -> None:
    """Lock these for this machine, and leave the mirror as it is."""
    place = PlatformRows(name=world.platforms[0], rows=rows)
    environment = EnvironmentRows(channels=(CHANNEL,), platforms=(place,))
    write_lock(world.mirror.root / "pixi.lock", (environment,))


def _serve(upstream: Upstream, world: PypiWorld) -> str:
    upstream.folder.rmdir()
    shutil.copytree(world.folder, upstream.folder)
    return upstream.url


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def _static(folder: Path) -> Iterator[str]:
    """Serve a folder as any static server does, `index.html` where a folder is asked for."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def _configure(world: PypiWorld, text: str) -> None:
    file = world.mirror.root / ".pixi" / "config.toml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(text, encoding="utf-8")


def _lines(url: str) -> str:
    keys = {
        CHANNEL: "",
        "https://conda-mapping.prefix.dev": "/_pypi/mapping",
        "https://downloads.example.org": "/_pypi/files/downloads.example.org",
        "https://files.example.org": "/_pypi/files/files.example.org",
        "https://other.example.org": "/_pypi/files/other.example.org",
        "https://other.example.org/simple": "/_pypi/simple/other.example.org/simple",
        "https://pypi.example.org/simple": "/_pypi/simple/pypi.example.org/simple",
    }
    rows = "".join(f'"{key}" = ["{url}{path}"]\n' for key, path in sorted(keys.items()))
    return f"[mirrors]\n{rows}"


def test_all_lines_are_printed(
    pypi_world: PypiWorld, upstream: Upstream, capsys: pytest.CaptureFixture[str]
) -> None:
    """Channels, indexes, file hosts, the mapping; and what does without `[mirrors]`."""
    url = _serve(upstream, pypi_world)
    code, out, _ = _ask(pypi_world, url, capsys)
    blocks = out.split("\n\n")
    assert code == 1
    assert blocks[0].splitlines()[0] == "no: pixi is not led to this mirror"
    assert blocks[1] + "\n" == _lines(url)
    said = "for who cannot use [mirrors], in [workspace] of the manifest, and in place of each"
    assert blocks[2].splitlines()[1:] == [f"{said} `channel` that a dependency has:"]
    mapping = f"{url}/_pypi/mapping/compressed-v0/compressed_mapping.json"
    assert blocks[3] == (
        f'channels = ["{url}"]\n'
        f'pypi-options = {{ index-url = "{url}/_pypi/index" }}\n'
        f'conda-pypi-map = {{ "{url}" = {{ mapping-mode = "replace", location = "{mapping}",'
        " same-name-heuristic = true } }"
    )
    _configure(pypi_world, _lines(url))
    code, out, err = _ask(pypi_world, url, capsys)
    assert (code, out.splitlines()[0]) == (0, "yes"), err
    looked = "its repodata and its pages of PyPI packages alone, no artifact was read"
    assert f"looked at: {url} (flat); {looked}" in out.splitlines()
    # Control: one line less.
    without = "".join(x for x in _lines(url).splitlines(keepends=True) if "downloads" not in x)
    _configure(pypi_world, without)
    assert _ask(pypi_world, url, capsys)[0] == 1


def test_an_index_that_nothing_is_locked_from_has_a_line(
    pypi_world: PypiWorld, upstream: Upstream, capsys: pytest.CaptureFixture[str]
) -> None:
    """What an sdist is built with, pixi asks it for as well; a page of `find-links` is one."""
    url, lock = _serve(upstream, pypi_world), pypi_world.mirror.root / "pixi.lock"
    _lock_alone(pypi_world, pypi_rows(pypi_world.upstream, pypi_world.platforms[0])["pure"])
    more = ("https://more.example.org/simple", "https://links.example.org/p")
    lines = [
        f'"https://links.example.org" = ["{url}/_pypi/files/links.example.org"]',
        f'"{more[0]}" = ["{url}/_pypi/simple/more.example.org/simple"]',
    ]
    out = _ask(pypi_world, url, capsys)[1]
    assert not [each for each in (*more, *lines) if each in out], "the control"
    text = lock.read_text(encoding="utf-8")
    indexes = f"    indexes:\n    - {more[0]}/\n    find-links:\n    - url: {more[1]}/\n"
    text = text.replace(f"    indexes:\n    - {INDEX}\n", indexes)
    lock.write_text(text, encoding="utf-8")
    out = _ask(pypi_world, url, capsys)[1]
    assert [each for each in out.splitlines() if "more." in each or "links." in each][:2] == lines
    assert f"names: {more[1]}, {more[0]}, {INDEX}" in out


@pytest.mark.parametrize("place", ["folder", "http"])
def test_rows_are_held_against_the_pages(
    place: str, pypi_world: PypiWorld, upstream: Upstream, capsys: pytest.CaptureFixture[str]
) -> None:
    url = _serve(upstream, pypi_world)
    here = pypi_world.platforms[0]
    own = pypi_rows(pypi_world.upstream, here)
    other = TinyWheel(name="tiny-other", version="2.0").write(pypi_world.upstream)
    changed = PypiRow(written=own["pure"].written, url=own["pure"].file_url)
    relock(pypi_world, own["native"], PypiRow(written=other), changed)
    lock = pypi_world.mirror.root / "pixi.lock"
    text = lock.read_text(encoding="utf-8")
    lock.write_text(text.replace(f"sha256: {own['pure'].written.sha256}", f"sha256: {'0' * 64}"))
    mirror = url if place == "http" else str(upstream.folder)
    code, out, err = _ask(pypi_world, mirror, capsys)
    assert code == 1
    assert out.splitlines()[0].startswith("no: 1 of 4 artifacts missing; 1 different; ")
    needed = f"  needed by  default/{here}\n"
    path = f"_pypi/files/{PypiRow(written=other).file_url.removeprefix('https://')}"
    assert f"error: {path}: is not in the mirror\n{needed}" in err
    assert (
        f"error: {pypi_world.path('pure')}: the mirror has another sha256\n"
        f"  expected   {'0' * 64}\n"
        f"  actual     {own['pure'].written.sha256}\n{needed}"
    ) in err


def test_a_mirror_without_pypi_packages(
    pypi_world: PypiWorld, upstream: Upstream, capsys: pytest.CaptureFixture[str]
) -> None:
    """Or the folder of one channel, taken for the mirror; the control has pages of others."""
    url, here = _serve(upstream, pypi_world), pypi_world.platforms[0]
    pages = upstream.folder / "_pypi/index"
    row = pypi_rows(pypi_world.upstream, here)["pure"]
    relock(pypi_world, row)
    shutil.rmtree(pages / "tiny-pure")
    subject = f"error: {pypi_world.path('pure')}: is not in the mirror\n"
    needed, added = f"  needed by  default/{here}\n", "help: its keeper adds it: `pixi add`"
    _, out, err = _ask(pypi_world, url, capsys)
    assert f"{subject}{needed}{added}" in err
    assert '"https://pypi.example.org/simple" = ["http' in out
    shutil.rmtree(pages)
    _, out, err = _ask(pypi_world, url, capsys)
    assert f"({pypi_world.mirror.layout}); its repodata alone, no artifact was read" in out
    advice = (
        "help: its keeper mirrors this lock: `pixi run mirror`, where `pypi` is not false; or"
        " `--no-pypi --allow-incomplete pypi`, if the consumer has them from elsewhere\n"
    )
    assert (
        f"{subject}  no pages at  {url}/_pypi/index\n  needed by    default/{here}\n{advice}" in err
    )
    lines = [x.partition(" ")[0] for x in out.splitlines() if x.startswith('"')]
    assert lines == ['"https://conda.anaconda.org/conda-forge"'], "to nothing of PyPI"
    options = ("--no-pypi", "--allow-incomplete", "pypi")
    assert "is not in the mirror" not in _ask(pypi_world, url, capsys, *options)[2]


def test_what_waits_for_its_removal_is_not_there(
    pypi_world: PypiWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    """Though its page is, as for clients at work; the control is before `prune`."""
    mirror, here = pypi_world.mirror, pypi_world.platforms[0]
    own = pypi_rows(pypi_world.upstream, here)
    relock(pypi_world, own["native"], own["pure"])
    lock = (mirror.root / "pixi.lock").read_bytes()
    before = _ask(pypi_world, str(pypi_world.folder), capsys)[1]
    relock(pypi_world, own["native"])
    assert mirror.prune() == 0
    (mirror.root / "pixi.lock").write_bytes(lock)
    after = _ask(pypi_world, str(pypi_world.folder), capsys)[1]
    assert "_pypi/index/tiny-pure/index.v1_json" in mirror.waiting()
    from_folder = "from a folder pixi takes only what was locked there"
    assert before.splitlines()[0] == f"no: {from_folder}"
    assert after.splitlines()[0] == f"no: 1 of 3 artifacts missing; {from_folder}"


def test_another_version_is_named(
    pypi_world: PypiWorld, upstream: Upstream, capsys: pytest.CaptureFixture[str]
) -> None:
    url = _serve(upstream, pypi_world)
    newer = TinyWheel(name="Tiny.Pure", version="3.0").write(pypi_world.upstream)
    relock(pypi_world, PypiRow(written=newer))
    _, _, err = _ask(pypi_world, url, capsys)
    assert f"it has     {pypi_world.path('pure')}\n" in err
    assert "help: `pixi update tiny-pure` takes what the mirror has, once pixi is led to it" in err


def test_of_a_direct_url_no_update_takes_another_version(
    pypi_world: PypiWorld, upstream: Upstream, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a sha256 behind it or without; the control is the same file of an index."""
    url = _serve(upstream, pypi_world)
    newer = TinyWheel(name="tiny-direct", version="2.0").write(pypi_world.upstream)
    update = "help: `pixi update tiny-direct` takes what the mirror has, once pixi is led to it\n"
    write = (
        "help: its keeper mirrors this lock: `pixi run mirror`; or write the URL of what the mirror"
        " has in place of the manifest's `url`, which `pixi update` keeps, then `pixi lock`\n"
    )
    location = f"{DIRECT}{newer.path.name}"
    of_index = PypiRow(written=newer, url=location)
    hashed = PypiRow(written=newer, index=None, url=f"{location}#sha256={newer.sha256}")
    unhashed = PypiRow(written=newer, index=None, url=location)
    for row, said in ((of_index, update), (hashed, write), (unhashed, write)):
        _lock_alone(pypi_world, row)
        code, _, err = _ask(pypi_world, url, capsys)
        assert code == 1
        assert f"it has     {pypi_world.path('direct')}" in err
        assert (said in err, update in err) == (True, said == update)


def test_a_direct_url_is_there_under_the_fragment_that_pixi_asks_for(
    pypi_world: PypiWorld, upstream: Upstream, capsys: pytest.CaptureFixture[str]
) -> None:
    """As part of the name; a lock that is mirrored may have the same URL with another, or none."""
    url, direct = _serve(upstream, pypi_world), pypi_rows(pypi_world.upstream, "linux-64")["direct"]
    _configure(pypi_world, _lines(url))
    plain, _, fragment = direct.file_url.partition("#")
    for asked in (plain, f"{plain}#{fragment}"):  # the controls
        _lock_alone(pypi_world, PypiRow(written=direct.written, index=None, url=asked))
        assert _ask(pypi_world, url, capsys)[0] == 0
    other = f"{plain}#{fragment}&egg=tiny-direct"
    _lock_alone(pypi_world, PypiRow(written=direct.written, index=None, url=other))
    code, out, err = _ask(pypi_world, url, capsys)
    assert (code, out.splitlines()[0]) == (1, "no: 1 of 1 artifact missing")
    path = "_pypi/files/downloads.example.org/dl/tiny_direct-1.0-py3-none-any.whl"
    assert (
        f"error: {path}#{fragment}&egg=tiny-direct: is not in the mirror\n"
        f"  it has     {path}\n"
        f"  needed by  default/{pypi_world.platforms[0]}\n"
        "help: its keeper mirrors this lock: `pixi run mirror`; or write the URL of what the mirror"
        " has in place of the manifest's `url`, which `pixi update` keeps, then `pixi lock`\n"
    ) in err


@pytest.mark.parametrize("more", ["?download=1", "#token=abc"])
def test_a_direct_url_with_more_than_a_path_is_none_to_be_led_from(
    more: str, pypi_world: PypiWorld, upstream: Upstream, capsys: pytest.CaptureFixture[str]
) -> None:
    """Through `[mirrors]` pixi asks for `…whl%3Fdownload=1`, and is told that there is none."""
    url = _serve(upstream, pypi_world)
    direct = pypi_rows(pypi_world.upstream, pypi_world.platforms[0])["direct"].written
    for said, code in ("", 0), (more, 1):
        location = f"{DIRECT}{direct.path.name}{said}"
        _lock_alone(pypi_world, PypiRow(written=direct, index=None, url=location))
        _configure(pypi_world, _lines(url))
        found, _, err = _ask(pypi_world, url, capsys)
        assert found == code
    assert ": nothing can lead pixi from this location to the mirror\n" in err
    assert f"  mirror     {url}/{pypi_world.path('direct')}\n" in err
    assert "help: name a channel with a URL in `channels`, and in place of a package's own" in err


def test_a_damaged_page(
    pypi_world: PypiWorld, upstream: Upstream, capsys: pytest.CaptureFixture[str]
) -> None:
    url = _serve(upstream, pypi_world)
    page = upstream.folder / "_pypi" / "index" / "tiny-pure" / "index.v1_json"
    page.write_bytes(page.read_bytes()[:-9])
    code, _, err = _ask(pypi_world, url, capsys)
    assert code != 0
    assert "_pypi/index/tiny-pure/index.v1_json" in err
    assert "help: its keeper runs `pixi run index`, then `pixi run verify`" in err


@pytest.mark.parametrize("data", [b"{", b"{}", b"[]", b"[" * 100_000])
def test_a_damaged_list_of_projects(
    pypi_world: PypiWorld, upstream: Upstream, capsys: pytest.CaptureFixture[str], data: bytes
) -> None:
    url = _serve(upstream, pypi_world)
    (upstream.folder / "_pypi" / "index" / "index.v1_json").write_bytes(data)
    code, _, err = _ask(pypi_world, url, capsys)
    assert code == 1
    assert err == (
        f"doctor: reading the repodata of {url}\n"
        "error: _pypi/index/index.v1_json: not a list of pixi-mirror\n"
        "help: its keeper runs `pixi run index`, then `pixi run verify`\n"
    )


def test_secrets_that_pixi_would_send_are_told(
    pypi_world: PypiWorld, upstream: Upstream, capsys: pytest.CaptureFixture[str]
) -> None:
    url = _serve(upstream, pypi_world)
    pure = pypi_rows(pypi_world.upstream, pypi_world.platforms[0])["pure"]
    index = "https://me:word@pypi.example.org/simple"
    relock(pypi_world, PypiRow(written=pure.written, index=index))
    _, out, err = _ask(pypi_world, url, capsys)
    assert (
        "warning: the lock has a user or password for https://********@pypi.example.org/simple,"
        " which pixi sends to whatever [mirrors] names in its place\n"
    ) in out
    assert '"https://pypi.example.org/simple" = ' in out
    assert "word" not in out.replace("password", "") + err


def test_unhashed_rows_are_compared_by_name(
    pypi_world: PypiWorld, upstream: Upstream, capsys: pytest.CaptureFixture[str]
) -> None:
    """The mirror's page lists a file of which the consumer's lock has no hash."""
    url = _serve(upstream, pypi_world)
    here = pypi_world.platforms[0]
    wheel = pypi_rows(pypi_world.upstream, here)["direct"].written
    unhashed = PypiRow(written=wheel, index=None, url=f"{DIRECT}{wheel.path.name}")
    _lock_alone(pypi_world, unhashed)
    _configure(pypi_world, _lines(url))
    code, out, err = _ask(pypi_world, url, capsys)
    assert (code, out.splitlines()[0]) == (0, "yes"), err
    assert (
        "compared by name alone, since the lock or the mirror says no more: 1" in out.splitlines()
    )
    # Control: a name that no page has.
    other = f"{DIRECT}tiny_direct-2.0-py3-none-any.whl"
    _lock_alone(pypi_world, PypiRow(written=wheel, index=None, url=other))
    code, out, _ = _ask(pypi_world, url, capsys)
    assert (code, out.splitlines()[0]) == (1, "no: 1 of 1 artifact missing")


def test_what_is_built_over_there_is_not_looked_at(
    pypi_world: PypiWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    mirror = str(pypi_world.folder)
    line = "not looked at: what sdists and folders of the project are built with: "
    line += "project, tiny-sdist"
    assert line in _ask(pypi_world, mirror, capsys)[1].splitlines()
    project = RawRow(key="pypi", location="./", lines=("name: project", "version: 1.0.0"))
    pure = pypi_rows(pypi_world.upstream, pypi_world.platforms[0])["pure"]
    _lock_alone(pypi_world, pure, project)
    alone = line.removesuffix(", tiny-sdist")
    assert alone in _ask(pypi_world, mirror, capsys)[1].splitlines()
    # Control: a lock of wheels alone.
    _lock_alone(pypi_world, pure)
    assert "not looked at" not in _ask(pypi_world, mirror, capsys)[1]


@pytest.mark.parametrize("place", ["folder", "http"])
def test_what_has_to_be_edited_away(
    place: str, pypi_world: PypiWorld, upstream: Upstream, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where no `[mirrors]` leads to the mirror, the manifest must not lead away from it."""
    url = _serve(upstream, pypi_world)
    mirror = url if place == "http" else str(upstream.folder)
    indexes = (
        "before `pixi lock`, take out of the manifest each `index-url`, `extra-index-urls`,"
        " `find-links` and `index` that names: https://other.example.org/simple,"
        " https://pypi.example.org/simple"
    )
    direct = 'before `pixi lock`, write a version, like "==1.0", in place of the manifest\'s `url`'
    direct += " of: tiny-direct"
    edits = [indexes, direct]
    last = "then `pixi lock`"
    after = [*edits, last] if place == "http" else [f"{last} and {OFFLINE}", *edits]
    assert _ask(pypi_world, mirror, capsys)[1].split("\n\n")[-1].splitlines() == after
    # Control: nothing but pixi's own default.
    pure = pypi_rows(pypi_world.upstream, pypi_world.platforms[0])["pure"]
    _lock_alone(pypi_world, PypiRow(written=pure.written, index="https://pypi.org/simple"))
    assert "before `pixi lock`" not in _ask(pypi_world, mirror, capsys)[1]


@pytest.mark.parametrize("place", ["folder", "http"])
def test_a_lock_made_from_the_mirror_may_have_other_bytes(
    place: str, pypi_world: PypiWorld, upstream: Upstream, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of one name from two indexes: what the lock has is right, and there is no telling which."""
    pure = pypi_rows(pypi_world.upstream, pypi_world.platforms[0])["pure"]
    name, folder = pure.written.path.name, "other.example.org/own"
    wheel = TinyWheel(name="Tiny.Pure", version="1.1+own.1")
    written = wheel.write(pypi_world.upstream / "_pypi" / "files" / folder)
    assert (written.path.name, written.sha256 != pure.written.sha256) == (name, True)
    url = f"https://{folder}/{name.replace('+', '%2B')}"
    relock(pypi_world, pure)
    relock(pypi_world, PypiRow(written=written, index=OTHER_INDEX, url=url))
    served = _serve(upstream, pypi_world)
    mirror = served if place == "http" else str(upstream.folder)
    said = (
        f"warning: _pypi/index/tiny-pure has {name} with different bytes, from {OTHER_INDEX},"
        f" {INDEX}: without a hash, pip and uv may take either there, and so may pixi where it"
        " locks from it"
    )
    out = _ask(pypi_world, mirror, capsys)[1]
    assert "artifacts ✓" in out
    assert said in out[out.index("conda-pypi-map") :].splitlines()
    # Control: of another package there is one file.
    _lock_alone(pypi_world, pypi_rows(pypi_world.upstream, pypi_world.platforms[0])["elsewhere"])
    assert "different bytes" not in _ask(pypi_world, mirror, capsys)[1]


@pytest.mark.parametrize("place", ["folder", "http"])
def test_files_beside_the_lock_are_to_be_copied(
    place: str, pypi_world: PypiWorld, upstream: Upstream, capsys: pytest.CaptureFixture[str]
) -> None:
    url = _serve(upstream, pypi_world)
    mirror = url if place == "http" else str(upstream.folder)
    _lock_alone(pypi_world, pypi_rows(pypi_world.upstream, pypi_world.platforms[0])["path"])
    wheel = pypi_world.mirror.root / "wheels" / "tiny_path-1.0-py3-none-any.whl"
    kept = wheel.read_bytes()
    wheel.unlink()
    head = (
        "error: ./wheels/tiny_path-1.0-py3-none-any.whl: is a file beside the lock, which has to be"
        " copied along\n"
    )
    needed = f"  needed by  default/{pypi_world.platforms[0]}\n"
    code, out, err = _ask(pypi_world, mirror, capsys)
    assert (code, out.splitlines()[0]) == (1, "no: 1 of 1 artifact not beside the lock")
    assert err.endswith(
        f"{head}  copy from  {mirror}/{pypi_world.path('path')}\n{needed}"
        "help: copy it from the mirror to where the lock has it\n"
    )
    shutil.rmtree(upstream.folder / "_pypi" / "index" / "tiny-path")
    assert _ask(pypi_world, mirror, capsys)[2].endswith(
        f"{head}  not at     {mirror}/{pypi_world.path('path')}\n{needed}"
        "help: its keeper mirrors this lock: `pixi run mirror`\n"
    )
    wheel.write_bytes(kept)  # the control
    code, out, err = _ask(pypi_world, mirror, capsys)
    assert (code, out.splitlines()[0]) == (0, "yes"), err


def test_json_names_the_paths(
    pypi_world: PypiWorld, upstream: Upstream, capsys: pytest.CaptureFixture[str]
) -> None:
    url = _serve(upstream, pypi_world)
    shutil.rmtree(upstream.folder / "_pypi")
    capsys.readouterr()
    doctor.main(["--lock", str(pypi_world.mirror.root), "--mirror", url, "--json"])
    rows = json.loads(capsys.readouterr().out)["environments"]
    here = next(x for x in rows if x["platform"] == pypi_world.platforms[0])
    assert pypi_world.path("sdist") in here["missing"]


@pytest.mark.needs_pixi
def test_the_lines_lead_pixi_to_the_mirror(
    pypi_world: PypiWorld,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nobody answers for the hosts of the lock; the project itself has no backend here."""
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    root = pypi_world.mirror.root
    pixi = find_pixi(tmp_path / "home")
    install = ("install", "--frozen", "--skip", "project")
    assert pixi.run(root, *install).returncode != 0  # the control
    lock = (root / "pixi.lock").read_bytes()
    with _static(pypi_world.folder) as url:
        pixi.configure(_ask(pypi_world, url, capsys)[1].split("\n\n")[1] + "\n")
        done = pixi.run(root, *install)
    assert done.returncode == 0, done.stderr
    packages = root / ".pixi" / "envs" / "default"
    assert [*packages.glob("lib/python*/site-packages/tiny_sdist-1.0.dist-info")]
    assert (root / "pixi.lock").read_bytes() == lock


@pytest.mark.needs_pixi
@pytest.mark.parametrize("place", ["http", "folder"])
def test_a_lock_made_from_the_mirror(
    place: str,
    pypi_world: PypiWorld,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What is printed for who cannot use `[mirrors]`: nobody else is asked for the mapping."""
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    root, pixi = tmp_path / "consumer", find_pixi(tmp_path / "home")
    wheel = "tiny_direct-1.0-py3-none-any.whl"
    root.mkdir()
    with _static(pypi_world.folder) as url:
        mirror, position = (url, 3) if place == "http" else (str(pypi_world.folder), 5)
        block = _ask(pypi_world, mirror, capsys)[1].split("\n\n")[position]
        manifest = (
            f'[workspace]\nname = "c"\nplatforms = ["{pypi_world.platforms[0]}"]\n{block}\n\n'
            '[dependencies]\npython = "*"\n\n'
            '[pypi-dependencies]\ntiny-pure = "*"\ntiny-direct = "*"\ntiny-sdist = "*"\n'
        )
        controls = (  # what has to be edited away
            f'{manifest}\n[pypi-options]\nindex-url = "https://pypi.example.org/simple"\n',
            manifest.replace('pure = "*"', f'pure = {{ version = "*", index = "{OTHER_INDEX}" }}'),
            manifest.replace('direct = "*"', f'direct = {{ url = "{DIRECT}{wheel}" }}'),
        )
        # Of Python's server pixi's second solve may end with 304.
        for text in controls if place == "folder" else ():
            (root / "pixi.toml").write_text(text, encoding="utf-8")
            assert pixi.run(root, "lock").returncode != 0
        (root / "pixi.toml").write_text(manifest, encoding="utf-8")
        for command in (("lock",), ("install", "--frozen")):
            done = pixi.run(root, *command)
            assert done.returncode == 0, done.stderr
        assert doctor.main(["--lock", str(root), "--mirror", mirror]) == 0, capsys.readouterr()
