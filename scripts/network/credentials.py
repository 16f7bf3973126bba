"""Find the credentials that pixi and conda users have stored.

In the order of rattler (`AuthenticationStorage::from_env_and_defaults`), with what pixi puts in
front of it (`get_auth_store`; it means to put it second, but 0.77 does not): pixi's
`authentication-override-file`, `RATTLER_AUTH_FILE`, the system's keyring,
`~/.rattler/credentials.json`, netrc. The keyring is left to rattler itself; see
`Credentials.may_be_in_keyring`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from scripts.core.files import not_readable, read_regular, read_text
from scripts.network.credential_choice import Basic, Credentials, Store
from scripts.network.credential_file import parse_credentials
from scripts.network.pixi_config import home_of
from scripts.network.pixi_config_layers import PixiConfig

_LARGEST: Final = 4 << 20  # bytes; real ones have hundreds
_WHAT: Final = "credentials file"


def read_credentials(config: PixiConfig, environ: Mapping[str, str]) -> Credentials:
    """Read all files with credentials.

    A rattler file that is broken is the error of exit code 2, as it ends pixi. A file that is
    named but missing, and a netrc that cannot be read, are notes, as they are warnings in pixi.
    """
    notes: list[str] = []
    stores: list[Store] = []
    named = (config.authentication_override_file, environ.get("RATTLER_AUTH_FILE"))
    for path in [Path(each) for each in named if each]:
        store = _rattler_file(path, before_keyring=True)
        if store is None:
            notes.append(f"{path}: there is no such credentials file")
        else:
            stores.append(store)
    home = home_of(environ)
    if home is not None:
        store = _rattler_file(home / ".rattler" / "credentials.json", before_keyring=False)
        stores += [] if store is None else [store]
    netrc = _netrc_path(environ, home)
    if netrc is not None:
        stores += _netrc(netrc, notes, must_be_there="NETRC" in environ)
    return Credentials(
        stores=tuple(stores), keyring=_has_keyring(environ, sys.platform), notes=tuple(notes)
    )


def _rattler_file(path: Path, *, before_keyring: bool) -> Store | None:
    """Read one file of rattler's; None where there is none."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise not_readable(path, _WHAT, error) from None
    text = read_text(path, limit=_LARGEST, what=_WHAT)
    entries = parse_credentials(text, str(path))
    return Store(name=str(path), entries=entries, before_keyring=before_keyring)


def _netrc_path(environ: Mapping[str, str], home: Path | None) -> Path | None:
    if environ.get("NETRC"):
        return Path(environ["NETRC"])
    if home is None:
        return None
    return home / ("_netrc" if sys.platform == "win32" else ".netrc")


def _netrc(path: Path, notes: list[str], *, must_be_there: bool) -> list[Store]:
    """Read a netrc; its `default` is nobody's, as in rattler: it would go to every host."""
    import netrc

    try:
        read_regular(path, _LARGEST)  # no pipe and no device
        hosts = netrc.netrc(str(path)).hosts
    except FileNotFoundError:
        if must_be_there:
            notes.append(f"{path}: there is no such netrc")
        return []
    except OSError as error:
        notes.append(f"{path}: cannot read this netrc: {error.strerror}")
        return []
    except netrc.NetrcParseError as error:  # its text may quote a password
        notes.append(f"{path}: not understood as a netrc (line {error.lineno}), so not used")
        return []
    except UnicodeDecodeError:
        notes.append(f"{path}: not understood as a netrc (not text), so not used")
        return []
    entries = tuple(
        (host.lower(), Basic(user=user or "", password=password or ""))
        for host, (user, _account, password) in hosts.items()
        if host != "default"
    )
    return [Store(name=str(path), entries=entries)]


def _has_keyring(environ: Mapping[str, str], platform: str) -> bool:
    """Tell whether there may be a keyring: elsewhere always, on Linux with a session bus."""
    if platform in {"darwin", "win32"}:
        return True
    if environ.get("DBUS_SESSION_BUS_ADDRESS"):
        return True
    runtime = environ.get("XDG_RUNTIME_DIR")
    return bool(runtime) and (Path(runtime or "") / "bus").exists()
