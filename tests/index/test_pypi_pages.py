"""The pages of PyPI packages: what is on them, when they change, and what is refused."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from scripts.core.errors import ExitCode, MirrorError
from scripts.index import distribution
from tasks import index, verify
from tasks import mirror as mirror_task
from tests.support import archives
from tests.support.archives import Member
from tests.support.mirrors import Mirror, make_mirror, rows
from tests.support.packages import TinyPackage
from tests.support.wheels import PypiRow, TinySdist, TinyWheel

FILES = "_pypi/files/files.example.org/packages"
NAMES = ("index.html", "index.v1_json")
INDEX = "https://pypi.example.org/simple"
SIMPLE = "_pypi/simple/pypi.example.org/simple"
PAGE = """<!DOCTYPE html>
<html>
<head>
<meta name="pypi:repository-version" content="1.1">
<title>Links for {name}</title>
</head>
<body>
{links}</body>
</html>
"""


@pytest.fixture
def mirror(tmp_path: Path) -> Mirror:
    return make_mirror(tmp_path / "w")


def row(folder: Path, package: TinyWheel | TinySdist, **fields: str | None) -> PypiRow:
    return replace(PypiRow(written=package.write(folder)), **fields)  # type: ignore[arg-type]


def place(each: PypiRow) -> str:
    """Where the file of an index's row is."""
    sha256 = each.written.sha256
    return f"{FILES}/{sha256[:2]}/{sha256[2:4]}/{sha256[4:]}/{each.written.path.name}"


def pages(mirror: Mirror) -> dict[str, bytes]:
    """Read all that is of PyPI but for the wheels and sdists themselves."""
    return {
        name: data
        for name, data in mirror.contents().items()
        if name.startswith("_pypi/") and not name.endswith((".whl", ".gz"))
    }


def test_a_fragment_of_a_row_is_no_part_of_its_link(mirror: Mirror, tmp_path: Path) -> None:
    """Of a `find-links` page pixi may lock one."""
    one = row(tmp_path, TinyWheel(name="tiny"))
    mirror.lock([replace(one, url=f"{one.file_url}#sha256={one.written.sha256}")])
    mirror.index()
    link = f'<a href="{one.file_url}#sha256={one.written.sha256}" '
    assert link in pages(mirror)[f"{SIMPLE}/tiny/index.html"].decode()


def test_both_views_and_the_metadata_beside_the_wheel(mirror: Mirror, tmp_path: Path) -> None:
    wheel = TinyWheel(
        name="Tiny.Local",
        version="1!1.0+own.1",
        requires_dist=('x<2 ; extra == "a&b"',),
        requires_python=">=3.8,<4",
    )
    one = row(tmp_path, wheel)
    mirror.lock([one, *rows(tmp_path, (TinyPackage(name="numpy", purls=("pkg:pypi/NumPy",)),))])
    report = mirror.index()
    assert report.lines[0] == "indexed: 1 record in 1 subdir; 1 file of 1 PyPI project"
    metadata, sha256 = wheel.metadata_text.encode(), one.written.sha256
    said = f'data-core-metadata="sha256={hashlib.sha256(metadata).hexdigest()}"'
    python, name = 'data-requires-python="&gt;=3.8,&lt;4"', wheel.file_name
    relative = place(one).removeprefix("_pypi/")
    found = pages(mirror)
    assert found[f"{place(one)}.metadata"] == metadata
    assert found["_pypi/index/tiny-local/index.html"].decode() == PAGE.format(
        name="tiny-local",
        links=f'<a href="../../{relative}#sha256={sha256}" {python} {said}>{name}</a><br>\n',
    )
    assert found[f"{SIMPLE}/tiny-local/index.html"].decode() == PAGE.format(
        name="tiny-local",
        links=f'<a href="{one.file_url}#sha256={sha256}" {python} {said}>{name}</a><br>\n',
    )
    assert b'<a href="tiny-local/">tiny-local</a>' in found[f"{SIMPLE}/index.html"]
    assert json.loads(found["_pypi/mapping/compressed-v0/compressed_mapping.json"]) == {
        "numpy": "NumPy"
    }
    assert json.loads(found[f"{SIMPLE}/tiny-local/index.v1_json"]) == {
        "meta": {"api-version": "1.1"},
        "name": "tiny-local",
        "versions": ["1!1.0+own.1"],
        "files": [
            {
                "filename": name,
                "url": one.file_url,
                "hashes": {"sha256": sha256},
                "size": one.written.size,
                "requires-python": ">=3.8,<4",
                "core-metadata": {"sha256": hashlib.sha256(metadata).hexdigest()},
            }
        ],
    }


def test_a_fragment_that_may_be_a_secret_is_nowhere(mirror: Mirror, tmp_path: Path) -> None:
    """One that is known to be none stays, for the second place that it means."""
    packages = {"secret": "egg=x&token=word", "plain": "egg=x"}
    for name, fragment in packages.items():
        one = row(tmp_path, TinyWheel(name=name), index="https://h/simple")
        mirror.lock([replace(one, url=f"https://h/{one.written.path.name}#{fragment}")])
        mirror.index()
    page = {x: mirror.contents()[f"_pypi/index/{x}/index.v1_json"] for x in packages}
    assert b'"url":"https://h/secret-1.0-py3-none-any.whl"}' in page["secret"]
    assert b'"url":"https://h/plain-1.0-py3-none-any.whl#egg=x"}' in page["plain"]
    assert [x for x, data in mirror.contents().items() if b"word" in data or "word" in x] == []


@pytest.mark.parametrize("lock_is", ["new", "renewed"])
def test_what_is_of_no_index_is_in_index_alone(
    lock_is: str, mirror: Mirror, tmp_path: Path
) -> None:
    """A direct URL, a file beside the lock, and a folder of `find-links`.

    Where pixi 0.77 renews a lock, it writes the default index for the first two.
    """
    wheels = [TinyWheel(name=f"tiny-{each}") for each in ("direct", "path", "linked")]
    direct, path, linked = (each.write(tmp_path) for each in wheels)
    (mirror.root / "wheels").mkdir()
    shutil.copy(path.path, mirror.root / "wheels")
    url = f"https://downloads.example.org/{direct.path.name}#sha256={direct.sha256}"
    mirror.lock(
        [
            PypiRow(written=direct, index=None, url=url),
            PypiRow(written=path, index=None, url=f"./wheels/{path.path.name}"),
            PypiRow(written=linked, index=tmp_path.as_uri(), url=linked.path.as_uri()),
        ]
    )
    lock = mirror.root / "pixi.lock"
    of_none = r"(- pypi: \W?(?:direct|\./wheels).*\n(?:  (?:name|version):.*\n)+)"
    text, count = re.subn(of_none, rf"\1  index: {INDEX}\n", lock.read_text(encoding="utf-8"))
    assert count == 2
    if lock_is == "renewed":
        lock.write_text(text, encoding="utf-8")
    mirror.index()
    found = pages(mirror)
    names = {name.split("/")[2] for name in found if name.startswith("_pypi/index/tiny")}
    assert names == {"tiny-direct", "tiny-path", "tiny-linked"}
    assert not any(name.startswith("_pypi/simple/") for name in found)
    again = f"_pypi/files/downloads.example.org/{direct.path.name}#sha256={direct.sha256}"
    assert again in mirror.contents()
    assert f"{direct.path.name}#sha256={direct.sha256}</a>" not in str(found)


def test_an_archive_is_what_is_in_the_folder_that_its_url_names(
    mirror: Mirror, tmp_path: Path
) -> None:
    """As a forge packs a repository; the project at its top is another one."""
    inside = {"": "top", "py/own/": "own", "py/other/": "other"}
    inside |= {"py/before/": "before", "py/zlast/": "zlast"}
    texts = {
        path: f'[project]\nname = "{name}"\nversion = "1.0"\n' for path, name in inside.items()
    }
    members = [Member(f"x-main/{x}pyproject.toml", y.encode()) for x, y in texts.items()]
    archive = tmp_path / "main.tar.gz"
    archive.write_bytes(gzip.compress(archives.tar(members), mtime=0))
    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    written = replace(TinySdist(name="own").write(tmp_path), path=archive)
    options = ["--manifest-path", str(mirror.root), "--strict", "-q"]

    def lock(fragment: str, *others: PypiRow) -> None:
        url = f"https://forge.example.org/x/main.tar.gz#{fragment}&sha256={sha256}"
        mirror.lock([PypiRow(written=written, index=None, url=url), *others])

    # Two of its projects: pixi has each by its URL.
    for name in ("before", "zlast"):
        url = f"https://forge.example.org/x/main.tar.gz#subdirectory=py/{name}&sha256={sha256}"
        other = replace(TinySdist(name=name).write(tmp_path), path=archive)
        lock("subdirectory=py/own", PypiRow(written=other, index=None, url=url))
        assert index.main(options[:-2]) == 0
        assert verify.main([*options, "--level", "files,archives,index"]) == 0
    lock("subdirectory=py/own")
    assert index.main(options[:-2]) == 0
    assert verify.main([*options, "--level", "files,archives,index"]) == 0
    assert mirror.prune("--now") == 0
    assert [x for x in mirror.contents() if x.startswith("_pypi/files/")] == [
        "_pypi/files/forge.example.org/x/main.tar.gz",
        f"_pypi/files/forge.example.org/x/main.tar.gz#subdirectory=py/own&sha256={sha256}",
    ]
    # Controls: what is at its top, and in another folder.
    for fragment in ("egg=own", "subdirectory=py/other"):
        lock(fragment)
        with pytest.raises(MirrorError, match=r"is another package than pixi\.lock says"):
            mirror.index()


def test_an_index_that_has_its_files_below_has_its_pages_there_too(
    mirror: Mirror, tmp_path: Path
) -> None:
    """One key of `[mirrors]` is for all below a URL (as that of download.pytorch.org/whl/cpu)."""
    index_url = "https://whl.example.org/cpu"
    wheel = TinyWheel(name="tiny-torch").write(tmp_path)
    mirror.lock([PypiRow(written=wheel, index=index_url, url=f"{index_url}/{wheel.path.name}")])
    mirror.index()
    found = pages(mirror)
    for name in ("index.html", "tiny-torch/index.html", "tiny-torch/index.v1_json"):
        beside, own = (f"_pypi/{each}/whl.example.org/cpu/{name}" for each in ("files", "simple"))
        assert found[beside] == found[own]
    link = f'<a href="{index_url}/{wheel.path.name}#sha256={wheel.sha256}"'
    assert link in found["_pypi/files/whl.example.org/cpu/index.html"].decode()
    options = ["--manifest-path", str(mirror.root), "--strict", "--level", "files,index", "-q"]
    assert verify.main(options) == 0
    page = mirror.folder / "_pypi/files/whl.example.org/cpu/tiny-torch/index.html"
    page.write_bytes(page.read_bytes().replace(wheel.sha256.encode(), b"0" * 64))
    assert verify.main(options) == 1
    # Of what is retained, too.
    mirror.lock([row(tmp_path, TinyWheel(name="tiny"))])
    mirror.index()
    assert verify.main(options) == 0
    for damage in (lambda: page.write_bytes(b"no page"), page.unlink):
        damage()
        assert verify.main(options) == 1
        mirror.index()
        assert verify.main(options) == 0


@pytest.mark.parametrize("page_name", ["torch+cpu.html", "index.html"])
@pytest.mark.parametrize("has_files", [True, False])
def test_a_page_of_find_links_is_there_whatever_is_from_it(
    mirror: Mirror, tmp_path: Path, page_name: str, *, has_files: bool
) -> None:
    """Pixi reads it for each install, also with `--frozen`, by a key of `[mirrors]` for the host.

    Its files may be in another folder (as those of data.pyg.org/whl/torch-2.0.0+cpu.html).
    """
    links, wheel = f"https://whl.example.org/{page_name}", TinyWheel(name="tiny-geometric")
    url = f"https://whl.example.org/cpu/{wheel.file_name}"
    one, two = row(tmp_path, TinyWheel(name="tiny")), row(tmp_path, wheel, index=links, url=url)
    mirror.lock([one, *([two] if has_files else [])])
    lock = mirror.root / "pixi.lock"
    text = lock.read_text(encoding="utf-8").replace(f"    - {links}\n", "")
    pages_of = f"    find-links:\n    - url: {links}\n    packages:\n"
    lock.write_text(text.replace("    packages:\n", pages_of), encoding="utf-8")
    mirror.index()
    found = pages(mirror)
    link = f'<a href="{url}#sha256={two.written.sha256}"'
    options = ["--manifest-path", str(mirror.root), "--strict", "--level", "files,index", "-q"]
    for root in ("files", "simple"):
        name = f"_pypi/{root}/whl.example.org/{page_name}/index.html"
        assert (link in found[name].decode()) == has_files
        assert verify.main(options) == 0
        page = mirror.folder / name
        page.unlink()
        assert verify.main(options) == 1
        mirror.index()
        page.write_text(f'{page.read_text(encoding="utf-8")}<a href="https://h/x.whl">x</a>')
        assert verify.main(options) == 1
        mirror.index()
        whole = page.read_text(encoding="utf-8")
        page.write_text(re.sub("<a .*</a>", "", whole), encoding="utf-8")
        assert verify.main(options) == has_files
        mirror.index()
    # Nor is it right while it waits for its removal.
    with_links = lock.read_text(encoding="utf-8")
    lock.write_text(text, encoding="utf-8")
    mirror.index()
    lock.write_text(with_links, encoding="utf-8")
    assert verify.main(options) == 1
    mirror.index()
    assert verify.main(options) == 0
    states = mirror.states()
    mirror.index()
    assert mirror.states() == states


def test_a_page_of_find_links_stays_for_who_shares_the_channel(tmp_path: Path) -> None:
    one, two = (
        make_mirror(tmp_path / name, name=name, settings='channel-dir = "../common"\n')
        for name in ("one", "two")
    )
    one.lock([row(tmp_path, TinyWheel(name="tiny"))])
    lock = one.root / "pixi.lock"
    text = lock.read_text(encoding="utf-8")
    pages_of = "    find-links:\n    - url: https://whl.example.org/a.html\n    packages:\n"
    lock.write_text(text.replace("    packages:\n", pages_of), encoding="utf-8")
    one.index()
    two.lock([row(tmp_path, TinyWheel(name="tiny-other"))])
    two.index()
    states = one.states()
    assert "_pypi/files/whl.example.org/a.html/index.html" in states
    assert one.waiting() == []
    options = ["--manifest-path", str(one.root), "--strict", "--level", "files,index", "-q"]
    assert verify.main(options) == 0
    for each in (one, two):
        each.index()
        assert one.states() == states
    # The control: nobody's lock has it any more.
    lock.write_text(text, encoding="utf-8")
    one.index()
    assert "_pypi/files/whl.example.org/a.html/index.html" in one.waiting()


def test_a_page_of_find_links_that_no_folder_can_be_named_after(
    mirror: Mirror, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is an error, but where no PyPI package is mirrored."""
    mirror.lock([row(tmp_path, TinyWheel(name="tiny"))])
    lock = mirror.root / "pixi.lock"
    pages_of = "    find-links:\n    - url: https://whl.example.org/a:b\n    packages:\n"
    text = lock.read_text(encoding="utf-8").replace("    packages:\n", pages_of)
    lock.write_text(text, encoding="utf-8")
    options = ["--manifest-path", str(mirror.root), "-q"]
    assert index.main(options) == 2
    assert "https://whl.example.org/a:b: this index has a path of" in capsys.readouterr().err
    manifest = mirror.root / "pixi.toml"
    text = manifest.read_text(encoding="utf-8")
    without = text.replace("[tool.pixi-mirror]", "[tool.pixi-mirror]\npypi = false")
    manifest.write_text(without, encoding="utf-8")
    assert index.main(options) == 0


@pytest.mark.parametrize("is_told", [True, False])
def test_one_name_with_other_bytes_from_another_index_is_told(
    mirror: Mirror, tmp_path: Path, capsys: pytest.CaptureFixture[str], *, is_told: bool
) -> None:
    """Kept from before, too. pixi, led to the pages of each index, is right: nothing fails."""
    other = "https://me:word@other.example.org/simple"
    url = "https://other.example.org/files/tiny_b-1.0-py3-none-any.whl"
    ours = TinyWheel(name="tiny-b", files=(("tiny_b.py", b"OURS = 1\n"),))
    one = row(tmp_path / "one", TinyWheel(name="tiny-b"))
    both = [one, row(tmp_path / "two", ours, index=other, url=url)]
    if not is_told:  # the controls: the same bytes from both, and another version
        newer = row(tmp_path, replace(ours, version="2.0"))
        both = [one, replace(one, index=other, url=url), newer]
    text = (
        "_pypi/index/tiny-b has tiny_b-1.0-py3-none-any.whl with different bytes, from"
        " https://other.example.org/simple, https://pypi.example.org/simple: without a"
        " hash, pip and uv may take either there, and so may pixi where it locks from it"
    )
    where, report = ["--manifest-path", str(mirror.root)], tmp_path / "report.md"
    for some in (both, both, [one]):  # the second time there is nothing to do
        mirror.lock([*some, *rows(tmp_path, (TinyPackage(name="lib"),))])
        capsys.readouterr()
        assert index.main(where) == 0
        assert (f"warning: {text}" in capsys.readouterr().out.splitlines()) == is_told
        assert verify.main([*where, "--level", "index", "--report", str(report)]) == 0
        assert (f"warning: {text}" in capsys.readouterr().out.splitlines()) == is_told
        for task, more in (verify, ["--level", "index"]), (index, []):
            assert task.main([*where, "--json", *more]) == 0
            assert json.loads(capsys.readouterr().out)["warnings"] == [text] * is_told
        said = report.read_text(encoding="utf-8")
        assert ("with different bytes" in said) == is_told
        assert "word@" not in said


@pytest.mark.parametrize("version", [4, 5, 6])
def test_before_version_7_the_index_is_that_of_the_environment(
    mirror: Mirror, tmp_path: Path, version: int
) -> None:
    """One that has several does not say which; a direct URL, with a digest or not, is of none."""
    one, two = (row(tmp_path, TinyWheel(name=f"tiny-{each}")) for each in ("one", "two"))
    url = f"https://h/tiny_url-1.0-py3-none-any.whl#sha256={'0' * 64}"
    direct = row(tmp_path, TinyWheel(name="tiny-url"), index=None)
    direct = replace(direct, url=url.replace("0" * 64, direct.written.sha256))
    mirror.lock([one, direct], version)
    mirror.index()
    assert f"{SIMPLE}/tiny-one/index.html" in pages(mirror)
    assert not any("/simple/" in each and "tiny-url" in each for each in pages(mirror))
    other = "https://other.example.org/simple"
    mirror.lock([one, replace(two, index=other), direct], version)
    assert {each.upstream for each in mirror.selection.pypi_artifacts} == {None}
    # pixi asks any of them for what an sdist is built with.
    mirror.index()
    for folder in (SIMPLE, other.replace("https://", "_pypi/simple/")):
        for name in ("tiny-one", "tiny-two"):
            assert f"{folder}/{name}/index.html" in pages(mirror)
    assert not any("/simple/" in each and "tiny-url" in each for each in pages(mirror))
    options = ["--manifest-path", str(mirror.root), "--level", "files,index", "-q"]
    assert verify.main(options) == 0
    (mirror.folder / SIMPLE / "tiny-two/index.html").unlink()  # the control
    assert verify.main(options) == 1


def test_without_indexes_an_old_lock_is_of_pypi(mirror: Mirror, tmp_path: Path) -> None:
    """As pixi has it, which asks that alone for what an sdist is built with."""
    mirror.lock([row(tmp_path, TinyWheel(name="tiny-one"))], 4)
    lock, page = mirror.root / "pixi.lock", "_pypi/simple/pypi.org/simple/tiny-one/index.html"
    mirror.index()
    assert page not in pages(mirror), "the control: the lock names another"
    text = lock.read_text(encoding="utf-8")
    lock.write_text(re.sub("    indexes:\n    - .*\n", "", text), encoding="utf-8")
    mirror.index()
    assert page in pages(mirror)


def test_unchanged_rows_are_unchanged_pages(mirror: Mirror, tmp_path: Path) -> None:
    one, two = (row(tmp_path, TinyWheel(name=f"tiny-{each}")) for each in ("one", "two"))
    mirror.lock([one])
    mirror.index()
    before = mirror.states()
    report = mirror.index()
    assert report.data["changed"] is False
    assert report.lines[0] == "index is up to date: 0 records in 1 subdir; 1 file of 1 PyPI project"
    assert mirror.states() == before
    mirror.lock([one, two])
    mirror.index()
    after = mirror.states()
    changed = {name for name in before if after[name] != before[name]}
    assert changed == {f"{each}/{name}" for each in ("_pypi/index", SIMPLE) for name in NAMES}


def test_no_wheel_is_opened_twice(
    mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = (row(tmp_path, TinyWheel(name=f"tiny-{each}")) for each in ("one", "two"))
    mirror.lock([one])
    mirror.index()
    opened: list[str] = []
    reading = distribution.read_distribution

    def counting(file: Path, *location: str) -> distribution.Distribution:
        opened.append(file.name)
        return reading(file, *location)

    monkeypatch.setattr(distribution, "read_distribution", counting)
    mirror.lock([one, two])
    mirror.index()
    assert opened == [two.written.path.name]


@pytest.mark.parametrize("damage", [*NAMES, "metadata"])
def test_a_damaged_index_file_is_written_anew(mirror: Mirror, tmp_path: Path, damage: str) -> None:
    one = row(tmp_path, TinyWheel(name="tiny"))
    mirror.lock([one])
    mirror.index()
    before = mirror.contents()
    name = f"{place(one)}.metadata" if damage == "metadata" else f"_pypi/index/tiny/{damage}"
    (mirror.folder / name).write_bytes(b"{")
    mirror.index()
    assert mirror.contents() == before


def test_what_no_lock_names_stays_until_it_is_pruned(mirror: Mirror, tmp_path: Path) -> None:
    old, new = (row(tmp_path, TinyWheel(name="tiny", version=each)) for each in ("1.0", "2.0"))
    gone = row(tmp_path, TinySdist(name="gone"))
    mirror.lock([old, gone])
    mirror.index()
    mirror.lock([new])
    report = mirror.index()
    assert report.data["retained"] == [
        {"path": place(each), "size": each.written.size} for each in sorted((old, gone), key=place)
    ]
    assert "retained (indexed, in no lock): 2 artifacts" in report.lines[1]
    page = pages(mirror)[f"{SIMPLE}/tiny/index.html"].decode()
    assert [page.count(f"tiny-{each}-py3") for each in ("1.0", "2.0")] == [2, 2]
    assert verify.main(["--manifest-path", str(mirror.root), "--strict", "-q"]) == 0
    assert mirror.prune() == 0
    page = pages(mirror)[f"{SIMPLE}/tiny/index.html"].decode()
    assert [page.count(f"tiny-{each}-py3") for each in ("1.0", "2.0")] == [0, 2]
    waiting = {
        place(old),
        f"{place(old)}.metadata",
        place(gone),
        *(f"{each}/gone/{name}" for each in ("_pypi/index", SIMPLE) for name in NAMES),
    }
    assert set(mirror.waiting()) == waiting
    assert waiting <= mirror.contents().keys()  # a client at work finds what its page named
    mirror.let_grace_pass()
    assert mirror.prune() == 0
    assert not waiting & mirror.contents().keys()
    assert not (mirror.folder / "_pypi/index/gone").exists()
    assert verify.main(["--manifest-path", str(mirror.root), "--strict", "-q"]) == 0


@pytest.mark.parametrize("becomes", ["other bytes", "without a fragment", "dropped", "as it was"])
def test_a_second_place_that_no_page_names_waits_for_its_removal(
    becomes: str, tmp_path: Path
) -> None:
    """A direct URL whose file was uploaded anew or dropped, or whose fragment was left out."""
    mirror = make_mirror(tmp_path / "w", settings="allow-unhashed = true\n")
    wheels = TinyWheel(name="tiny"), TinyWheel(name="tiny", files=(("tiny.py", b"anew"),))
    one, other = (each.write(tmp_path / str(at)) for at, each in enumerate(wheels))
    url = f"https://h/{one.path.name}"
    mirror.lock([PypiRow(written=one, index=None, url=f"{url}#sha256={one.sha256}")])
    mirror.index()
    written = other if becomes == "other bytes" else one
    if becomes == "dropped":
        mirror.lock([])
        mirror.index()
        assert mirror.prune("--drop", f"_pypi/files/h/{one.path.name}") == 0
    elif becomes != "as it was":
        fragment = f"#sha256={other.sha256}" if becomes == "other bytes" else ""
        (mirror.folder / "_pypi/files/h" / one.path.name).unlink()  # `fetch` replaces it
        mirror.lock([PypiRow(written=written, index=None, url=f"{url}{fragment}")])
    assert mirror.index().data["untracked"] == []
    assert mirror.index().data["changed"] is False
    second = f"_pypi/files/h/{one.path.name}#sha256={one.sha256}"
    assert (second in mirror.waiting()) == (becomes != "as it was")
    assert mirror.prune("--now") == 0
    assert (second in mirror.contents()) == (becomes == "as it was")
    assert verify.main(["--manifest-path", str(mirror.root), "--strict", "--level", "files"]) == 0


@pytest.mark.parametrize("has_fragment", [False, True])
def test_a_second_place_of_a_file_that_another_workspace_names_too(
    tmp_path: Path, *, has_fragment: bool
) -> None:
    """Whose pages are those of the new lock already. The control: it names the second place."""
    shared = f'channel-dir = "{(tmp_path / "channel").as_posix()}"\nallow-unhashed = true\n'
    ours, theirs = (make_mirror(tmp_path / x, name=x, settings=shared) for x in ("ours", "theirs"))
    wheel = TinyWheel(name="tiny").write(tmp_path)
    urls = (f"https://h/{wheel.path.name}{x}" for x in ("", f"#sha256={wheel.sha256}"))
    plain, direct = (PypiRow(written=wheel, index=None, url=url) for url in urls)
    for each, named in ((ours, direct), (theirs, direct if has_fragment else plain), (ours, plain)):
        each.lock([named])
        assert each.index().data["untracked"] == []
    second = f"_pypi/files/h/{wheel.path.name}#sha256={wheel.sha256}"
    assert ours.waiting() == ([] if has_fragment else [second])
    assert ours.prune("--now") == 0
    assert (second in ours.contents()) == has_fragment
    for each in (ours, theirs):
        assert verify.main(["--manifest-path", str(each.root), "--strict", "--level", "files"]) == 0


def test_a_page_that_a_lock_needs_and_that_waits_for_its_removal_is_found(
    mirror: Mirror, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is there as it has to be, until the next `prune`; as after `rollback`."""
    old, new = (row(tmp_path, TinyWheel(name=each)) for each in ("old", "new"))
    check = ["--manifest-path", str(mirror.root), "-q", "--level", "index"]
    for rows_ in ([old, new], [new]):
        mirror.lock(rows_)
        mirror.index()
    assert mirror.prune() == 0
    assert verify.main(check) == 0  # the control: nobody needs it
    mirror.lock([old, new])
    capsys.readouterr()
    assert verify.main(check) == 1
    err = capsys.readouterr().err
    waiting = sorted(each for each in mirror.waiting() if each.endswith(NAMES))
    said = "these 4 have the same problem: waits for its removal, and a lock needs it"
    unlisted = "error: _pypi/index/index.v1_json: does not name old\nhelp: pixi run index\n"
    assert err.startswith(f"{unlisted}error: {said}\n  first  {waiting[0]}\n")
    assert all(each in err for each in waiting)
    mirror.index()
    assert verify.main(check) == 0


@pytest.mark.parametrize("gone", [None, "index.v1_json"])
def test_pages_of_what_nobody_names_fail_no_proof_while_they_wait(
    gone: str | None, mirror: Mirror, tmp_path: Path
) -> None:
    """They were pruned; or the page is gone that said of the file what no lock says."""
    old, new = (row(tmp_path, TinyWheel(name=each)) for each in ("old", "new"))
    mirror.lock([old, new])
    mirror.index()
    mirror.lock([new])
    mirror.index()
    check = ["--manifest-path", str(mirror.root), "-q", "--level", "index"]
    if gone is None:
        assert mirror.prune() == 0
    else:
        (mirror.folder / "_pypi/index/old" / gone).unlink()
        assert verify.main(check) == ExitCode.FINDINGS
        mirror.index()
    assert f"{SIMPLE}/old/index.html" in mirror.waiting()
    assert f"{SIMPLE}/old/index.html" in mirror.contents()
    assert verify.main(check) == 0


def test_what_is_untracked_is_left_alone(
    mirror: Mirror, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mirror.lock([row(tmp_path, TinyWheel(name="tiny"))])
    mirror.index()
    stray = TinyWheel(name="stray").write(mirror.folder / "_pypi/files/somewhere")
    where, path = ["--manifest-path", str(mirror.root)], "_pypi/files/somewhere/" + stray.path.name
    capsys.readouterr()
    assert verify.main([*where, "--strict", "--level", "files", "-q"]) == 1
    assert f"error: {path}: is untracked" in capsys.readouterr().err
    assert mirror.index().data["untracked"] == [path]
    assert mirror.prune() == 0
    assert stray.path.exists()
    assert mirror.prune("--drop", path, "--now") == 0
    assert not stray.path.exists()


def test_metadata_whose_description_is_no_text(mirror: Mirror, tmp_path: Path) -> None:
    """The module of packaging before 26.3 ends with an AssertionError for it."""
    head = b"Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n"
    kind = b"Content-Type: multipart/mixed; boundary=x\n\n--x\n\nName: other\n--x--\n"
    mirror.lock([row(tmp_path, TinyWheel(name="tiny", metadata=head + kind))])
    mirror.index()
    assert "_pypi/index/tiny/index.html" in pages(mirror)


def test_another_package_than_the_lock_says_is_refused(mirror: Mirror, tmp_path: Path) -> None:
    wheel = TinyWheel(name="tiny", metadata=b"Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    one = row(tmp_path, wheel)
    mirror.lock([one])
    with pytest.raises(MirrorError) as raised:
        mirror.index()
    [problem] = raised.value.problems
    assert (problem.subject, problem.code) == (place(one), ExitCode.FINDINGS)
    assert problem.message == "is another package than pixi.lock says"
    assert problem.details[:2] == (("expected", "tiny 1.0"), ("actual", "other 1.0"))
    assert pages(mirror) == {}


def test_what_nobody_can_open_is_refused(mirror: Mirror, tmp_path: Path) -> None:
    good, bad = (TinyWheel(name=each).write(tmp_path) for each in ("good", "bad"))
    bad.path.write_bytes(b"no zip")
    written = replace(bad, sha256=hashlib.sha256(b"no zip").hexdigest(), size=6)
    mirror.lock([PypiRow(written=good), PypiRow(written=written)])
    with pytest.raises(MirrorError) as raised:
        mirror.index()
    [problem] = raised.value.problems
    assert problem.subject == place(PypiRow(written=written))
    assert problem.message == "is no sound wheel"
    assert pages(mirror) == {}


@pytest.mark.parametrize("of_conda", [True, False])
def test_what_the_disk_has_damaged_is_no_fault_of_upstream(
    *, of_conda: bool, mirror: Mirror, tmp_path: Path
) -> None:
    """Control: the test before, where upstream has published these bytes."""
    wheel = row(tmp_path, TinyWheel(name="tiny"))
    (conda,) = rows(tmp_path, (TinyPackage(name="a"),))
    mirror.lock([wheel, conda])
    mirror.index()
    path = "noarch/a-1.0-0.conda" if of_conda else place(wheel)
    file, written = mirror.folder / path, conda.written if of_conda else wheel.written
    assert written.sha256 is not None
    file.unlink()
    file.write_bytes(b"\0" * written.size)
    (mirror.folder / "noarch/repodata.json").unlink()
    (mirror.folder / "_pypi/index/tiny/index.html").unlink()
    with pytest.raises(MirrorError) as raised:
        mirror.index()
    actual = hashlib.sha256(b"\0" * written.size).hexdigest()
    assert str(raised.value) == (
        f"{path}: sha256 differs from pixi.lock\n"
        f"  expected  {written.sha256}\n  actual    {actual}\nhelp: pixi run fetch"
    )


def test_a_missing_file_is_refused(
    mirror: Mirror, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = row(tmp_path, TinyWheel(name="tiny"))
    mirror.lock([one])
    (mirror.folder / place(one)).unlink()
    assert index.main(["--manifest-path", str(mirror.root)]) == 2
    assert capsys.readouterr().err.endswith(
        f"error: {place(one)}: is not in the channel folder\nhelp: pixi run fetch\n"
    )


def test_no_secret_is_in_a_page_or_path(mirror: Mirror, tmp_path: Path) -> None:
    index_url = "https://me:hunter2@pypi.example.org/simple"
    mirror.lock([row(tmp_path, TinyWheel(name="tiny"), index=index_url)])
    mirror.index()
    found = pages(mirror)
    assert f"{SIMPLE}/tiny/index.html" in found
    assert not any("hunter2" in name or b"hunter2" in data for name, data in found.items())


@pytest.mark.parametrize(
    ("one", "other", "folder"),
    [
        ("https://h.org/simple", "http://h.org/simple", "h.org/simple"),
        ("https://h.org/simple", "https://h.org", "h.org/simple"),
    ],
)
def test_two_indexes_in_one_place_are_refused(
    mirror: Mirror, tmp_path: Path, one: str, other: str, folder: str
) -> None:
    named = TinyWheel(name="simple" if other.endswith("org") else "b")
    first = row(tmp_path, TinyWheel(name="a"), index=one)
    second = row(tmp_path, named, index=other)
    with pytest.raises(MirrorError) as raised:
        mirror.lock([first, second])
    [problem] = raised.value.problems
    assert problem.message == "would have its pages where those of another index are"
    assert {problem.subject, problem.details[0][1]} == {f"{one}/", f"{other}/"}
    assert [name for name, _ in problem.details] == ["other", "folder"]
    assert problem.details[1][1] == folder
    assert problem.help == (
        "write both as one URL in the manifest, then `pixi lock`; or mirror them in two workspaces"
    )
    assert problem.code is ExitCode.USAGE


@pytest.mark.parametrize("name", ["caf\u00e9", "a:b", "aux"])
def test_an_index_that_no_folder_can_be_named_after(
    mirror: Mirror, tmp_path: Path, name: str
) -> None:
    with pytest.raises(MirrorError) as raised:
        mirror.lock(
            [row(tmp_path, TinyWheel(name="a"), index=f"https://me:pw@h.org/{name}/simple")]
        )
    assert {each.code for each in raised.value.problems} == {ExitCode.USAGE}
    assert str(raised.value) == (
        f"https://********@h.org/{name}/simple: this index has a path of which not every part can"
        " be a folder's name\n"
        "help: write another URL of it in the manifest, then `pixi lock`; or take --no-pypi"
    )


@pytest.mark.parametrize(
    "taken",
    ["packages/a-1.0-py3-none-any.whl.metadata", "simple/a/index.html", "simple/index.v1_json"],
)
def test_a_file_where_metadata_or_a_page_goes_is_refused(
    mirror: Mirror, tmp_path: Path, taken: str
) -> None:
    index, files = "https://h.org/simple", "https://h.org/packages"
    one = row(tmp_path, TinyWheel(name="a"), index=index, url=f"{files}/a-1.0-py3-none-any.whl")
    other = row(tmp_path, TinyWheel(name="b"), index=index)
    mirror.lock([one, other])
    mirror.index()  # control
    name = other.written.path.name
    shutil.rmtree(mirror.folder / "_pypi")
    mirror.lock([one, replace(other, url=f"https://h.org/{taken}/{name}")])
    with pytest.raises(MirrorError) as raised:
        mirror.index()
    assert str(raised.value).startswith(
        f"_pypi/files/h.org/{taken}: a folder is where a file must go\n"
    )


def test_what_another_workspace_names_stays_on_the_pages(tmp_path: Path) -> None:
    """The same file from two indexes, in two workspaces that share a channel folder."""
    shared = f'channel-dir = "{(tmp_path / "channel").as_posix()}"\n'
    ours, theirs = (make_mirror(tmp_path / x, name=x, settings=shared) for x in ("ours", "theirs"))
    wheel, own = (TinyWheel(name=each).write(tmp_path) for each in ("both", "own"))
    url = PypiRow(written=wheel).file_url
    other = "https://proxy.example.org/simple"
    theirs.lock([PypiRow(written=wheel, index=other, url=url), PypiRow(written=own)])
    theirs.index()
    ours.lock([PypiRow(written=wheel)])
    report = ours.index()
    found = pages(ours)
    assert report.data["retained"] == []
    assert f"{SIMPLE}/both/index.html" in found
    assert "_pypi/simple/proxy.example.org/simple/both/index.html" in found
    assert f"{SIMPLE}/own/index.html" in found
    assert ours.prune() == 0
    assert pages(ours) == found


def test_names_that_only_another_workspace_says_stay(tmp_path: Path) -> None:
    """Pixi writes `purls` where an environment has PyPI packages, so not in each lock."""
    shared = f'channel-dir = "{(tmp_path / "channel").as_posix()}"\n'
    ours, theirs = (make_mirror(tmp_path / x, name=x, settings=shared) for x in ("ours", "theirs"))
    exports = (("weak", ("numpy >=1",)),)  # which pixi writes since version 7
    numpy = TinyPackage(name="numpy", purls=("pkg:pypi/NumPy",), run_exports=exports)
    said = rows(tmp_path, (numpy,))
    silent = replace(said[0], without=frozenset({"purls", "run_exports"}))
    theirs.lock([row(tmp_path, TinyWheel(name="own")), *said])
    theirs.index()
    before = theirs.contents()
    ours.lock([silent])
    ours.index()
    assert ours.contents() == before
    records = ours.repodata("noarch")["packages.conda"]
    assert records["numpy-1.0-0.conda"]["purls"] == ["pkg:pypi/NumPy"]
    assert records["numpy-1.0-0.conda"]["run_exports"] == {"weak": ["numpy >=1"]}
    mapping = "_pypi/mapping/compressed-v0/compressed_mapping.json"
    assert json.loads(before[mapping]) == {"numpy": "NumPy"}
    for each in (ours, theirs):
        assert verify.main(["--manifest-path", str(each.root), "--level", "index", "-q"]) == 0
    for each in (ours, theirs):
        manifest = each.root / "pixi.toml"
        manifest.write_text(manifest.read_text("utf-8").replace('"flat"', '"by-channel"'), "utf-8")
    options = ["--manifest-path", str(ours.root), "--relayout", "--level", "index", "-q"]
    assert mirror_task.main(options) == 0
    for each in (ours, theirs):
        assert verify.main(["--manifest-path", str(each.root), "--level", "index", "-q"]) == 0
    # Control: where the other one is no more, nobody says them.
    assert ours.prune("--forget", "theirs") == 0
    ours.lock([silent, *rows(tmp_path, (TinyPackage(name="more"),))])
    ours.index()
    records = ours.repodata("conda-forge/noarch")["packages.conda"]
    assert {"purls", "run_exports"}.isdisjoint(records["numpy-1.0-0.conda"])


def test_a_page_that_is_damaged_says_what_is_lost(
    mirror: Mirror, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = (row(tmp_path, TinyWheel(name="tiny", version=each)) for each in ("1.0", "2.0"))
    mirror.lock([old])
    mirror.index()
    mirror.lock([new])
    (mirror.folder / "_pypi/index/tiny/index.v1_json").write_bytes(b'{"files": [{}]}')
    capsys.readouterr()
    assert mirror.index().data["untracked"] == [place(old)]
    assert (
        "_pypi/index/tiny/index.v1_json: not a page of pixi-mirror (KeyError); what it said of"
        " files that the lock does not name is lost"
    ) in " ".join(capsys.readouterr().err.split())


def test_the_other_layout_has_them_at_the_same_places(mirror: Mirror, tmp_path: Path) -> None:
    one, old = (row(tmp_path, TinyWheel(name=each)) for each in ("tiny", "old"))
    conda = rows(tmp_path, (TinyPackage(name="a"),))
    mirror.lock([one, old, *conda])
    mirror.index()
    mirror.lock([one, *conda])
    mirror.index()
    before = {name: x for name, x in mirror.states().items() if name.startswith("_pypi/")}
    manifest = mirror.root / "pixi.toml"
    manifest.write_text(
        manifest.read_text(encoding="utf-8").replace('"flat"', '"by-channel"'), encoding="utf-8"
    )
    options = ["--manifest-path", str(mirror.root), "--relayout", "--level", "files,index", "-q"]
    assert mirror_task.main(options) == 0
    states = mirror.states()
    assert "conda-forge/noarch/a-1.0-0.conda" in states
    assert {name: x for name, x in states.items() if name.startswith("_pypi/")} == before
