"""Read pixi's configuration files, all that hold for a workspace."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from scripts.core.files import not_readable, read_text
from scripts.network.pixi_config_layers import (
    PixiConfig,
    PixiConfigLayer,
    merge_layers,
    parse_pixi_config,
)
from scripts.network.pixi_config_paths import System, config_paths

_LARGEST: Final = 1 << 20  # bytes; real ones have hundreds
_WHAT: Final = "pixi configuration"


def read_pixi_config(root: Path, environ: Mapping[str, str]) -> PixiConfig:
    """Read what the files say that pixi reads for the workspace in `root`.

    Raises the error of exit code 2 that names a file which is broken; pixi would only log it and
    go on without.
    """
    paths = config_paths(root, environ, System(platform=sys.platform, home=home_of(environ)))
    layers = [] if paths.named is None else [_read(paths.named)]
    layers += [_read(path) for path in paths.searched if _is_there(path)]
    return merge_layers(layers, environ)


def home_of(environ: Mapping[str, str]) -> Path | None:
    """Return the home folder as pixi finds it; None where there is none (a bare service)."""
    named = environ.get("USERPROFILE" if sys.platform == "win32" else "HOME")
    if named:
        return Path(named)
    try:
        return Path.home()
    except RuntimeError:
        return None


def _read(path: Path) -> PixiConfigLayer:
    return parse_pixi_config(read_text(path, limit=_LARGEST, what=_WHAT), str(path))


def _is_there(path: Path) -> bool:
    """Tell a missing file from one that nobody may look at, which is an error."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise not_readable(path, _WHAT, error) from None
    return True
