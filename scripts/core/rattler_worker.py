"""The functions that need py-rattler, run in a child process; its API moves between versions.

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
from itertools import groupby
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

_ANACONDA: Final = "https://conda.anaconda.org/"
_LONGEST_DOWNLOAD: Final = 3600  # seconds for one artifact; rattler has no limit of its own


async def index(folder: str, zst: bool = True) -> None:  # noqa: FBT001, FBT002 -- from JSON
    """Index the channel folder `folder`, without `force`: records already there are kept."""
    from rattler.index import index_fs

    await index_fs(Path(folder), write_zst=zst, force=False)


def normalise(specs: list[str]) -> dict[str, str]:
    """Map each text of `specs` to how rattler writes that MatchSpec; itself where it cannot."""
    from rattler import MatchSpec

    result = {text: text for text in specs}
    for text in result:
        with contextlib.suppress(Exception):  # it raises many kinds; then it is compared as it is
            result[text] = str(MatchSpec(text))
    return result


def matches(pairs: list[dict[str, Any]]) -> list[bool | None]:
    """Tell for each of `pairs` whether `record` meets the MatchSpec `spec`, read leniently.

    What rattler leaves aside (fn, url, subdir, channel) is for the caller to compare. None where
    this rattler cannot say: it does not understand the spec, or keeps no `flags`.
    """
    return [_matches(**pair) for pair in pairs]


def _matches(spec: str, record: dict[str, Any]) -> bool | None:
    from rattler import PackageRecord

    later = {key: record.pop(key) for key in ("track_features", "flags") if key in record}
    for digest in ("sha256", "md5"):
        record[digest] = record[digest] and bytes.fromhex(record[digest])
    try:
        made = PackageRecord(**{**record, "build": build_string(record["build"])})
        if "flags=" in spec and not hasattr(made, "flags"):
            return None
        for key, value in later.items():
            if hasattr(made, key):
                setattr(made, key, value)
        return bool(match_spec(spec).matches(made))
    except Exception:  # of many kinds; that nothing was compared is what counts
        return None


def requirements(specs: list[str]) -> list[dict[str, Any]]:
    """Read each text of `specs` leniently, as `pixi add` does.

    Returns for each, in order, its `name` and its `fields` as pixi's manifest has them, or what is
    `refused`: why it is no MatchSpec, or that these fields do not say all that it says.
    """
    return [_requirement(text) for text in specs]


def _requirement(text: str) -> dict[str, Any]:
    try:
        spec = match_spec(text)
    except Exception as error:  # of many kinds; what it says is the answer
        return {"refused": error_message(error)}
    name, fields = spec.name.normalized, {}
    # The name of a field in a manifest, in the brackets of a MatchSpec, and its value.
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


def refusals(specs: list[str], versions: list[str]) -> dict[str, dict[str, str]]:
    """Say of `specs`, read leniently, and of `versions` which are none, and why."""
    from rattler import Version

    return {
        key: {text: why for text in texts if (why := refusal(read, text)) is not None}
        for key, texts, read in (("specs", specs, match_spec), ("versions", versions, Version))
    }


def rank_versions(versions: list[str]) -> dict[str, int]:
    """Map each text to its place in conda's order, the lowest 0; equals share one.

    What is no version has no place.
    """
    from rattler import Version

    known = {}
    for text in versions:
        with contextlib.suppress(Exception):  # it raises many kinds
            known[text] = Version(text)
    ordered = groupby(sorted(known, key=known.__getitem__), key=known.__getitem__)
    return {text: rank for rank, (_, equals) in enumerate(ordered) for text in equals}


async def download(
    *, tls_no_verify: bool, tls_root_certs: str, s3_options: list[list[Any]]
) -> None:
    """Download what each line of stdin names, `{"url": …, "path": …}`, over the file `path`.

    With rattler's client, its credentials and transports, side by side, until stdin ends. Each is
    answered by a line of its own, as in `main`, that has the `path` beside the result.
    """
    client = _client(
        tls_no_verify=tls_no_verify, tls_root_certs=tls_root_certs, s3_options=s3_options
    )
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


def current_platform() -> str:
    """Return the subdir of this machine."""
    return str(subdir_type().current())


async def install(folder: str, subdirs: list[dict[str, Any]], prefix: str, cache: str) -> list[str]:
    """Install artifacts of a channel folder into the empty folder `prefix`, `cache` being empty.

    `folder` is served on loopback, where the records come from the shards; those of
    `repodata.json`, which is read from `file://`, must name the same artifacts. `subdirs` are maps:
    the `path` below `folder`, and the `names` and `files` of the artifacts. Returns what has no
    record, and where; then nothing is installed. Post-link scripts are not run.
    """
    from rattler import Gateway, install

    from scripts.core.loopback_server import served  # which takes as long as a small call

    gateway = Gateway(cache_dir=Path(cache, "repodata"))
    records: list[Any] = []
    missing: list[str] = []
    with served(folder) as port:
        server = f"http://127.0.0.1:{port}"
        for wanted in subdirs:
            file = Path(folder, wanted["path"], "repodata.json")
            for source, base, found in (
                (file.name, "file:", load_records(file.parent.parent.as_uri(), file)),
                ("repodata_shards.msgpack.zst", server, await _records_at(gateway, server, wanted)),
            ):
                chosen = {x.file_name: x for x in found if x.file_name in wanted["files"]}
                for name, record in chosen.items():
                    if not record.url.startswith(base):
                        raise ValueError(f"{name} is not in the channel, but at {record.url}")
                unknown = sorted(set(wanted["files"]).difference(chosen))
                missing += [f"{wanted['path']}/{name} in its {source}" for name in unknown]
            records += chosen.values()
        if not missing:
            await install(records, prefix, cache_dir=Path(cache), show_progress=False)
    return missing


async def _records_at(gateway: Any, server: str, wanted: dict[str, Any]) -> Any:
    from urllib.parse import quote

    from rattler import Channel

    path, _, subdir = f"{server}/{quote(wanted['path'])}".rpartition("/")
    found = await gateway.query(
        [Channel(path)], [subdir_type()(subdir)], wanted["names"], recursive=False
    )
    return [record for some in found for record in some]


def _client(*, tls_no_verify: bool, tls_root_certs: str, s3_options: list[list[Any]]) -> Any:
    """Make the client, without its own retries: the caller has better ones.

    It takes proxies and certificates from the environment in all versions.
    """
    import rattler
    from rattler import networking

    client: Any = networking.Client  # versions differ in what it has
    if (config_type := getattr(rattler, "Config", None)) is not None:
        values = {"tls-no-verify": tls_no_verify, "tls-root-certs": tls_root_certs}
        for bucket, endpoint, region, path_style in s3_options:
            name = f"s3-options.{json.dumps(bucket, ensure_ascii=False)}"
            values[f"{name}.endpoint-url"] = endpoint
            values[f"{name}.region"] = region
            values[f"{name}.addressing-style"] = "path" if path_style else "virtual-host"
        # JSON of these values is valid TOML.
        lines = (f"{key} = {json.dumps(each, ensure_ascii=False)}" for key, each in values.items())
        config = config_type.from_toml("\n".join(lines))
        return client.from_config(config, max_retries=0, timeout=_LONGEST_DOWNLOAD)
    if tls_no_verify:
        raise ValueError("this version cannot do without verification (tls-no-verify)")
    from rattler.networking.middleware import S3Config

    buckets = {bucket: S3Config(*options) for bucket, *options in s3_options}
    middlewares: list[Any] = [
        *(networking.AuthenticationMiddleware(), networking.OciMiddleware()),
        *(networking.GCSMiddleware(), networking.S3Middleware(buckets)),
    ]
    return client(middlewares, timeout=_LONGEST_DOWNLOAD)


_FUNCTIONS: Final[dict[str, Callable[..., Any]]] = {
    each.__name__: each
    for each in (
        *(index, download, install, current_platform, prove_closed, solve),
        *(matches, normalise, rank_versions, refusals, requirements),
    )
}


def main(function: str) -> None:
    """Run one function and print its result."""
    arguments = json.loads(sys.stdin.buffer.readline())
    answer: dict[str, Any]
    try:
        result = _FUNCTIONS[function](**arguments)
        answer = {"result": asyncio.run(result) if asyncio.iscoroutine(result) else result}
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
