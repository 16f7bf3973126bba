"""PyPI rows of a lock: which are mirrored, where each goes, and why another is left out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from scripts.core.artifact import ArtifactKind
from scripts.core.channel_paths import Layout, is_pypi_path
from scripts.core.channel_url import channel_folder, mirror_path_segments, names_folder
from scripts.core.errors import ExitCode, MirrorError
from scripts.lock.model import LockFile
from scripts.lock.read import parse_lock, read_lock
from scripts.lock.select import Selection, unmirrorable
from scripts.workspace.settings import IncompleteKind, Settings
from tests.core.test_channel_url import assert_harmless
from tests.support.locks import EnvironmentRows, LockRow, PlatformRows, RawRow, lock_text
from tests.support.mirrored import select
from tests.support.packages import TinyPackage
from tests.support.template import ROOT

CASE = ROOT / "tests" / "data" / "pypi"
VARIANTS = sorted(path.parent for path in CASE.glob("variants/*/pixi.lock"))
WHEEL = "x-1.0-py3-none-any.whl"
AT = f"https://h/{WHEEL}"
ONE, OTHER = "1" * 64, "2" * 64
GIT = "git+https://git.example.org/tiny-git.git?tag=v1.0#c3eb77c033a430185d953ea2e20517883f857a2e"
UNHASHED = "a PyPI package of which the lock has no hash (allow-unhashed takes it)"
NO_VERSION = "is not a version of a Python package (PEP 440)"
UNNAMED = "a PyPI package whose URL no file can be named after"


def row(location: str, *lines: str, name: str = "x", version: str = "1.0") -> RawRow:
    return RawRow(
        key="pypi",
        location=f"'{location}'",
        lines=(f"name: {name}", f"version: '{version}'", *lines),
    )


def hashed(location: str, sha256: str = ONE) -> RawRow:
    return row(location, f"sha256: {sha256}")


def lock(*rows: RawRow | LockRow, version: int = 7) -> LockFile:
    platforms = (PlatformRows(name="linux-64", rows=rows),)
    return parse_lock(lock_text((EnvironmentRows(platforms=platforms),), version), "pixi.lock")


def chosen(*rows: RawRow | LockRow, **given: Any) -> Selection:
    return select(lock(*rows), Settings(**given))


def places(selection: Selection) -> list[str]:
    return [str(artifact.path) for artifact in selection.pypi_artifacts]


def left_out(selection: Selection) -> dict[str, tuple[IncompleteKind | None, str]]:
    found = unmirrorable(selection.environments)
    return {row.location: (row.kind, row.reason) for row in found}


# ---- The workspace with every kind of row, locked by the real pixi -------------------------------

HASHED = {  # what an index, or a direct URL with a digest in it, has: place → kind
    "files.example.org/packages/{}/tiny_extras-1.0-py3-none-any.whl": "wheel",
    "files.example.org/packages/{}/tiny_pure-1.1-py3-none-any.whl": "wheel",
    "files.example.org/packages/{}/tiny_local-1.0+own.1-py3-none-any.whl": "wheel",
    "files.example.org/packages/{}/tiny_color-1.0-py3-none-any.whl": "wheel",
    "files.example.org/packages/{}/tiny_win-1.0-py3-none-any.whl": "wheel",
    "files.example.org/packages/{}/tiny_native-1.0-cp311-cp311-win_amd64.whl": "wheel",
    "files.example.org/packages/{}/tiny_native-1.0-cp311-cp311-macosx_11_0_arm64.whl": "wheel",
    "files.example.org/packages/{}/tiny_native-1.0-cp311-cp311-manylinux_2_17_x86_64"
    ".manylinux2014_x86_64.whl": "wheel",
    "files.example.org/packages/{}/tiny_sdist-1.0.tar.gz": "sdist",
    "files.example.org/packages/{}/tiny_selfbuilt-1.0.tar.gz": "sdist",
    "other.example.org/files/{}/tiny_elsewhere-1.0-py3-none-any.whl": "wheel",
    "downloads.example.org/dl/{}/tiny_url_sha-1.0-py3-none-any.whl": "wheel",
    "downloads.example.org/dl/{}/tiny_url_sha-1.0-py3-none-any.whl#sha256=093ad1a8db78454a39717684"
    "962935effcb70e1c8470acf05421eaa96f600a1b": "wheel",
    "local/sdists/tiny_path_sdist-1.0.tar.gz": "sdist",
    "local/wheels/tiny_path-1.0-py3-none-any.whl": "wheel",
}
PROJECT = {
    "./tiny-editable": (None, "part of the project"),
    "./tiny-folder": (None, "part of the project"),
}
DIRECT = "https://downloads.example.org/dl/{}/tiny_url-1.0-py3-none-any.whl"
_DIGEST = re.compile(r"[0-9a-f]{2}/[0-9a-f]{2}/[0-9a-f]{60}")


def shortened(selection: Selection) -> dict[str, str]:
    """Give the kinds by place, the digests that pypi.org's paths have left out."""
    found = {_DIGEST.sub("{}", str(x.path)): x.kind.value for x in selection.pypi_artifacts}
    assert len(found) == len(selection.pypi_artifacts)
    return found


@pytest.mark.parametrize("layout", list(Layout))
def test_every_kind_of_row_that_pixi_writes(layout: Layout) -> None:
    made = read_lock(CASE / "pixi.lock")
    selection = select(made, Settings(layout=layout))
    assert shortened(selection) == {f"_pypi/files/{path}": HASHED[path] for path in HASHED}
    assert {_DIGEST.sub("{}", url): why for url, why in left_out(selection).items()} == {
        **PROJECT,
        GIT: (IncompleteKind.PYPI, "a PyPI package built from git"),
        DIRECT: (IncompleteKind.PYPI, UNHASHED),
    }
    (environment,) = selection.environments
    counts = {each.platform.name: len(each.pypi) for each in environment.platforms}
    assert counts == {"linux-64": 11, "osx-arm64": 11, "win-64": 12}
    # Where a row says that it is from, and the digest: the URL's counts as one.
    by_name = {artifact.name: artifact for artifact in selection.pypi_artifacts}
    assert by_name["tiny-extras"].upstream == "https://pypi.example.org/simple"
    assert by_name["tiny-elsewhere"].upstream == "https://other.example.org/simple"
    assert by_name["tiny-url-sha"].upstream is None
    sha = by_name["tiny-url-sha"].digest
    assert (sha and sha.hex[:8], by_name["tiny-path"].digest) == ("093ad1a8", None)
    assert by_name["tiny-local"].version == "1.0+own.1"


def test_what_no_index_has_is_of_none_whatever_its_row_says() -> None:
    """Where it renews a lock, pixi 0.77 writes the default index there."""
    index = "index: https://pypi.example.org/simple"
    locations = {f"direct+{AT}#sha256={ONE}": None, f"./{WHEEL}": None, GIT: None}
    for location, expected in (locations | {AT: "https://pypi.example.org/simple"}).items():
        (environment,) = lock(row(location, index)).environments
        (record,) = environment.platforms[0].pypi
        assert (location, record.index) == (location, expected)
    # The control: a folder of files may be an index, of what is beside the lock.
    (environment,) = lock(row(f"/srv/{WHEEL}", "index: file:///srv")).environments
    assert environment.platforms[0].pypi[0].index == "file:///srv"


def test_which_rows_are_of_pypi_s_own_index() -> None:
    """Of version 7: it alone is left out, and the default one is written in its place later on."""
    pypi, own = "https://pypi.org/simple", "https://pypi.example.org/simple"
    there = f"https://files.pythonhosted.org/packages/{WHEEL}"
    for indexes, location, said, expected in (
        ((pypi,), there, None, pypi),
        ((own, pypi), there, None, pypi),
        ((own, pypi), there, own, pypi),
        ((own, pypi), AT, own, own),
        ((own,), there, own, own),  # a mirror's pages may name PyPI's files
        ((own,), there, None, None),
        ((pypi,), f"direct+{there}#sha256={ONE}", None, None),
    ):
        lines = (f"sha256: {ONE}", *([f"index: {said}"] if said else ()))
        platform = PlatformRows(name="linux-64", rows=(row(location, *lines),))
        text = lock_text((EnvironmentRows(platforms=(platform,)),), 7)
        listed = "".join(f"    - {each}\n" for each in indexes)
        text = text.replace("    packages:\n", f"    indexes:\n{listed}    packages:\n")
        (environment,) = parse_lock(text, "pixi.lock").environments
        assert (indexes, said, environment.platforms[0].pypi[0].index) == (indexes, said, expected)


def test_what_has_no_hash_is_taken_where_that_is_allowed() -> None:
    selection = select(read_lock(CASE / "pixi.lock"), Settings(allow_unhashed=True))
    expected = {f"_pypi/files/{path}" for path in HASHED}
    assert set(shortened(selection)) == expected | {
        "_pypi/files/downloads.example.org/dl/{}/tiny_url-1.0-py3-none-any.whl"
    }
    assert left_out(selection).keys() == {*PROJECT, GIT}


def test_pypi_false_leaves_all_of_them_out_and_names_them() -> None:
    made = read_lock(CASE / "pixi.lock")
    selection = select(made, Settings(pypi=False, allow_unhashed=True))
    assert selection.pypi_artifacts == ()
    reasons = left_out(selection)
    rows = {row.location for each in made.environments[0].platforms for row in each.pypi}
    assert reasons.keys() == rows
    assert {url: reasons.pop(url) for url in PROJECT} == PROJECT
    assert set(reasons.values()) == {(IncompleteKind.PYPI, "a PyPI package, and pypi is false")}
    # Control: the conda artifacts are those of before.
    assert selection.conda_artifacts == select(made, Settings()).conda_artifacts != ()


@pytest.mark.parametrize("folder", VARIANTS, ids=lambda path: path.name)
def test_variants(folder: Path) -> None:
    """Extra and private indexes, a slash at their end, other names of conda packages."""
    selection = select(read_lock(folder / "pixi.lock"), Settings())
    assert {artifact.kind for artifact in selection.pypi_artifacts} >= {ArtifactKind.WHEEL}
    if not folder.name.startswith("map-"):
        assert left_out(selection) == {}
        found = {(x.name, x.version, x.upstream) for x in selection.pypi_artifacts}
        simple, other = "https://pypi.example.org/simple", "https://other.example.org/simple"
        assert (
            found
            == {
                "best": {("tiny-pure", "1.2", other)},
                "creds": {("tiny-pure", "1.1", "https://me:s3cret@pypi.example.org/simple")},
                "extra": {("tiny-pure", "1.2", other), ("tiny-color", "1.0", simple)},
                "nbi": {(f"tiny-{name}", "1.0", simple) for name in ("backend", "sdist")}
                | {("tiny-pure", "1.1", simple)},
                "perpkg": {("tiny-pure", "1.2", other), ("tiny-color", "1.0", simple)},
                "slash": {("tiny-pure", "1.1", simple)},
            }[folder.name]
        )
    assert "s3cret" not in "".join(places(selection))


# ---- Where a file goes ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("location", "place"),
    [
        (f"https://files.example.org/a/b/{WHEEL}", f"files.example.org/a/b/{WHEEL}"),
        (f"direct+https://Files.Example.org/{WHEEL}", f"files.example.org/{WHEEL}"),
        (f"http://h:8080/{WHEEL}", f"h_8080/{WHEEL}"),
        (f"https://[::1]:8/{WHEEL}", f"___1__8/{WHEEL}"),
        (f"https://me:s3cret@h/{WHEEL}?token=s3cret", f"h/{WHEEL}"),
        (f"https://h/t/tk-s3cret/p/{WHEEL}", f"h/p/{WHEEL}"),
        # The package's initial, as PyPI's old URLs have it, is no token.
        ("https://h/packages/source/t/toml/x-1.tar.gz", "h/packages/source/t/toml/x-1.tar.gz"),
        (f"https://h//a/./{WHEEL}", f"h/a/{WHEEL}"),
        # What a static server in the host's place is asked for is decoded.
        ("https://h/x-1.0%2Bown.1.tar.gz", "h/x-1.0+own.1.tar.gz"),
        ("https://h/x-1.0+own.1.tar.gz", "h/x-1.0+own.1.tar.gz"),
        ("https://h/x-1!2.0.tar.gz", "h/x-1!2.0.tar.gz"),
        ("https://h/x-1%212.0.zip", "h/x-1!2.0.zip"),
        (f"https://h/group%2Fproject/a%20b/{WHEEL}", f"h/group/project/a b/{WHEEL}"),
        # Nobody asks for the folders of files beside the lock.
        (f"./wheels/{WHEEL}", f"local/wheels/{WHEEL}"),
        (f"../../wheels/{WHEEL}", f"local/wheels/{WHEEL}"),
        (f".\\wheels\\{WHEEL}", f"local/wheels/{WHEEL}"),
        (f"C:\\wheels\\con\\{WHEEL}", f"local/C_/wheels/con_/{WHEEL}"),
        (f"file:///C:/find%20links/{WHEEL}", f"local/C_/find_links/{WHEEL}"),
        (f"/srv/a?b/{WHEEL}", f"local/srv/a_b/{WHEEL}"),
    ],
)
def test_place(location: str, place: str) -> None:
    selection = chosen(hashed(location))
    assert places(selection) == [f"_pypi/files/{place}"]
    assert left_out(selection) == {}
    (artifact,) = selection.pypi_artifacts
    assert artifact.urls == (location.removeprefix("direct+"),)  # secrets included, to be asked


@pytest.mark.parametrize(
    "location",
    [
        f"https:///{WHEEL}",
        f"https://../{WHEEL}",
        "https://h/",
        "https://h/project.git",
        "https://h/simple/x",
        f"https://h/a/../{WHEEL}",
        f"https://h/%2e%2e/{WHEEL}",
        f"https://h/a%2F..%2F..%2F{WHEEL}",
        f"https://h/a\\b/{WHEEL}",
        f"https://h/..%5C{WHEEL}",
        f"https://h/a%00b/{WHEEL}",
        f"https://h/a%0Ab/{WHEEL}",
        f"https://h/a:b/{WHEEL}",
        f"https://h/nul/{WHEEL}",
        f"https://h/COM1.x/{WHEEL}",
        "https://h/con.zip",
        f"https://h/folder./{WHEEL}",
        f"https://h/folder%20/{WHEEL}",
        f"https://h/ж/{WHEEL}",
        f"https://h/{'a' * 250}-1.0.tar.gz",
        f"https://h/{'a' * 256}/{WHEEL}",
        f"https://h/{'a/' * 63}{WHEEL}",
        f"https://h/{'a/' * 2500}{WHEEL}",
        "https://h/" + f"{'a' * 199}/" * 5 + WHEEL,
        f"file:///links/ж{WHEEL}",
        f"./x?{WHEEL}",
    ],
)
def test_what_no_file_can_be_named_after_is_left_out(location: str) -> None:
    selection = chosen(hashed(location))
    assert (places(selection), left_out(selection)) == (
        [],
        {location: (IncompleteKind.PYPI, UNNAMED)},
    )


def test_the_longest_name() -> None:
    """Its metadata lie beside a wheel, under its own name with more behind it."""
    longest = f"{'a' * (255 - len('-1.0.zip') - len('.metadata'))}-1.0.zip"
    assert len(places(chosen(hashed(f"https://h/{longest}")))) == 1
    assert places(chosen(hashed(f"https://h/a{longest}"))) == []


def test_the_longest_path() -> None:
    """No run is to end in the depths of a disk, or of Python."""
    for path in ("a/" * 62, f"{'a' * 199}/" * 4):
        assert len(places(chosen(hashed(f"https://h/{path}{WHEEL}")))) == 1


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("git+https://h/x.git#abc", "a PyPI package built from git"),
        ("git+ssh://git@h/x.git", "a PyPI package built from git"),
        (f"s3://bucket/{WHEEL}", "a PyPI package, and s3 is no way to fetch it"),
        (f"ftp://h/{WHEEL}", "a PyPI package, and ftp is no way to fetch it"),
        (f"hg+https://h/{WHEEL}", "a PyPI package, and hg+https is no way to fetch it"),
    ],
)
def test_what_cannot_be_fetched(location: str, reason: str) -> None:
    for settings_ in (Settings(), Settings(allow_unhashed=True)):
        selection = select(lock(row(location)), settings_)
        assert (places(selection), left_out(selection)) == (
            [],
            {location: (IncompleteKind.PYPI, reason)},
        )


@pytest.mark.parametrize("location", [".", "./", "../x", "./x.git", "/srv/x", "file:///srv/x"])
def test_folders_are_part_of_the_project(location: str) -> None:
    assert left_out(chosen(row(location))) == {location: (None, "part of the project")}


# ---- Fragments -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fragment", "second", "digest"),
    [
        (f"sha256={ONE}", f"{WHEEL}#sha256={ONE}", ONE),
        (f"sha256={ONE.replace('1', 'A')}", f"{WHEEL}#sha256={'A' * 64}", "a" * 64),
        (f"subdirectory=a/b&sha256={ONE}", f"{WHEEL}#subdirectory=a/b&sha256={ONE}", ONE),
        (f"sha256={ONE}&egg=x", f"{WHEEL}#sha256={ONE}&egg=x", ONE),
        ("egg=x", f"{WHEEL}#egg=x", None),
        ("sha256=12", f"{WHEEL}#sha256=12", None),
        (f"egg=x&token=word&sha256={ONE}", None, ONE),  # which may be a secret
        (f"subdirectory=../b&sha256={ONE}", None, ONE),
        (f"subdirectory={'b' * 250}&sha256={ONE}", None, ONE),
    ],
)
def test_a_direct_url_with_a_fragment(
    fragment: str, second: str | None, digest: str | None
) -> None:
    """A mirror is asked for the URL with `%23` in the place of its `#`."""
    selection = chosen(row(f"direct+https://h/{WHEEL}#{fragment}"), allow_unhashed=True)
    expected = [f"_pypi/files/h/{each}" for each in (WHEEL, second) if each is not None]
    assert places(selection) == expected
    assert {x.digest and x.digest.hex for x in selection.pypi_artifacts} == {digest}
    assert bool(left_out(chosen(row(f"https://h/{WHEEL}#{fragment}")))) is (digest is None)


# ---- One place, two files ------------------------------------------------------------------------


def refused(*rows: RawRow, **given: Any) -> str:
    with pytest.raises(MirrorError) as caught:
        chosen(*rows, **given)
    assert {problem.code for problem in caught.value.problems} == {ExitCode.USAGE}
    return str(caught.value)


def test_two_digests_at_one_place() -> None:
    one, other = hashed(f"https://h/a/{WHEEL}?one=1"), hashed(f"https://h/a/{WHEEL}?two=2", OTHER)
    assert refused(one, other) == (
        f"_pypi/files/h/a/{WHEEL}: the lock names two different artifacts for this place\n"
        f"  one    {ONE} from https://h/a/{WHEEL}?********\n"
        f"  other  {OTHER} from https://h/a/{WHEEL}?********\n"
        "help: pixi lock, or mirror them in two workspaces"
    )
    same = hashed(f"https://h/a/{WHEEL}?two=2")
    assert places(chosen(one, same)) == [f"_pypi/files/h/a/{WHEEL}"]  # control: one digest


def test_two_files_without_a_digest_at_one_place() -> None:
    one, other = row(f"./wheels/{WHEEL}"), row(f"../wheels/{WHEEL}")
    assert "\n  one    no sha256 from ../wheels/x-1.0" in refused(one, other)
    assert len(places(chosen(one, row(f"../{WHEEL}")))) == 2
    plain, odd = row(f"https://h/{WHEEL}?a=1"), row(f"https://h/{WHEEL}?a=2")
    assert "two different artifacts" in refused(plain, odd, allow_unhashed=True)


@pytest.mark.parametrize("version", [6, 7])
def test_one_location_listed_twice_with_other_digests(version: int) -> None:
    platform = PlatformRows(name="linux-64", rows=(hashed(AT),))
    text = lock_text((EnvironmentRows(platforms=(platform,)),), version)

    def twice(*lines: str) -> LockFile:
        fields = (f"- pypi: {AT}", "name: x", "version: '1.0'", *lines)
        return parse_lock(text + "\n  ".join(fields) + "\n", "pixi.lock")

    for lines, shown in ((f"sha256: {OTHER}",), OTHER), ((), "no sha256"):
        with pytest.raises(MirrorError) as caught:
            twice(*lines)
        assert caught.value.problems[0].code is ExitCode.USAGE
        assert str(caught.value) == (
            "pixi.lock: lists a package twice, with other digests\n"
            f"  package  {AT}\n  one      {ONE}\n  other    {shown}\nhelp: pixi lock"
        )
    assert len(places(select(twice(f"sha256: {ONE}"), Settings()))) == 1  # control


def test_files_that_no_disk_can_have_both() -> None:
    one, other = hashed(f"https://h/q.whl/{WHEEL}"), hashed("https://h/q.whl")
    assert refused(one, other) == (
        f"_pypi/files/h/q.whl/{WHEEL}: no disk can have this file and another\n"
        "  folder  _pypi/files/h/q.whl\n"
        "help: leave one of them out, or mirror them in two workspaces"
    )
    assert len(places(chosen(one, hashed("https://h/q.whl.zip")))) == 2  # control


def test_a_name_that_no_folder_can_have_is_left_out() -> None:
    for name in ("a" * 247, "con"):
        selection = chosen(row(AT, f"sha256: {ONE}", name=name))
        assert left_out(selection) == {
            AT: (IncompleteKind.PYPI, "a PyPI package whose name no folder can have")
        }
    assert places(chosen(row(AT, f"sha256: {ONE}", name="a" * 246))) != []  # control


@pytest.mark.parametrize("first", [0, 1])
def test_a_row_with_a_digest_stands_for_one_without(first: int) -> None:
    """An index has it with a hash, a direct URL without one: the same file of the same host."""
    rows = [hashed(AT), row(f"direct+https://h/{WHEEL}#egg=x")]
    selection = chosen(*(rows if first else reversed(rows)), allow_unhashed=True)
    by_place = {str(x.path): x.digest and x.digest.hex for x in selection.pypi_artifacts}
    assert by_place[f"_pypi/files/h/{WHEEL}"] == ONE


# ---- Beside conda channels -----------------------------------------------------------------------


@pytest.mark.parametrize("layout", list(Layout))
def test_no_channel_is_called_as_the_folder(layout: Layout, tmp_path: Path) -> None:
    channel = "https://conda.anaconda.org/_pypi"
    conda = LockRow(written=TinyPackage(name="a").write(tmp_path), channel=channel)
    made = lock(conda, hashed(AT))
    if layout is Layout.FLAT:
        selection = select(made, Settings(layout=layout))
        assert [str(x.path) for x in selection.conda_artifacts] == ["noarch/a-1.0-0.conda"]
        assert places(selection) == [f"_pypi/files/h/{WHEEL}"]
        return
    with pytest.raises(MirrorError) as caught:
        select(made, Settings(layout=layout))
    assert channel in str(caught.value)
    assert {problem.code for problem in caught.value.problems} == {ExitCode.USAGE}


@pytest.mark.parametrize(
    ("channel", "is_one"),
    [
        ("https://conda.anaconda.org/_pypi/x", False),
        ("https://conda.anaconda.org/x/_pypi", True),
        ("https://h/_pypi", True),
        ("/srv/_pypi", True),
    ],
)
def test_channels_whose_folder_may_have_that_name_in_it(channel: str, is_one: bool) -> None:  # noqa: FBT001
    assert names_folder(channel) is is_one
    assert channel_folder(channel).startswith("_pypi") is not is_one


def test_the_layout_changes_no_place() -> None:
    made = read_lock(CASE / "pixi.lock")
    flat, by_channel = (select(made, Settings(layout=layout)) for layout in Layout)
    assert flat.pypi_artifacts == by_channel.pypi_artifacts
    assert all(is_pypi_path(artifact.path) for artifact in flat.pypi_artifacts)
    assert not any(
        is_pypi_path(x.path) for x in (*flat.conda_artifacts, *by_channel.conda_artifacts)
    )


# ---- Odd rows ------------------------------------------------------------------------------------


def test_a_version_of_more_digits_than_a_number_may_have() -> None:
    with pytest.raises(MirrorError, match=r"is not a version of a Python package \(PEP 440\)"):
        lock(row(AT, version="1" * 5000))


def test_an_empty_requires_python_is_none() -> None:
    (artifact,) = chosen(row(AT, f"sha256: {ONE}", "requires_python: ''")).pypi_artifacts
    assert artifact.pypi_record.requires_python is None


@pytest.mark.parametrize("version", [6, 7])
@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (RawRow(key="pypi", location=AT), f"{AT} has no name"),
        (
            row(AT, name="../../x"),
            f"name of {AT} is not the name of a Python package (PEP 508)\n  actual  '../../x'",
        ),
        (
            row(AT, version="1 0"),
            f"version of {AT} {NO_VERSION}\n  actual  '1 0'",
        ),
        (
            hashed(AT, "12"),
            f"sha256 of {AT} is not a sha256 in hex\n  actual  '12'",
        ),
        (
            row(f"https://h:x/{WHEEL}"),
            f"https://h:x/{WHEEL} is not a URL\n  in  https://h:x/{WHEEL}",
        ),
        (
            row(AT, "index: https://me:s3cret@h:x/simple"),
            f"https://********@h:x/simple is not a URL\n  in  https://h/{WHEEL}",
        ),
        (row(AT, 'index: "//["'), f"//[ is not a URL\n  in  https://h/{WHEEL}"),
        (row(AT, "index: 'a://[x'"), f"a://[x is not a URL\n  in  https://h/{WHEEL}"),
        (
            row(AT, version="1" * 5000),
            f"version of {AT} {NO_VERSION}\n  actual  '{'1' * 116}...",
        ),
        (
            row(AT, "requires_dist: x"),
            f"requires_dist of {AT} is not a list of strings\n  actual  'x'",
        ),
    ],
)
def test_rows_that_are_refused(raw: RawRow, message: str, version: int) -> None:
    with pytest.raises(MirrorError) as caught:
        lock(raw, version=version)
    assert str(caught.value) == f"pixi.lock: {message}"
    assert {problem.code for problem in caught.value.problems} == {ExitCode.USAGE}


def test_a_row_of_the_oldest_locks_needs_a_url() -> None:
    text = (
        "version: 1\nmetadata:\n  channels: []\npackage:\n- platform: linux-64\n  name: X_y\n"
        "  version: '1.0'\n  manager: pip\n  dependencies: {b: '>=1'}\n"
        f"  hash: {{sha256: {ONE}}}\n"
    )
    with pytest.raises(MirrorError) as caught:
        parse_lock(text, "pixi.lock")
    assert str(caught.value) == "pixi.lock: X_y has no url"
    (environment,) = parse_lock(f"{text}  url: https://h/{WHEEL}\n", "pixi.lock").environments
    (rows,) = environment.platforms
    (record,) = rows.pypi
    assert (record.name, record.sha256, record.requires_dist) == ("x-y", ONE, ("b >=1",))
    assert record.index == "https://pypi.org/simple", "pixi asks it where the lock names none"


_HOSTILE = st.text(
    st.one_of(st.sampled_from("/\\.:@?#%~ \0\n\t*|<>\"'t"), st.characters(codec="utf-8")),
    max_size=40,
)
_START = st.sampled_from(["", "https://", "http://host/", "file:///", "/", "../", "C:\\", "a/b/"])


@settings(deadline=None, max_examples=400)
@given(_START, _HOSTILE)
@example("https://", "%00/%2e%2e/%5c")
@example("http://host/", "aux./COM1.x/con")
@example("", "t/t/t/x.whl")
def test_no_location_leads_out_of_the_folder(start: str, rest: str) -> None:
    segments = mirror_path_segments(f"{start}{rest}/{WHEEL}")
    if segments is not None:
        assert all(len(each) + len(".metadata") <= 255 for each in segments)
        assert_harmless("/".join(segments))
