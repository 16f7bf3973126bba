"""The stage `plan`: what `mirror` would do, told before it does; nothing is changed.

What is to be downloaded is what `fetch` itself plans; what is retained is what its index will be.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, Final
from urllib.parse import urlsplit

from scripts.channel.digest_cache import DigestCache
from scripts.channel.folders import free_bytes, refuse_output_within
from scripts.channel.users import ChannelUsers
from scripts.core.artifact import Artifact
from scripts.core.console import Console
from scripts.core.files import write_output
from scripts.core.redact import without_secrets
from scripts.core.report import (
    Json,
    Line,
    Report,
    counted,
    human_size,
    join_reports,
    size_text,
    table,
    to_json,
)
from scripts.fetch.plan import Plan, space_problem
from scripts.fetch.stage import (
    plan_downloads,
    plan_json,
    refuse_unhashed,
    router_of,
    unreadable_problems,
)
from scripts.index.file_classes import (
    ChannelFile,
    ChannelFiles,
    classify_files,
    file_rows,
    retained_line,
)
from scripts.lock.channels import channel_name
from scripts.lock.model import LockedEnvironment
from scripts.lock.select import Selection, left_out_lines, named_of, paths_of, undeclared_lines
from scripts.verify.findings import incomplete
from scripts.workspace.workspace import Workspace

_LARGEST: Final = 10  # artifacts that are named
_SCHEMA: Final = 1  # of the mapping; docs/json.schema.json describes it


def plan(
    workspace: Workspace,
    selection: Selection,
    console: Console,
    *,
    users: ChannelUsers,
    is_offline: bool = False,
    mapping: Path | None = None,
) -> Report:
    """Say what `mirror` would do. `is_offline`: ask no server for sizes.

    `mapping` is the file to write the list of all artifacts to. What `mirror` would fail for in
    the end, since nobody can mirror it, is a finding here, too. Raises the errors of exit code 2
    with which `fetch` would stop before the first byte.
    """
    place = workspace.place
    refuse_unhashed(workspace, selection)
    downloads = plan_downloads(
        workspace,
        selection,
        console,
        DigestCache(place.digests, writes=False),
        router=router_of(workspace, selection, console),
        asks=not is_offline,
    )
    # After it, this workspace names what its lock names now.
    after = replace(users, last=None)
    account = classify_files(place.folder, selection, after, console)
    report = _report(workspace, selection, downloads, account)
    if mapping is None:
        return report
    rows = _mapping(workspace, selection, downloads)
    _write_mapping(mapping, rows, workspace)
    line = f"mapping: {mapping}, {counted(len(rows), 'URL')}"
    return join_reports(report, Report(lines=(line,), data={"mapping": str(mapping)}))


def _report(
    workspace: Workspace, selection: Selection, plan: Plan, account: ChannelFiles
) -> Report:
    place, folder = workspace.place, workspace.settings.channel_dir
    free = free_bytes(place.folder)
    there_size = sum(size for _, size in _there(place.folder, selection, plan))
    shares = dict(_shares(selection, plan))
    sized = [(each.path, plan.size_of(each)) for each in plan.to_download]  # the largest first
    known = [ChannelFile(path=path, size=size) for path, size in sized if size is not None]
    largest, nothing = known[:_LARGEST], f"nothing to download into {folder}"
    table_of_largest = tuple(f"  {human_size(x.size).rjust(8)}  {x.path}" for x in largest)
    space = space_problem(plan, free, folder)
    gaps = incomplete(selection, workspace.settings.allow_incomplete)
    return Report(
        lines=(
            plan.headline(folder, free) if plan.to_download or plan.copies else nothing,
            *(line for name, some in shares.items() for line in _share_lines(name, some)),
            *(("the largest:", table_of_largest) if largest else ()),
            f"there already: {counted(plan.there, 'artifact')}, {human_size(there_size)}",
            *([retained_line(account, " after `pixi run mirror`")] if account.retained else []),
            *undeclared_lines(selection.environments),
            *left_out_lines(selection),
            f"room left after it: {human_size(max(free - plan.left, 0))}",
        ),
        data={
            **plan_json(plan, selection),
            "there-size": there_size,
            **{f"by-{name}": some for name, some in shares.items()},
            "largest": to_json(largest),
            "retained": {
                "files": len(account.retained),
                "bytes": sum(each.size for each in account.retained),
                "paths": file_rows(account.retained),
            },
            "free": free,
            "free-after": free - plan.left,
            "mapping": None,
        },
        problems=(
            *(each.problem for each in gaps),
            *filter(None, [space]),
            *unreadable_problems(workspace, plan, selection, "pixi run plan"),
        ),
    )


def _there(folder: Path, selection: Selection, plan: Plan) -> Iterable[tuple[PurePosixPath, int]]:
    """Yield what is there and right, with the size of its file."""
    wanted = {each.path for each in (*plan.to_download, *(each for _, each in plan.copies))}
    for each in selection.artifacts:
        if each.path not in wanted:
            yield each.path, (folder / each.path).stat().st_size


def _origin(artifact: Artifact) -> str:
    """Name the channel or index that it is from, else the host; secrets left out."""
    url = artifact.urls[0]
    if artifact.is_conda:
        return channel_name(artifact.upstream or "")
    if artifact.is_own_file:
        return "files of this machine"
    plain = urlsplit(without_secrets(artifact.upstream or url))
    return plain.geturl() if artifact.upstream else f"{plain.scheme}://{plain.netloc}"


def _subdir(artifact: Artifact) -> str:
    return artifact.path.parent.name if artifact.is_conda else "PyPI"


def _shares(selection: Selection, plan: Plan) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Sum the downloads up by origin and destination, each in the order of the names.

    Environments and locks may need the same; locks are told apart where there are several.
    """
    source = _sources(plan)

    def needed(environments: Sequence[LockedEnvironment]) -> Iterator[Artifact]:
        paths = paths_of(selection.layout, environments)
        return (source[path] for path in paths & source.keys())

    locks = [*selection.labelled]
    environments = [
        (named_of(label, x.name), x) for label, lock in locks for x in lock.environments
    ]
    pairs: dict[str, Iterable[tuple[str, Artifact]]] = {
        "channel": ((_origin(each), each) for each in plan.to_download),
        "subdir": ((_subdir(each), each) for each in plan.to_download),
        "environment": ((name, x) for name, each in environments for x in needed([each])),
        "lock": ((name, x) for name, each in locks if name for x in needed(each.environments)),
    }
    for by, some in pairs.items():
        found: dict[str, dict[PurePosixPath, int | None]] = {}
        for name, artifact in some:
            found.setdefault(name, {})[artifact.path] = plan.size_of(artifact)
        yield (
            by,
            [
                {
                    "name": name,
                    "artifacts": len(sizes),
                    "bytes": sum(size or 0 for size in sizes.values()),
                    "unknown-sizes": sum(size is None for size in sizes.values()),
                }
                for name, sizes in sorted(found.items())
            ],
        )


def _sources(plan: Plan) -> Mapping[PurePosixPath, Artifact]:
    """Return, for every place that is to be filled by a download, which one that is."""
    source = {each.path: each for each in plan.to_download}
    return source | {each.path: source[at] for at, each in plan.copies if at in source}


def _share_lines(name: str, shares: Sequence[Mapping[str, Any]]) -> Iterable[Line]:
    cells = []
    for each in shares:
        size = size_text(each["bytes"], each["unknown-sizes"])
        cells.append((f"  {each['name']}", f"{counted(each['artifacts'], 'artifact')}, {size}"))
    return (f"by {name}:", tuple(table(cells))) if cells else ()


def _mapping(workspace: Workspace, selection: Selection, plan: Plan) -> list[dict[str, Json]]:
    """List every URL of every artifact with its place and what its bytes must be."""
    source, there = _sources(plan), dict(_there(workspace.place.folder, selection, plan))
    return [
        {
            "url": without_secrets(url, of_pypi=not each.is_conda),
            "path": str(each.path),
            "name": each.name,
            "version": each.version,
            "kind": each.kind.value,
            "size": plan.size_of(source.get(each.path, each)) or there.get(each.path),
            "sha256": each.digest_hex("sha256"),
            "md5": each.digest_hex("md5"),
        }
        for each in selection.artifacts
        for url in each.urls
    ]


def _write_mapping(path: Path, rows: Sequence[Json], workspace: Workspace) -> None:
    refuse_output_within(workspace.place, path, "in which plan changes nothing", "--mapping")
    document = {
        "schema": _SCHEMA,
        "workspace": workspace.manifest.name or workspace.root.name,
        "artifacts": rows,
    }
    write_output(path, (json.dumps(document, indent=1) + os.linesep).encode())
