"""The real pixi locks anew from the mirror's pages what it locked from the indexes themselves."""

from __future__ import annotations

import shutil
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from scripts.core.channel_url import PYPI_FOLDER
from scripts.core.rattler_child import call_rattler
from tasks import doctor
from tests.support.mirrors import Mirror
from tests.support.packages import TinyPackage
from tests.support.pixi import Pixi, find_pixi
from tests.support.upstream import Upstream
from tests.support.wheels import PypiRow, TinySdist, TinyWheel, write_upstream

pytestmark = pytest.mark.needs_pixi

PYPI, OTHER = "https://pypi.example.org/simple", "https://other.example.org/simple"
DOWNLOADS = "https://downloads.example.org/dl"
MANIFEST = f"""
[workspace]
name = "case"
channels = ["conda-forge"]
platforms = ["linux-64", "win-64"]

[dependencies]
python = "3.11.*"
numpy = ">=2"

[pypi-options]
index-url = "{PYPI}"
find-links = [{{ url = "{DOWNLOADS}/links/" }}]

[pypi-dependencies]
tiny-pure = ">=1,<2"
tiny-native = "*"
"Tiny.Extras" = {{ version = "*", extras = ["color"] }}
tiny-local = "*"
tiny-linked = "*"
tiny-sdist = "*"
tiny-elsewhere = {{ version = "*", index = "{OTHER}" }}
tiny-url = {{ url = "{DOWNLOADS}/tiny_url-1.0-py3-none-any.whl" }}
tiny-url-sha = {{ url = "{DOWNLOADS}/tiny_url_sha-1.0-py3-none-any.whl#sha256=%s" }}
tiny-path = {{ path = "wheels/tiny_path-1.0-py3-none-any.whl" }}

[tool.pixi-mirror]
allow-unhashed = true
"""
EXTRAS = (
    "tiny-pure>=1",
    "tiny-color>=1 ; extra == 'color'",
    "tiny-win ; sys_platform == 'win32'",
    "numpy>=2",
    "python-abi>=3",  # which nobody maps: pixi guesses it, of conda-forge alone
)
HOSTS = ("pypi.example.org", "other.example.org", "files.example.org", "downloads.example.org")


def write_pypi(folder: Path, workspace: Path) -> str:
    """Write upstream's files by host; return the sha256 that the manifest has."""
    store = folder / "store"
    wheels: tuple[TinyWheel | TinySdist, ...] = (
        *(TinyWheel(name="tiny-pure", version=each) for each in ("1.0", "1.1", "2.0")),
        *(
            TinyWheel(name="tiny-native", tags=f"cp311-cp311-{each}")
            for each in ("manylinux_2_17_x86_64.manylinux2014_x86_64", "win_amd64")
        ),
        TinyWheel(name="Tiny.Extras", requires_dist=EXTRAS, extras=("color",)),
        *(TinyWheel(name=f"tiny-{each}") for each in ("color", "win")),
        TinyWheel(name="tiny-local", version="1.0+own.1"),
        TinySdist(name="tiny-sdist"),
    )
    rows = [PypiRow(written=each.write(store), index=PYPI) for each in wheels]
    elsewhere = TinyWheel(name="tiny-elsewhere").write(store)
    rows.append(PypiRow(written=elsewhere, index=OTHER))
    url, sha = (TinyWheel(name=f"tiny-url{each}").write(store) for each in ("", "-sha"))
    rows.append(PypiRow(written=url, index=None, url=f"{DOWNLOADS}/{url.path.name}"))
    fragment = f"#sha256={sha.sha256}"
    rows.append(PypiRow(written=sha, index=None, url=f"{DOWNLOADS}/{sha.path.name}{fragment}"))
    write_upstream(folder, rows)
    linked = TinyWheel(name="tiny-linked").write(folder / "downloads.example.org/dl/links")
    href = f"{DOWNLOADS}/links/{linked.path.name}#sha256={linked.sha256}"
    page = f'<a href="{href}">{linked.path.name}</a>'
    (linked.path.parent / "index.html").write_text(page, encoding="utf-8")
    TinyWheel(name="tiny-path").write(workspace / "wheels")
    mapping = folder / "conda-mapping.prefix.dev/compressed-v0/compressed_mapping.json"
    mapping.parent.mkdir(parents=True)
    mapping.write_text('{"numpy": "numpy", "python": "python"}', encoding="utf-8")
    return sha.sha256


def write_conda(channel: Path) -> None:
    for subdir in ("linux-64", "win-64"):
        abi = ("python_abi 3.11.* *_cp311",)
        TinyPackage(name="python", version="3.11.7", subdir=subdir, depends=abi).write(channel)
        TinyPackage(name="numpy", version="2.4.6", subdir=subdir, depends=("python",)).write(
            channel
        )
    TinyPackage(name="python_abi", version="3.11", build="0_cp311").write(channel)
    call_rattler("index", {"folder": str(channel)})


def fetch(mirror: Mirror, upstream: Path) -> None:
    """Place what upstream has, as the stage would."""
    for artifact in mirror.selection.artifacts:
        url, target = artifact.urls[0], mirror.folder / artifact.path
        parts = urlsplit(url)
        source = mirror.root / url
        if parts.scheme:
            source = upstream.joinpath(parts.netloc, *parts.path.strip("/").split("/"))
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def led_to(home: Path, mirrors: dict[str, str]) -> Pixi:
    pixi = find_pixi(home)
    lines = (f'"{upstream}" = ["{url}"]' for upstream, url in mirrors.items())
    pixi.configure("[mirrors]\n" + "\n".join(lines) + "\n")
    return pixi


def locked(pixi: Pixi, root: Path) -> bytes:
    (root / "pixi.lock").unlink(missing_ok=True)
    result = pixi.run(root, "lock")
    assert result.returncode == 0, result.stderr
    return (root / "pixi.lock").read_bytes()


@pytest.fixture(params=["conda-forge"])
def mirror(request: pytest.FixtureRequest, tmp_path: Path) -> Mirror:
    """A workspace locked by pixi from upstream by its own hosts, then mirrored."""
    channel = request.param
    upstream, root = tmp_path / "upstream", tmp_path / "workspace"
    sha256 = write_pypi(upstream, root)
    write_conda(upstream / "conda.anaconda.org" / channel)
    manifest = MANIFEST.replace("conda-forge", channel) % sha256
    (root / "pixi.toml").write_text(manifest, encoding="utf-8")
    hosts = ("conda.anaconda.org", "conda-mapping.prefix.dev", *HOSTS)
    with Upstream(upstream) as server:
        pixi = led_to(tmp_path / "home", {f"https://{x}": f"{server.url}/{x}" for x in hosts})
        locked(pixi, root)
    made = Mirror(root=root, layout="flat")
    fetch(made, upstream)
    assert made.index().problems == ()
    return made


def lock_from(mirror: Mirror, home: Path) -> tuple[bytes, list[str]]:
    """Lock with the mirror alone and empty caches; return what it asked for, too."""
    (channel,) = mirror.selection.locks[0].environments[0].channels
    with Upstream(mirror.folder) as server:
        pypi = f"{server.url}/{PYPI_FOLDER}"
        indexes = {each: f"{pypi}/simple/{each.partition('//')[2]}" for each in (PYPI, OTHER)}
        mirrors = {
            channel: server.url,
            "https://conda-mapping.prefix.dev": f"{pypi}/mapping",
            **indexes,
            **{f"https://{each}": f"{pypi}/files/{each}" for each in HOSTS[1:]},
        }
        return locked(led_to(home, mirrors), mirror.root), list(server.paths)


@pytest.mark.parametrize("mirror", ["conda-forge", "conda-forge/label/dev"], indirect=True)
def test_pixi_writes_the_same_lock_from_the_mirror(mirror: Mirror, tmp_path: Path) -> None:
    before = (mirror.root / "pixi.lock").read_bytes()
    after, asked = lock_from(mirror, tmp_path / "empty")
    assert after.decode() == before.decode()
    assert f"/{PYPI_FOLDER}/simple/pypi.example.org/simple/tiny-pure/" in asked
    assert f"/{PYPI_FOLDER}/mapping/compressed-v0/compressed_mapping.json" in asked


def test_pixi_locks_from_the_mirror_by_the_lines_for_who_has_no_mirrors(
    mirror: Mirror, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The mirror's URL is none that pixi takes for conda-forge's, so that it is told to guess."""
    lock, root = mirror.root / "pixi.lock", tmp_path / "consumer"
    root.mkdir()
    with Upstream(mirror.folder) as server:
        capsys.readouterr()
        assert doctor.main(["--lock", str(lock), "--mirror", server.url]) == 1
        lines = capsys.readouterr().out.split("\n\n")[3]
        pixi = find_pixi(tmp_path / "home")
        for guess, code in ((", same-name-heuristic = true", 0), ("", 1)):
            pasted = lines.replace(", same-name-heuristic = true", guess)
            (root / "pixi.toml").write_text(
                f'[workspace]\nname = "case"\nplatforms = ["linux-64"]\n{pasted}\n\n'
                '[dependencies]\npython = "3.11.*"\nnumpy = ">=2"\n\n'
                '[pypi-dependencies]\n"Tiny.Extras" = "*"\n',
                encoding="utf-8",
            )
            (root / "pixi.lock").unlink(missing_ok=True)
            done = pixi.run(root, "lock")
            assert done.returncode == code, done.stderr


def test_of_relative_links_it_would_write_another(mirror: Mirror, tmp_path: Path) -> None:
    page = mirror.folder / PYPI_FOLDER / "simple/pypi.example.org/simple/tiny-pure/index.html"
    text = page.read_text(encoding="utf-8")
    relative = text.replace("https://files.example.org/", "../../../../files/files.example.org/")
    page.write_text(relative, encoding="utf-8")
    page.with_name("index.v1_json").unlink()  # which pixi would rather have
    before = (mirror.root / "pixi.lock").read_bytes()
    after, _ = lock_from(mirror, tmp_path / "empty")
    assert after != before
