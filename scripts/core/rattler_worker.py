"""Where rattler is imported, with its neighbours: its API moves between minor versions. Acts.

Run as `python -m scripts.core.rattler_worker FUNCTION` with JSON arguments on stdin; prints one
line `{"rattler": {"result": …}}` or `{"rattler": {"error": "…"}}` and leaves by `os._exit`,
because rattler may crash while the interpreter ends. Works with py-rattler 0.25 to 0.28.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Callable
from typing import Any, Final

from scripts.core.rattler_matcher import match_each, matches
from scripts.core.rattler_solver import solve
from scripts.core.rattler_specs import refusals, requirements
from scripts.core.rattler_types import subdir_type

_LONGEST_DOWNLOAD: Final = 3600  # seconds for one artifact; rattler has no limit of its own


def index(arguments: dict[str, Any]) -> None:
    """Index the channel folder `folder`, without `force`: records already there are kept."""
    from rattler.index import index_fs

    asyncio.run(index_fs(arguments["folder"], force=False))


def normalise(arguments: dict[str, Any]) -> dict[str, str]:
    """Map each text of `specs` to how rattler writes that MatchSpec; itself where it cannot."""
    from rattler import MatchSpec

    result = {}
    for text in arguments["specs"]:
        try:
            result[text] = str(MatchSpec(text))
        except Exception:  # rattler raises many kinds; such a text is compared as it is
            result[text] = text
    return result


def rank_versions(arguments: dict[str, Any]) -> dict[str, int]:
    """Map each text of `versions` to its place in conda's order, the lowest 0; equals share one.

    What is no version has no place.
    """
    from rattler import Version

    versions = {}
    for text in arguments["versions"]:
        with contextlib.suppress(Exception):  # it raises many kinds
            versions[text] = Version(text)
    ranks: dict[str, int] = {}
    last = None
    for text in sorted(versions, key=versions.__getitem__):
        is_equal = last is not None and versions[text] == versions[last]
        ranks[text] = 0 if last is None else ranks[last] + (not is_equal)
        last = text
    return ranks


def download(arguments: dict[str, Any]) -> None:
    """Download `url` to the file `path` with rattler's client, its credentials and transports."""
    from pathlib import Path

    from rattler.package_streaming import download_to_path

    asyncio.run(download_to_path(_client(arguments), arguments["url"], Path(arguments["path"])))


def current_platform(_arguments: dict[str, Any]) -> str:
    """Return the subdir of this machine."""
    return str(subdir_type().current())


def create(arguments: dict[str, Any]) -> list[str]:
    """Do what `conda create -c CHANNEL SPEC` does for this machine, with fresh caches.

    Of `channel`, a URL, alone; `specs` into `prefix`; `cache` is an empty folder. Returns the file
    names of what was installed.
    """
    return asyncio.run(_create(arguments))


async def _create(arguments: dict[str, Any]) -> list[str]:
    from pathlib import Path

    from rattler import Gateway, VirtualPackage, install
    from rattler import solve as solve_specs

    subdir = subdir_type()
    cache = Path(arguments["cache"])
    records = await solve_specs(
        [arguments["channel"]],
        arguments["specs"],
        gateway=Gateway(cache_dir=cache / "repodata"),
        platforms=[subdir.current(), subdir("noarch")],
        virtual_packages=VirtualPackage.detect(),
    )
    await install(records, arguments["prefix"], cache_dir=cache / "packages", show_progress=False)
    return sorted(record.file_name for record in records)


def install(arguments: dict[str, Any]) -> list[str]:
    """Install artifacts of a file:// channel into the empty folder `prefix`, `cache` being empty.

    `subdirs` are maps: `repodata`, the file to take the records from; `channel`, the URL; `shown`,
    the subdir's path for people; `files`, the artifacts' names. Returns those (below `shown`)
    that have no record; then nothing is installed. Post-link scripts are not run.
    """
    from pathlib import Path

    from rattler import Channel, SparseRepoData
    from rattler import install as install_records

    records, missing = [], []
    for subdir in arguments["subdirs"]:
        channel, repodata = Channel(subdir["channel"]), Path(subdir["repodata"])
        found = SparseRepoData(channel, repodata.parent.name, repodata).load_all_records()
        wanted = set(subdir["files"])
        chosen = [record for record in found if record.file_name in wanted]
        for record in chosen:
            if not record.url.startswith("file:"):
                raise ValueError(f"{record.file_name} is not in the channel, but at {record.url}")
        records += chosen
        unknown = wanted.difference(record.file_name for record in chosen)
        missing += [f"{subdir['shown']}/{name}" for name in sorted(unknown)]
    if not missing:
        cache = Path(arguments["cache"])
        asyncio.run(
            install_records(records, arguments["prefix"], cache_dir=cache, show_progress=False)
        )
    return missing


def _client(arguments: dict[str, Any]) -> Any:
    """Make the client, without its own retries: the caller has better ones.

    It takes proxies and certificates from the environment in all versions.
    """
    from rattler.networking import Client

    if hasattr(Client, "from_config"):
        from rattler import Config

        config = Config.from_toml(_config(arguments))
        return Client.from_config(config, max_retries=0, timeout=_LONGEST_DOWNLOAD)
    if arguments["tls-no-verify"]:
        raise ValueError("this version cannot do without verification (tls-no-verify)")
    from rattler.networking import (
        AuthenticationMiddleware,
        GCSMiddleware,
        OciMiddleware,
        S3Middleware,
    )
    from rattler.networking.middleware import S3Config

    buckets = {
        bucket: S3Config(endpoint, region, path_style)
        for bucket, endpoint, region, path_style in arguments["s3-options"]
    }
    return Client(
        [AuthenticationMiddleware(), OciMiddleware(), GCSMiddleware(), S3Middleware(buckets)],
        timeout=_LONGEST_DOWNLOAD,
    )


def _config(arguments: dict[str, Any]) -> str:
    """Write rattler's configuration; what JSON writes of these values is TOML as well."""
    values: dict[str, Any] = {
        "tls-no-verify": arguments["tls-no-verify"],
        "tls-root-certs": arguments["tls-root-certs"],
    }
    for bucket, endpoint, region, path_style in arguments["s3-options"]:
        name = f"s3-options.{json.dumps(bucket, ensure_ascii=False)}"
        values[f"{name}.endpoint-url"] = endpoint
        values[f"{name}.region"] = region
        values[f"{name}.addressing-style"] = "path" if path_style else "virtual-host"
    lines = (f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in values.items())
    return "\n".join(lines)


def main(function: str) -> None:
    """Run one function and print its result."""
    functions: dict[str, Callable[[dict[str, Any]], Any]] = {
        "create": create,
        "current_platform": current_platform,
        "index": index,
        "download": download,
        "install": install,
        "match_each": match_each,
        "matches": matches,
        "normalise": normalise,
        "rank_versions": rank_versions,
        "refusals": refusals,
        "requirements": requirements,
        "solve": solve,
    }
    arguments = json.loads(sys.stdin.buffer.read())
    answer: dict[str, Any]
    try:
        answer = {"result": functions[function](arguments)}
    except Exception as error:  # passed on to the parent, which decides
        import traceback

        traceback.print_exc()
        answer = {"error": str(error) or type(error).__name__}
    sys.stdout.write("\n" + json.dumps({"rattler": answer}) + "\n")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
