"""`pixi run upstream`: what has become, where it came from, of what the locks name."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgpack
import pytest
import zstandard

from scripts.core.child_process import quoted
from scripts.core.errors import ExitCode
from scripts.core.rattler_child import call_rattler
from scripts.index.repodata import parse_shard_index, parse_zst, render_shard_index
from scripts.network.retry import RetryPolicy
from tasks import fetch
from tasks import upstream as task
from tests.support.locks import EnvironmentRows, LockRow, PlatformRows, RawRow, write_lock
from tests.support.packages import TinyPackage
from tests.support.replies import Reply, gzipped, login_page, status, wrong_bytes
from tests.support.upstream import Upstream
from tests.support.wheels import PypiRow, TinySdist, TinyWheel

SECRET = "me:hunter2"
LINUX = "linux-64"
MANIFEST = """\
[workspace]
name = "w"
channels = ["{channel}"]
platforms = ["linux-64"]

[dependencies]
python = "3.12.*"
a = ">=1,<3"
b = "*"

[pypi-options]
index-url = "{index}"

[pypi-dependencies]
w1 = ">=1,<3"
s1 = "*"
"""
CONDA = (
    TinyPackage(name="python", version="3.12.4", subdir=LINUX),
    TinyPackage(name="a", subdir=LINUX, depends=("b >=1",)),
    TinyPackage(name="b"),
)


@dataclass
class World:
    """A workspace that locks packages of both kinds, and its upstream, indexed."""

    root: Path
    upstream: Upstream
    capsys: pytest.CaptureFixture[str]
    pages: dict[str, list[TinyWheel | TinySdist]] = field(default_factory=dict)
    yanked: dict[str, str] = field(default_factory=dict)

    @property
    def channel(self) -> str:
        """The upstream channel, as the lock writes it."""
        return f"{self.upstream.url.replace('://', f'://{SECRET}@')}/ch"

    @property
    def index_url(self) -> str:
        """The upstream index, as the lock writes it."""
        return f"{self.upstream.url.replace('://', f'://{SECRET}@')}/simple"

    def publish(self, *packages: TinyPackage) -> None:
        """Make the channel anew: just these, and as many others as make shards less to read."""
        folder = self.upstream.folder / "ch"
        for file in folder.rglob("*.*"):
            if file.is_file():
                file.unlink()
        for each in packages:
            each.write(folder)
        call_rattler("index", {"folder": str(folder)})

    def publish_pages(self, *, as_json: bool = False) -> None:
        """Write the page of every project, as HTML, or as JSON beside a page that says nothing."""
        for name, files in self.pages.items():
            folder = self.upstream.folder / "simple" / name
            folder.mkdir(parents=True, exist_ok=True)
            rows, links = list[Any](), ""
            for each in files:
                sha256 = hashlib.sha256(each.data).hexdigest()
                url = f"../../files/{each.file_name}"
                row: dict[str, Any] = {"filename": each.file_name, "url": url}
                row["hashes"] = {"sha256": sha256}
                reason = self.yanked.get(each.file_name)
                rows.append(row | ({"yanked": reason or True} if reason is not None else {}))
                mark = "" if reason is None else f' data-yanked="{reason}"'
                links += f'<a href="{url}#sha256={sha256}"{mark}>{each.file_name}</a>\n'
            if as_json:
                links = ""
                (folder / "index.v1_json").write_text(json.dumps({"files": rows}))
            (folder / "index.html").write_text(f"<html><body>{links}</body></html>")

    def lock(
        self, *more: PypiRow | LockRow | RawRow, depends: tuple[str, ...] | None = None
    ) -> None:
        """Lock the packages of `CONDA` and of the pages, the first file of each."""
        elsewhere = self.root.parent / "as-locked"
        rows: list[LockRow | PypiRow | RawRow] = [*more]
        for each in CONDA:
            written = each.write(elsewhere)
            hotfix = depends if each.name == "a" else None
            rows.append(LockRow(written=written, channel=self.channel, depends=hotfix))
        for files in self.pages.values():
            url = f"{self.upstream.url}/files/{files[0].file_name}"
            rows.append(PypiRow(written=files[0].write(elsewhere), index=self.index_url, url=url))
        platform = PlatformRows(name=LINUX, rows=tuple(rows))
        environment = EnvironmentRows(platforms=(platform,), channels=(self.channel,))
        write_lock(self.root / "pixi.lock", (environment,))

    def run(self, *options: str, code: int = 0) -> tuple[str, str]:
        """Run the task; return stdout and stderr. No secret is ever told."""
        self.capsys.readouterr()
        assert task.main(["--manifest-path", str(self.root), *options]) == code
        out, err = self.capsys.readouterr()
        assert SECRET.partition(":")[2] not in out + err
        return out, err

    def document(self, *options: str, code: int = 0) -> Any:
        """Run the task with `--json`; findings are by their kind, too."""
        document = json.loads(self.run("--json", *options, code=code)[0])
        for each in ("withdrawn", "re-uploaded", "hotfixed", "yanked"):
            document[each] = [x for x in document["findings"] if x["kind"] == each]
        return document

    @property
    def kept(self) -> Path:
        """Where answers are kept."""
        return self.root / ".pixi-mirror" / "local-channel" / "cache" / "upstream"


@pytest.fixture(autouse=True)
def _no_long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask again at once: how long is waited is for the tests of `retry`."""
    policy = RetryPolicy(total=2, backoff_factor=0.01)
    monkeypatch.setattr("scripts.keep.upstream._POLICY", policy)


@pytest.fixture
def world(tmp_path: Path, upstream: Upstream, capsys: pytest.CaptureFixture[str]) -> World:
    world = World(root=tmp_path / "w", upstream=upstream, capsys=capsys)
    world.root.mkdir()
    text = MANIFEST.format(channel=world.channel, index=world.index_url)
    (world.root / "pixi.toml").write_text(text, encoding="utf-8")
    world.pages = {"w1": [TinyWheel(name="w1")], "s1": [TinySdist(name="s1")]}
    world.publish(*CONDA)
    world.publish_pages()
    world.lock()
    return world


def test_with_nothing_changed_a_second_run_reads_no_body(world: World) -> None:
    said = "upstream: 5 artifacts asked for: all as locked, nothing newer within the manifest\n"
    assert world.run()[0] == said
    first = dict(zip(world.upstream.paths, world.upstream.statuses, strict=True))
    assert first == {
        **{f"/ch/{each}/repodata_shards.msgpack.zst": 200 for each in (LINUX, "noarch")},
        **{f"/ch/{each}/repodata.json.zst": 200 for each in (LINUX, "noarch")},
        **{f"/simple/{each}/": 200 for each in ("s1", "w1")},
    }
    kept = {each: each.stat().st_mtime_ns for each in world.kept.iterdir()}
    assert len(kept) == len(first)
    world.upstream.requests.clear()
    world.upstream.statuses.clear()
    assert world.run()[0] == said
    assert sorted(world.upstream.paths) == sorted(first)
    assert set(world.upstream.statuses) == {304}
    assert {each: each.stat().st_mtime_ns for each in world.kept.iterdir()} == kept
    # The control: of what is another document now, the body comes.
    world.pages["w1"].append(TinyWheel(name="w1", version="0.9"))
    world.publish_pages()
    world.upstream.statuses.clear()
    world.run()
    assert sorted(world.upstream.statuses) == [200, 200, 304, 304, 304, 304]


def test_what_is_kept_is_not_to_be_committed(world: World) -> None:
    """It is asked before there is any mirror, and changes nothing but its own working state."""
    world.run()
    assert sorted(each.name for each in world.root.iterdir()) == [
        ".pixi-mirror",
        "pixi.lock",
        "pixi.toml",
    ]
    assert (world.root / ".pixi-mirror" / ".gitignore").read_bytes() == b"*\n"


def test_a_server_without_etags_is_asked_by_the_time(world: World) -> None:
    world.upstream.always("*", Reply(has_etag=False))
    world.run()
    world.upstream.requests.clear()
    world.upstream.statuses.clear()
    world.run()
    assert set(world.upstream.statuses) == {304}
    assert {"if-none-match" in each.headers for each in world.upstream.requests} == {False}


def test_what_is_kept_only_saves_time(world: World) -> None:
    world.publish(CONDA[0], CONDA[2])
    expected = world.document(code=ExitCode.FINDINGS)
    for file in world.kept.iterdir():
        file.write_bytes(file.read_bytes()[:-1])  # as after a power cut
    world.upstream.statuses.clear()
    assert world.document(code=ExitCode.FINDINGS) == expected
    assert set(world.upstream.statuses) == {200}
    shutil.rmtree(world.kept)
    world.kept.write_bytes(b"no folder")
    assert world.document(code=ExitCode.FINDINGS) == expected
    # What nobody asks for any more goes, and what another lock alone needs stays with `--only`.
    world.kept.unlink()
    world.run(code=ExitCode.FINDINGS)
    (world.kept / "old").write_bytes(b"")
    world.run("--only", "w", code=ExitCode.FINDINGS)
    assert (world.kept / "old").exists()
    world.run(code=ExitCode.FINDINGS)
    assert not (world.kept / "old").exists()
    assert len([*world.kept.iterdir()]) == 6


def test_withdrawn(world: World) -> None:
    world.publish(CONDA[0], CONDA[2])
    world.pages["w1"] = [TinyWheel(name="w1", version="0.9")]
    world.publish_pages()
    out, err = world.run(code=ExitCode.FINDINGS)
    url, place = world.upstream.url, f"127.0.0.1_{world.upstream.port}"
    assert out == "upstream: 5 artifacts asked for: 2 withdrawn\n"
    help_line = "help: pixi run update-mirror moves on; what is in the mirror stays as it is\n"
    assert (
        f"error: _pypi/files/{place}/files/w1-1.0-py3-none-any.whl: is withdrawn: upstream no"
        f" longer has it\n  from  {url}/simple\n{help_line}"
    ) in err
    assert (
        "error: linux-64/a-1.0-0.conda: is withdrawn: upstream no longer has it\n"
        f"  from  {url}/ch\n{help_line}"
    ) in err
    found = world.document(code=ExitCode.FINDINGS)["withdrawn"]
    assert [(each["name"], each["version"], each["source"]) for each in found] == [
        ("w1", "1.0", f"{url}/simple"),
        ("a", "1.0", f"{url}/ch"),
    ]


def test_reuploaded(world: World) -> None:
    other = replace(CONDA[1], padding=10)
    world.publish(CONDA[0], other, CONDA[2])
    wheel = TinyWheel(name="w1", files=(("w1.py", b"other\n"),))
    world.pages["w1"] = [wheel]
    world.publish_pages()
    document = world.document(code=ExitCode.FINDINGS)
    assert document["withdrawn"] == document["hotfixed"] == []
    pypi, conda = document["re-uploaded"]
    old, new = (hashlib.sha256(each.data).hexdigest() for each in (TinyWheel(name="w1"), wheel))
    assert pypi["changes"] == [{"field": "sha256", "locked": old, "upstream": new}]
    changes = {each["field"]: (each["locked"], each["upstream"]) for each in conda["changes"]}
    old, new = (hashlib.sha256(each.data).hexdigest() for each in (CONDA[1], other))
    assert changes["sha256"] == (old, new)
    assert changes["size"] == (str(len(CONDA[1].data)), str(len(other.data)))
    err = world.run(code=ExitCode.FINDINGS)[1]
    assert (
        "error: linux-64/a-1.0-0.conda: is re-uploaded: upstream has other bytes under its name\n"
    ) in err
    assert f"  upstream  sha256 {new}\n" in err


@pytest.mark.parametrize(
    ("locked", "change"),
    [
        (("b >=0.5",), "b >=0.5 -> b >=1"),
        ((), "nothing -> b >=1"),
        (("b  >=1",), None),  # as another program writes the same
    ],
)
def test_hotfixed_says_which_fields(
    world: World, locked: tuple[str, ...], change: str | None
) -> None:
    world.lock(depends=locked)
    out, _ = world.run()
    if change is None:
        assert "all as locked" in out
        return
    assert out == (
        "upstream: 5 artifacts asked for: 1 hotfixed\n"
        f"hotfixed since the lock: linux-64/a-1.0-0.conda\n  depends: {change}\n"
    )
    [found] = world.document()["hotfixed"]
    assert found["changes"] == [
        dict(zip(("field", "locked", "upstream"), ("depends", *change.split(" -> ")), strict=True))
    ]


@pytest.mark.parametrize(
    ("locked", "is_same"),
    [
        (("a *", "b>=1"), True),
        (("b >=1", "a", "a"), True),
        (("a *", "b>=1", "b >=1"), True),
        (("a", "b >=2"), False),
        (("b >=1",), False),
    ],
)
def test_the_order_of_requirements_means_nothing(
    world: World, locked: tuple[str, ...], *, is_same: bool
) -> None:
    two = TinyPackage(name="two", depends=("b >=1", "a"))
    world.publish(*CONDA, two)
    written = two.write(world.root.parent / "as-locked")
    world.lock(LockRow(written=written, channel=world.channel, depends=locked))
    out, _ = world.run()
    assert ("all as locked" in out, "1 hotfixed" in out) == (is_same, not is_same)


def test_what_pixi_itself_adds_to_a_row_is_no_hotfix(world: World) -> None:
    """Pixi locks the names on PyPI, which most channels do not have."""
    two = TinyPackage(name="two")
    world.publish(*CONDA, two)
    written = replace(two, purls=("pkg:pypi/two",)).write(world.root.parent / "as-locked")
    world.lock(LockRow(written=written, channel=world.channel))
    assert "purls:" in (world.root / "pixi.lock").read_text("utf-8")
    assert "all as locked" in world.run()[0]


@pytest.mark.parametrize("as_json", [False, True])
def test_yanked_with_its_reason(world: World, *, as_json: bool) -> None:
    world.yanked = {TinyWheel(name="w1").file_name: "breaks pip", "s1-1.0.tar.gz": ""}
    world.publish_pages(as_json=as_json)
    out, _ = world.run()
    files = f"_pypi/files/127.0.0.1_{world.upstream.port}/files"
    assert out == (
        "upstream: 5 artifacts asked for: 2 yanked\n"
        f"yanked: {files}/s1-1.0.tar.gz: no reason is given\n"
        f"yanked: {files}/w1-1.0-py3-none-any.whl: breaks pip\n"
    )
    assert [each["reason"] for each in world.document()["yanked"]] == [None, "breaks pip"]


def test_newer_within_the_manifest(world: World) -> None:
    later = [replace(CONDA[1], version=each) for each in ("1.5", "2.10", "2.9", "3.0")]
    world.publish(
        *(*CONDA, *later),
        replace(CONDA[1], version="2.11", subdir="win-64"),
        replace(CONDA[2], build="1", build_number=1),
        replace(CONDA[0], version="3.13.0"),
    )
    world.pages["w1"] += [
        *(TinyWheel(name="w1", version=each) for each in ("2.0", "2.2", "2.5rc1", "3.0")),
        TinyWheel(name="w1", version="2.3", tags="cp312-cp312-win_amd64"),
        TinyWheel(name="w1", version="2.10", tags="cp312-cp312-manylinux_2_17_x86_64"),
    ]
    world.pages["s1"].append(TinySdist(name="s1", version="2.0rc1"))
    world.yanked = {TinyWheel(name="w1", version="2.2").file_name: "bad"}
    world.publish_pages()
    assert world.run()[0].splitlines() == [
        "upstream: 5 artifacts asked for: 3 newer within the manifest",
        "newer within the manifest:",
        "  a  1.0 0 -> 2.10 0 (a >=1,<3; default/linux-64)",
        "  b  1.0 0 -> 1.0 1 (b *; default/linux-64)",
        "  w1  [pypi] 1.0 -> 2.10 (w1>=1,<3; default/linux-64)",
    ]
    # What all features say counts.
    more = '[feature.more.dependencies]\nb = "*"\na = "!=2.10"\n'
    more += '[feature.more.pypi-dependencies]\nw1 = "!=2.10"\n'
    more += '[environments]\ndefault = { features = ["more"] }\n'
    path = world.root / "pixi.toml"
    text = path.read_text("utf-8")
    path.write_text(f"{text}\n{more}", encoding="utf-8")
    lines = world.run()[0].splitlines()
    assert lines[2].startswith("  a  1.0 0 -> 2.9 0 (")
    assert lines[4].startswith("  w1  [pypi] 1.0 -> 2.0 (")
    path.write_text(text, encoding="utf-8")
    assert world.document()["newer"][0] == {
        "name": "a",
        "kind": "conda",
        "locked": "1.0 0",
        "newer": "2.10 0",
        "requirement": "a >=1,<3",
        "places": ["default/linux-64"],
    }


@pytest.mark.parametrize(
    ("options", "newer"),
    [
        ("[pypi-options]", ["a 2.0 0", "s1 2.0", "w1 2.0"]),
        ('[pypi-options]\nprerelease-mode = "allow"', ["a 2.0 0", "s1 2.0", "w1 2.5rc1"]),
        ("[pypi-options]\nno-build = true", ["a 2.0 0", "w1 2.0"]),
        ('[pypi-options]\nno-build = ["W1"]', ["a 2.0 0", "s1 2.0", "w1 2.0"]),
        ('[pypi-options]\nno-binary = ["W1"]', ["a 2.0 0", "s1 2.0"]),
        ('[environments.default]\nsolve-strategy = "lowest-direct"\n\n[pypi-options]', []),
    ],
)
def test_what_the_manifest_says_of_all_packages_counts(
    world: World, options: str, newer: list[str]
) -> None:
    """What pixi would never lock is not newer for it; the first row is the control."""
    world.publish(*CONDA, replace(CONDA[1], version="2.0"))
    world.pages["w1"] += [TinyWheel(name="w1", version=each) for each in ("2.0", "2.5rc1")]
    world.pages["s1"].append(TinySdist(name="s1", version="2.0"))
    world.publish_pages()
    path = world.root / "pixi.toml"
    text = path.read_text("utf-8").replace("[pypi-options]", options)
    path.write_text(text, encoding="utf-8")
    assert [f"{x['name']} {x['newer']}" for x in world.document()["newer"]] == newer


def test_prereleases_that_are_asked_for_may_be_refused(world: World) -> None:
    world.pages["w1"].append(TinyWheel(name="w1", version="2.0rc1"))
    world.publish_pages()
    path = world.root / "pixi.toml"
    text = path.read_text("utf-8").replace('w1 = ">=1,<3"', 'w1 = ">=1rc1,<3"')
    for mode, newer in (("explicit", ["2.0rc1"]), ("disallow", [])):
        said = f'[pypi-options]\nprerelease-mode = "{mode}"'
        path.write_text(text.replace("[pypi-options]", said), encoding="utf-8")
        assert [x["newer"] for x in world.document()["newer"]] == newer


def test_prereleases_are_newer_where_there_is_nothing_else(world: World) -> None:
    """As uv takes them. Controls: a stable version; modes in which pixi takes none."""
    world.pages["w1"] = [TinyWheel(name="w1", version=each) for each in ("1.0b1", "1.0b2")]
    world.publish_pages()
    world.lock()
    path = world.root / "pixi.toml"
    text = path.read_text("utf-8").replace('w1 = ">=1,<3"', 'w1 = "*"')
    for mode, newer in (
        ("if-necessary-or-explicit", ["1.0b2"]),
        ("if-necessary", ["1.0b2"]),
        *(("explicit", []), ("disallow", [])),
    ):
        said = f'[pypi-options]\nprerelease-mode = "{mode}"'
        path.write_text(text.replace("[pypi-options]", said), encoding="utf-8")
        assert [x["newer"] for x in world.document()["newer"]] == newer
    path.write_text(text, encoding="utf-8")
    assert [x["newer"] for x in world.document()["newer"]] == ["1.0b2"]
    world.pages["w1"].append(TinyWheel(name="w1", version="0.9"))
    world.publish_pages()
    assert world.document()["newer"] == []
    path.write_text(text.replace('w1 = "*"', 'w1 = ">0.9"'), encoding="utf-8")  # it need not fit
    assert world.document()["newer"] == []


def test_of_requires_python_the_lower_bound_counts(world: World) -> None:
    """As pixi takes it: 2.0 on Python 3.12. Control: a lower bound that is above it."""
    rows = [
        {"filename": TinyWheel(name="w1", version=x).file_name, "url": x, "requires-python": y}
        for x, y in (("1.0", ">=3.8"), ("2.0", ">=3.8,<3.12"), ("2.1", ">=3.13"))
    ]
    body = json.dumps({"files": [{**each, "hashes": {}} for each in rows]}).encode()
    world.upstream.always("/simple/w1/", Reply(body=body))
    assert [x["newer"] for x in world.document()["newer"]] == ["2.0"]


def test_what_the_manifest_pins_beside_it_counts(world: World) -> None:
    later = replace(CONDA[1], version="2.0", depends=("python >=3.12,<3.13", "unknown"))
    world.publish(
        *(*CONDA, later),
        replace(CONDA[1], version="2.1", depends=("python >=3.13,<3.14", "b")),
        replace(CONDA[1], version="2.2", depends=("__cuda",)),
        replace(CONDA[1], version="1.9", depends=("python_abi", "python_abi 3.12.* *_cp312")),
        replace(CONDA[1], version="2.0.1", depends=("python", "python_abi 3.13.* *_cp313", "b")),
        replace(CONDA[0], version="3.13.0", depends=("__glibc >=2.17",)),
    )
    assert world.run()[0].splitlines()[2:] == [
        "  a  1.0 0 -> 2.0 0 (a >=1,<3; default/linux-64)",
    ]
    # The control: where the manifest takes any Python, the newest one is there.
    path = world.root / "pixi.toml"
    text = path.read_text("utf-8").replace('"3.12.*"', '"*"')
    path.write_text(text, encoding="utf-8")
    assert world.run()[0].splitlines()[2:] == [
        "  a  1.0 0 -> 2.1 0 (a >=1,<3; default/linux-64)",
        "  python  3.12.4 0 -> 3.13.0 0 (python *; default/linux-64)",
    ]
    # So it is where only the ABI says of which Python a package is.
    path.write_text(text.replace('a = ">=1,<3"', 'a = "<2.1"'), encoding="utf-8")
    assert "  a  1.0 0 -> 2.0.1 0 (a <2.1; default/linux-64)" in world.run()[0].splitlines()
    pinned = text.replace('python = "*"', 'python = "3.12.*"')
    path.write_text(pinned.replace('a = ">=1,<3"', 'a = "<2.1,!=2.0"'), encoding="utf-8")
    assert world.run()[0].splitlines()[2:] == [
        "  a  1.0 0 -> 1.9 0 (a <2.1,!=2.0; default/linux-64)",
    ]
    # And where the platform has CUDA, so has what needs it.
    path.write_text(f'{text}\n[system-requirements]\ncuda = "12"\n', encoding="utf-8")
    assert "  a  1.0 0 -> 2.2 0 (a >=1,<3; default/linux-64)" in world.run()[0].splitlines()


def test_of_several_builds_of_the_newest_it_is_the_one_like_what_is_locked(world: World) -> None:
    builds = ("py310h1234567_0", "py312h1234567_0", "py39h1234567_0")
    of_any = [replace(CONDA[1], version="2.0", build=each) for each in builds]
    text = (world.root / "pixi.lock").read_text("utf-8")
    world.publish(*CONDA, *of_any, replace(CONDA[1], build="py39h7654321_0"))
    # Of the other bytes under its name it is told, too; the control is like none of them.
    for build, newer, code in (("py39h7654321_0", builds[2], 1), ("0", builds[0], 0)):
        locked = text.replace("/a-1.0-0.conda", f"/a-1.0-{build}.conda")
        (world.root / "pixi.lock").write_text(locked, encoding="utf-8")
        [found] = world.document("--no-pypi", code=code)["newer"]
        assert found["newer"] == f"2.0 {newer}"


def test_what_weighs_down_is_not_newer(world: World) -> None:
    """To a solver: track_features weigh more than a version. Control: without any."""
    weighed = TinyPackage(name="a", version="2.0", subdir=LINUX, build_number=1)
    for more, newer in (
        ((), ["2.0 0"]),
        ((replace(weighed, build="f", version="2.1", track_features=("f",)),), ["2.0 0"]),
    ):
        world.publish(*CONDA, replace(weighed, build_number=0), *more)
        assert [x["newer"] for x in world.document()["newer"]] == newer
    world.publish(*CONDA, replace(weighed, track_features=("f",)))
    assert world.document()["newer"] == []


def test_shards_where_they_are_less_to_read(world: World) -> None:
    many = [TinyPackage(name=f"x{each}", subdir=LINUX) for each in range(30)]
    world.publish(*CONDA, *many)
    world.run()
    asked = [each for each in world.upstream.paths if each.startswith(f"/ch/{LINUX}")]
    assert len([each for each in asked if "/shards/" in each]) == 2  # of python and a
    assert [each for each in asked if "repodata.json" in each] == []
    # The control: of noarch, half of the names are asked for.
    assert "/ch/noarch/repodata.json.zst" in world.upstream.paths
    # Shards never change, so nobody is asked for one twice; of a new one the body comes.
    world.upstream.requests.clear()
    world.upstream.statuses.clear()
    world.run()
    assert set(world.upstream.statuses) == {304}
    assert [each for each in world.upstream.paths if "/shards/" in each] == []
    replace(CONDA[1], version="2.0").write(world.upstream.folder / "ch")
    call_rattler("index", {"folder": str(world.upstream.folder / "ch")})
    world.upstream.requests.clear()
    assert "a  1.0 0 -> 2.0 0" in world.run()[0]
    assert len([each for each in world.upstream.paths if "/shards/" in each]) == 1
    # What is not what its name says is not believed.
    shutil.rmtree(world.kept)
    world.upstream.always("/ch/*/shards/*", wrong_bytes(100))
    world.upstream.always("/ch/*/repodata.json*", status(404))
    out, _ = world.run(code=ExitCode.NETWORK)
    assert out == "upstream: 5 artifacts asked for: 3 not known\n"


def test_each_form_of_repodata_does(world: World) -> None:
    world.publish(CONDA[0], CONDA[2])
    zst, shards = "/ch/*/repodata.json.zst", "/ch/*/repodata_shards.msgpack.zst"
    said = "upstream: 5 artifacts asked for: 1 withdrawn\n"
    for code, absent in (
        (404, [zst]),
        (404, [shards]),
        (404, [zst, shards]),
        (404, [zst, "/ch/*/repodata.json"]),
        (501, [zst, shards]),
    ):
        shutil.rmtree(world.kept, ignore_errors=True)
        for each in absent:
            world.upstream.always(each, status(code))
        assert world.run(code=ExitCode.FINDINGS)[0] == said
        # Nobody asks a second time for what the channel does not have.
        world.upstream.statuses.clear()
        world.run(code=ExitCode.FINDINGS)
        assert set(world.upstream.statuses) == {304}
        world.upstream.behave()
    # What a server is not able to just now, it may have.
    shutil.rmtree(world.kept)
    world.upstream.always(shards, status(503))
    world.run(code=ExitCode.NETWORK)
    world.upstream.behave()
    # Compressed on the way, though nobody asked for that.
    world.upstream.always("*", gzipped())
    assert world.run(code=ExitCode.FINDINGS)[0] == said
    world.upstream.behave()
    # A damaged one: the next form; where it is the last, there is none.
    shutil.rmtree(world.kept)
    world.upstream.always(zst, wrong_bytes(100))
    assert world.run(code=ExitCode.FINDINGS)[0] == said
    shutil.rmtree(world.kept)
    world.upstream.always("/ch/*", wrong_bytes(100))
    out, err = world.run(code=ExitCode.NETWORK)
    assert out == "upstream: 5 artifacts asked for: 3 not known\n"
    assert f"{world.upstream.url}/ch/noarch: could not be asked: " in err


def test_trouble_of_the_network_is_never_a_finding(world: World) -> None:
    for reply, text, help_line in (
        (status(503), "HTTP 503 Service Unavailable", "run `pixi run upstream` again later"),
        (
            login_page(),
            "a web page came instead of the repodata (a login page?)",
            "see who answers there, then pixi run upstream",
        ),
    ):
        world.upstream.always("*", reply)
        out, err = world.run(code=ExitCode.NETWORK)
        assert out == "upstream: 5 artifacts asked for: 5 not known\n"
        url = world.upstream.url
        assert f"could not be asked: {text}\n" in err
        assert f"help: {help_line}\n" in err
        document = world.document(code=ExitCode.NETWORK)
        assert document["findings"] == document["newer"] == []
        assert {each["url"] for each in document["not-asked"]} == {
            *(f"{url}/ch/{each}" for each in (LINUX, "noarch")),
            *(f"{url}/simple/{each}/" for each in ("s1", "w1")),
        }
    # Beside it, what is known is told, and a finding outweighs it.
    world.upstream.behave()
    world.publish(CONDA[0], CONDA[2])
    world.upstream.always("/simple/*", status(503))
    out, err = world.run(code=ExitCode.FINDINGS)
    assert out == "upstream: 5 artifacts asked for: 1 withdrawn, 2 not known\n"
    assert f"error: {world.upstream.url}/simple/w1/: could not be asked: HTTP 503" in err


@pytest.mark.parametrize("link", ["vpn-client-1.0.zip", "w1-0.9-py3-none-any.whl"])
def test_a_portal_with_archives_on_its_page_is_no_page_of_a_project(
    world: World, link: str
) -> None:
    """Control: a page that has other files of the project, and no longer the locked one."""
    page = f'<html><body>Log in. <a href="/get/{link}">{link}</a></body></html>'.encode()
    world.upstream.always("/simple/w1/", Reply(body=page, headers=(("Content-Type", "text/html"),)))
    is_portal = link.startswith("vpn")
    _, err = world.run(code=ExitCode.NETWORK if is_portal else ExitCode.FINDINGS)
    said = "could not be asked: is no page of an index (PEP 503, 691)\n"
    assert (said in err, "is withdrawn" in err) == (is_portal, not is_portal)


def test_a_page_that_unpacks_to_too_much(world: World) -> None:
    """Many are unpacked at once: all the memory would be gone. Control: one that is just large."""
    right = (world.upstream.folder / "simple" / "w1" / "index.html").read_bytes()
    kind = ("Content-Type", "text/html")
    for more, code in ((2 << 20, ExitCode.OK), (64 << 20, ExitCode.NETWORK)):
        page = Reply(body=right + b" " * more, gzip=True, headers=(kind,))
        world.upstream.always("/simple/w1/", page)
        out, err = world.run(code=code)
        assert ("1 not known" in out) is ("it is too long" in err) is bool(code)


def test_a_shard_that_unpacks_to_too_much(world: World) -> None:
    """It has the sha256 that the index says. Control: one that is just large."""
    folder = world.upstream.folder / "ch" / "noarch"
    file = folder / "repodata_shards.msgpack.zst"
    index = parse_shard_index(file.read_bytes(), "index")
    shard = (folder / "shards" / f"{index.shards['b']}.msgpack.zst").read_bytes()
    world.upstream.always("/ch/*/repodata.json*", status(404))
    for more, code in ((2 << 20, ExitCode.OK), (64 << 20, ExitCode.NETWORK)):
        document = {**msgpack.unpackb(parse_zst(shard, "shard")), "more": b"\0" * more}
        data = zstandard.compress(msgpack.packb(document))
        digest = hashlib.sha256(data).hexdigest()
        (folder / "shards" / f"{digest}.msgpack.zst").write_bytes(data)
        file.write_bytes(render_shard_index(replace(index, shards={**index.shards, "b": digest})))
        _, err = world.run(code=code)
        assert ("larger than any repodata should be" in err) is bool(code)


def test_nobody_there(world: World) -> None:
    world.upstream.__exit__(None, None, None)
    out, err = world.run(code=ExitCode.NETWORK)
    assert out == "upstream: 5 artifacts asked for: 5 not known\n"
    assert "connection refused" in err.lower()


def test_a_project_that_is_gone_is_withdrawn_and_an_index_that_is_gone_is_not(
    world: World,
) -> None:
    shutil.rmtree(world.upstream.folder / "simple" / "w1")
    document = world.document(code=ExitCode.FINDINGS)
    assert [each["name"] for each in document["withdrawn"]] == ["w1"]
    # Neither project: then the index itself tells whether it is there.
    shutil.rmtree(world.upstream.folder / "simple" / "s1")
    (world.upstream.folder / "simple" / "index.html").write_text("<html></html>")
    document = world.document(code=ExitCode.FINDINGS)
    assert [each["name"] for each in document["withdrawn"]] == ["s1", "w1"]
    shutil.rmtree(world.upstream.folder / "simple")
    _, err = world.run(code=ExitCode.USAGE)
    assert (
        f"error: {world.upstream.url}/simple/w1/: could not be asked: there is nothing of a channel"
        " or an index there\n"
    ) in err
    assert err.endswith(
        "help: is that still its URL? correct it in the manifest or in `[mirrors]`; or, if it is"
        " private, give credentials: `pixi auth login HOST --token TOKEN`, or netrc\n"
    )
    # So it is with a channel.
    world.publish_pages()
    shutil.rmtree(world.upstream.folder / "ch")
    document = world.document(code=ExitCode.USAGE)
    assert document["withdrawn"] == []
    assert len(document["not-asked"]) == 2
    # A folder is not private.
    for each in (world.upstream.folder / "ch" / "linux-64", world.root / ".pixi"):
        each.mkdir(parents=True)
    mirrors = f'[mirrors]\n"{world.upstream.url}/" = ["{world.upstream.folder.as_uri()}"]\n'
    (world.root / ".pixi" / "config.toml").write_text(mirrors, encoding="utf-8")
    _, err = world.run(code=ExitCode.USAGE)
    assert "correct it in the manifest or in `[mirrors]`\n" in err


def test_mirrors_are_asked_and_one_that_lacks_it_proves_nothing(world: World) -> None:
    """As long as another one is in trouble."""
    (world.root / ".pixi").mkdir()
    url = world.upstream.url
    world.publish(CONDA[0], CONDA[2])
    shutil.copytree(world.upstream.folder / "ch", world.upstream.folder / "two" / "ch")
    shutil.copytree(world.upstream.folder / "simple", world.upstream.folder / "two" / "simple")
    shutil.rmtree(world.upstream.folder / "two" / "simple" / "w1")
    (world.root / ".pixi" / "config.toml").write_text(
        f'[mirrors]\n"{url}/" = ["{url}/one", "{url}/two"]\n', encoding="utf-8"
    )
    document = world.document(code=ExitCode.FINDINGS)
    assert [each["name"] for each in document["withdrawn"]] == ["w1", "a"]
    assert {each.split("/")[1] for each in world.upstream.paths} == {"one", "two"}
    world.upstream.always("/one/*", status(503))
    document = world.document(code=ExitCode.FINDINGS)
    assert [each["name"] for each in document["withdrawn"]] == ["a"]
    assert [each["url"] for each in document["not-asked"]] == [f"{url}/simple/w1/"]
    (problem,) = (each for each in document["problems"] if each["subject"] == f"{url}/simple/w1/")
    file = world.root / ".pixi" / "config.toml"
    assert problem["details"]["mirrors"] == f"{url} → {url}/one (in {file})"


def test_credentials_are_sent_and_kept_nowhere(world: World) -> None:
    world.upstream.authorization = "Basic bWU6aHVudGVyMg=="  # SECRET
    world.publish(CONDA[0], CONDA[2])
    world.run(code=ExitCode.FINDINGS)
    every = b"".join(each.read_bytes() for each in world.kept.iterdir())
    assert b"hunter2" not in every
    assert b"bWU6" not in every
    # The control.
    world.upstream.authorization = "Basic b3RoZXI6b3RoZXI="
    out, err = world.run(code=ExitCode.USAGE)
    assert "could not be asked: HTTP 401 Unauthorized" in err
    assert out == "upstream: 5 artifacts asked for: 5 not known\n"


def test_secrets_that_pixi_hides_in_a_row_are_those_of_its_url(world: World) -> None:
    """Where a channel has some, pixi 0.77 writes `channel:` beside the URL, with `********`."""
    world.publish(CONDA[0], CONDA[2])
    lock = world.root / "pixi.lock"
    text = lock.read_text(encoding="utf-8")
    hidden = world.channel.replace("me:hunter2", "me:********")
    for channel, asked in ((hidden, True), (f"{world.upstream.url}/other", False)):  # the control
        row = rf"\1\n  channel: {channel}"
        lock.write_text(re.sub(r"(?m)^(- conda: .*)$", row, text), encoding="utf-8")
        world.upstream.authorization = "Basic bWU6aHVudGVyMg==" if asked else None
        document = world.document(code=ExitCode.FINDINGS if asked else ExitCode.USAGE)
        assert [each["name"] for each in document["withdrawn"]] == (["a"] if asked else [])


def test_a_direct_url_is_asked_by_head(world: World) -> None:
    url = world.upstream.url
    direct = TinyWheel(name="d1").write(world.upstream.folder / "direct")
    lone = TinyPackage(name="lone").write(world.upstream.folder / "direct")
    own = TinyWheel(name="own").write(world.root / "wheels")
    location = f"{url}/direct/{direct.path.name}#sha256={direct.sha256}"
    rows = (
        PypiRow(written=direct, index=None, url=location),
        PypiRow(written=own, index=None, url=f"./wheels/{own.path.name}"),
        RawRow(
            key="conda",
            location=f"{url}/direct/noarch/{lone.path.name}",
            lines=(f"sha256: {lone.sha256}", f"size: {lone.size}", "channel: null"),
        ),
    )
    world.lock(*rows)
    own_path = f"_pypi/files/local/wheels/{own.path.name}"
    line = f"of this machine, so nobody is asked: 1 artifact\n  {own_path}\n"
    assert world.run()[0] == (
        f"upstream: 8 artifacts asked for: all as locked, nothing newer within the manifest\n{line}"
    )
    heads = [each.path for each in world.upstream.requests if each.method == "HEAD"]
    assert sorted(heads) == [
        f"/direct/{direct.path.name}",
        f"/direct/noarch/{lone.path.name}",
    ]
    # Gone; with other bytes, as far as sizes tell; in trouble.
    direct.path.unlink()
    lone.path.write_bytes(b"other")
    document = world.document(code=ExitCode.FINDINGS)
    assert [each["name"] for each in document["withdrawn"]] == ["d1"]
    assert [each["changes"] for each in document["re-uploaded"]] == [
        [{"field": "size", "locked": str(lone.size), "upstream": "5"}]
    ]
    assert document["of-this-machine"] == [own_path]
    another = "`pixi lock` (with another URL, path or digest in the manifest)"
    assert sorted(each["help"] for each in document["problems"]) == [
        f"{another} moves on; what is in the mirror stays as it is",
        f"ask its keeper why; {another} locks what is there now",
    ]
    world.upstream.always("/direct/*", status(503))
    document = world.document(code=ExitCode.NETWORK)
    assert [each["url"] for each in document["not-asked"]] == [
        f"{url}/direct/{direct.path.name}",
        f"{url}/direct/noarch/{lone.path.name}",
    ]


def test_a_direct_url_without_a_size_is_compared_with_the_mirror(world: World) -> None:
    """Control: a file of the mirror that is not the locked one tells nothing."""
    direct = TinyWheel(name="d1").write(world.upstream.folder / "direct")
    location = f"{world.upstream.url}/direct/{direct.path.name}#sha256={direct.sha256}"
    world.lock(PypiRow(written=direct, index=None, url=location))
    host = f"127.0.0.1_{world.upstream.port}"
    mirrored = world.root / "local-channel" / "_pypi" / "files" / host / "direct" / direct.path.name
    mirrored.parent.mkdir(parents=True)
    shutil.copyfile(direct.path, mirrored)
    assert world.document(code=ExitCode.OK)["re-uploaded"] == []
    direct.path.write_bytes(b"other")
    (found,) = world.document(code=ExitCode.FINDINGS)["re-uploaded"]
    assert found["name"] == "d1"
    assert found["changes"] == [{"field": "size", "locked": str(direct.size), "upstream": "5"}]
    mirrored.write_bytes(b"damaged")
    assert world.document(code=ExitCode.OK)["re-uploaded"] == []


@pytest.mark.parametrize("code", [403, 405, 501])
def test_who_takes_no_head_is_asked_by_get(
    world: World, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """Many sign a URL for GET alone. Control: one that refuses both."""
    direct = TinyWheel(name="d1").write(world.upstream.folder / "direct")
    location = f"{world.upstream.url}/direct/{direct.path.name}#sha256={direct.sha256}"
    world.lock(PypiRow(written=direct, index=None, url=location))
    for each in world.pages:
        shutil.rmtree(world.upstream.folder / "simple" / each)
    (world.upstream.folder / "simple" / "index.html").write_text("<html></html>")
    answer = world.upstream.reply_to
    monkeypatch.setattr(
        world.upstream, "reply_to", lambda x: status(code) if x.method == "HEAD" else answer(x)
    )
    document = world.document(code=ExitCode.FINDINGS)
    assert [each["name"] for each in document["withdrawn"]] == ["s1", "w1"]
    assert document["not-asked"] == []
    world.upstream.always("/direct/*", status(code))
    (other,) = world.document(code=ExitCode.USAGE if code < 500 else ExitCode.FINDINGS)["not-asked"]
    assert other["url"] == location.partition("#")[0]


def test_a_direct_url_of_a_bucket_is_downloaded(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HEAD speaks no S3. Control: one that is gone."""
    lone = TinyPackage(name="lone").write(world.upstream.folder / "bkt" / "ch")
    lines = (f"sha256: {lone.sha256}", f"size: {lone.size}", "channel: null", "subdir: noarch")
    location = f"s3://bkt/ch/noarch/{lone.path.name}"
    world.lock(RawRow(key="conda", location=location, lines=lines))
    options = f'endpoint-url = "{world.upstream.url}"\nregion = "x"\nforce-path-style = true'
    with (world.root / "pixi.toml").open("a") as manifest:
        manifest.write(f"[workspace.s3-options.bkt]\n{options}\n")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    said = "upstream: 6 artifacts asked for: all as locked, nothing newer within the manifest\n"
    assert world.run()[0] == said
    lone.path.unlink()
    document = world.document(code=ExitCode.FINDINGS)
    assert [each["name"] for each in document["withdrawn"]] == ["lone"]
    # A channel that is gone from there; the control is one of a server.
    where = "is that still its URL? correct it in the manifest or in `[mirrors]`"
    private = "; or, if it is private, give credentials: `pixi auth login HOST --token TOKEN`,"
    for channel, more in (
        ("s3://bkt/ch", ""),
        (f"{world.upstream.url}/none", f"{private} or netrc"),
    ):
        world.lock(LockRow(written=lone, channel=channel))
        (problem,) = world.document(code=ExitCode.USAGE)["problems"]
        assert problem["help"] == f"{where}{more}"


@pytest.mark.parametrize(("path", "file"), [("flat", "flat/index.html"), ("f.html", "f.html")])
def test_a_page_of_find_links(world: World, path: str, file: str) -> None:
    """It is the index of its rows, and there are no pages of projects below it."""
    flat, page = f"{world.upstream.url}/{path}", world.upstream.folder / file
    wheel = TinyWheel(name="f1").write(world.upstream.folder / "flat")
    url = f"{world.upstream.url}/flat/{wheel.path.name}"
    link = f'<a href="{url}#sha256={wheel.sha256}">f1</a>'
    other = link.replace(wheel.sha256, "0" * 64).replace("/flat/", "/older/")
    page.write_text(link + other)  # of one name: that with the locked bytes counts
    world.lock(PypiRow(written=wheel, index=flat, url=url))
    lock, pages = world.root / "pixi.lock", f"    find-links:\n    - url: {flat}\n    packages:\n"
    text = lock.read_text(encoding="utf-8").replace(f"    - {flat}\n", "")
    text = text.replace("    packages:\n", pages)
    lock.write_text(text, encoding="utf-8")
    assert "6 artifacts asked for: all as locked" in world.run()[0]
    # Before version 7 a row does not say whether it is from there, so its file is asked for.
    for files in world.pages.values():
        files[0].write(world.upstream.folder / "files")
    old = re.sub("version: 7\nplatforms:.*?\nenv", "version: 6\nenv", text, flags=re.DOTALL)
    lock.write_text(re.sub("  index: .*\n", "", old), encoding="utf-8")
    assert "6 artifacts asked for: all as locked" in world.run()[0]
    lock.write_text(text, encoding="utf-8")
    page.write_text(other)
    assert [each["name"] for each in world.document(code=1)["re-uploaded"]] == ["f1"]
    page.write_text('<a href="f1-0.9-py3-none-any.whl">f1</a>')
    assert [each["name"] for each in world.document(code=1)["withdrawn"]] == ["f1"]


@pytest.mark.parametrize("index", ["PyPI's own", "another"])
def test_rows_that_leave_out_pypi_are_asked_for_there(world: World, index: str) -> None:
    """So pixi writes them since version 7, where it names every other index, the control."""
    if index != "another":
        pypi = "https://pypi.org/simple"
        for each in (world.root / "pixi.toml", world.root / "pixi.lock"):
            text = each.read_text(encoding="utf-8").replace(world.index_url, pypi)
            each.write_text(text.replace(f"  index: {pypi}\n", ""), encoding="utf-8")
        (world.root / ".pixi").mkdir()
        rule = f'[mirrors]\n"https://pypi.org" = ["{world.upstream.url}"]\n'
        (world.root / ".pixi" / "config.toml").write_text(rule, encoding="utf-8")
    world.pages["w1"].append(TinyWheel(name="w1", version="1.1"))
    world.yanked[world.pages["w1"][0].file_name] = "bad"
    world.publish_pages()
    document = world.document()
    assert [each["reason"] for each in document["yanked"]] == ["bad"]
    assert [each["newer"] for each in document["newer"]] == ["1.1"]


def test_of_two_indexes_that_have_a_file_both_are_asked(world: World) -> None:
    """Two locks have it from one each."""
    wheel = world.pages["w1"][0].write(world.root.parent)
    other, url = f"{world.upstream.url}/other", f"{world.upstream.url}/files/{wheel.path.name}"
    row = PypiRow(written=wheel, index=other, url=url)
    environment = EnvironmentRows(platforms=(PlatformRows(name=LINUX, rows=(row,)),))
    write_lock(world.root / "other.lock", (environment,))
    page = world.upstream.folder / "other" / "w1" / "index.html"
    page.parent.mkdir(parents=True)
    page.write_text(f'<a href="{url}#sha256={wheel.sha256}">w1</a>')
    locks = ("--locks", "other.lock")
    assert "5 artifacts asked for: all as locked" in world.run(*locks)[0]
    page.write_text(f'<a href="{url}#sha256={wheel.sha256}" data-yanked="bad">w1</a>')
    assert "5 artifacts asked for: 1 yanked\n" in world.run(*locks)[0]
    page.write_text('<a href="w1-0.9-py3-none-any.whl">w1</a>')
    (found,) = world.document(*locks, code=ExitCode.FINDINGS)["withdrawn"]
    assert (found["name"], found["source"]) == ("w1", other)
    world.pages["w1"] = [TinyWheel(name="w1", version="0.9")]  # now neither has it
    world.publish_pages()
    found = world.document(*locks, code=ExitCode.FINDINGS)["withdrawn"]
    own = f"{world.upstream.url}/simple"
    assert [each["source"] for each in found] == [own, other]
    assert world.document(*locks, "--only", "w", code=ExitCode.FINDINGS)["withdrawn"] == found[:1]
    told = world.run(*locks, code=ExitCode.FINDINGS)[0]
    assert told.startswith("upstream: 5 artifacts asked for: 1 withdrawn\n"), "it is one artifact"
    world.upstream.always("*/w1/*", status(500))
    told = world.run(*locks, code=ExitCode.NETWORK)[0]
    assert told == "upstream: 5 artifacts asked for: 1 not known\n"


def test_of_one_lock_alone(world: World) -> None:
    world.publish(CONDA[0], CONDA[2])
    other = world.root / "other"
    other.mkdir()
    text = MANIFEST.format(channel=world.channel, index=world.index_url)
    text = text.partition("[dependencies]")[0].replace('name = "w"', 'name = "o"')
    (other / "pixi.toml").write_text(f'{text}[dependencies]\nb = "*"\n', encoding="utf-8")
    row = LockRow(written=CONDA[2].write(other.parent.parent), channel=world.channel)
    platform = PlatformRows(name=LINUX, rows=(row,))
    write_lock(other / "pixi.lock", (EnvironmentRows(platforms=(platform,)),))
    said = "upstream: 1 artifact asked for: all as locked, nothing newer within the manifest\n"
    assert world.run("--locks", "other/pixi.lock", "--only", "o")[0] == said
    assert world.document("--locks", "other/pixi.lock", code=ExitCode.FINDINGS)["asked"] == 5


def test_the_help_is_that_for_the_lock_that_names_it(world: World) -> None:
    other = world.root / "other"
    other.mkdir()
    text = MANIFEST.format(channel=world.channel, index=world.index_url)
    (other / "pixi.toml").write_text(text.replace('name = "w"', 'name = "o"'), encoding="utf-8")
    gone = [TinyPackage(name=each) for each in ("alone", "far")]
    rows = [LockRow(written=x.write(other.parent.parent), channel=world.channel) for x in gone]
    both = LockRow(written=CONDA[2].write(other.parent.parent), channel=world.channel)
    public = f"{world.upstream.url}/ch"
    for folder, own in ((other, (rows[0], both)), (world.upstream.folder, (rows[1],))):
        platform = PlatformRows(name=LINUX, rows=own)
        environment = EnvironmentRows(platforms=(platform,), channels=(world.channel,))
        write_lock(folder / "pixi.lock", (environment,))
    remote = f"{world.upstream.url}/pixi.lock"
    locks = ("--locks", f"other/pixi.lock,{remote}")
    assert fetch.main(["--manifest-path", str(world.root), "-q", "--dry-run", *locks]) == 0
    world.publish(CONDA[0])
    _, err = world.run(*locks, code=ExitCode.FINDINGS)
    update = f"pixi update --manifest-path {quoted(str(other))}"
    stays = " moves on; what is in the mirror stays as it is\n"
    for path, label, help_line in (
        ("linux-64/a-1.0-0.conda", "w", "pixi run update-mirror"),  # the control
        ("noarch/b-1.0-0.conda", "w, o", f"{update}, then pixi run update-mirror"),
        ("noarch/alone-1.0-0.conda", "o", f"{update}, then pixi run mirror"),
        (
            "noarch/far-1.0-0.conda",
            remote,
            f"have {remote} updated where it is kept, then pixi run mirror",
        ),
    ):
        assert (
            f"error: {path}: is withdrawn: upstream no longer has it\n"
            f"  from       {public}\n  locked in  {label}\nhelp: {help_line}{stays}"
        ) in err
    world.publish(*CONDA, *(replace(each, padding=9) for each in gone))
    _, err = world.run(*locks, "--only", "o", code=ExitCode.FINDINGS)
    assert "locked in" not in err
    assert f"help: ask its keeper why; {update}, then pixi run mirror locks what is there" in err
