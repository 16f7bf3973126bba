"""A bare pool of four threads that downloads and hashes, with one HTTP library or another.

Run as `python -m bench.pool LIBRARY LIST FOLDER`; LIST is that of sha256sum, with URLs for names.
It shows what the library itself costs: no lock, no plan, no parts, no retries.
"""

from __future__ import annotations

import hashlib
import http.client
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

_CHUNK = 1 << 19
_THREADS = 4


def by_requests() -> Callable[[str], Iterator[bytes]]:
    """Download with requests."""
    import requests

    session = requests.Session()
    session.trust_env = False

    def get(url: str) -> Iterator[bytes]:
        with session.get(url, stream=True) as response:
            while chunk := response.raw.read1(_CHUNK, decode_content=False):
                yield chunk

    return get


def by_urllib3() -> Callable[[str], Iterator[bytes]]:
    """Download with urllib3."""
    import urllib3

    pool = urllib3.PoolManager(maxsize=1)

    def get(url: str) -> Iterator[bytes]:
        response = pool.request("GET", url, preload_content=False)
        while chunk := response.read1(_CHUNK, decode_content=False):
            yield chunk
        response.release_conn()

    return get


def by_http_client() -> Callable[[str], Iterator[bytes]]:
    """Download with the standard library."""
    made: list[http.client.HTTPConnection] = []

    def get(url: str) -> Iterator[bytes]:
        parts = urlsplit(url)
        if not made:
            made.append(http.client.HTTPConnection(parts.netloc))
        made[0].request("GET", parts.path)
        response = made[0].getresponse()
        while chunk := response.read1(_CHUNK):
            yield chunk
        response.close()  # read1 at the end does not, and the connection would not go on

    return get


LIBRARIES = {"requests": by_requests, "urllib3": by_urllib3, "http.client": by_http_client}


def main(library: str, rows: str, folder: str) -> None:
    """Download every URL of the list into the folder; an AssertionError where a sha256 differs."""
    mine = threading.local()
    Path(folder).mkdir()

    def one(line: str) -> None:
        expected, url = line.split()
        get = getattr(mine, "get", None)
        if get is None:
            get = mine.get = LIBRARIES[library]()
        digest = hashlib.sha256()
        target = Path(folder) / url.rpartition("/")[2]
        with target.open("wb", buffering=0) as file:
            for chunk in get(url):
                digest.update(chunk)
                file.write(chunk)
        assert digest.hexdigest() == expected, url

    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(one, Path(rows).read_text(encoding="utf-8").splitlines()))


if __name__ == "__main__":
    main(*sys.argv[1:])
