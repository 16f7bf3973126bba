"""Which environments are installed here, from where, and as what machine."""

from __future__ import annotations

import dataclasses
from pathlib import Path, PurePosixPath

import pytest

from scripts.core.artifact import Artifact, artifact_of
from scripts.core.channel_paths import Layout
from scripts.core.file_name import FileName
from scripts.core.record import PypiRecord, Record
from scripts.lock.model import (
    LockedEnvironment,
    LockedPackage,
    LockFile,
    LockPlatform,
    PlatformPackages,
    Unmirrorable,
)
from scripts.lock.pypi import pypi_artifacts
from scripts.lock.select import Selection, unite
from scripts.lock.select import select as select_one
from scripts.verify.install.mirrors import (
    NoMirrorError,
    local_files,
    mirrors_for,
    pypi_prefixes,
    render_config,
)
from scripts.verify.install.plan import InstallJob, overrides_of, plan_installs
from scripts.workspace.parse import parse_manifest
from scripts.workspace.settings import IncompleteKind, Settings
from scripts.workspace.virtual_packages import virtual_packages
from tests.support.locks import with_fields
from tests.support.mirrored import mirrored, select

FORGE = "https://conda.anaconda.org/conda-forge"
NVIDIA = "https://conda.anaconda.org/nvidia/label/cuda-1"


def _package(name: str, *, channel: str = FORGE, subdir: str = "noarch") -> LockedPackage:
    file_name = FileName(name=name, version="1", build="0", extension=".conda")
    return LockedPackage(
        url=f"{channel}/{subdir}/{file_name}",
        channel=channel,
        file_name=file_name,
        record=Record(
            subdir=subdir, name=name, version="1", build="0", build_number=0, sha256="0" * 64
        ),
    )


def _plan(
    *platforms: LockPlatform,
    manifest: str = 'platforms = ["linux-64", "win-64"]',
    layout: Layout = Layout.FLAT,
) -> tuple[InstallJob, ...]:
    packages = (_package("one", channel=NVIDIA), _package("two"))
    rows = tuple(PlatformPackages(platform=each, packages=packages) for each in platforms)
    channels = (NVIDIA, FORGE)
    lock = LockFile(
        version=7,
        environments=(LockedEnvironment(name="default", channels=channels, platforms=rows),),
    )
    text = f'[workspace]\nname = "w"\nchannels = ["conda-forge"]\n{manifest}\n'
    read = parse_manifest(text, name="pixi.toml")
    return plan_installs(select(lock, Settings(layout=layout), manifest=read), "linux-64")


def test_only_this_subdir_s_platforms_are_planned() -> None:
    plans = _plan(
        LockPlatform(name="linux-64", subdir="linux-64"),
        LockPlatform(name="win-64", subdir="win-64"),
        LockPlatform(name="p1", subdir="linux-64"),
    )
    assert [str(plan.place) for plan in plans] == ["default/linux-64", "default/p1"]
    assert plans[0].channels == (PurePosixPath(),)


def test_an_environment_without_packages_is_not_planned() -> None:
    platform = LockPlatform(name="linux-64", subdir="linux-64")
    rows = PlatformPackages(platform=platform, packages=())
    environment = LockedEnvironment(name="default", channels=(FORGE,), platforms=(rows,))
    manifest = parse_manifest("[workspace]\nchannels = []\nplatforms = []\n", name="pixi.toml")
    lock = LockFile(version=7, environments=(environment,))
    assert plan_installs(select(lock, Settings(), manifest=manifest), "linux-64") == ()


def test_what_is_asked_for_and_what_is_wanting() -> None:
    """Names of the manifest that are locked; source packages that locked ones depend on."""
    package = with_fields(_package("two"), depends=("Mine >=1", "one", "other=1"))
    sources = tuple(
        Unmirrorable(kind=kind, name=name, location=f"./{name}")
        for kind, name in (
            (IncompleteKind.SOURCE, "mine"),
            (IncompleteKind.SOURCE, "alone"),
            (IncompleteKind.PYPI, "other 1"),
            (None, "project 1"),  # the workspace's own, which pixi builds where it is
        )
    )
    rows = PlatformPackages(
        platform=LockPlatform(name="linux-64", subdir="linux-64"),
        packages=(_package("one"), package),
        unmirrorable=sources,
    )
    environment = LockedEnvironment(name="default", channels=(FORGE,), platforms=(rows,))
    text = (
        '[workspace]\nchannels = []\nplatforms = ["linux-64"]\n\n'
        '[dependencies]\ntwo = "*"\ngone = "*"\n'
    )
    lock = LockFile(version=7, environments=(environment,))
    manifest = parse_manifest(text, name="pixi.toml")
    (plan,) = plan_installs(select(lock, Settings(), manifest=manifest), "linux-64")
    assert (plan.asked, plan.missing_source_packages) == (("two",), ("mine",))
    assert plan.left_out == (IncompleteKind.PYPI, IncompleteKind.SOURCE)
    assert plan.project == ("project",)


@pytest.mark.parametrize(
    ("option", "expected"),
    [('["X"]', ("x",)), ('["other"]', ()), ("true", ("x",)), ("false", ())],
)
def test_what_is_built_in_place_tells_jobs_apart(option: str, expected: tuple[str, ...]) -> None:
    """Equal jobs have one proof, and only the manifest says how pixi builds an sdist."""
    location = "https://files.example.org/p/x-1.tar.gz"
    rows = PlatformPackages(
        platform=LockPlatform(name="linux-64", subdir="linux-64"),
        packages=(_package("one"),),
        pypi=(PypiRecord(name="x", version="1", location=location, sha256="0" * 64),),
    )
    environment = LockedEnvironment(name="default", channels=(FORGE,), platforms=(rows,))
    text = '[workspace]\nchannels = []\nplatforms = ["linux-64"]\n'
    text += f"[pypi-options]\nno-build-isolation = {option}\n"
    manifest = parse_manifest(text, name="pixi.toml")
    lock = LockFile(version=7, environments=(environment,))
    plans = plan_installs(select(lock, Settings(), manifest=manifest), "linux-64")
    assert {each.built_in_place for each in plans} == {expected}


def _lock_of(label: str, url: str, index: str | None, wheel: str) -> Selection:
    """Select a lock of one conda package and one wheel, the same bytes in each."""
    record = PypiRecord(name="x", version="1", location=wheel, index=index, sha256="0" * 64)
    rows = PlatformPackages(
        platform=LockPlatform(name="linux-64", subdir="linux-64"),
        packages=(dataclasses.replace(_package("one"), url=url),),
        pypi=(record,),
    )
    environment = LockedEnvironment(name="default", channels=(FORGE,), platforms=(rows,))
    manifest = parse_manifest("[workspace]\nchannels = []\nplatforms = []\n", name="pixi.toml")
    lock = mirrored(LockFile(version=7, environments=(environment,)), manifest=manifest)
    return select_one(dataclasses.replace(lock, label=label), Settings())


def test_what_two_locks_have_from_elsewhere_is_led_by_the_rows_of_each() -> None:
    """The mirror has each artifact once, with all of its locations; a job has its own lock's."""
    file, wheel = "noarch/one-1-0.conda", "files.example.org/p/x-1.whl"
    index, other = (f"https://{x}.example.org/simple" for x in ("pypi", "other"))
    together = unite(
        [
            _lock_of("a", f"{FORGE}/{file}", index, f"https://{wheel}"),
            _lock_of("b", f"https://forge.example.org/{file}", other, f"http://{wheel}"),
            _lock_of("c", f"/a/folder/{file}", index, f"https://{wheel}"),
        ]
    )
    assert len(together.artifacts) == 2, "one of conda, one of PyPI"
    one, two, lone = plan_installs(together, "linux-64")
    mapping = {"https://conda-mapping.prefix.dev": "_pypi/mapping"}
    assert {key: str(path) for key, path in mirrors_for(one).items()} == {
        FORGE: ".",
        "https://files.example.org": "_pypi/files/files.example.org",
        index: "_pypi/simple/pypi.example.org/simple",
    } | mapping
    assert {key: str(path) for key, path in mirrors_for(two).items()} == {
        "https://forge.example.org": ".",
        "http://files.example.org": "_pypi/files/files.example.org",
        other: "_pypi/simple/other.example.org/simple",
    } | mapping
    with pytest.raises(NoMirrorError) as caught:  # what it names itself still stands in the way
        mirrors_for(lone)
    assert str(caught.value) == "its lock names files, which `[mirrors]` cannot replace"


def test_channels_keep_their_order() -> None:
    (plan,) = _plan(LockPlatform(name="linux-64", subdir="linux-64"), layout=Layout.BY_CHANNEL)
    assert plan.channels == (PurePosixPath("nvidia/label/cuda-1"), PurePosixPath("conda-forge"))


@pytest.mark.parametrize(
    ("declared", "more"),
    [
        ((), {}),
        (("__unix=0=0", "__win=0=0", "__archspec=0=x86_64"), {"ARCHSPEC": "x86_64"}),
        (("__linux=4.18", "__glibc=2.28"), {"LINUX": "4.18", "GLIBC": "2.28"}),
        (("__cuda=12",), {"CUDA": "12"}),
        (("__cuda",), {}),
    ],
)
def test_virtual_packages_become_overrides(declared: tuple[str, ...], more: dict[str, str]) -> None:
    """Without CUDA in the lock, the one that this machine may have is hidden."""
    expected = {"CONDA_OVERRIDE_CUDA": ""} | {
        f"CONDA_OVERRIDE_{name}": value for name, value in more.items()
    }
    assert overrides_of(virtual_packages(declared)) == expected


def test_rich_platforms_get_the_manifest_s_name() -> None:
    manifest = (
        'platforms = ["linux-64", {platform = "linux-64", cuda = "12", name = "gpu"}, "win-64"]'
    )
    plain, gpu = _plan(
        LockPlatform(name="linux-64", subdir="linux-64", virtual_packages=("__glibc=2.28",)),
        LockPlatform(name="p1", subdir="linux-64", virtual_packages=("__cuda=12", "__glibc=2.28")),
        manifest=manifest,
    )
    assert (plain.manifest_platform, "__cuda=12" in plain.virtual_packages) == ("linux-64", False)
    assert gpu.manifest_platform == "gpu"
    assert {"__cuda=12", "__glibc=2.28"} < set(gpu.virtual_packages)
    assert dict(gpu.overrides)["CONDA_OVERRIDE_CUDA"] == "12"


def test_a_lone_platform_needs_no_name() -> None:
    (plan,) = _plan(LockPlatform(name="linux-64", subdir="linux-64"))
    assert plan.manifest_platform is None


def test_before_v7_the_manifest_tells_the_virtual_packages() -> None:
    manifest = 'platforms = ["linux-64"]\n[system-requirements]\ncuda = "11.8"'
    (plan,) = _plan(LockPlatform(name="linux-64", subdir="linux-64"), manifest=manifest)
    assert dict(plan.overrides) == {
        "CONDA_OVERRIDE_ARCHSPEC": "x86_64",
        "CONDA_OVERRIDE_CUDA": "11.8",
        "CONDA_OVERRIDE_GLIBC": "2.28",
        "CONDA_OVERRIDE_LINUX": "4.18",
    }


def _installation(*artifacts: Artifact) -> InstallJob:
    (plan,) = _plan(LockPlatform(name="linux-64", subdir="linux-64"))
    return InstallJob(
        place=plan.place,
        subdir="linux-64",
        channels=plan.channels,
        artifacts=artifacts,
    )


def _artifact(channel: str, *urls: str) -> Artifact:
    package = _package("one")
    path = PurePosixPath(channel) / "noarch" / str(package.file_name)
    return artifact_of(package.record, path, urls, package.channel)


def test_mirrors_lead_each_upstream_to_its_folder() -> None:
    installation = _installation(
        _artifact(
            "conda-forge",
            f"{FORGE}/noarch/one-1-0.conda",
            "https://user:word@cdn.example.org:8080/t/tk/x/noarch/one%2D1-0.conda",
        )
    )
    mirrors = mirrors_for(installation)
    assert render_config(mirrors, "http://127.0.0.1:1") == (
        "[mirrors]\n"
        '"https://cdn.example.org:8080/t/tk/x" = ["http://127.0.0.1:1/conda-forge"]\n'
        f'"{FORGE}" = ["http://127.0.0.1:1/conda-forge"]\n'
    )


@pytest.mark.parametrize("channel", ["s3://bucket/team", "oci://registry.example.org/team"])
def test_a_channel_of_any_scheme_is_led(channel: str) -> None:
    """The beginning is replaced before pixi looks at what to do with such a URL."""
    mirrors = mirrors_for(_installation(_artifact("x", f"{channel}/noarch/one-1-0.conda")))
    assert render_config(mirrors, "http://s") == f'[mirrors]\n"{channel}" = ["http://s/x"]\n'


def test_a_flat_mirror_is_the_server_s_root() -> None:
    mirrors = mirrors_for(_installation(_artifact("", f"{FORGE}/noarch/one-1-0.conda")))
    assert render_config(mirrors, "http://s") == f'[mirrors]\n"{FORGE}" = ["http://s"]\n'


@pytest.mark.parametrize(
    ("url", "why"),
    [
        (
            "file:///x/noarch/one-1-0.conda",
            "its lock names files, which `[mirrors]` cannot replace",
        ),
        ("../x/noarch/one-1-0.conda", "its lock names files, which `[mirrors]` cannot replace"),
        (
            "https://x.org/a/other.conda",
            "noarch/one-1-0.conda is not at the path that the lock's URL ends in",
        ),
        (
            "https://x.org/linux-64/one-1-0.conda",
            "noarch/one-1-0.conda is not at the path that the lock's URL ends in",
        ),
        (
            "https://x.org/noarch/one-1-0.conda?sig=abc",
            "noarch/one-1-0.conda is not at the path that the lock's URL ends in",
        ),
        (
            "https://x.org/noarch/one-1-0.conda#abc",
            "noarch/one-1-0.conda is not at the path that the lock's URL ends in",
        ),
    ],
)
def test_what_mirrors_cannot_express(url: str, why: str) -> None:
    with pytest.raises(NoMirrorError) as caught:
        mirrors_for(_installation(_artifact("", url)))
    assert str(caught.value) == why


def _pypi(location: str, index: str | None = None) -> list[Artifact]:
    record = PypiRecord(name="x", version="1", location=location, index=index, sha256="0" * 64)
    return list(pypi_artifacts(record))


@pytest.mark.parametrize(
    ("location", "index", "expected"),
    [
        (
            "https://files.example.org/packages/0a/x-1%2Bl.whl",
            "https://me:word@pypi.example.org/simple",
            {
                "https://files.example.org": "_pypi/files/files.example.org",
                "https://pypi.example.org/simple": "_pypi/simple/pypi.example.org/simple",
            },
        ),
        # A direct URL with a fragment has two places, a token none.
        (
            "https://h.example.org:8080/t/tk/dl/x-1.whl#sha256=" + "0" * 64,
            None,
            {"https://h.example.org:8080/t/tk": "_pypi/files/h.example.org_8080"},
        ),
        # Pages and files of one host; and an index that has its files among its pages.
        (
            "https://one.example.org/files/x-1.whl",
            "https://one.example.org/simple",
            {
                "https://one.example.org": "_pypi/files/one.example.org",
                "https://one.example.org/simple": "_pypi/simple/one.example.org/simple",
            },
        ),
        (
            "https://torch.example.org/whl/cpu/x-1.whl",
            "https://torch.example.org/whl/cpu",
            {"https://torch.example.org": "_pypi/files/torch.example.org"},
        ),
        ("./wheels/x-1.whl", None, {}),
    ],
)
def test_keys_of_pypi_packages(location: str, index: str | None, expected: dict[str, str]) -> None:
    mapping = {"https://conda-mapping.prefix.dev": "_pypi/mapping"}
    found = pypi_prefixes(_pypi(location, index))
    assert {key: str(path) for key, path in found.items()} == expected | mapping
    assert pypi_prefixes([], ["https://asked.example.org/simple"]) == {}


def test_all_indexes_of_an_environment_have_a_key() -> None:
    """What an sdist is built with, pixi asks each of them for; a folder is none."""
    row = _pypi("https://files.example.org/x-1.tar.gz", "https://pypi.example.org/simple")
    asked = pypi_prefixes(row, ["https://me@asked.example.org/simple", "file:///links"])
    assert asked.keys() - pypi_prefixes(row).keys() == {"https://asked.example.org/simple"}
    found = asked["https://asked.example.org/simple"]
    assert str(found) == "_pypi/simple/asked.example.org/simple"


@pytest.mark.parametrize("upstream", ["https://pypi.example.org/simple", "https://x.org/p.html"])
def test_a_page_of_find_links_is_below_its_key(upstream: str) -> None:
    """To pixi, the key `https://x.org/p.html` would be for what is below it."""
    row = _pypi("https://files.example.org/x-1.tar.gz", upstream)
    asked = pypi_prefixes(row, find_links=["https://x.org/p.html"])
    assert str(asked["https://x.org"]) == "_pypi/files/x.org"
    assert "https://x.org/p.html" not in asked


@pytest.mark.parametrize("location", ["../x-1.whl", "file:///elsewhere/x-1.whl"])
def test_a_wheel_outside_of_the_workspace(location: str, tmp_path: Path) -> None:
    job = dataclasses.replace(_installation(), pypi=tuple(_pypi(location)))
    with pytest.raises(NoMirrorError) as caught:
        local_files(job, tmp_path)
    assert str(caught.value) == (
        "its lock names files outside of the workspace, which `[mirrors]` cannot replace"
    )
    inside = dataclasses.replace(job, pypi=tuple(_pypi("./wheels/x-1.whl")))
    assert local_files(inside, tmp_path) == {
        PurePosixPath("wheels/x-1.whl"): PurePosixPath("_pypi/files/local/wheels/x-1.whl")
    }
