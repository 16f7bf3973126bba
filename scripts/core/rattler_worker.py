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
from pathlib import Path
from typing import Any, Final

from scripts.core.rattler_solver import (
    build_string,
    error_message,
    load_records,
    match_spec,
    prove_closed,
    refusal,
    solve,
    subdir_type,
)
from scripts.core.served import raise_loopback, served

_ANACONDA: Final = "https://conda.anaconda.org/"
_LONGEST_DOWNLOAD: Final = 3600  # seconds for one artifact; rattler has no limit of its own


def index(arguments: dict[str, Any]) -> None:
    """Index the channel folder `folder`, without `force`: records already there are kept."""
    from rattler.index import index_fs

    asyncio.run(index_fs(arguments["folder"], force=False))


def normalise(arguments: dict[str, Any]) -> dict[str, str]:
    """Map each text of `specs` to how rattler writes that MatchSpec; itself where it cannot."""
    from rattler import MatchSpec

    result = {text: text for text in arguments["specs"]}
    for text in result:
        with contextlib.suppress(Exception):  # it raises many kinds; then it is compared as it is
            result[text] = str(MatchSpec(text))
    return result


def matches(arguments: dict[str, Any]) -> list[bool | None]:
    """Tell for each of `pairs` whether `record` meets the MatchSpec `spec`, read leniently.

    What rattler leaves aside (fn, url, subdir, channel) is for the caller to compare. None where
    this rattler cannot say: it does not understand the spec, or keeps no `flags`.
    """
    return [_matches(pair["spec"], dict(pair["record"])) for pair in arguments["pairs"]]


def _matches(text: str, fields: dict[str, Any]) -> bool | None:
    from rattler import PackageRecord

    later = {key: fields.pop(key) for key in ("track_features", "flags") if key in fields}
    for digest in ("sha256", "md5"):
        fields[digest] = fields[digest] and bytes.fromhex(fields[digest])
    try:
        record = PackageRecord(**{**fields, "build": build_string(fields["build"])})
        if "flags=" in text and not hasattr(record, "flags"):
            return None
        for key, value in later.items():
            if hasattr(record, key):
                setattr(record, key, value)
        return bool(match_spec(text).matches(record))
    except Exception:  # of many kinds; that nothing was compared is what counts
        return None


def requirements(arguments: dict[str, Any]) -> list[dict[str, Any]]:
    """Read each text of `specs` leniently, as `pixi add` does.

    Returns for each, in order, its `name` and its `fields` as pixi's manifest has them, or what is
    `refused`: why it is no MatchSpec, or that these fields do not say all that it says.
    """
    return [_requirement(text) for text in arguments["specs"]]


def _requirement(text: str) -> dict[str, Any]:
    try:
        spec = match_spec(text)
    except Exception as error:  # of many kinds; what it says is the answer
        return {"refused": error_message(error)}
    name, fields = spec.name.normalized, {}
    # What a manifest calls a field, what stands in brackets, and what rattler has.
    for key, word, value in (
        ("version", "version", spec.version),
        ("build", "build", spec.build),
        ("build-number", "build_number", spec.build_number),
        ("file-name", "fn", spec.file_name),
        ("subdir", "subdir", spec.subdir),
        ("md5", "md5", spec.md5 and spec.md5.hex()),
        ("sha256", "sha256", spec.sha256 and spec.sha256.hex()),
        ("channel", "channel", spec.channel and spec.channel.base_url.removeprefix(_ANACONDA)),
    ):
        if value:
            fields[key] = word, str(value).rstrip("/")
    items = ", ".join(f'{word}="{value}"' for word, value in fields.values())
    if str(match_spec(f"{name}[{items}]" if items else name)) != str(spec):
        return {"refused": "it says more than can be written here"}
    return {"name": name, "fields": {key: value for key, (_, value) in fields.items()}}


def refusals(arguments: dict[str, Any]) -> dict[str, dict[str, str]]:
    """Say of `specs`, read leniently, and of `versions` which are none, and why."""
    from rattler import Version

    return {
        key: {text: why for text in arguments[key] if (why := refusal(read, text)) is not None}
        for key, read in (("specs", match_spec), ("versions", Version))
    }


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
    from rattler.package_streaming import download_to_path

    answer: dict[str, Any] = {"result": None, "path": path}
    try:
        await download_to_path(client, url, Path(path))
    except Exception as error:  # passed on to the parent, which decides
        answer = {"error": error_message(error), "path": path}
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
    from rattler import Gateway
    from rattler import install as install_records

    cache = Path(arguments["cache"])
    gateway = Gateway(cache_dir=cache / "repodata")
    records: list[Any] = []
    missing: list[str] = []
    for wanted in arguments["subdirs"]:
        file = Path(arguments["folder"], wanted["path"], "repodata.json")
        here = load_records(file.parent.parent.as_uri(), file, file.parent.name)
        for source, base, found in (
            ("repodata.json", "file:", here),
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


_FUNCTIONS: Final[dict[str, Callable[[dict[str, Any]], Any]]] = {
    each.__name__: each
    for each in (
        *(index, create, download, install, current_platform, prove_closed, solve),
        *(matches, normalise, rank_versions, refusals, requirements),
    )
}


def main(function: str) -> None:
    """Run one function and print its result."""
    arguments = json.loads(sys.stdin.buffer.readline())
    answer: dict[str, Any]
    try:
        answer = {"result": _FUNCTIONS[function](arguments)}
    except ImportError as error:  # rattler is broken, and has not refused anything
        answer = {"broken": str(error)}
    except Exception as error:  # passed on to the parent, which decides
        import traceback

        traceback.print_exc()
        answer = {"error": error_message(error)}
    _say(answer)
    sys.stderr.flush()
    os._exit(0)


def _say(answer: dict[str, Any]) -> None:
    sys.stdout.write("\n" + json.dumps({"rattler": answer}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])
