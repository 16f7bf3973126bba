"""What people read who approve that a mirror is carried away."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath
from typing import Final

from scripts.core.artifact import Artifact
from scripts.core.redact import without_secrets
from scripts.core.report import human_size
from scripts.index.files import ChannelFile, ChannelFiles
from scripts.lock.model import PlatformPackages
from scripts.lock.select import Selection, left_out_lines
from scripts.verify.document import (
    Block,
    Document,
    Section,
    bullets,
    paragraph,
    plain,
    table,
    verbatim,
)
from scripts.verify.findings import Level, places_of
from scripts.verify.install.attempt import InstallAttempt
from scripts.verify.report import (
    NOT_DONE,
    RIGHT,
    WRONG,
    Results,
    account_lines,
    mark,
    took_text,
)

PROVES: Final = {
    "files": "Every locked artifact is there, with the size and sha256 that pixi.lock names (md5"
    " where it has only that). Every byte is read.",
    "archives": "Every locked artifact, of foreign platforms too, can be opened and is the package"
    " that pixi.lock says. All of it is decompressed, and every checksum in it compared.",
    "index": "What the channel says of its artifacts (repodata.json, its zst, the shards) agrees"
    " with itself and with pixi.lock.",
    "closure": "Every requirement of every locked package and of the manifest is met within its"
    " environment and platform, foreign platforms too, by what pixi.lock says of the packages.",
    "solve": "The requirements of the manifest, solved from this channel alone, have a complete"
    " answer for every environment and platform, foreign ones too.",
    "install": "The environments of this machine's platform install from this channel alone, with"
    " an empty cache and no network, and all their files arrive.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What was verified, when and by which version; `channel_dir` as it is set.

    `lock_sha256` and those of the index files in hex.
    """

    workspace: str
    manifest: str
    channel_dir: str
    lock_sha256: str
    moment: datetime
    version: str
    index_sha256: Mapping[PurePosixPath, str]


def transfer_document(origin: Origin, results: Results, printed: Iterable[str]) -> Document:
    """Put it all together; `printed` are the lines that the task prints."""
    sections = (
        Section(title="The mirror", blocks=(_mirror(origin, results.selection),)),
        Section(title="Environments and platforms", blocks=(_places(results),)),
        Section(title="What each level proves", blocks=(_levels(results),)),
        Section(title="What is not proven", blocks=(bullets(_not_proven(results)),)),
        Section(title="Findings", blocks=tuple(_findings(results))),
        *_of_machine(results),
        *_installations(results),
        Section(title="What verify printed", blocks=(verbatim("\n".join(printed)),)),
        Section(title="Artifacts", blocks=tuple(_artifacts(results)), is_folded=True),
        Section(title="All files", blocks=tuple(_files(origin, results.account)), is_folded=True),
    )
    return Document(
        title=plain(f"Transfer report: {origin.workspace}"),
        summary=_summary(results),
        sections=sections,
    )


def _summary(results: Results) -> str:
    levels = ", ".join(level for level in Level if level in results.levels)
    count = len(results.findings)
    if count:
        return f"{WRONG} {_count(count, 'finding')}, told below. Looked at: {levels}."
    if results.of_machine:
        return f"{NOT_DONE} Nothing was found wrong, but not all could be looked at: told below."
    return f"{RIGHT} Nothing was found wrong. Looked at: {levels}. Read below what is not proven."


def _mirror(origin: Origin, selection: Selection) -> Block:
    channels = dict.fromkeys(
        without_secrets(url) for each in selection.environments for url in each.channels
    )
    rows = (
        ("workspace", f"{origin.workspace} ({origin.manifest})"),
        ("channel folder", origin.channel_dir),
        ("layout", selection.layout),
        ("upstream channels", ", ".join(channels)),
        ("pixi.lock", f"version {selection.lock_version}, sha256 {origin.lock_sha256}"),
        ("artifacts", _sum(each.size for each in selection.artifacts)),
        ("verified", origin.moment.strftime("%Y-%m-%d %H:%M UTC")),
        ("by", f"pixi-mirror {origin.version}"),
    )
    return table(("what", "which"), rows)


def _sum(of: Iterable[int | None]) -> str:
    """Write `3 artifacts, 1.2 MB`; old locks do not know every size."""
    sizes = list(of)
    known = [size for size in sizes if size is not None]
    total = human_size(sum(known)) if known or not sizes else "of unknown size"
    some = f"at least {total}" if known and len(known) < len(sizes) else total
    return f"{_count(len(sizes), 'artifact')}, {some}"


def _places(results: Results) -> Block:
    levels = [level for level in Level if level in results.levels]
    rows = [
        (
            place.environment,
            place.platform,
            _sum(each.record.size for each in (*locked.packages, *locked.build_packages)),
            *(mark(results, place, level) for level in levels),
            _complete(results, locked),
        )
        for place, _, locked in places_of(results.selection)
    ]
    took = [took_text(results.seconds.get(level, 0.0)) for level in levels]
    if any(took):
        rows.append(("took", "", "", *took, ""))
    return table(("environment", "platform", "holds", *levels, "complete"), rows)


def _complete(results: Results, locked: PlatformPackages) -> str:
    if not locked.unmirrorable:
        return RIGHT
    refused = any(row.kind not in results.allowed for row in locked.unmirrorable)
    count = f"{len(locked.unmirrorable)} not in the channel"
    return f"{WRONG} {count}" if refused else f"{NOT_DONE} {count}, as allowed"


def _levels(results: Results) -> Block:
    rows = (
        (level, "yes" if level in results.levels else "no", PROVES.get(level, ""))
        for level in Level
    )
    return table(("level", "looked at", "proves"), rows)


def _not_proven(results: Results) -> Iterator[str]:
    """Yield all that a reader might take for proven, and is not."""
    for level in Level:
        if level not in results.levels:
            yield f"{level}: was not looked at"
            continue
        open_ = [
            str(place)
            for place, _, _ in places_of(results.selection)
            if mark(results, place, level) == NOT_DONE
        ]
        if open_:
            yield f"{level}: was not done for {', '.join(open_)}{_because(results, level)}"
    for attempt in _attempts(results):
        if attempt.skip_reason is not None:
            yield (
                f"install by {attempt.client.program}: was not done for"
                f" {attempt.job.place}; {attempt.skip_reason}"
            )
        if attempt.warning is not None:
            yield f"install by {attempt.client.program} as documented: {attempt.warning}"
    if results.files is not None and results.files.unhashed:
        count = _count(results.files.unhashed, "artifact")
        yield f"files: the lock has neither sha256 nor md5 of {count}"
    yield from account_lines(results.account)
    yield from left_out_lines(results.selection)
    yield "that what upstream published is harmless, or licensed as it says"


def _because(results: Results, level: Level) -> str:
    if level is not Level.INSTALL or results.install is None:
        return ""
    return f" (this machine is {results.install.subdir})"


def _findings(results: Results) -> Iterator[Block]:
    if not results.findings:
        yield paragraph("None.")
    for finding in results.findings:
        yield verbatim(str(finding.problem))


def _of_machine(results: Results) -> Iterator[Section]:
    """Show what is no finding, since the channel did not cause it."""
    if results.of_machine:
        told = tuple(verbatim(str(problem)) for problem in results.of_machine)
        yield Section(title="What the machine that verified is to blame for", blocks=told)


def _installations(results: Results) -> Iterator[Section]:
    attempts = _attempts(results)
    if results.install is None or not attempts:
        return
    rows = (
        (
            str(each.job.place),
            each.client.program,
            _result(each),
            took_text(each.seconds),
            ", ".join(f"{name}={value}" for name, value in each.job.overrides),
        )
        for each in attempts
    )
    yield Section(
        title="Installations",
        blocks=(
            paragraph(
                f"Installed {results.install.sandbox}, from file:// or loopback, into an empty"
                " cache, as the machine that the last column describes."
            ),
            table(("environment", "client", "result", "took", "overrides"), rows),
        ),
    )


def _result(attempt: InstallAttempt) -> str:
    if attempt.skip_reason is not None:
        return f"{NOT_DONE} {attempt.skip_reason}"
    if attempt.problems:
        return WRONG
    return RIGHT if attempt.warning is None else f"{RIGHT} with a warning"


def _attempts(results: Results) -> tuple[InstallAttempt, ...]:
    return () if results.install is None else results.install.attempts


def _artifacts(results: Results) -> Iterator[Block]:
    """Yield the licences, and every artifact as pixi.lock names it."""
    artifacts = results.selection.artifacts
    licenses = Counter(_license(each) for each in artifacts)
    ordered = sorted(licenses.items(), key=lambda pair: (-pair[1], pair[0]))
    yield paragraph(
        f"{_sum(each.size for each in artifacts)}, as pixi.lock names them."
        f" Licences: {', '.join(f'{name} ({count})' for name, count in ordered) or 'none'}."
    )
    rows = ((str(each.path), _size(each), _digest(each), _license(each)) for each in artifacts)
    yield table(("artifact", "bytes", "sha256", "license"), rows)


def _files(origin: Origin, account: ChannelFiles) -> Iterator[Block]:
    """Yield an account of every file of the channel folder, and those that no lock names."""
    rows: list[tuple[str, str, Sequence[ChannelFile]]] = [
        ("mirrored", "a lock names it", account.mirrored),
        ("index", "describes the artifacts", account.index),
        ("retained", "indexed, in no lock", account.retained),
        ("untracked", "neither named nor indexed", account.untracked),
    ]
    table_rows = [
        (name, meaning, str(len(files)), human_size(sum(each.size for each in files)))
        for name, meaning, files in rows
    ]
    waiting = sum(each.size for each in account.waiting)
    meaning = "an earlier index named it"
    table_rows.insert(
        3, ("waiting for removal", meaning, str(len(account.waiting)), human_size(waiting))
    )
    yield table(("class", "that is", "files", "bytes"), table_rows)
    yield table(
        ("index file", "bytes", "sha256"),
        (
            (str(each.path), str(each.size), origin.index_sha256.get(each.path, "not read"))
            for each in account.index
        ),
    )
    listed = [
        *((str(each.path), "retained", str(each.size)) for each in account.retained),
        *((str(each.path), "waiting for removal", str(each.size)) for each in account.waiting),
        *((str(each.path), "untracked", str(each.size)) for each in account.untracked),
    ]
    if listed:
        yield table(("file", "class", "bytes"), listed)


def _license(artifact: Artifact) -> str:
    return artifact.license or "not said"


def _size(artifact: Artifact) -> str:
    return "not said" if artifact.size is None else str(artifact.size)


def _digest(artifact: Artifact) -> str:
    digest = artifact.digest
    if digest is None:
        return "not said"
    return digest.hex if digest.algorithm == "sha256" else f"{digest.algorithm} {digest.hex}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
