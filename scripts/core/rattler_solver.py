"""Solve with rattler: requirements from channels, and sets of locked records from themselves.

For `rattler_worker.py` alone.
"""

from __future__ import annotations

import contextlib
import re
from collections import Counter, deque
from collections.abc import Callable, Iterable
from functools import cache, partial
from pathlib import Path
from typing import Any

_NAME = re.compile(r"(?:[^\[]*::)?\s*([\w.-]*)")
_WORD = re.compile(r"[\w.-]+")
_NO_PACKAGE = "pixi-mirror-nobody"  # a name that no package has


def subdir_type() -> Any:
    """The type of subdirs; `Platform` is its name before 0.28, where that warns."""
    import rattler

    return rattler.Subdir if hasattr(rattler, "Subdir") else rattler.Platform


def build_string(text: str) -> Any:
    """Make a build; before 0.26 it is a plain str."""
    from rattler import package

    return getattr(package, "BuildString", str)(text)


def match_spec(text: str) -> Any:
    """Read a MatchSpec leniently."""
    from rattler import MatchSpec

    return MatchSpec(text, strict=False)


def refusal(read: Callable[[str], object], text: str) -> str | None:
    """Say why rattler does not read a text; None where it does."""
    try:
        read(text)
    except Exception as error:  # of many kinds; what it says is the answer
        return error_message(error)
    return None


def error_message(error: Exception) -> str:
    """Return what an error of rattler says."""
    return str(error) or type(error).__name__


def load_records(channel: str, file: Path, name: Any = None) -> list[Any]:
    """Read the records of a `repodata.json`, of one package name or all."""
    from rattler import Channel, SparseRepoData
    from rattler.repo_data import PackageFormatSelection

    data = SparseRepoData(Channel(channel), file.parent.name, file)
    if name is not None:
        return list(data.load_records(name))
    return list(data.load_all_records(PackageFormatSelection.BOTH))


class _Records:
    """A RepoDataSource of rattler that stands for a channel; `find` returns a name's records."""

    def __init__(self, names: Iterable[str], find: Callable[[str, Any], list[Any]]) -> None:
        self._names, self._find = list(names), find

    async def fetch_package_records(self, platform: Any, name: Any) -> list[Any]:
        """Return the records of a name in the subdir `platform`."""
        return self._find(str(platform), name)

    def package_names(self, _platform: Any) -> list[str]:
        """Return all names, whatever the subdir."""
        return self._names


def _virtual_package(name: str, version: str, build: str) -> Any:
    from rattler import GenericVirtualPackage, PackageName, Version

    return GenericVirtualPackage(PackageName(name), Version(version), build_string(build))


async def solve(questions: list[dict[str, Any]], cache: str) -> list[dict[str, Any]]:
    """Solve each of `questions`, all with the empty folder `cache` for their repodata.

    A question has `channels` (URLs, the most important first), `subdir`, `specs`, `constraints`,
    `virtual_packages` (triples of name, version and build), `channel_priority` and `strategy`;
    `undeclared` are maps with the URL of a `channel` that comes after all of these for some
    package `names` alone, and its `folder`.
    Returns for each the `urls` that answer it, or in `refused` why nothing does.
    """
    from rattler import Gateway

    gateway = Gateway(cache_dir=Path(cache))
    answers: list[dict[str, Any]] = []
    for question in questions:
        try:
            answers.append({"urls": await _solve(gateway, **question)})
        except Exception as error:  # of many kinds; the caller shows what it says
            answers.append({"refused": error_message(error)})
    return answers


async def _solve(
    gateway: Any,
    *,
    channels: list[str],
    undeclared: list[dict[str, Any]],
    subdir: str,
    specs: list[str],
    constraints: list[str],
    virtual_packages: list[list[str]],
    channel_priority: str,
    strategy: Any,
) -> list[str]:
    """Solve one question. Before 0.28, `flexible` is strict first, then without priority."""
    from rattler import ChannelPriority, solve

    attempt = partial(
        solve,
        [*channels, *(_undeclared(**each) for each in undeclared)],
        [match_spec(text) for text in specs],
        gateway=gateway,
        platforms=[subdir_type()(subdir), subdir_type()("noarch")],
        virtual_packages=[_virtual_package(*each) for each in virtual_packages],
        strategy=strategy,
        constraints=[match_spec(text) for text in constraints],
    )
    records, word = None, channel_priority.capitalize()
    if not hasattr(ChannelPriority, word):
        word = "Disabled"
        with contextlib.suppress(Exception):  # then the second attempt decides
            records = await attempt(channel_priority=ChannelPriority.Strict)
    if records is None:
        records = await attempt(channel_priority=getattr(ChannelPriority, word))
    return sorted(record.url for record in records)


def _undeclared(channel: str, folder: str, names: list[str]) -> _Records:
    """Make a channel in a folder, of which the solver sees only these names."""

    def find(subdir: str, name: Any) -> list[Any]:
        file = Path(folder, subdir, "repodata.json")
        if name.normalized not in names or not file.is_file():
            return []
        return load_records(channel, file, name)

    return _Records(sorted(names), find)


async def prove_closed(folder: str, cache: str, sets: list[dict[str, Any]]) -> dict[str, Any]:
    """Solve each of `sets` with exactly its records to choose from, each required by name.

    A set has the paths of its `records` below `folder`, `virtual_packages` (triples), the `roots`
    that are required from above (`kind`, `spec`; `is_unmet` where the caller knows better),
    `built` (names of source packages to the version, None where it is unknown) and
    `is_of_builds`, on a machine that is not known.

    Returns as `unreadable` repodata files and why, and for each set of `answers` the `missing`
    paths and what is `unproven`; where it is `refused`, what the solver said, and all that is
    `unmet`.
    """
    from rattler import Gateway

    paths = (path for each in sets for path in each["records"])
    subdirs = dict.fromkeys(path.rpartition("/")[0] for path in paths)
    records, unreadable = _read_repodata(Path(folder), subdirs)
    gateway = Gateway(cache_dir=Path(cache))
    closed_sets = [_ClosedSet(records, gateway, **each) for each in sets]
    everything: dict[str, dict[str, Any]] = {}
    for each in closed_sets:
        for name, there in each.by_name.items():
            everything.setdefault(name, {}).update(there)
    answers = [await each.prove(everything) for each in closed_sets]
    return {"unreadable": unreadable, "answers": answers}


def _read_repodata(folder: Path, subdirs: Iterable[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the mirror's records by path, and of each file that cannot be read the reason."""
    records: dict[str, Any] = {}
    unreadable: dict[str, str] = {}
    for subdir in subdirs:
        file = folder / subdir / "repodata.json"
        path = f"{subdir}/{file.name}"
        if not file.is_file():
            unreadable[path] = "is missing"
            continue
        try:
            found = load_records(file.parent.parent.as_uri(), file)
        except Exception as error:  # of many kinds; what it says is shown
            unreadable[path] = f"py-rattler cannot read it: {error}"
        else:
            records |= {f"{subdir}/{each.file_name}": each for each in found}
    return records, unreadable


class _ClosedSet:
    """One set of `prove_closed`; `by_name` has records by path and virtual packages by text."""

    def __init__(
        self,
        mirrored: dict[str, Any],
        gateway: Any,
        *,
        records: list[str],
        virtual_packages: list[list[str]],
        roots: list[dict[str, Any]],
        built: dict[str, str | None],
        is_of_builds: bool,
    ) -> None:
        from rattler import PackageRecord

        self._gateway, self._roots = gateway, roots
        self._built, self._is_of_builds = built, is_of_builds
        self._has_flags = hasattr(PackageRecord, "flags")
        self._virtual_packages = [_virtual_package(*each) for each in virtual_packages]
        self._conditions: dict[str, bool] = {}
        self._unproven: list[dict[str, Any]] = []
        self.by_name: dict[str, dict[str, Any]] = {}
        for name, version, build in virtual_packages:
            text = f"{name}={version}" if build == "0" else f"{name}={version}={build}"
            self.by_name.setdefault(name, {})[text] = PackageRecord(
                name, version, build_string(build), build_number=0, subdir="noarch"
            )
        self._missing = [path for path in records if path not in mirrored]
        self._records = {
            path: self._provable(path, mirrored[path]) for path in records if path in mirrored
        }
        for path, each in self._records.items():
            self.by_name.setdefault(each.name.normalized, {})[path] = each

    def _provable(self, path: str, record: Any) -> Any:
        """Return the record without requirements that cannot be proven, and in lower case.

        rattler finds no name with capitals.
        """
        from rattler import PackageName

        name = record.name.normalized
        depends = self._proven(path, "requires", record.depends)
        constrains = self._proven(path, "constrains", record.constrains)
        if (depends, constrains, name) == (record.depends, record.constrains, name.lower()):
            return record
        copy = _copy(record, depends, constrains)
        copy.name = PackageName(name.lower())
        return copy

    def _proven(self, path: str, kind: str, specs: list[str]) -> list[str]:
        return [each for each in specs if not self._noted_unproven({"who": path}, kind, each)]

    def _noted_unproven(self, who: dict[str, Any], kind: str, spec: str) -> bool:
        """Tell whether a requirement cannot be proven, and note it then."""
        reason = self._why_unprovable(kind, spec)
        if reason is not None:
            self._unproven.append({**who, "kind": kind, "spec": spec, "reason": reason})
        return reason is not None

    def _why_unprovable(self, kind: str, spec: str) -> str | None:
        """Return why a requirement cannot be proven; None where it can."""
        # rattler would fetch the URL, and an old py-rattler drops flags
        if "url=" in spec or ("flags=" in spec and not self._has_flags):
            return "this py-rattler cannot tell"
        if not self._built and not self._is_of_builds:
            return None
        name = _NAME.match(spec)[1].lower()  # type: ignore[index]  # it matches anything
        there = self.by_name.get(name, {})
        if name in self._built:  # its build string is not known before it is built
            parsed = _parse(spec)
            known = {name, f"{name} *"}
            if self._built[name] is not None:
                known.add(f"{name} {parsed.version}")
            return None if there and str(parsed) in known else "built from source"
        if self._is_of_builds and name.startswith("__"):
            is_kept = kind == "constrains" and not there
            if not is_kept and not any(_parse(spec).matches(each) for each in there.values()):
                return "it is not known which machine builds"
        words = _WORD.findall(spec.partition("when=")[2])
        if any(self._built.get(each.lower(), "") is None for each in words):
            return "under a condition that cannot be told"
        return None

    async def prove(self, everything: dict[str, dict[str, Any]]) -> dict[str, Any]:
        """Solve; where that is refused, find the requirements that are not met."""
        roots = []
        wanted = {"requires": [each.name.normalized for each in self._records.values()]}
        names = wanted["requires"]
        twice = next((each for each, times in Counter(names).items() if times > 1), None)
        said = twice and f"{twice} is there twice"
        for number, root in enumerate(self._roots):
            who, kind, spec = {"root": number}, root["kind"], root["spec"]
            if self._noted_unproven(who, kind, spec):
                continue
            roots.append((who, kind, spec))
            if refusal(_parse, spec) is None:
                wanted.setdefault(kind, []).append(spec)
        said = said or await self._solve(self._records.values(), **wanted)
        unmet: list[dict[str, Any]] = []
        if said is not None or any(each["is_unmet"] for each in self._roots):
            told = len(self._unproven)
            unmet = await self._find_unmet(roots, everything)
            if not unmet and len(self._unproven) > told:  # of extras, which stay in the records
                said = None
        return {
            "missing": self._missing,
            "unproven": self._unproven,
            "refused": said,
            "unmet": unmet,
        }

    async def _solve(
        self, records: Iterable[Any], requires: list[str], constrains: Iterable[str] = ()
    ) -> str | None:
        """Solve with these records alone; return why rattler refuses, None where it solves."""
        from rattler import solve

        by_name: dict[str, list[Any]] = {}
        for each in records:
            by_name.setdefault(each.name.normalized, []).append(each)
        try:
            await solve(
                [_Records(by_name, lambda _, name: by_name.get(name.normalized, []))],
                [_parse(each) for each in requires],
                gateway=self._gateway,
                platforms=[subdir_type()("noarch")],
                virtual_packages=self._virtual_packages,
                constraints=[_parse(each) for each in constrains],
            )
        except Exception as error:  # of many kinds; what it says is the answer
            return error_message(error)
        return None

    async def _find_unmet(
        self, roots: Iterable[Any], everything: dict[str, dict[str, Any]]
    ) -> list[dict[str, Any]]:
        """Return every unmet requirement, for people: it decides nothing."""
        waiting = deque(roots)
        for path, record in self._records.items():
            waiting += [({"who": path}, "requires", each) for each in record.depends]
            waiting += [({"who": path}, "constrains", each) for each in record.constrains]
        unmet: list[dict[str, Any]] = []
        extras: set[tuple[str, str]] = set()
        while waiting:
            who, kind, spec = waiting.popleft()
            row = {**who, "kind": kind, "spec": spec, "name": spec, "there": [], "others": []}
            row["refused"] = refusal(_parse, spec)
            if row["refused"] is not None:
                unmet.append(row)
                continue
            parsed = _parse(spec)
            row["name"] = name = parsed.name.normalized
            there = self.by_name.get(name, {})
            if not (there if kind == "constrains" else await self._applies(parsed.condition)):
                continue
            met = [each for each, record in there.items() if parsed.matches(record)]
            if "root" in who and self._roots[who["root"]]["is_unmet"]:
                met = []
            if not met:
                row["there"] = list(there)
                rivals = everything.get(name, {}).items()
                row["others"] = [each for each, record in rivals if parsed.matches(record)]
                unmet.append(row)
            elif kind == "requires":
                asked = {(path, extra) for path in met for extra in parsed.extras or ()} - extras
                extras |= asked
                for path, extra in sorted(asked):
                    groups = self._records[path].extra_depends if path in self._records else {}
                    waiting += [
                        ({"who": path}, "requires", each)
                        for each in groups.get(extra, ())
                        if not self._noted_unproven({"who": path}, "requires", each)
                    ]
        return unmet

    async def _applies(self, condition: str | None) -> bool:
        """Tell whether a condition holds: rattler then refuses a package that does not exist."""
        if condition is None:
            return True
        if condition not in self._conditions:
            mark = "'" if '"' in condition else '"'
            bare = [_copy(each, [], []) for each in self._records.values()]
            names = [each.name.normalized for each in bare]
            spec = f"{_NO_PACKAGE}[when={mark}{condition}{mark}]"
            self._conditions[condition] = await self._solve(bare, [*names, spec]) is not None
        return self._conditions[condition]


def _copy(record: Any, depends: list[str], constrains: list[str]) -> Any:
    from rattler import RepoDataRecord

    copy = RepoDataRecord(record, record.file_name, record.url, record.channel)
    copy.depends, copy.constrains = depends, constrains
    return copy


@cache
def _parse(spec: str) -> Any:
    """Read a MatchSpec, of any channel: the records are the mirror's."""
    return match_spec(re.sub(r"^[^\[]*::", "", spec))
