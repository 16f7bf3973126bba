"""What people read who approve that a mirror is carried away: one document, in two forms.

`templates/` has the forms. Whatever a text holds, both show it and neither acts upon it.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final

from scripts.channel.removals import now
from scripts.core.artifact import Artifact
from scripts.core.errors import ExitCode, Problem, usage_error
from scripts.core.files import hash_file, write_atomically
from scripts.core.invocation import version
from scripts.core.redact import code_fence, escape_markdown, printable, redact, without_secrets
from scripts.core.report import Report, counted, human_size
from scripts.lock.model import LockedPackage, PlatformPackages
from scripts.lock.select import left_out_lines
from scripts.verify.findings import Level, places_of
from scripts.verify.report import (
    NOT_DONE,
    RIGHT,
    WRONG,
    Results,
    account_lines,
    mark,
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


def write_reports(
    report: Report, results: Results, workspace: Workspace, targets: Sequence[Path]
) -> Report:
    """Write the report to every file, and say so in the one that is returned.

    A file that cannot be written is one problem more: what was found is told all the same.
    """
    document = {
        "title": f"Transfer report: {workspace.manifest.name or workspace.root.name}",
        "summary": _summary(results),
        "sections": list(_sections(results, workspace, report.lines)),
        "marks": {RIGHT: "right", WRONG: "wrong"},
    }
    written: list[str] = []
    problems: list[Problem] = []
    for target in targets:
        try:
            text = render_document(document, target.suffix.lower())
            write_atomically(target, text.encode())
        except OSError as error:
            message = f"cannot write this file: {error.strerror}"
            problems.append(Problem(subject=str(target), message=message, code=ExitCode.USAGE))
        else:
            written.append(str(target))
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
        "plain": _plain,
        "markdown": escape_markdown,
        "fence": lambda lines: code_fence("\n".join(lines), 3),
    }
    return environment.get_template(f"transfer{suffix}.j2").render(document)


def _plain(text: str) -> str:
    """Make a text fit to be shown to anybody: no secrets, nothing that acts on a terminal."""
    return redact(printable(str(text)))


def _sections(
    results: Results, workspace: Workspace, printed: Sequence[str]
) -> Iterator[tuple[str, list[_Block], bool]]:
    """Yield title, blocks, and whether it is long enough to be folded."""
    yield "The mirror", [_mirror(results, workspace)], False
    yield "Environments and platforms", [_places(results)], False
    rows = ((each, "yes" if each in results.levels else "no", PROVES[each]) for each in Level)
    yield "What each level proves", [("table", [("level", "looked at", "proves"), *rows])], False
    yield "What is not proven", [("list", list(_not_proven(results)))], False
    yield "Findings", _problems(each.problem for each in results.findings), False
    if results.environment_problems:
        title = "What the machine that verified is to blame for"
        yield title, _problems(results.environment_problems), False
    if results.install is not None and results.attempts:
        yield "Installations", list(_installations(results, results.install.sandbox)), False
    yield "What verify printed", [("lines", printed)], False
    yield "Artifacts", list(_artifacts(results.selection.artifacts)), True
    yield "All files", list(_files(results, workspace.place.folder)), True


def _problems(problems: Iterable[Problem]) -> list[_Block]:
    return [("lines", str(each).split("\n")) for each in problems] or [("text", "None.")]


def _summary(results: Results) -> str:
    levels = ", ".join(level for level in Level if level in results.levels)
    if results.findings:
        count = counted(len(results.findings), "finding")
        return f"{WRONG} {count}, told below. Looked at: {levels}."
    if results.environment_problems:
        return f"{NOT_DONE} Nothing was found wrong, but not all could be looked at: told below."
    return f"{RIGHT} Nothing was found wrong. Looked at: {levels}. Read below what is not proven."


def _mirror(results: Results, workspace: Workspace) -> _Block:
    selection, manifest = results.selection, workspace.manifest
    urls = (without_secrets(url) for each in selection.environments for url in each.channels)
    lock = hash_file(workspace.lock_path, "sha256")
    return "table", [
        ("what", "which"),
        (
            "workspace",
            f"{manifest.name or workspace.root.name} ({workspace.manifest_path.name})",
        ),
        ("channel folder", workspace.settings.channel_dir),
        ("layout", selection.layout.value),
        ("upstream channels", ", ".join(dict.fromkeys(urls))),
        ("pixi.lock", f"version {selection.lock_version}, sha256 {lock}"),
        ("artifacts", _sum(each.size for each in selection.artifacts)),
        ("verified", now().strftime("%Y-%m-%d %H:%M UTC")),
        ("by", f"pixi-mirror {version()}"),
    ]


def _sum(sizes: Iterable[int | None]) -> str:
    """Write `3 artifacts, 1.2 MB`; old locks do not know every size."""
    every = list(sizes)
    known = [size for size in every if size is not None]
    total = human_size(sum(known)) if known or not every else "of unknown size"
    some = f"at least {total}" if known and len(known) < len(every) else total
    return f"{counted(len(every), 'artifact')}, {some}"


def _places(results: Results) -> _Block:
    levels = [level for level in Level if level in results.levels]
    rows = [("environment", "platform", "holds", *levels, "complete")]
    for place, _, locked in places_of(results.selection):
        packages: tuple[LockedPackage, ...] = (*locked.packages, *locked.build_packages)
        marks = (mark(results, place, level) for level in levels)
        size = _sum(each.record.size for each in packages)
        rows.append((place.environment, place.platform, size, *marks, _complete(results, locked)))
    took = [took_text(results, level) for level in levels]
    if any(took):
        rows.append(("took", "", "", *took, ""))
    return "table", rows


def _complete(results: Results, locked: PlatformPackages) -> str:
    if not locked.unmirrorable:
        return RIGHT
    count = f"{len(locked.unmirrorable)} not in the channel"
    if any(row.kind not in results.allowed for row in locked.unmirrorable):
        return f"{WRONG} {count}"
    return f"{NOT_DONE} {count}, as allowed"


def _not_proven(results: Results) -> Iterator[str]:
    """Yield all that a reader might take for proven, and is not."""
    for level in Level:
        if level not in results.levels:
            yield f"{level}: was not looked at"
            continue
        marks = ((place, mark(results, place, level)) for place, *_ in places_of(results.selection))
        undone = ", ".join(str(place) for place, each in marks if each == NOT_DONE)
        if undone:
            machine = ""
            if level is Level.INSTALL and results.install is not None:
                machine = f" (this machine is {results.install.subdir})"
            yield f"{level}: was not done for {undone}{machine}"
    for each in results.attempts:
        client, place = each.client.program, each.job.place
        if each.skip_reason is not None:
            yield f"install by {client}: was not done for {place}; {each.skip_reason}"
        if each.warning is not None:
            yield f"install by {client} as documented: {each.warning}"
    for result in results.results.values():
        yield from result.caveats
    yield from account_lines(results.account)
    yield from left_out_lines(results.selection)
    yield "that what upstream published is harmless, or licensed as it says"


def _installations(results: Results, sandbox: str) -> Iterator[_Block]:
    rows: list[tuple[str, ...]] = [("environment", "client", "result", "took", "overrides")]
    for each in results.attempts:
        outcome = RIGHT if each.warning is None else f"{RIGHT} with a warning"
        if each.skip_reason is not None:
            outcome = f"{NOT_DONE} {each.skip_reason}"
        elif each.problems:
            outcome = WRONG
        overrides = ", ".join(f"{name}={value}" for name, value in each.job.overrides)
        took = seconds_text(each.seconds)
        rows.append((str(each.job.place), each.client.program, outcome, took, overrides))
    text = (
        f"Installed {sandbox}, from file:// or loopback, into an empty cache, as the machine that"
    )
    yield "text", f"{text} the last column describes."
    yield "table", rows


def _artifacts(artifacts: Sequence[Artifact]) -> Iterator[_Block]:
    """Yield the licences, and every artifact as pixi.lock names it."""
    licenses = Counter(each.license or "not said" for each in artifacts)
    ordered = sorted(licenses.items(), key=lambda pair: (-pair[1], pair[0]))
    named = ", ".join(f"{name} ({count})" for name, count in ordered) or "none"
    total = _sum(each.size for each in artifacts)
    yield "text", f"{total}, as pixi.lock names them. Licences: {named}."
    rows = [("artifact", "bytes", "sha256", "license")]
    for each in artifacts:
        size = "not said" if each.size is None else str(each.size)
        digest = "not said"
        if each.digest is not None:
            md5 = "md5 " if each.digest.algorithm == "md5" else ""
            digest = f"{md5}{each.digest.hex}"
        rows.append((str(each.path), size, digest, each.license or "not said"))
    yield "table", rows


def _files(results: Results, folder: Path) -> Iterator[_Block]:
    """Yield an account of every file of the channel folder, and those that no lock names."""
    account = results.account
    classes: dict[str, tuple[str, list[tuple[PurePosixPath, int]]]] = {
        "mirrored": ("a lock names it", [(x.path, x.size) for x in account.mirrored]),
        "index": ("describes the artifacts", [(x.path, x.size) for x in account.index]),
        "retained": ("indexed, in no lock", [(x.path, x.size) for x in account.retained]),
        "waiting for removal": (
            "an earlier index named it",
            [(x.path, x.size) for x in account.waiting],
        ),
        "untracked": ("neither named nor indexed", [(x.path, x.size) for x in account.untracked]),
    }
    rows = [("class", "that is", "files", "bytes")]
    for name, (meaning, files) in classes.items():
        rows.append((name, meaning, str(len(files)), human_size(sum(size for _, size in files))))
    yield "table", rows
    index = ((str(path), str(size), _sha256(folder, path)) for path, size in classes["index"][1])
    yield "table", [("index file", "bytes", "sha256"), *index]
    listed = [
        (str(path), name, str(size))
        for name in ("retained", "waiting for removal", "untracked")
        for path, size in classes[name][1]
    ]
    if listed:
        yield "table", [("file", "class", "bytes"), *listed]


def _sha256(folder: Path, path: PurePosixPath) -> str:
    """Hash an index file; what is no file, or cannot be read, the level `index` tells."""
    file = folder / path
    try:
        return hash_file(file, "sha256") if file.is_file() else "not read"
    except OSError:
        return "not read"
