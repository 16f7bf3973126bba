"""Why an environment cannot even be tried with a client."""

from __future__ import annotations

from pathlib import Path

from scripts.core.channel_url import CUT_BY_CONDA, is_cut_by_conda
from scripts.verify.findings import Client
from scripts.verify.install.pixi_mirrors import NoMirrorError, mirrors_for
from scripts.verify.install.plan_install import Installation


def hindrance_of(installation: Installation, client: Client, folder: Path) -> str | None:
    """Return a sentence's end; None: it can be tried. `folder` is the channel folder.

    py-rattler takes the mirror's records as they are. pixi asks for all that the lock names; the
    others solve, so all that the artifacts depend on must be there.
    """
    if client is Client.PIXI:
        try:
            mirrors_for(installation)
        except NoMirrorError as error:
            return str(error)
    elif client is not Client.RATTLER and installation.wanting:
        names = ", ".join(installation.wanting)
        return f"its packages depend on what is built from source: {names}"
    elif client is Client.CONDA:
        urls = [(folder / channel).as_uri() for channel in installation.channels]
        if any(map(is_cut_by_conda, urls)):
            return f"the channel {CUT_BY_CONDA}"
    return None
