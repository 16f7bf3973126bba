"""What people read who approve that a mirror is carried away: one document, in two forms.

`templates/` has the forms. Whatever a text holds, both show it and neither acts upon it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from scripts.channel.removals import now
from scripts.core.errors import MirrorError, Problem
from scripts.core.files import hash_file, write_output
from scripts.core.invocation import as_invoked, version
from scripts.core.record import Digest
from scripts.core.redact import code_fence, escape_markdown, printable, redact, without_secrets
from scripts.core.report import Report, counted, flattened, human_size, join_reports, size_text
from scripts.lock.pypi import pypi_artifacts
from scripts.lock.select import left_out_lines
from scripts.verify.findings import (
    NOT_DONE,
    RIGHT,
    WRONG,
    Level,
)
from scripts.verify.install.plan import not_built
from scripts.verify.licences import with_licenses
from scripts.verify.report import (
    PlaceRow,
    Results,
    account_lines,
    completeness,
    make_report,
    mark,
    place_columns,
    place_rows,
    seconds_text,
)
from scripts.workspace.workspace import Workspace

if TYPE_CHECKING:  # where a report is asked for
    from jinja2 import Environment

# Their caveats tell of each place that is not proven, and why.
_TOLD_BY_PLACE: Final = frozenset({Level.CLOSURE, Level.SOLVE, Level.INSTALL})
_PROVES: Final = {
    "files": "Every locked artifact is there, with the size and sha256 that pixi.lock names (md5"
    " where it has only that). Every byte is read.",
    "archives": "Every locked artifact, of foreign platforms too, can be opened and is the package"
    " that pixi.lock says. All of it is decompressed, and every checksum in it compared.",
    "index": "What the channel says of its artifacts (repodata.json, its zst, the shards) agrees"
    " with itself and with pixi.lock.",
    "closure": "Every requirement of every locked package and of the manifest is met within its"
    " environment and platform, foreign platforms too, by what the channel says of the packages.",
    "solve": "The requirements of the manifest, solved from this channel alone, have a complete"
    " answer for every environment and platform, foreign ones too, but for what is listed below as"
    " not proven.",
    "install": "The environments of this machine's platform install from this channel alone, with"
    " an empty cache and no network, and all their files arrive; of other machines, where it says"
    " (wheels), the wheels alone.",
}


def write_reports(results: Results, workspace: Workspace, targets: Sequence[Path]) -> Report:
    """Write the report to every file, and say so in the one that is returned.

    A file that cannot be written is one problem more: what was found is told all the same.
    """
    report = make_report(results)
    artifacts = tuple(with_licenses(workspace.place.folder, results.selection.artifacts))
    results = dataclasses.replace(
        results, selection=dataclasses.replace(results.selection, artifacts=artifacts)
    )
    rows = list(place_rows(results))
    licences = Counter(sorted(each.license or "not said" for each in artifacts))
    content = {
        "results": results,
        "data": report.data,
        "printed": list(flattened(report.lines)),
        "workspace": workspace.manifest.name or workspace.root.name,
        "summary": _summary(results),
        "mirror": list(_mirror(results, workspace)),
        "place_columns": place_columns(results),
        "places": list(_places(results, rows)),
        "proofs": {level.value: _PROVES[level] for level in Level},
        "not_proven": list(_not_proven(results, rows)),
        "licences": ", ".join(f"{name} ({count})" for name, count in licences.most_common()),
    }
    written: list[str] = []
    problems: list[Problem] = []
    for target in targets:
        forms = templates(target.suffix.lower(), workspace.place.folder)
        try:
            write_output(target, forms.get_template("transfer.j2").render(content).encode())
            written.append(str(target))
        except MirrorError as error:
            problems += error.problems
    lines, data = tuple(f"report: {name}" for name in written), {"reports": written}
    return join_reports(report, Report(lines=lines, data=data, problems=tuple(problems)))


def templates(suffix: str, folder: Path = Path()) -> Environment:
    """Open the templates that write Markdown (`.md`), or HTML that loads and runs nothing.

    `folder` is the channel folder.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=suffix == ".html",  # noqa: S701  # Markdown has an escape of its own
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["form"] = f"transfer{suffix}.j2"
    environment.filters |= {
        # fit to be shown to anybody: no secrets, nothing that acts on a terminal
        "plain": lambda text: as_invoked(redact(printable(str(text))), os.environ),
        "markdown": escape_markdown,
        "fence": lambda lines: code_fence("\n".join(lines), 3),
        "seconds": seconds_text,
        "human_size": human_size,
        "sizes": lambda artifacts: _sum(each.size for each in artifacts),
        "digest": _digest,
        "sha256": lambda path: _sha256(folder / path),
    }
    return environment


def _summary(results: Results) -> str:
    levels = ", ".join(level for level in Level if level in results.levels)
    if results.findings:
        # Two levels may see the same.
        count = counted(len({each.problem for each in results.findings}), "finding")
        return f"{WRONG} {count}, told below. Looked at: {levels}."
    if results.environment_problems:
        return f"{NOT_DONE} Nothing was found wrong, but not all could be looked at: told below."
    return f"{RIGHT} Nothing was found wrong. Looked at: {levels}. Read below what is not proven."


def _mirror(results: Results, workspace: Workspace) -> Iterator[tuple[str, str]]:
    selection, manifest = results.selection, workspace.manifest
    declared = (url for each in selection.environments for url in each.channels)
    # What an older pixi locked behind a mirror, and what builds a package, may be from another one.
    used = (each.upstream for each in selection.conda_artifacts if each.upstream)
    urls = map(without_secrets, (*declared, *used))
    yield "workspace", f"{manifest.name or workspace.root.name} ({workspace.manifest_path.name})"
    yield "channel folder", workspace.settings.channel_dir
    yield "layout", selection.layout.value
    yield "upstream channels", ", ".join(dict.fromkeys(urls))
    indexes = (without_secrets(x.upstream) for x in selection.pypi_artifacts if x.upstream)
    if some := ", ".join(dict.fromkeys(indexes)):
        yield "package indexes", some
    for lock in selection.locks:
        digest = hashlib.sha256(lock.file.data).hexdigest()
        when = f", as of {lock.kept:%Y-%m-%d %H:%M} UTC" if lock.kept else ""
        yield lock.location, f"version {lock.file.version}, sha256 {digest}{when}"
    yield "artifacts", _sum(each.size for each in selection.artifacts)
    yield "verified", now().strftime("%Y-%m-%d %H:%M UTC")
    yield "by", f"pixi-mirror {version()}"


def _sum(sizes: Iterable[int | None]) -> str:
    """Write `3 artifacts, 1.2 MB`; old locks do not know every size."""
    every = list(sizes)
    total = size_text(sum(filter(None, every)), every.count(None))
    return f"{counted(len(every), 'artifact')}, {total}"


def _places(results: Results, rows: Sequence[PlaceRow]) -> Iterator[tuple[str, ...]]:
    levels = [level for level in Level if level in results.levels]
    of_file = {each.path: each.size for each in results.selection.pypi_artifacts}
    for _, row, locked in rows:
        conda = [each.record.size for each in locked.all_packages]
        size = _sum([*conda, *(of_file[next(pypi_artifacts(x)).path] for x in locked.pypi)])
        complete = completeness(row, locked, results.allowed) or RIGHT
        marks = (mark(row, level) for level in levels)
        yield *(row[key] for key in place_columns(results)), size, *marks, complete
    took = [seconds_text(results.seconds.get(level)) for level in levels]
    if any(took):
        yield "took", *("" for _ in place_columns(results)), *took, ""


def _not_proven(results: Results, rows: Sequence[PlaceRow]) -> Iterator[str]:
    """Yield all that a reader might take for proven, and is not."""
    if results.not_looked_at:
        yield f"locks: not looked at: {', '.join(results.not_looked_at)}"
    for level in Level:
        if level not in results.levels:
            yield f"{level}: was not looked at"
            continue
        undone = [str(place) for place, row, _ in rows if mark(row, level) == NOT_DONE]
        is_looked_at = level in results.results
        if undone and not (is_looked_at and level in _TOLD_BY_PLACE):
            how = "is not all proven of" if is_looked_at else "was not done for"
            yield f"{level}: {how} {', '.join(undone)}"
    alone = [str(x) for x, row, _ in rows if mark(row, Level.INSTALL).startswith("(conda)")]
    yield from (f"install: of {each} the conda packages alone were installed" for each in alone)
    for each in results.attempts:
        client = each.client.program
        if each.skip_reason is not None:
            yield f"install by {client}: was not done for {each.job.place}; {each.skip_reason}"
        elif each.job.wheels_only:
            line = f"install by {client}: of {each.job.place} the wheels alone were installed"
            yield f"{line}{not_built(each.job)}"
        if each.warning is not None:
            yield f"install by {client} as documented: {each.warning}"
    for result in results.results.values():
        yield from result.caveats
    beside = (*account_lines(results.account), *left_out_lines(results.selection))
    yield from (line.strip() for line in flattened(beside))


def _digest(digest: Digest | None) -> str:
    if digest is None:
        return "not said"
    return f"{digest.algorithm} {digest.hex}".removeprefix("sha256 ")


def _sha256(file: Path) -> str:
    """Hash an index file; what is no file, or cannot be read, the level `index` tells."""
    try:
        return hash_file(file, "sha256") if file.is_file() else "not read"
    except OSError:
        return "not read"
