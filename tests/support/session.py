"""A session of requests around an adapter that a test asks with."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import requests
    from requests.adapters import HTTPAdapter


@contextlib.contextmanager
def session_of(adapter: HTTPAdapter) -> Iterator[requests.Session]:
    """Yield a session whose every request goes by the adapter; of the environment it takes nothing.

    What the session says of certificates is left to the adapter too.
    """
    import requests

    with requests.Session() as session:
        session.trust_env = False
        session.mount("https://", adapter)
        session.mount("http://", adapter)
        yield session
