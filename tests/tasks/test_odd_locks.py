"""Locks that are odd and right, through the tasks; beside each stands one that is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tasks import doctor, mirror, verify
from tests.support.locks import EnvironmentRows, LockRow, PlatformRows, RawRow, write_lock
from tests.support.packages import TinyPackage
from tests.support.terminal import unbroken
from tests.support.upstream import Upstream
from tests.support.verified import here

PROOFS = ("--level", "closure,solve")
# The locks are of linux-64; elsewhere nothing of them is installed.
INSTALLED = "install ✓" if here() == "linux-64" else "install –"  # noqa: RUF001
LAYOUTS = pytest.mark.parametrize("layout", ["flat", "by-channel"])

ALDER = TinyPackage(name="alder", depends=("birch >=1",))
BIRCH = TinyPackage(name="birch", version="1.2")
NEWER = TinyPackage(name="birch", version="9.0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Odd:
    """A workspace with a hand-made lock; the upstream has a folder for each channel."""

    root: Path
    upstream: Upstream
    capsys: pytest.CaptureFixture[str]

    @property
    def channel(self) -> str:
        """The one channel that the manifest declares."""
        return f"{self.upstream.url}/declared"

    def row(self, package: TinyPackage, channel: str | None = None) -> LockRow:
        """Publish a package in a channel, and give its row."""
        url = self.channel if channel is None else channel
        folder = self.upstream.folder / url.removeprefix(f"{self.upstream.url}/")
        return LockRow(written=package.write(folder), channel=url)

    def manifest(self, text: str, platforms: str = '"linux-64"') -> None:
        """Write the manifest; `text` follows the workspace's table."""
        self.root.mkdir(exist_ok=True)
        head = (
            f'[workspace]\nname = "w"\nchannels = ["{self.channel}"]\nplatforms = [{platforms}]\n'
        )
        (self.root / "pixi.toml").write_text(f"{head}\n{text}", encoding="utf-8")

    def lock(
        self,
        *rows: LockRow | RawRow,
        version: int = 6,
        virtual_packages: tuple[str, ...] = (),
    ) -> None:
        """Write a lock of one environment, the declared channel alone."""
        platform = PlatformRows(name="linux-64", rows=rows, virtual_packages=virtual_packages)
        environment = EnvironmentRows(platforms=(platform,), channels=(self.channel,))
        write_lock(self.root / "pixi.lock", (environment,), version)

    def run(self, task: Callable[[list[str]], int], *options: str) -> tuple[int, list[str], str]:
        """Run a task; return its exit code, its lines, and what it says of problems."""
        self.capsys.readouterr()
        code = task(["--manifest-path", str(self.root), *options])
        out, err = self.capsys.readouterr()
        return code, unbroken(out).splitlines(), err

    def problems(self, *options: str) -> str:
        """Return the problems that verify finds, places as words."""
        code, _, err = self.run(verify.main, "-q", *PROOFS, *options)
        assert code == 1
        return err.replace(self.upstream.url, "URL")


@pytest.fixture
def odd(
    tmp_path: Path,
    upstream: Upstream,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Odd:
    """A workspace of which py-rattler alone is to install: the others take a second each."""
    monkeypatch.setenv("PATH", "")
    return Odd(root=tmp_path / "workspace", upstream=upstream, capsys=capsys)


def _has(lines: list[str], *cells: str) -> bool:
    return any(all(cell in line for cell in cells) for line in lines)


# A requirement that is a location


def _locate(odd: Odd, kind: str) -> tuple[str, RawRow]:
    """Put birch where no channel is; give the manifest's words for it, and pixi's row."""
    folder = odd.upstream.folder / "releases" if kind == "url" else odd.root / "vendor"
    written = BIRCH.write(folder)
    fields: tuple[str, ...]
    if kind == "path":
        location, fields = str(written.path), ()
        words = f'path = "./vendor/noarch/{BIRCH.file_name}"'
    else:
        location = f"{odd.upstream.url}/releases/noarch/{BIRCH.file_name}"
        fields = (f"sha256: {written.sha256}", "channel: null")
        words = f'url = "{location}", sha256 = "{written.sha256}"'
    return words, RawRow(key="conda", location=location, lines=("subdir: noarch", *fields))


@LAYOUTS
@pytest.mark.parametrize("kind", ["url", "path"])
def test_a_requirement_that_is_a_location(kind: str, layout: str, odd: Odd) -> None:
    """It is met by just the artifact locked from there, and no network is asked in the proofs."""
    words, located = _locate(odd, kind)
    odd.manifest(f'[dependencies]\nalder = "*"\nbirch = {{ {words} }}\n')
    odd.lock(odd.row(ALDER), located)
    options = ("--layout", layout, "--allow-unhashed")
    code, lines, err = odd.run(mirror.main, *options)
    assert code == 0, err
    assert _has(lines, "default", "closure ✓", "solve ✓", INSTALLED)
    last = "solved default/linux-64 with local after all its channels, since the lock has birch"
    assert _has(lines, f"{last} from there; for no other name") is (layout == "by-channel")
    odd.upstream.requests.clear()
    code, lines, _ = odd.run(verify.main, *options)
    assert (code, odd.upstream.requests) == (0, [])


def test_a_newer_one_in_the_channel_does_not_meet_a_location(odd: Odd) -> None:
    """Neither for the solver, which would take it for any other requirement."""
    words, located = _locate(odd, "url")
    odd.manifest(
        f'[dependencies]\nalder = "*"\nbirch = {{ {words} }}\n\n'
        '[feature.new.dependencies]\nbirch = "9.*"\n\n'
        '[environments]\nnew = { features = ["new"], no-default-feature = true }\n'
    )
    newer = odd.row(NEWER)
    environments = [
        EnvironmentRows(
            name=name,
            platforms=(PlatformRows(name="linux-64", rows=rows),),
            channels=(odd.channel,),
        )
        for name, rows in (("default", (odd.row(ALDER), located)), ("new", (newer,)))
    ]
    write_lock(odd.root / "pixi.lock", environments, version=6)
    code, lines, err = odd.run(mirror.main, "--layout", "by-channel")
    assert code == 0, err
    assert not _has(lines, "otherwise than pixi.lock")
    manifest = odd.root / "pixi.toml"
    text = manifest.read_text(encoding="utf-8")
    manifest.write_text(text.replace(f"{{ {words} }}", '"*"'), encoding="utf-8")
    code, lines, _ = odd.run(verify.main, *PROOFS, "--layout", "by-channel")
    assert code == 0
    assert _has(lines, "solved default/linux-64 otherwise than pixi.lock (other packages in")


def test_what_is_retained_is_in_no_lock(odd: Odd) -> None:
    """It would meet the requirement, so that the mirror has it; the control is what solve says."""
    odd.manifest('[dependencies]\nalder = "*"\n')
    for each in (TinyPackage(name="alder"), TinyPackage(name="alder", version="2.0")):
        odd.lock(odd.row(each))
        assert odd.run(mirror.main)[0] == 0
    odd.manifest('[dependencies]\nalder = "1.*"\n')
    code, lines, _ = odd.run(verify.main, *PROOFS)
    assert code == 1
    assert _has(lines, "otherwise than pixi.lock (the mirror still offers", "alder-1.0-0.conda")
    assert "  elsewhere  nothing in the locks\n" in odd.problems()


@pytest.mark.parametrize("kind", ["url", "path"])
def test_a_location_that_nothing_is_locked_from(kind: str, odd: Odd) -> None:
    words, located = _locate(odd, kind)
    odd.manifest(f'[dependencies]\nalder = "*"\nbirch = {{ {words} }}\n')
    odd.lock(odd.row(ALDER), located)
    assert odd.run(mirror.main, "--allow-unhashed")[0] == 0
    elsewhere = words.replace("releases", "other").replace("vendor", "other").partition(",")[0]
    odd.manifest(f'[dependencies]\nalder = "*"\nbirch = {{ {elsewhere} }}\n')
    code, lines, _ = odd.run(verify.main, *PROOFS)
    location = elsewhere.split('"')[1]
    wanted = f"birch from {location}"
    assert code == 1
    assert _has(lines, f"solve: not proven of default/linux-64: {wanted} (nothing is locked")
    assert odd.problems() == (
        f"error: pixi.toml: requires {wanted}, which is not met\n".replace(odd.upstream.url, "URL")
        + "  has        noarch/birch-1.2-0.conda\n"
        "  elsewhere  nothing in the locks\n"
        "  used by    default/linux-64\n"
        "help: pixi lock\n"
    )
    code, _, err = odd.run(mirror.main, "--allow-unhashed")
    assert code == 2
    assert f"  expected   {wanted}\n" in err


CURES = {
    "url": 'write sha256 = "…" beside url in pixi.toml',
    "path": (
        'pixi locks none of a path: write url = "file:///…", sha256 = "…" in its place in pixi.toml'
    ),
}


@pytest.mark.parametrize("kind", CURES)
def test_the_help_says_what_gives_a_digest(kind: str, odd: Odd) -> None:
    words, located = _locate(odd, kind)
    odd.manifest(f'[dependencies]\nalder = "*"\nbirch = {{ {words.partition(",")[0]} }}\n')
    odd.lock(odd.row(ALDER), RawRow(key="conda", location=located.location, lines=PLAIN))
    code, _, err = odd.run(mirror.main, "-q")
    assert (code, odd.upstream.requests) == (2, [])
    assert err == (
        "error: noarch/birch-1.2-0.conda: the lock has neither sha256 nor md5 for it\n"
        f"  from  {located.location}\n"
        f"help: {CURES[kind]}, then `pixi lock`, or fetch it all the same with --allow-unhashed\n"
    )


PLAIN = ("subdir: noarch", "channel: null")


# Virtual packages


LEVEL = "__archspec 1 {}"


def _microarchitecture(odd: Odd, level: str) -> None:
    """Mirror a package that needs a microarchitecture; the lock has pixi's word for x86_64."""
    odd.manifest('[dependencies]\nalder = "*"\n')
    package = TinyPackage(name="alder", subdir="linux-64", depends=(LEVEL.format(level),))
    odd.lock(odd.row(package), version=7, virtual_packages=_declared("x86_64"))


def _declared(level: str) -> tuple[str, ...]:
    return ("__unix=0=0", "__linux=4.18", "__glibc=2.28", f"__archspec=0={level}")


def test_pixi_makes_version_1_of_the_lock_s_archspec(odd: Odd) -> None:
    _microarchitecture(odd, "x86_64")
    code, lines, err = odd.run(mirror.main)
    assert code == 0, err
    assert _has(lines, "default", "closure ✓", "solve ✓")


def test_a_microarchitecture_that_is_not_declared(odd: Odd) -> None:
    """The help can be followed: with a platform that declares it, and the lock that comes of it."""
    _microarchitecture(odd, "x86_64_v3")
    code, _, err = odd.run(mirror.main, "-q")
    assert code == 1
    table = '{ platform = "linux-64", archspec = "x86_64_v3" }'
    # The mirror's own record is read, and newer indexers write `==1` for `1`.
    assert err.replace("==1", "1").startswith(
        "error: linux-64/alder-1.0-0.conda: requires __archspec 1 x86_64_v3, which is not met\n"
        "  has        __archspec=1=x86_64\n"
        "  elsewhere  nothing in the locks\n"
        "  needed by  pixi.toml: alder *\n"
        "  used by    default/linux-64\n"
        "help: declare such a __archspec for linux-64 in the platforms of pixi.toml,"
        " then `pixi lock`\n"
        "error: default/linux-64: cannot be solved from the channel alone\n"
    )
    assert err.endswith("help: mend first what closure found\n")
    odd.manifest('[dependencies]\nalder = "*"\n', platforms=table)
    lock = odd.root / "pixi.lock"
    text = lock.read_text(encoding="utf-8")
    text = text.replace("__archspec=0=x86_64\n", "__archspec=0=x86_64_v3\n")
    lock.write_text(
        text.replace("- name: linux-64\n", "- name: p1\n  subdir: linux-64\n").replace(
            "      linux-64:\n", "      p1:\n"
        ),
        encoding="utf-8",
    )
    code, lines, err = odd.run(verify.main, *PROOFS)
    assert code == 0, err
    assert _has(lines, "default", "closure ✓", "solve ✓")


# A channel that the environment does not declare


@LAYOUTS
def test_an_artifact_from_no_declared_channel(layout: str, odd: Odd) -> None:
    """Its own channel comes last, for its names alone: of the other names there it is silent."""
    odd.manifest('[dependencies]\nalder = "*"\n')
    other = f"{odd.upstream.url}/other"
    odd.lock(odd.row(ALDER), odd.row(BIRCH, other), version=5)
    code, lines, err = odd.run(mirror.main, "--layout", layout)
    assert code == 0, err
    assert _has(lines, "default", "closure ✓", "solve ✓", INSTALLED)
    said = [line.replace(odd.upstream.url, "URL") for line in err.splitlines()]
    warning = said.index(
        "fetch: from URL/other, which is no declared channel: birch"
        " (URL/other/noarch/birch-1.2-0.conda); declared: URL/declared"
    )
    assert said[warning + 1].startswith("fetch: 2 to download into local-channel, ")
    host = odd.upstream.url.removeprefix("http://").replace(":", "_")
    joined = f"solved default/linux-64 with {host}/other after all its channels, since the lock has"
    assert _has(lines, f"{joined} birch from there; for no other name") is (layout == "by-channel")


def test_it_is_there_for_its_names_alone_and_last(odd: Odd) -> None:
    """Another environment declares it, and has more of it: cedar, and an alder of its own."""
    other = f"{odd.upstream.url}/other"
    text = (
        '[dependencies]\nalder = "*"\n\n'
        f'[feature.new]\nchannels = ["{other}"]\n\n'
        '[feature.new.dependencies]\nalder = "*"\ncedar = "*"\n\n'
        '[environments]\nnew = { features = ["new"], no-default-feature = true }\n'
    )
    odd.manifest(text)
    here, there = odd.row(ALDER), odd.row(TinyPackage(name="alder", version="7.0"), other)
    birch, cedar = odd.row(BIRCH, other), odd.row(TinyPackage(name="cedar"), other)
    environments = [
        EnvironmentRows(
            name=name,
            platforms=(PlatformRows(name="linux-64", rows=rows),),
            channels=(channel,),
        )
        for name, channel, rows in (
            ("default", odd.channel, (here, birch)),
            ("new", other, (there, cedar)),
        )
    ]
    write_lock(odd.root / "pixi.lock", environments, version=6)
    code, lines, err = odd.run(mirror.main, "--layout", "by-channel")
    assert code == 0, err
    assert not _has(lines, "otherwise than pixi.lock")
    odd.manifest(text.replace('alder = "*"\n\n', 'alder = "*"\ncedar = "*"\n\n', 1))
    code, _, err = odd.run(verify.main, "-q", "--level", "solve", "--layout", "by-channel")
    assert (code, "No candidates were found for cedar *" in err) == (1, True)


def test_doctor_s_lines_have_the_channel_too(odd: Odd, tmp_path: Path) -> None:
    """A manifest with these lines locks; without the channel, pixi would not find birch."""
    odd.manifest('[dependencies]\nalder = "*"\n')
    odd.lock(odd.row(ALDER), odd.row(BIRCH, f"{odd.upstream.url}/other"), version=5)
    assert odd.run(mirror.main, "--layout", "by-channel")[0] == 0
    place = odd.root / "local-channel"
    host = odd.upstream.url.removeprefix("http://").replace(":", "_")
    base = f"{place.as_uri()}/{host}"
    odd.capsys.readouterr()
    lock = str(odd.root / "pixi.lock")
    assert doctor.main(["--lock", lock, "--mirror", str(place), "--client", "conda,pixi"]) == 1
    lines = odd.capsys.readouterr().out.splitlines()
    assert f'channels = ["{base}/declared", "{base}/other"]' in lines
    options = "--override-channels --offline"
    assert f"for conda, as options: -c {base}/declared -c {base}/other {options}" in lines
    assert _has(lines, "from", "/other, which is no declared channel: birch (")


def test_a_channel_whose_folder_cannot_be_named(odd: Odd) -> None:
    """Flat needs no name; by-channel refuses before a byte."""
    odd.manifest('[dependencies]\nbirch = "*"\n')
    written = BIRCH.write(odd.root)
    url = "https://conda.anaconda.org/noarch/birch-1.2-0.conda"
    odd.lock(RawRow(key="conda", location=url, lines=(f"sha256: {written.sha256}",)))
    code, _, err = odd.run(mirror.main, "-q", "--layout", "by-channel")
    assert code == 2
    assert err == (
        f"error: {url}: no folder can be named for the channel that this is from\n"
        "  channel  https://conda.anaconda.org\n"
        'help: set layout = "flat" under [tool.pixi-mirror], or another channel\n'
    )


# What is built from source


OWN = RawRow(
    key="conda",
    location="./own-lib",
    lines=("name: own-lib", "version: '1.0'", "build: h0_0", "subdir: linux-64"),
)


def _needs_source(odd: Odd) -> None:
    odd.manifest('[dependencies]\napp = "*"\nown-lib = { path = "./own-lib" }\n')
    app = TinyPackage(name="app", depends=("own-lib>=1.0,<2.0a0",))
    odd.lock(odd.row(app), OWN)


def test_what_only_a_source_package_meets_is_not_proven(odd: Odd) -> None:
    _needs_source(odd)
    code, lines, err = odd.run(
        mirror.main, "--allow-incomplete", "source", "--layout", "by-channel"
    )
    assert code == 0, err
    # Its locked version is known, so that the set is whole; no solver has a record of it.
    assert _has(lines, "default", "closure ✓", "solve –", INSTALLED)  # noqa: RUF001
    assert (
        "solve: not proven of default/linux-64:"
        " its packages depend on what is built from source: own-lib"
    ) in lines
    code, lines, err = odd.run(verify.main, *PROOFS, "--layout", "by-channel")
    assert (code, "own-lib" in err) == (1, True)
    assert _has(lines, "default", "solve –", "incomplete ✗")  # noqa: RUF001


def test_what_a_source_package_needs_is_solved_too(odd: Odd) -> None:
    """Its own requirements are the environment's: without them birch would be in it for nothing."""
    odd.manifest('[dependencies]\nown-lib = { path = "./own-lib" }\n')
    needy = RawRow(key="conda", location=OWN.location, lines=(*OWN.lines, "depends: [birch]"))
    allowed = ("--allow-incomplete", "source")
    odd.lock(odd.row(BIRCH), needy)
    code, lines, err = odd.run(mirror.main, *allowed, "--layout", "by-channel")
    assert code == 0, err
    assert _has(lines, "default", "closure ✓", "solve –")  # noqa: RUF001
    assert _has(lines, "solve: not proven of default/linux-64: own-lib (built from source)")
    assert not _has(lines, "otherwise than pixi.lock")
    odd.lock(odd.row(BIRCH), OWN)
    code, lines, _ = odd.run(verify.main, *PROOFS, *allowed, "--layout", "by-channel")
    assert code == 0
    assert _has(lines, "otherwise than pixi.lock (what is built from source has requirements")


@pytest.mark.parametrize("is_package", [True, False])
def test_host_dependencies_beside_a_package_are_its_own(*, is_package: bool, odd: Odd) -> None:
    """So it was with old pixi-build; without a `[package]` they are the environment's."""
    package = '[package]\nname = "own"\nversion = "0.1.0"\n\n' if is_package else ""
    tables = "[host-dependencies]\nbuildtool = '==1.26.3'\n\n[target.linux.build-dependencies]\n"
    odd.manifest(f'[dependencies]\nown = {{ path = "." }}\n\n{package}{tables}other = "*"\n')
    lines = ("name: own", "version: 0.1.0", "build: pyhbf21a9e_0", "subdir: noarch")
    odd.lock(RawRow(key="conda", location=".", lines=lines))
    code, _, err = odd.run(mirror.main, "-q", "--allow-incomplete", "source")
    assert code == (0 if is_package else 2), err
    assert ("buildtool ==1.26.3" in err, "other *" in err) == (not is_package, not is_package)


# A lock of nothing


EMPTY_V1 = """\
version: 1
metadata:
  content_hash: {}
  channels: []
  platforms: []
  sources: []
package: []
"""
EMPTY_V6 = """\
version: 6
environments:
  default:
    channels:
    - url: https://conda.anaconda.org/conda-forge/
    packages: {}
packages: []
"""


@pytest.mark.parametrize("text", [EMPTY_V1, EMPTY_V6], ids=["v1", "v6"])
def test_doctor_of_a_lock_that_names_nothing(text: str, odd: Odd, tmp_path: Path) -> None:
    odd.manifest('[dependencies]\nbirch = "*"\n')
    odd.lock(odd.row(BIRCH))
    assert odd.run(mirror.main, "-q")[0] == 0
    lock = tmp_path / "consumer" / "pixi.lock"
    lock.parent.mkdir()
    lock.write_text(text, encoding="utf-8")
    place = str(odd.root / "local-channel")
    odd.capsys.readouterr()
    assert doctor.main(["--lock", str(lock), "--mirror", place]) == 1
    out, err = odd.capsys.readouterr()
    assert out.splitlines()[0] == "no: nothing to compare"
    assert err.split("\n", 1)[1] == (
        f"error: {lock}: the lock names nothing to compare\n"
        "  environments  default\n"
        "help: name the lock that is to be installed: --lock PATH; or fill this one: `pixi add`\n"
    )
    own = str(odd.root / "pixi.lock")
    assert doctor.main(["--lock", own, "--mirror", place, "--json"]) == 1  # it names upstream
    assert "nothing to compare" not in json.dumps(json.loads(odd.capsys.readouterr().out))
