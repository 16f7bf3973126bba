"""Where rattler is imported, with its neighbours: its API moves between minor versions.

Run as `python -m scripts.core.rattler_worker FUNCTION` with JSON arguments on stdin; prints one
line `{"rattler": {"result": …}}`, or with `error` or `broken` in it, and leaves by `os._exit`,
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

from scripts.core.rattler_closure import prove_closed
from scripts.core.rattler_matcher import matches
from scripts.core.rattler_solver import solve
from scripts.core.rattler_specs import refusals, requirements
from scripts.core.rattler_types import subdir_type
from scripts.core.served import raise_loopback, served

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
    """Download what each line of stdin names, `{"url": …, "path": …}`, over the file `path`.

    With rattler's client, its credentials and transports, side by side, until stdin ends. Each is
    answered by a line of its own, as in `main`, that has the `path` beside the result.
    """
    asyncio.run(_download_all(_client(arguments)))


async def _download_all(client: Any) -> None:
    loop = asyncio.get_running_loop()
    under_way: set[asyncio.Task[None]] = set()
    while line := await loop.run_in_executor(None, sys.stdin.buffer.readline):
        task = loop.create_task(_download(client, **json.loads(line)))
        under_way.add(task)
        task.add_done_callback(under_way.discard)


async def _download(client: Any, url: str, path: str) -> None:
    from pathlib import Path

    from rattler.package_streaming import download_to_path

    answer: dict[str, Any] = {"result": None, "path": path}
    try:
        await download_to_path(client, url, Path(path))
    except Exception as error:  # passed on to the parent, which decides
        answer = {"error": str(error) or type(error).__name__, "path": path}
    _say(answer)


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
    """Install artifacts of a channel folder into the empty folder `prefix`, `cache` being empty.

    `folder` is served on loopback, where the records come from the shards; those of
    `repodata.json`, which is read from `file://`, must name the same artifacts. `subdirs` are maps:
    the `path` below `folder`, and the `names` and `files` of the artifacts. Returns what has no
    record, and where; then nothing is installed. Post-link scripts are not run.
    """
    with contextlib.suppress(OSError):  # rattler will say that it reaches no server
        raise_loopback()
    with served(arguments["folder"]) as port:
        return asyncio.run(_install(arguments, f"http://127.0.0.1:{port}"))


async def _install(arguments: dict[str, Any], server: str) -> list[str]:
    from pathlib import Path

    from rattler import Gateway
    from rattler import install as install_records

    cache = Path(arguments["cache"])
    gateway = Gateway(cache_dir=cache / "repodata")
    records: list[Any] = []
    missing: list[str] = []
    for wanted in arguments["subdirs"]:
        for source, base, found in (
            ("repodata.json", "file:", _records_of_file(arguments["folder"], wanted)),
            ("repodata_shards.msgpack.zst", server, await _records_at(gateway, server, wanted)),
        ):
            chosen = {each.file_name: each for each in found if each.file_name in wanted["files"]}
            for name, record in chosen.items():
                if not record.url.startswith(base):
                    raise ValueError(f"{name} is not in the channel, but at {record.url}")
            unknown = sorted(set(wanted["files"]).difference(chosen))
            missing += [f"{wanted['path']}/{name} in its {source}" for name in unknown]
        records += chosen.values()
    if not missing:
        await install_records(records, arguments["prefix"], cache_dir=cache, show_progress=False)
    return missing


def _records_of_file(folder: str, wanted: dict[str, Any]) -> Any:
    from pathlib import Path

    from rattler import Channel, SparseRepoData

    subdir = Path(folder, wanted["path"])
    channel = Channel(subdir.parent.as_uri())
    return SparseRepoData(channel, subdir.name, subdir / "repodata.json").load_all_records()


async def _records_at(gateway: Any, server: str, wanted: dict[str, Any]) -> Any:
    from urllib.parse import quote

    from rattler import Channel

    path, _, subdir = f"{server}/{quote(wanted['path'])}".rpartition("/")
    found = await gateway.query(
        [Channel(path)], [subdir_type()(subdir)], wanted["names"], recursive=False
    )
    return [record for some in found for record in some]


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
        "matches": matches,
        "normalise": normalise,
        "prove_closed": prove_closed,
        "rank_versions": rank_versions,
        "refusals": refusals,
        "requirements": requirements,
        "solve": solve,
    }
    arguments = json.loads(sys.stdin.buffer.readline())
    answer: dict[str, Any]
    try:
        answer = {"result": functions[function](arguments)}
    except ImportError as error:  # rattler is broken, and has not refused anything
        answer = {"broken": str(error)}
    except Exception as error:  # passed on to the parent, which decides
        import traceback

        traceback.print_exc()
        answer = {"error": str(error) or type(error).__name__}
    _say(answer)
    sys.stderr.flush()
    os._exit(0)


def _say(answer: dict[str, Any]) -> None:
    sys.stdout.write("\n" + json.dumps({"rattler": answer}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])
