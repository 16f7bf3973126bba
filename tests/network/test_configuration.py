"""The files are those that pixi reads, and what they say is what pixi says."""

from __future__ import annotations

import json
import os
import random
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import rattler

from scripts.core.errors import ExitCode, MirrorError
from scripts.network.configuration import PixiConfig, home_of, read_pixi_config
from tests.support.pixi import find_pixi

RATTLER_CONFIG: Any = getattr(rattler, "Config", None)


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Path]:
    """The folders in which files may be, the weakest first."""
    return {
        "xdg": tmp_path / "xdg" / "pixi",
        "home": tmp_path / "home" / ".pixi",
        "pixi_home": tmp_path / "pixi_home",
        "own": tmp_path / "workspace" / ".pixi",
    }


def _environ(tmp_path: Path, *names: str) -> dict[str, str]:
    """Point pixi at folders of the test; PIXI_HOME only where it is asked for."""
    environ = {
        "HOME": str(tmp_path / "home"),
        "USERPROFILE": str(tmp_path / "home"),
        "APPDATA": str(tmp_path / "xdg"),
        "XDG_CONFIG_HOME": str(tmp_path / "xdg"),
        "PIXI_HOME": str(tmp_path / "pixi_home"),
    }
    return {name: text for name, text in environ.items() if name != "PIXI_HOME" or name in names}


def test_no_file_at_all(tmp_path: Path) -> None:
    assert read_pixi_config(tmp_path / "workspace", _environ(tmp_path)) == PixiConfig()


def test_the_workspace_wins(tmp_path: Path, places: dict[str, Path]) -> None:
    own = _write(places["own"] / "config.toml", "concurrency.downloads = 2")
    home = _write(places["home"] / "config.toml", "concurrency.downloads = 3\ntls-no-verify = true")
    config = read_pixi_config(tmp_path / "workspace", _environ(tmp_path))
    assert config == PixiConfig(downloads=2, tls_no_verify=True, files=(str(own), str(home)))


def test_pixi_home_replaces_the_folder_in_home(tmp_path: Path, places: dict[str, Path]) -> None:
    _write(places["home"] / "config.toml", "concurrency.downloads = 3")
    environ = _environ(tmp_path, "PIXI_HOME")
    assert read_pixi_config(tmp_path / "workspace", environ) == PixiConfig()


def test_a_named_file_must_be_there(tmp_path: Path) -> None:
    environ = _environ(tmp_path) | {"PIXI_CONFIG_FILE": str(tmp_path / "none.toml")}
    with pytest.raises(MirrorError) as caught:
        read_pixi_config(tmp_path / "workspace", environ)
    assert str(caught.value) == (
        f"{tmp_path / 'none.toml'}: cannot read this pixi configuration: there is no such file"
    )
    assert caught.value.problems[0].code is ExitCode.USAGE


def test_a_broken_file_is_named(tmp_path: Path, places: dict[str, Path]) -> None:
    """Where pixi only logs an error: what it then does is not what was configured."""
    path = _write(places["home"] / "config.toml", "tls-no-verify =")
    with pytest.raises(MirrorError) as caught:
        read_pixi_config(tmp_path / "workspace", _environ(tmp_path))
    assert str(caught.value).startswith(f"{path}: not TOML: ")
    assert caught.value.problems[0].code is ExitCode.USAGE


def test_a_folder_instead_of_a_file_is_an_error(tmp_path: Path, places: dict[str, Path]) -> None:
    (places["own"] / "config.toml").mkdir(parents=True)
    with pytest.raises(MirrorError, match=r"config\.toml: cannot read this pixi configuration: "):
        read_pixi_config(tmp_path / "workspace", _environ(tmp_path))


def test_a_file_where_a_folder_should_be_is_no_configuration(tmp_path: Path) -> None:
    _write(tmp_path / "workspace" / ".pixi", "")
    assert read_pixi_config(tmp_path / "workspace", _environ(tmp_path)) == PixiConfig()


def test_home(tmp_path: Path) -> None:
    assert home_of({"HOME": str(tmp_path), "USERPROFILE": str(tmp_path)}) == tmp_path
    assert home_of({}) == Path.home()


def _random_file(chance: random.Random) -> str:
    """Write a configuration file with each key or not, and few values, so that they collide."""

    def some(*lines: str) -> list[str]:
        return [line for line in lines if chance.random() < 0.5]

    def mirror(prefix: str) -> str:
        urls = [f"'https://m{chance.randrange(4)}.example/m'" for _ in range(chance.randrange(3))]
        return f"'{prefix}' = [{', '.join(urls)}]"

    certs = chance.choice(("webpki", "system", "native", "all"))
    lines = [
        *some(
            f"tls-no-verify = {chance.choice(('true', 'false'))}",
            f"tls-root-certs = '{certs}'",
            f"authentication-override-file = '{chance.choice('ab')}.json'",
            f"concurrency.downloads = {chance.choice((2, 3, 50))}",
        ),
        "[proxy-config]",
        *some(
            f"https = 'http://{chance.choice('pq')}.example:3128'",
            f"http = 'http://{chance.choice('pq')}.example:3128'",
            f"non-proxy-hosts = ['{chance.choice('xy')}.example', 'localhost']",
        ),
        "[mirrors]",
        *some(
            mirror("https://a.example"),
            mirror("https://a.example/sub/"),
            mirror("HTTP://B.example:80/x"),
        ),
        "[s3-options]",
        *some(
            f"bucket = {{ region = '{chance.choice('rs')}', endpoint-url = 'https://s3.example', "
            f"force-path-style = {chance.choice(('true', 'false'))} }}"
        ),
        "[pypi-config]",
        "index-url = 'https://pypi.example/simple'",  # else pixi may list nothing of this table
        *some(
            f"keyring-provider = '{chance.choice(('subprocess', 'disabled'))}'",
            f"allow-insecure-host = ['{chance.choice('vw')}.example']",
        ),
    ]
    return "\n".join(lines) + "\n"


def _url(text: str) -> str:
    """Write a URL as both sides compare it: `HTTP://B:80/x` as `http://b/x/`."""
    parts = urlsplit(text)
    return f"{parts.scheme}://{parts.netloc}/{parts.path.strip('/')}".rstrip("/") + "/"


def _as_ours(listed: Mapping[str, Any]) -> dict[str, Any]:
    """Turn what `pixi config list --json` prints into our terms."""
    proxy = listed.get("proxy-config", {})
    certs = listed.get("tls-root-certs")
    concurrency, pypi = listed.get("concurrency", {"downloads": 50}), listed.get("pypi-config", {})
    return {
        "mirrors": {
            _url(prefix): [_url(url) for url in urls]
            for prefix, urls in listed.get("mirrors", {}).items()
        },
        "proxies": [proxy.get(key) for key in ("https", "http")],
        "past": proxy.get("non-proxy-hosts", []),
        "no-verify": listed.get("tls-no-verify", False),
        "certs": "system" if certs in {"native", "all"} else certs,
        "downloads": concurrency["downloads"],
        "override": listed.get("authentication-override-file"),
        "s3": {
            bucket: (each["endpoint-url"], each["region"], each["force-path-style"])
            for bucket, each in listed.get("s3-options", {}).items()
        },
        "keyring": pypi.get("keyring-provider"),
        "insecure": pypi.get("allow-insecure-host", []),
    }


def _ours(config: PixiConfig) -> dict[str, Any]:
    override = config.authentication_override_file
    return {
        "mirrors": {prefix: list(urls) for prefix, urls in config.mirrors},
        "proxies": [each and f"{each}/" for each in (config.https_proxy, config.http_proxy)],
        "past": list(config.non_proxy_hosts),
        "no-verify": bool(config.tls_no_verify),
        "certs": config.tls_root_certs,
        "downloads": config.downloads or 50,  # pixi does not print its default
        "override": None if override is None else str(override),
        "s3": {
            each.bucket: (f"{each.endpoint_url}/", each.region, each.path_style)
            for each in config.s3_options
        },
        "keyring": {None: None, True: "subprocess", False: "disabled"}[config.uses_keyring],
        "insecure": list(config.insecure_hosts),
    }


def _run_pixi(tmp_path: Path, environ: Mapping[str, str], *arguments: str) -> Any:
    program = find_pixi(tmp_path / "unused").program
    workspace = tmp_path / "workspace"
    _write(
        workspace / "pixi.toml",
        '[workspace]\nname = "w"\nchannels = []\nplatforms = ["linux-64"]\n',
    )
    kept = {name: text for name, text in os.environ.items() if not name.startswith("PIXI_")}
    done = subprocess.run(
        [program, *arguments, "--json"],
        cwd=workspace,
        env=kept | {"PIXI_CACHE_DIR": str(tmp_path / "cache")} | dict(environ),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
    )
    return json.loads(done.stdout)


@pytest.mark.needs_pixi
@pytest.mark.parametrize("seed", range(12))
def test_values_are_those_of_pixi(tmp_path: Path, places: dict[str, Path], seed: int) -> None:
    chance = random.Random(seed)
    for folder in places.values():
        if chance.random() < 0.8:
            _write(folder / "config.toml", _random_file(chance))
    environ = _environ(tmp_path, *chance.choice(((), ("PIXI_HOME",))))
    listed = _run_pixi(tmp_path, environ, "config", "list")
    assert _ours(read_pixi_config(tmp_path / "workspace", environ)) == _as_ours(listed)


@pytest.mark.needs_pixi
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"PIXI_HOME": "{tmp}/pixi_home"},
        {"PIXI_CONFIG_FILE": "{tmp}/named.toml"},
        {"PIXI_NO_CONFIG": "yes"},
        {"PIXI_NO_CONFIG": "f"},
        {"XDG_CONFIG_HOME": "relative"},
        {"XDG_CONFIG_HOME": ""},
        {"HOME": "{tmp}/nobody"},
    ],
    ids=str,
)
def test_files_are_those_of_pixi(
    tmp_path: Path, places: dict[str, Path], more: dict[str, str]
) -> None:
    for folder in (*places.values(), tmp_path / "home" / ".config" / "pixi"):
        _write(folder / "config.toml", "tls-no-verify = true")
    _write(tmp_path / "named.toml", "tls-no-verify = true")
    added = {name: text.replace("{tmp}", str(tmp_path)) for name, text in more.items()}
    environ = _environ(tmp_path) | added
    read = read_pixi_config(tmp_path / "workspace", environ).files
    known = _run_pixi(tmp_path, environ, "info")["config_locations"]
    assert [Path(each) for each in read] == [Path(each) for each in known]
    assert any("workspace" in each for each in read)


@pytest.mark.skipif(RATTLER_CONFIG is None, reason="py-rattler 0.26 brought it")
@pytest.mark.parametrize("seed", range(40))
def test_values_are_those_of_rattler(tmp_path: Path, places: dict[str, Path], seed: int) -> None:
    """Its own `Config`, on which pixi's rests, says the same of the same files."""
    chance = random.Random(seed)
    files: list[str | os.PathLike[str]] = []
    for folder in places.values():
        if folder.name != "pixi_home" and chance.random() < 0.8:
            text = _random_file(chance).partition("[s3-options]")[0]
            files.append(_write(folder / "config.toml", text))
    theirs = RATTLER_CONFIG.load_from_files(files) if files else RATTLER_CONFIG.from_toml("")
    ours = read_pixi_config(tmp_path / "workspace", _environ(tmp_path))
    override = theirs.authentication_override_file
    certs = theirs.tls_root_certs
    assert _ours(ours) | {"s3": None} == {
        "mirrors": {
            _url(prefix): [_url(url) for url in urls] for prefix, urls in theirs.mirrors.items()
        },
        "proxies": [theirs.proxy_https, theirs.proxy_http],
        "past": theirs.proxy_non_proxy_hosts,
        "no-verify": bool(theirs.tls_no_verify),
        "certs": {"native": "system", "all": "system"}.get(str(certs), certs),
        "downloads": theirs.concurrency_downloads,
        "override": override and str(override),
        "s3": None,
        "keyring": None,
        "insecure": [],
    }
