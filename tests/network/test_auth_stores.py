"""The files of credentials on disk, in pixi's order."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.core.errors import MirrorError
from scripts.network.auth import Credential, basic, read_credentials, url_for
from scripts.network.configuration import PixiConfig
from tests.support.pixi import find_pixi
from tests.support.upstream import Upstream

URL = "http://127.0.0.1:9/x"
NETRC = "_netrc" if sys.platform == "win32" else ".netrc"


def _write(path: Path, token: str, host: str = "127.0.0.1") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({host: {"BearerToken": token}}), encoding="utf-8")
    return path


def _environ(tmp_path: Path) -> dict[str, str]:
    home = tmp_path / "home"
    home.mkdir(exist_ok=True)
    return {"HOME": str(home), "USERPROFILE": str(home)}


def test_no_file_no_credential(tmp_path: Path) -> None:
    credentials = read_credentials(PixiConfig(), _environ(tmp_path))
    assert credentials.notes == ()
    assert credentials.for_url(URL) == Credential()


def test_the_order_of_the_files(tmp_path: Path) -> None:
    environ = _environ(tmp_path)
    home = tmp_path / "home"
    (home / NETRC).write_text("machine 127.0.0.1 login me password pw\n")

    def found(config: PixiConfig, **more: str) -> Credential | None:
        return read_credentials(config, environ | more).for_url(URL)

    assert found(PixiConfig()) == basic("me", "pw")
    _write(home / ".rattler" / "credentials.json", "home")
    assert found(PixiConfig()) == Credential(authorization="Bearer home")
    named = str(_write(tmp_path / "named.json", "named"))
    assert found(PixiConfig(), RATTLER_AUTH_FILE=named) == Credential(authorization="Bearer named")
    config = PixiConfig(authentication_override_file=_write(tmp_path / "over.json", "over"))
    assert found(config, RATTLER_AUTH_FILE=named) == Credential(authorization="Bearer over")
    assert read_credentials(config, environ).before_keyring == 1


@pytest.mark.needs_pixi
@pytest.mark.parametrize("files", [("over", "named", "home"), ("named", "home"), ("home",), ()])
def test_pixi_sends_the_same(tmp_path: Path, upstream: Upstream, files: tuple[str, ...]) -> None:
    """What a real request of pixi carries, asked for by a solve."""
    for subdir in ("noarch", "linux-64"):
        folder = upstream.folder / "chan" / subdir
        folder.mkdir(parents=True)
        (folder / "repodata.json").write_text('{"packages": {}, "packages.conda": {}}')
    pixi = find_pixi(tmp_path / "home")
    (pixi.home / NETRC).write_text("machine 127.0.0.1 login me password pw\n")
    environ = {"HOME": str(pixi.home), "USERPROFILE": str(pixi.home)}
    config = PixiConfig()
    if "home" in files:
        _write(pixi.home / ".rattler" / "credentials.json", "home")
    if "named" in files:
        environ["RATTLER_AUTH_FILE"] = str(_write(tmp_path / "named.json", "named"))
    if "over" in files:
        path = _write(tmp_path / "over.json", "over")
        config = PixiConfig(authentication_override_file=path)
        pixi.configure(f"authentication-override-file = '{path}'")
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    (workspace / "pixi.toml").write_text(
        f'[workspace]\nname = "w"\nchannels = ["{upstream.url}/chan"]\nplatforms = ["linux-64"]\n'
        '[dependencies]\nmissing = "*"\n'
    )
    subprocess.run(
        [pixi.program, "lock"],
        cwd=workspace,
        env=pixi.environment | environ,
        capture_output=True,
        check=False,
    )
    credential = read_credentials(config, environ).for_url(upstream.url)
    assert credential is not None
    sent = {request.headers.get("authorization") for request in upstream.requests}
    assert sent == {credential.authorization}


def test_netrc(tmp_path: Path) -> None:
    path = tmp_path / "named"
    path.write_text(
        "machine Upper.example login me password pw\n"
        "default login anyone password hidden\n"
        "machine later.example login only\n"
    )
    environ = _environ(tmp_path) | {"NETRC": str(path)}
    credentials = read_credentials(PixiConfig(), environ)
    assert credentials.notes == ()
    assert credentials.for_url("https://upper.example/x") == basic("me", "pw")
    assert credentials.for_url("https://elsewhere.example/x") == Credential()  # not the default
    assert "hidden" not in repr(credentials)


@pytest.mark.parametrize("content", [b"machine a.example hidden pw\n", b"hidden\n"])
def test_a_broken_netrc_is_a_note(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "named"
    path.write_bytes(content)
    credentials = read_credentials(PixiConfig(), _environ(tmp_path) | {"NETRC": str(path)})
    assert credentials.for_url("https://a.example/x") == Credential()
    (note,) = credentials.notes
    assert re.sub("[0-9]+\\)", "N)", note.removeprefix(str(path))) == (
        ": cannot be read as a netrc (line N), so not used"
    )


@pytest.mark.skipif(os.name == "nt", reason="devices are POSIX")
def test_a_netrc_without_end_is_a_note(tmp_path: Path) -> None:
    credentials = read_credentials(PixiConfig(), _environ(tmp_path) | {"NETRC": "/dev/zero"})
    assert credentials.notes == ("/dev/zero: cannot be read as a netrc (not a file), so not used",)


def test_what_is_named_but_missing_is_a_note(tmp_path: Path) -> None:
    environ = _environ(tmp_path)
    for name in ("NETRC", "RATTLER_AUTH_FILE"):
        environ[name] = str(tmp_path / name)
    config = PixiConfig(authentication_override_file=tmp_path / "over.json")
    assert read_credentials(config, environ).notes == (
        f"{tmp_path / 'over.json'}: there is no such credentials file",
        f"{tmp_path / 'RATTLER_AUTH_FILE'}: there is no such credentials file",
        f"{tmp_path / 'NETRC'}: there is no such netrc",
    )


def test_a_broken_file_is_an_error_without_its_content(tmp_path: Path) -> None:
    path = tmp_path / "home" / ".rattler" / "credentials.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"a.example": {"BearerToken": "hidden"}')
    with pytest.raises(MirrorError) as caught:
        read_credentials(PixiConfig(), _environ(tmp_path))
    assert str(caught.value) == (
        f"{path}: this credentials file is not JSON\nhelp: mend or remove that file, then log in"
        " anew: pixi auth login HOST --token TOKEN"
    )


@pytest.mark.needs_pixi
@pytest.mark.usefixtures("no_keyring")
def test_the_help_for_a_broken_file(tmp_path: Path) -> None:
    """To log in is in vain, as long as it is there: pixi itself cannot read it."""
    pixi = find_pixi(tmp_path / "home")
    path = tmp_path / "home" / ".rattler" / "credentials.json"
    path.parent.mkdir()
    path.write_text('{"a.example": ')
    command = ("auth", "login", "127.0.0.1", "--token", "tok")
    assert pixi.run(tmp_path, *command).returncode != 0
    path.unlink()
    assert pixi.run(tmp_path, *command).returncode == 0
    credential = read_credentials(PixiConfig(), _environ(tmp_path)).for_url(URL)
    assert credential.authorization == "Bearer tok"


def test_a_folder_in_its_place_is_an_error(tmp_path: Path) -> None:
    environ = _environ(tmp_path) | {"RATTLER_AUTH_FILE": str(tmp_path)}
    with pytest.raises(MirrorError, match="cannot read this credentials file: "):
        read_credentials(PixiConfig(), environ)


@pytest.mark.skipif(os.name == "nt", reason="there a keyring is always there")
@pytest.mark.skipif(sys.platform == "darwin", reason="there a keyring is always there")
def test_a_keyring_needs_a_session_bus(tmp_path: Path) -> None:
    environ = _environ(tmp_path)
    assert not read_credentials(PixiConfig(), environ).keyring
    bus = environ | {"DBUS_SESSION_BUS_ADDRESS": "unix:path=/run/user/1000/bus"}
    assert read_credentials(PixiConfig(), bus).keyring
    # What the system does not look at, as in a folder of somebody else's.
    unseen = environ | {"XDG_RUNTIME_DIR": str(tmp_path / ("x" * 300))}
    assert not read_credentials(PixiConfig(), unseen).keyring
    (tmp_path / "bus").touch()
    assert read_credentials(PixiConfig(), environ | {"XDG_RUNTIME_DIR": str(tmp_path)}).keyring


def test_a_conda_token_goes_into_the_path(tmp_path: Path) -> None:
    path = tmp_path / "named.json"
    path.write_text(json.dumps({"127.0.0.1": {"CondaToken": "tk-1"}}))
    environ = _environ(tmp_path) | {"RATTLER_AUTH_FILE": str(path)}
    credential = read_credentials(PixiConfig(), environ).for_url(URL)
    assert credential is not None
    assert url_for(credential, URL) == "http://127.0.0.1:9/t/tk-1/x"
    assert credential == Credential(conda_token="tk-1")
