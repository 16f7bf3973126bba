"""What a consumer lacks, as problems: each once, with all who need it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Final

from scripts.core.errors import ExitCode, Problem
from scripts.core.redact import redact
from scripts.core.subdir import NOARCH
from scripts.doctor.conda_configuration import CondaConfiguration
from scripts.doctor.condarc import ADD_PIP
from scripts.doctor.configuration import Configuration
from scripts.doctor.diagnose import PlaceDiagnosis, Standing, Verdict
from scripts.doctor.mirror_place import Asking, Consumer, MirrorPlace
from scripts.lock.location import url_subdir
from scripts.lock.model import Unmirrorable
from scripts.verify.findings import Place
from scripts.workspace.settings import TABLE

_SHOWN: Final = 3  # near misses that a finding names
_KEEPER: Final = "its keeper adds it: `pixi add`, then `pixi run mirror`"
_GAPS: Final = frozenset({Standing.NO_SUBDIR, Standing.NO_CHANNEL})


def content_problems(
    consumer: Consumer, place: MirrorPlace, diagnoses: Sequence[PlaceDiagnosis]
) -> tuple[Problem, ...]:
    """List what is missing or another, environment by environment as it is first needed."""
    verdicts: dict[tuple[PurePosixPath, str], tuple[Verdict, list[Place]]] = {}
    gaps: dict[PurePosixPath, tuple[list[Verdict], dict[Place, None]]] = {}
    left_out: dict[Unmirrorable, list[Place]] = {}
    for diagnosis in diagnoses:
        for verdict in diagnosis.verdicts:
            if verdict.standing in _GAPS:
                key = _gap(verdict)
                some, places = gaps.setdefault(key, ([], {}))
                if verdict not in some:
                    some.append(verdict)
                places[diagnosis.place] = None
            elif verdict.standing not in {Standing.RIGHT, Standing.ELSEWHERE}:
                found = verdicts.setdefault((verdict.path, verdict.package.url), (verdict, []))
                found[1].append(diagnosis.place)
        for row in diagnosis.rows.unmirrorable:
            if row.kind not in consumer.allowed:
                left_out.setdefault(row, []).append(diagnosis.place)
    if not any(each.verdicts or each.rows.unmirrorable for each in diagnoses):
        return (_nothing_problem(consumer),)
    return (
        *(_gap_problem(place, key, some, tuple(needed)) for key, (some, needed) in gaps.items()),
        *(_artifact_problem(verdict, places) for verdict, places in verdicts.values()),
        *(_left_out_problem(row, places) for row, places in left_out.items()),
    )


def _nothing_problem(consumer: Consumer) -> Problem:
    names = ", ".join(each.name for each in consumer.environments) or "none"
    return Problem(
        subject=str(consumer.lock_path),
        trouble="the lock names nothing to compare",
        code=ExitCode.NO,
        facts=(("environments", names),),
        help="name the lock that is to be installed: --lock PATH; or fill this one: `pixi add`",
    )


def configuration_problem(
    consumer: Consumer, place: MirrorPlace, configuration: Configuration
) -> Iterator[Problem]:
    """Say that pixi would not ask this mirror, if it would not."""
    if not configuration.unled or Asking.PIXI not in consumer.clients:
        return
    facts = [("asked now", each) for each in configuration.asked]
    facts += [("read", each) for each in consumer.config.files]
    facts += [("in the way", redact(each)) for each in configuration.in_the_way]
    facts.append(_needed_by(configuration.unled))
    if place.folder is not None:
        trouble = "names upstream's URLs, for which no folder can stand in"
        subject, help_line = (
            str(consumer.lock_path),
            (
                "lock it anew from the folder, with the line above; or serve the folder over HTTP"
                " and ask again with --mirror http://HOST:PORT"
            ),
        )
    else:
        subject, trouble = "[mirrors]", "nothing in pixi's configuration leads to this mirror"
        if consumer.config.mirrors:
            trouble = "pixi's configuration leads elsewhere, or not everywhere it should"
        help_line = f"the lines above, in {consumer.root / '.pixi' / 'config.toml'}"
        if configuration.in_the_way:
            help_line += "; and take away what is in the way"
    yield Problem(
        subject=subject, trouble=trouble, code=ExitCode.NO, facts=tuple(facts), help=help_line
    )


def conda_problems(consumer: Consumer, conda: CondaConfiguration) -> Iterator[Problem]:
    """Say that conda would not ask this mirror, or not find its pip there, if that counts."""
    if Asking.CONDA not in consumer.clients:
        return
    if conda.unled:
        yield _unled_problem(consumer, conda)
    if conda.pipless:
        yield Problem(
            subject=".condarc",
            trouble="conda adds pip to what every python needs, and the mirror has none",
            code=ExitCode.NO,
            facts=(("needed by", ", ".join(sorted(conda.pipless))),),
            help=f"the line {ADD_PIP}: false, in ~/.condarc; or its keeper mirrors it:"
            " `pixi add pip`, then `pixi run mirror`",
        )


def _unled_problem(consumer: Consumer, conda: CondaConfiguration) -> Problem:
    trouble = "nothing in conda's configuration leads to this mirror"
    if consumer.condarc.files:
        trouble = "conda's configuration leads elsewhere, or not everywhere it should"
    facts = [("asked now", redact(each)) for each in conda.asked]
    facts += [("read", each) for each in consumer.condarc.files]
    facts += [("in the way", each) for each in conda.in_the_way]
    facts.append(("needed by", ", ".join(sorted(conda.unled))))
    help_line = "the options above with every command, or their channels in ~/.condarc"
    if conda.setting is not None:
        help_line = "the line above, in ~/.condarc"
    if conda.in_the_way:
        help_line += "; and take away what is said there of the names in the way"
    return Problem(
        subject=".condarc",
        trouble=trouble,
        code=ExitCode.NO,
        facts=tuple(facts),
        help=help_line,
    )


def _gap(verdict: Verdict) -> PurePosixPath:
    """Name the folder that is not there: the channel's, or the subdir's."""
    subdir = verdict.path.parent
    return subdir.parent if verdict.standing is Standing.NO_CHANNEL else subdir


def _gap_problem(
    place: MirrorPlace,
    folder: PurePosixPath,
    verdicts: Sequence[Verdict],
    needed: Sequence[Place],
) -> Problem:
    first = verdicts[0]
    if first.standing is Standing.NO_CHANNEL:
        subject, trouble = (
            redact(first.package.channel or str(folder)),
            "this channel is not mirrored",
        )
        looked_for = folder / NOARCH
    else:
        subject, looked_for = str(folder), folder
        is_noarch = folder.name == NOARCH
        trouble = "there is no repodata" if is_noarch else "this platform is not mirrored"
    count = len(verdicts)
    return Problem(
        subject=subject,
        trouble=trouble,
        code=ExitCode.NO,
        facts=(
            ("looked for", f"{place.shown}/{looked_for}/repodata.json"),
            ("missing", f"{count} artifact{'' if count == 1 else 's'}"),
            _needed_by(needed),
        ),
        help=f"its keeper mirrors it: `pixi run platforms --add {folder.name}`, `pixi run mirror`"
        if first.standing is Standing.NO_SUBDIR and first.path.parent.name != NOARCH
        else "its keeper mirrors this lock: `pixi run mirror`",
    )


def _artifact_problem(verdict: Verdict, places: Sequence[Place]) -> Problem:
    package, needed = verdict.package, _needed_by(places)
    if verdict.standing is Standing.OUT_OF_REACH:
        if url_subdir(package.url) not in {None, verdict.path.parent.name}:
            return _moved_problem(verdict, needed)
        return Problem(
            subject=redact(package.url),
            trouble="nothing can lead pixi from this location to the mirror",
            code=ExitCode.NO,
            facts=(needed,),
            help="name a channel with a URL in `channels`, then `pixi lock`; `[mirrors]` replaces"
            " the beginning of URLs, and nothing else",
        )
    if verdict.standing is Standing.OTHER:
        return Problem(
            subject=str(verdict.path),
            trouble=f"the mirror has another {verdict.compared}",
            code=ExitCode.NO,
            facts=(("expected", verdict.expected), ("actual", verdict.actual), needed),
            help=f"one of both is of a later upload: `pixi update {package.name}`,"
            " or its keeper runs `pixi run mirror`",
        )
    near = verdict.near[:_SHOWN]
    rest = len(verdict.near) - len(near)
    texts = [*map(str, near), *([f"and {rest} more"] if rest else [])]
    return Problem(
        subject=str(verdict.path),
        trouble="is not in the mirror",
        code=ExitCode.NO,
        facts=((("it has", ", ".join(texts)), needed) if near else (needed,)),
        help=f"`pixi update {package.name}` takes what the mirror has, once pixi is led to it"
        if near
        else _KEEPER,
    )


def _moved_problem(verdict: Verdict, needed: tuple[str, str]) -> Problem:
    """Say why `[mirrors]` cannot lead to what a flat mirror has in another subdir."""
    return Problem(
        subject=redact(verdict.package.url),
        trouble="a flat mirror has it in the record's subdir, not in that of this URL,"
        " and `[mirrors]` replaces but the beginning of a URL",
        code=ExitCode.NO,
        facts=(("mirror", str(verdict.path)), needed),
        help=f'its keeper sets layout = "by-channel" under [{TABLE}], then `pixi run mirror`',
    )


def _left_out_problem(row: Unmirrorable, places: Sequence[Place]) -> Problem:
    return Problem(
        subject=row.name,
        trouble=f"comes from no conda channel: {row.reason}",
        code=ExitCode.NO,
        facts=(("from", redact(row.location)), _needed_by(places)),
        help=f"--allow-incomplete {row.kind}, if the consumer has it from elsewhere",
    )


def _needed_by(places: Sequence[Place]) -> tuple[str, str]:
    return ("needed by", ", ".join(map(str, places)))
