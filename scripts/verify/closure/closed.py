"""What came of closure: findings, and what is not proven."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Final

from scripts.core.errors import ExitCode, Problem
from scripts.core.layout import Layout
from scripts.core.redact import redact, without_secrets
from scripts.core.report import Json
from scripts.lock.select import path_of
from scripts.verify.closure.chain import Chains
from scripts.verify.closure.inquire import Answer, Catalogue, things_of
from scripts.verify.closure.look import Look, Open, Want, Wish
from scripts.verify.closure.plan import Closing
from scripts.verify.findings import Finding, Level, Place, used_by
from scripts.verify.virtual import VirtualPackage, is_declarable, least_package
from scripts.workspace.virtual_packages import platform_table

_SHOWN: Final = 5  # artifacts of each kind that one finding shows
_LISTED: Final = 20  # unproven requirements that one line shows


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedPlace:
    """What is not proven of a place; `hindrance` is why the manifest's requirements are not."""

    place: Place
    not_proven: tuple[str, ...]
    hindrance: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosureResult:
    """What came of all places."""

    findings: tuple[Finding, ...]
    places: tuple[ClosedPlace, ...]

    @property
    def proven(self) -> frozenset[Place]:
        """The places of which all was looked at and nothing left open, right or wrong."""
        return frozenset(
            each.place for each in self.places if not each.not_proven and each.hindrance is None
        )


def conclude(
    closings: Sequence[Closing],
    catalogue: Catalogue,
    answers: Mapping[str, Answer],
    layout: Layout,
    root: PurePath,
) -> ClosureResult:
    """Look at every place; `root` is the workspace's folder."""
    looks = [Look(closing, catalogue, answers, root) for closing in closings]
    teller = _Teller(closings, catalogue, layout)
    not_proven: dict[Place, list[str]] = {}
    for look in looks:
        told = not_proven.setdefault(look.closing.place, [])
        told += [teller.unproven(look, each) for each in look.unproven]
    hindrances = {each.place: each.hindrance for each in closings if each.hindrance is not None}
    return ClosureResult(
        findings=tuple(teller.findings(looks)),
        places=tuple(
            ClosedPlace(place=place, not_proven=tuple(told), hindrance=hindrances.get(place))
            for place, told in not_proven.items()
        ),
    )


class _Teller:
    """Writes requirements that are open, for people."""

    def __init__(self, closings: Sequence[Closing], catalogue: Catalogue, layout: Layout) -> None:
        self._closings, self._catalogue, self._layout = closings, catalogue, layout
        self._places: dict[int, list[Place]] = {}

    def findings(self, looks: Iterable[Look]) -> Iterator[Finding]:
        """Yield one finding for all places in which the same is wrong in the same way."""
        found: dict[tuple[object, ...], tuple[Problem, set[Place]]] = {}
        for look in looks:
            chains = Chains(look) if look.unmet else None
            for each in look.unmet:
                want = each.want
                key = (want.wish, want.who, want.source, want.text, self._there(each))
                if key not in found:
                    needed_by: tuple[str, ...] = ()
                    if chains is not None and want.who is not None:
                        needed_by = chains.lines(want.who)
                    found[key] = self._problem(look, each, needed_by), set()
                found[key][1].add(look.closing.place)
        for problem, places in found.values():
            facts = (*problem.facts, used_by(places))
            yield Finding(
                level=Level.CLOSURE,
                problem=Problem(
                    subject=problem.subject,
                    trouble=problem.trouble,
                    code=problem.code,
                    facts=facts,
                    help=problem.help,
                ),
                places=frozenset(places),
            )

    def unproven(self, look: Look, each: Open) -> str:
        """Write a requirement that is not proven, and why."""
        who = self._who(look, each)
        return f"{who} {each.want.wish} {each.want.text} ({each.reason})"

    def _problem(self, look: Look, each: Open, needed_by: tuple[str, ...]) -> Problem:
        """Make the problem, all but the places that it concerns."""
        want, answer = each.want, each.answer
        facts = [("has", text) for text in self._there(each)]
        if answer.refused is not None:
            state = "which is no MatchSpec"
            facts = [("said", line) for line in answer.refused.splitlines()[:_SHOWN]]
        elif want.wish is Wish.REQUIRES:
            state = "which is not met"
            facts = facts or [("has", f"no {answer.name}")]
            facts += [("elsewhere", text) for text in self._elsewhere(each)]
        else:
            state = "which is not kept"
            facts += [("elsewhere", text) for text in self._elsewhere(each)]
        return Problem(
            subject=self._who(look, each),
            trouble=f"{want.wish} {want.text}, {state}",
            code=ExitCode.NO,
            facts=(*facts, *(("needed by", line) for line in needed_by)),
            help=_help(want, answer, look.closing),
        )

    def _who(self, look: Look, each: Open) -> str:
        source = each.want.source
        if source is not None:
            return f"{source.name} ({redact(source.location)})"
        return look.closing.root if each.want.who is None else self._text(each.want.who)

    def _there(self, each: Open) -> tuple[str, ...]:
        """Say what there is of the name; its channel too, where the manifest asks for one."""
        texts = map(self._text, each.there)
        own = each.want.own
        if own is not None and own.channel is not None:
            texts = map(self._text_with_channel, each.there)
        return tuple(texts)

    def _elsewhere(self, each: Open) -> Iterator[str]:
        """Say what of the whole mirror would meet it, and where that is used."""
        if not each.others:
            yield "nothing in this mirror"
        for position in each.others[:_SHOWN]:
            places = self._places_of(position)
            shown = ", ".join(map(str, places[:_SHOWN]))
            more = f" and {len(places) - _SHOWN} more" if len(places) > _SHOWN else ""
            yield f"{self._text(position)} of {shown}{more}"
        if len(each.others) > _SHOWN:
            yield f"and {len(each.others) - _SHOWN} more"

    def _places_of(self, position: int) -> list[Place]:
        if not self._places:
            for closing in self._closings:
                for thing in things_of(closing):
                    places = self._places.setdefault(self._catalogue.position(thing), [])
                    if closing.place not in places:
                        places.append(closing.place)
        return self._places[position]

    def _text(self, position: int) -> str:
        thing = self._catalogue.things[position]
        if isinstance(thing, VirtualPackage):
            return str(thing)
        return str(path_of(self._layout, thing))

    def _text_with_channel(self, position: int) -> str:
        thing = self._catalogue.things[position]
        channel = None if isinstance(thing, VirtualPackage) else thing.channel
        text = self._text(position)
        return f"{text} from {without_secrets(channel)}" if channel else text


def _help(want: Want, answer: Answer, closing: Closing) -> str:
    """Say what mends it: for a virtual package that a manifest can declare, the table to write."""
    platform = closing.platform
    if platform is None or not is_declarable(answer.name, platform.subdir):
        return "pixi lock"
    least = least_package(answer.name, want.spec) if want.wish is Wish.REQUIRES else None
    if least is None:
        return f"give the platform such a {answer.name} in {closing.root}, then `pixi lock`"
    table = platform_table(platform, least)
    return (
        f"in the platforms of {closing.root} write {table} in place of {platform.name},"
        " then `pixi lock`"
    )


def closure_lines(result: ClosureResult) -> Iterator[str]:
    """Say what is not proven."""
    for each in result.places:
        if each.not_proven:
            shown = ", ".join(each.not_proven[:_LISTED])
            more = len(each.not_proven) - _LISTED
            yield (
                f"not proven to be closed: {each.place}; {shown}"
                + (f", and {more} more, in --json" if more > 0 else "")
            )
        if each.hindrance is not None:
            yield f"not closed: what the manifest requires of {each.place}; {each.hindrance}"


def closure_json(result: ClosureResult) -> list[Json]:
    """Say the same for programs."""
    wrong = frozenset[Place]().union(*(each.places for each in result.findings))
    return [
        {
            "environment": each.place.environment,
            "platform": each.place.platform,
            "closed": each.place not in wrong,
            "not-proven": list(each.not_proven),
            "hindrance": each.hindrance,
        }
        for each in result.places
    ]
