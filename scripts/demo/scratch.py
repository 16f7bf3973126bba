"""The demo's own place: a copied workspace, and a pixi configuration with its mirror."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scripts.core.errors import usage_error
from scripts.core.scratch import scratch_folder

DEMO: Final = Path(__file__).resolve().parent
UPSTREAM: Final = DEMO / "upstream"
WORKSPACE: Final = DEMO / "workspace"
HOST: Final = "https://conda.example.org"

# Settings of the user that must not reach the demo: it is the same for everybody.
_FOREIGN: Final = ("PIXI_", "CONDA_", "_CONDA_", "RATTLER_", "PYTHONHOME")
_LOOPBACK: Final = "127.0.0.1,localhost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scratch:
    """The demo's folder, and what is where in it."""

    root: Path

    @property
    def workspace(self) -> Path:
        """The copy of the demo's pixi workspace."""
        return self.root / "workspace"

    @property
    def channel(self) -> Path:
        """The channel that is made."""
        return self.workspace / "local-channel"

    @property
    def configuration(self) -> Path:
        """The file of pixi's configuration that names the mirror."""
        return self.root / "pixi-home" / "config.toml"

    @property
    def cache(self) -> Path:
        """The folder for caches of pixi and rattler."""
        return self.root / "cache"

    @property
    def install_cache(self) -> Path:
        """The folder for the caches of the install, which must not know the artifacts before."""
        return self.root / "install-cache"

    @property
    def prefix(self) -> Path:
        """The folder into which the program is installed."""
        return self.root / "prefix"


@contextlib.contextmanager
def demo_folder(keep: Path | None) -> Iterator[Scratch]:
    """Make the folder `keep`, which stays, or a temporary one, which does not.

    Raises the error of exit code 2 where `keep` is there and holds something.
    """
    if keep is not None:
        yield Scratch(root=_empty_folder(keep))
        return
    with scratch_folder() as folder:
        yield Scratch(root=folder)


def _empty_folder(folder: Path) -> Path:
    folder = folder.absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        is_empty = not any(folder.iterdir())
    except OSError as error:
        raise usage_error(str(folder), f"cannot be made: {error.strerror}") from None
    if not is_empty:
        raise usage_error(
            str(folder), "not empty, and the demo overwrites nothing", help="name a new folder"
        )
    return folder


def fill(scratch: Scratch, url: str) -> None:
    """Copy the workspace, and write the configuration that sends `HOST` to this URL."""
    shutil.copytree(WORKSPACE, scratch.workspace)
    scratch.configuration.parent.mkdir()
    text = f'[mirrors]\n"{HOST}" = ["{url}"]\n'
    scratch.configuration.write_text(text, encoding="utf-8", newline="\n")


def environment_for(scratch: Scratch, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables for the tasks that the demo runs: loopback, and nobody's settings."""
    kept = {
        name: text
        for name, text in environ.items()
        if not name.upper().startswith(_FOREIGN) and not name.upper().endswith("_PROXY")
    }
    return kept | {
        "PIXI_HOME": str(scratch.configuration.parent),
        "PIXI_CONFIG_FILE": str(scratch.configuration),
        "PIXI_CACHE_DIR": str(scratch.cache),
        "RATTLER_CACHE_DIR": str(scratch.cache),
        "NO_PROXY": _LOOPBACK,
        "no_proxy": _LOOPBACK,
        "PYTHONIOENCODING": "utf-8",
        "PYTHONPATH": str(DEMO.parents[1]),
    }
