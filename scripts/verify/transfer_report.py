"""What people read who approve that a mirror is carried away: one document, in two forms.

`templates/` has the forms. Whatever a text holds, both show it and neither acts upon it.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final

from scripts.channel.removals import now
from scripts.core.artifact import Artifact
from scripts.core.errors import ExitCode, Problem, usage_error
from scripts.core.files import hash_file, write_atomically
from scripts.core.redact import printable, redact, without_secrets
from scripts.core.report import Report, counted, human_size
from scripts.core.version import version
from scripts.lock.select import left_out_lines
from scripts.verify.findings import Level
from scripts.verify.report import (
    NOT_DONE,
    RIGHT,
    WRONG,
    Results,
    account_lines,
    incomplete_text,
    make_report,
    mark,
    place_rows,
    seconds_text,
    took_text,
)
from scripts.workspace.workspace import Workspace

PROVES: Final = {
    "files": "Every locked artifact is there, with the size and sha256 that pixi.lock names (md5"
    " where it has only that). Every byte is read.",
    "archives": "Every locked artifact, of foreign platforms too, can be opened and is the package"
    " that pixi.lock says. All of it is decompressed, and every checksum in it compared.",
    "index": "What the channel says of its artifacts (repodata.json, its zst, the shards) agrees"
    " with itself and with pixi.lock.",
    "closure": "Every requirement of every locked package and of the manifest is met within its"
    " environment and platform, foreign platforms too, by what the channel says of the packages.",
    "solve": "The requirements of the manifest, solved from this channel alone, have a complete"
    " answer for every environment and platform, foreign ones too.",
    "install": "The environments of this machine's platform install from this channel alone, with"
    " an empty cache and no network, and all their files arrive.",
}
# An underscore within a word means nothing, and names of packages are full of them.
_MARKDOWN: Final = re.compile(r"[\\`*\[\]<>|~&]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")

# What there is to say: ("text", str), ("list", strings), ("lines", strings), ("table", rows).
_Block = tuple[str, Any]


def check_targets(targets: Sequence[Path], workspace: Workspace) -> None:
    """Refuse a report within the channel, which is only looked at: the error of exit code 2."""
    for target in targets:
        if target.resolve().is_relative_to(workspace.place.folder.resolve()):
            raise usage_error(
                str(target),
                "would be in the channel, into which verify writes nothing",
                help=f"--report {target.name}",
            )


def write_reports(results: Results, workspace: Workspace, targets: Sequence[Path]) -> Report:
    """Write the report to every file, and say so in the one that is returned.

    A file that cannot be written is one problem more: what was found is told all the same.
    """
    report = make_report(results)
    document = {
        "title": f"Transfer report: {workspace.manifest.name or workspace.root.name}",
        "summary": _summary(results),
        "sections": list(_sections(results, workspace, report)),
        "marks": {RIGHT: "right", WRONG: "wrong"},
    }
    written: list[str] = []
    problems: list[Problem] = []
    for target in targets:
        try:
            write_atomically(target, render_document(document, target.suffix.lower()).encode())
            written.append(str(target))
        except OSError as error:
            message = f"cannot write this file: {error.strerror}"
            problems.append(Problem(subject=str(target), message=message, code=ExitCode.USAGE))
    return dataclasses.replace(
        report,
        lines=(*report.lines, *(f"report: {name}" for name in written)),
        data={**report.data, "reports": written},
        problems=(*report.problems, *problems),
    )


def render_document(document: dict[str, Any], suffix: str) -> str:
    """Write a document as Markdown (`.md`) or as one HTML file that loads and runs nothing."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=suffix == ".html",  # noqa: S701  # Markdown has an escape of its own
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        # fit to be shown to anybody: no secrets, nothing that acts on a terminal
        "plain": lambda text: redact(printable(str(text))),
        # read as it is: CommonMark, with GitHub's tables
        "markdown": lambda text: _MARKDOWN.sub(r"\\\g<0>", text),
        "fence": _fence,
    }
    return environment.get_template(f"transfer{suffix}.j2").render(document)


def _fence(lines: Iterable[str]) -> str:
    """Return a fence longer than any within the lines."""
    runs = (len(run) for each in lines for run in re.findall("`+", each))
    return "`" * max(3, max(runs, default=0) + 1)


def _summary(results: Results) -> str:
    levels = ", ".join(level for level in Level if level in results.levels)
    if results.findings:
        count = counted(len(results.findings), "finding")
        return f"{WRONG} {count}, told below. Looked at: {levels}."
    if results.environment_problems:
        return f"{NOT_DONE} Nothing was found wrong, but not all could be looked at: told below."
    return f"{RIGHT} Nothing was found wrong. Looked at: {levels}. Read below what is not proven."


def _sections(
    results: Results, workspace: Workspace, report: Report
) -> Iterator[tuple[str, list[_Block], bool]]:
    """Yield title, blocks, and whether it is long enough to be folded."""
    levels = [
        (level.value, "yes" if level in results.levels else "no", PROVES[level]) for level in Level
    ]
    yield "The mirror", [_table("what which", _mirror(results, workspace))], False
    yield "Environments and platforms", [_places(results)], False
    yield "What each level proves", [("table", [("level", "looked at", "proves"), *levels])], False
    yield "What is not proven", [("list", list(_not_proven(results, report)))], False
    yield "Findings", _problems(each.problem for each in results.findings), False
    if results.environment_problems:
        title = "What the machine that verified is to blame for"
        yield title, _problems(results.environment_problems), False
    if results.attempts:
        yield "Installations", list(_installations(report)), False
    yield "What verify printed", [("lines", report.lines)], False
    yield "Artifacts", list(_artifacts(results.selection.artifacts)), True
    yield "All files", list(_files(results, workspace.place.folder)), True


def _table(head: str, rows: Iterable[tuple[str, ...]]) -> _Block:
    return "table", [tuple(head.split()), *rows]


def _problems(problems: Iterable[Problem]) -> list[_Block]:
    return [("lines", str(each).split("\n")) for each in problems] or [("text", "None.")]


def _mirror(results: Results, workspace: Workspace) -> Iterator[tuple[str, str]]:
    selection, manifest = results.selection, workspace.manifest
    urls = (without_secrets(url) for each in selection.environments for url in each.channels)
    lock = hash_file(workspace.lock_path, "sha256")
    yield "workspace", f"{manifest.name or workspace.root.name} ({workspace.manifest_path.name})"
    yield "channel folder", workspace.settings.channel_dir
    yield "layout", selection.layout.value
    yield "upstream channels", ", ".join(dict.fromkeys(urls))
    yield "pixi.lock", f"version {selection.lock_version}, sha256 {lock}"
    yield "artifacts", _sum(each.size for each in selection.artifacts)
    yield "verified", now().strftime("%Y-%m-%d %H:%M UTC")
    yield "by", f"pixi-mirror {version()}"


def _sum(sizes: Iterable[int | None]) -> str:
    """Write `3 artifacts, 1.2 MB`; old locks do not know every size."""
    every = list(sizes)
    known = [size for size in every if size is not None]
    total = human_size(sum(known)) if known or not every else "of unknown size"
    some = f"at least {total}" if known and len(known) < len(every) else total
    return f"{counted(len(every), 'artifact')}, {some}"


def _places(results: Results) -> _Block:
    levels = [level for level in Level if level in results.levels]
    rows = []
    for row, locked in place_rows(results):
        size = _sum(each.record.size for each in (*locked.packages, *locked.build_packages))
        state, count = incomplete_text(results, locked)
        allowed = ", as allowed" if state == NOT_DONE else ""
        complete = f"{state} {count}{allowed}".strip()
        marks = (mark(row, level) for level in levels)
        rows.append((row["environment"], row["platform"], size, *marks, complete))
    took = [took_text(results, level) for level in levels]
    if any(took):
        rows.append(("took", "", "", *took, ""))
    return _table(f"environment platform holds {' '.join(levels)} complete", rows)


def _not_proven(results: Results, report: Report) -> Iterator[str]:
    """Yield all that a reader might take for proven, and is not."""
    rows: Any = report.data["environments"]
    for level in Level:
        if level not in results.levels:
            yield f"{level}: was not looked at"
            continue
        undone = [
            f"{row['environment']}/{row['platform']}"
            for row in rows
            if mark(row, level) == NOT_DONE
        ]
        if undone:
            is_known = level is Level.INSTALL and report.data["installed-for"] is not None
            machine = f" (this machine is {report.data['installed-for']})" if is_known else ""
            yield f"{level}: was not done for {', '.join(undone)}{machine}"
    for each in results.attempts:
        client = each.client.program
        if each.skip_reason is not None:
            yield f"install by {client}: was not done for {each.job.place}; {each.skip_reason}"
        if each.warning is not None:
            yield f"install by {client} as documented: {each.warning}"
    for result in results.results.values():
        yield from result.caveats
    yield from account_lines(results.account)
    yield from left_out_lines(results.selection)
    yield "that what upstream published is harmless, or licensed as it says"


def _installations(report: Report) -> Iterator[_Block]:
    text = f"Installed {report.data['sandbox']}, from file:// or loopback, into an empty cache"
    yield "text", f"{text}, as the machine that the last column describes."
    places: Any = report.data["environments"]
    rows = []
    for place in places:
        for each in place["install"]:
            outcome = RIGHT if each["warning"] is None else f"{RIGHT} with a warning"
            if each["installed"] is None:
                outcome = f"{NOT_DONE} {each['skip-reason']}"
            elif not each["installed"]:
                outcome = WRONG
            where = f"{place['environment']}/{place['platform']}"
            overrides = ", ".join(f"{name}={value}" for name, value in each["overrides"].items())
            rows.append((where, each["client"], outcome, seconds_text(each["seconds"]), overrides))
    yield _table("environment client result took overrides", rows)


def _artifacts(artifacts: Sequence[Artifact]) -> Iterator[_Block]:
    """Yield the licences, and every artifact as pixi.lock names it."""
    licences = Counter(sorted(each.license or "not said" for each in artifacts))
    named = ", ".join(f"{name} ({count})" for name, count in licences.most_common()) or "none"
    total = _sum(each.size for each in artifacts)
    yield "text", f"{total}, as pixi.lock names them. Licences: {named}."
    rows = []
    for each in artifacts:
        size = "not said" if each.size is None else str(each.size)
        digest = "not said"
        if each.digest is not None:
            digest = f"{each.digest.algorithm} {each.digest.hex}".removeprefix("sha256 ")
        rows.append((str(each.path), size, digest, each.license or "not said"))
    yield _table("artifact bytes sha256 license", rows)


def _files(results: Results, folder: Path) -> Iterator[_Block]:
    """Yield an account of every file of the channel folder, and those that no lock names."""
    account = results.account
    classes = (
        ("mirrored", "a lock names it", account.mirrored),
        ("index", "describes the artifacts", account.index),
        ("retained", "indexed, in no lock", account.retained),
        ("waiting for removal", "an earlier index named it", account.waiting),
        ("untracked", "neither named nor indexed", account.untracked),
    )
    rows = [
        (name, meaning, str(len(files)), human_size(sum(each.size for each in files)))
        for name, meaning, files in classes
    ]
    yield "table", [("class", "that is", "files", "bytes"), *rows]
    index = [(str(x.path), str(x.size), _sha256(folder, x.path)) for x in account.index]
    yield "table", [("index file", "bytes", "sha256"), *index]
    listed = [
        (str(each.path), name, str(each.size)) for name, _, files in classes[2:] for each in files
    ]
    if listed:
        yield _table("file class bytes", listed)


def _sha256(folder: Path, path: PurePosixPath) -> str:
    """Hash an index file; what is no file, or cannot be read, the level `index` tells."""
    file = folder / path
    try:
        return hash_file(file, "sha256") if file.is_file() else "not read"
    except OSError:
        return "not read"
