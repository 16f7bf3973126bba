"""Prove sets of locked records whole, each from itself alone; for `rattler_worker.py` alone."""

from __future__ import annotations

import asyncio
import re
from collections import Counter, deque
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from scripts.core.rattler_types import build_string, subdir_type, virtual_package

_NAME = re.compile(r"(?:[^\[]*::)?\s*([\w.-]*)")
_WORD = re.compile(r"[\w.-]+")
_NOBODY = "pixi-mirror-nobody"  # a name that no package has


def prove_closed(arguments: dict[str, Any]) -> dict[str, Any]:
    """Solve each of `sets` with exactly its records to choose from, each required by name.

    A set has the paths of its `records` below `folder`, `virtual_packages` (triples), the `roots`
    that are required from above (`kind`, `spec`; `is_unmet` where the caller knows better),
    `built` (names of source packages to the version, None where it is unknown) and
    `is_of_builds`, on a machine that is not known.

    Returns as `unreadable` repodata files and why, and for each set of `answers` the `missing`
    paths and what is `unproven`; where it is `refused`, what the solver said, all that is `unmet`,
    and as `needs` who needs whom.
    """
    return asyncio.run(_prove_all(arguments))


async def _prove_all(arguments: dict[str, Any]) -> dict[str, Any]:
    from rattler import Gateway

    repodata = _Repodata(Path(arguments["folder"]))
    gateway = Gateway(cache_dir=Path(arguments["cache"]))
    sets = [_ClosedSet(each, repodata, gateway) for each in arguments["sets"]]
    everything: dict[str, dict[str, Any]] = {}
    for each in sets:
        for name, there in each.by_name.items():
            everything.setdefault(name, {}).update(there)
    answers = [await each.prove(everything) for each in sets]
    return {"unreadable": repodata.unreadable, "answers": answers}


class _Repodata:
    """The records of the mirror, each file read once."""

    def __init__(self, folder: Path) -> None:
        self.unreadable: dict[str, str] = {}
        self._folder = folder
        self._read: dict[str, dict[str, Any]] = {}

    def record(self, path: str) -> Any:
        """Return the record of an artifact; None where there is none."""
        subdir, _, name = path.rpartition("/")
        if subdir not in self._read:
            self._read[subdir] = self._load(subdir)
        return self._read[subdir].get(name)

    def _load(self, subdir: str) -> dict[str, Any]:
        from rattler import Channel, SparseRepoData
        from rattler.repo_data import PackageFormatSelection

        file = self._folder / subdir / "repodata.json"
        if not file.is_file():
            self.unreadable[f"{subdir}/{file.name}"] = "is missing"
            return {}
        try:
            data = SparseRepoData(Channel(file.parent.parent.as_uri()), file.parent.name, file)
            found = data.load_all_records(PackageFormatSelection.BOTH)
        except Exception as error:  # of many kinds; what it says is shown
            self.unreadable[f"{subdir}/{file.name}"] = f"py-rattler cannot read it: {error}"
            return {}
        return {each.file_name: each for each in found}


class _ClosedSet:
    """One set; `by_name` has its records by path, and its virtual packages by text."""

    def __init__(self, fields: dict[str, Any], repodata: _Repodata, gateway: Any) -> None:
        from rattler import PackageRecord

        self._gateway = gateway
        self._built: dict[str, str | None] = fields["built"]
        self._is_of_builds = fields["is_of_builds"]
        self._roots = fields["roots"]
        self._has_flags = hasattr(PackageRecord, "flags")
        self._virtual_packages = [virtual_package(*each) for each in fields["virtual_packages"]]
        self._conditions: dict[str, bool] = {}
        self._unproven: list[dict[str, Any]] = []
        self.by_name: dict[str, dict[str, Any]] = {}
        for name, version, build in fields["virtual_packages"]:
            text = f"{name}={version}" if build == "0" else f"{name}={version}={build}"
            self.by_name.setdefault(name, {})[text] = PackageRecord(
                name, version, build_string(build), build_number=0, subdir="noarch"
            )
        found = {path: repodata.record(path) for path in fields["records"]}
        self._missing = [path for path, each in found.items() if each is None]
        self._records = {
            path: self._provable(path, each) for path, each in found.items() if each is not None
        }
        for path, each in self._records.items():
            self.by_name.setdefault(each.name.normalized, {})[path] = each

    def _provable(self, path: str, record: Any) -> Any:
        """Take away the requirements that cannot be proven; rattler finds no name with capitals."""
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
        return [each for each in specs if not self._is_unproven({"who": path}, kind, each)]

    def _is_unproven(self, who: dict[str, Any], kind: str, spec: str) -> bool:
        reason = self._open_because(kind, spec)
        if reason is not None:
            self._unproven.append({**who, "kind": kind, "spec": spec, "reason": reason})
        return reason is not None

    def _open_because(self, kind: str, spec: str) -> str | None:
        """Say why a requirement cannot be proven; None where it can."""
        # rattler would fetch a URL, and an old one keeps no flags
        if "url=" in spec or ("flags=" in spec and not self._has_flags):
            return "this py-rattler cannot tell"
        if not self._built and not self._is_of_builds:
            return None
        name = _NAME.match(spec)[1].lower()  # type: ignore[index]  # it matches anything
        there = self.by_name.get(name, {})
        if name in self._built:  # of what is yet to be built nobody knows the build
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
        """Solve; where that is refused, look at each requirement."""
        roots = []
        wanted = {"requires": [each.name.normalized for each in self._records.values()]}
        names = wanted["requires"]
        twice = next((each for each, times in Counter(names).items() if times > 1), None)
        said = twice and f"{twice} is there twice"
        for number, root in enumerate(self._roots):
            who, kind, spec = {"root": number}, root["kind"], root["spec"]
            if self._is_unproven(who, kind, spec):
                continue
            roots.append((who, kind, spec))
            if not root["is_unmet"] and _refusal(spec) is None:
                wanted.setdefault(kind, []).append(spec)
        said = said or await self._solve(self._records.values(), **wanted)
        unmet: list[dict[str, Any]] = []
        needs: list[list[Any]] = []
        if said is not None or any(each["is_unmet"] for each in self._roots):
            told = len(self._unproven)
            unmet, needs = await self._look(roots, everything)
            if not unmet and len(self._unproven) > told:  # of extras, which stay in the records
                said = None
        return {
            "missing": self._missing,
            "unproven": self._unproven,
            "refused": said,
            "unmet": unmet,
            "needs": needs,
        }

    async def _solve(
        self, records: Iterable[Any], requires: list[str], constrains: Iterable[str] = ()
    ) -> str | None:
        """Solve with these records alone; None where there is a solution, else what is said."""
        from rattler import solve

        try:
            await solve(
                [_Records(records)],
                [_parse(each) for each in requires],
                gateway=self._gateway,
                platforms=[subdir_type()("noarch")],
                virtual_packages=self._virtual_packages,
                constraints=[_parse(each) for each in constrains],
            )
        except Exception as error:  # of many kinds; what it says is the answer
            return str(error) or type(error).__name__
        return None

    async def _look(
        self, roots: Iterable[Any], everything: dict[str, dict[str, Any]]
    ) -> tuple[list[dict[str, Any]], list[list[Any]]]:
        """List every requirement that is not met, and who needs whom. It decides nothing."""
        waiting = deque(roots)
        for path, record in self._records.items():
            waiting += [({"who": path}, "requires", each) for each in record.depends]
            waiting += [({"who": path}, "constrains", each) for each in record.constrains]
        unmet: list[dict[str, Any]] = []
        needs: list[list[Any]] = []
        extras: set[tuple[str, str]] = set()
        while waiting:
            who, kind, spec = waiting.popleft()
            row = {**who, "kind": kind, "spec": spec, "name": spec, "there": [], "others": []}
            row["refused"] = _refusal(spec)
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
                needs += [[who, spec, each] for each in met]
                asked = {(path, extra) for path in met for extra in parsed.extras or ()} - extras
                extras |= asked
                for path, extra in sorted(asked):
                    groups = self._records[path].extra_depends if path in self._records else {}
                    waiting += [
                        ({"who": path}, "requires", each)
                        for each in groups.get(extra, ())
                        if not self._is_unproven({"who": path}, "requires", each)
                    ]
        return unmet, needs

    async def _applies(self, condition: str | None) -> bool:
        """Tell whether a condition holds: rattler then requires what nobody can give."""
        if condition is None:
            return True
        if condition not in self._conditions:
            mark = "'" if '"' in condition else '"'
            bare = [_copy(each, [], []) for each in self._records.values()]
            names = [each.name.normalized for each in bare]
            spec = f"{_NOBODY}[when={mark}{condition}{mark}]"
            self._conditions[condition] = await self._solve(bare, [*names, spec]) is not None
        return self._conditions[condition]


class _Records:
    """Records in the place of a channel: a RepoDataSource of rattler."""

    def __init__(self, records: Iterable[Any]) -> None:
        self._by_name: dict[str, list[Any]] = {}
        for each in records:
            self._by_name.setdefault(each.name.normalized, []).append(each)

    async def fetch_package_records(self, _platform: Any, name: Any) -> list[Any]:
        """Return the records of a name."""
        return self._by_name.get(name.normalized, [])

    def package_names(self, _platform: Any) -> list[str]:
        """Return all names."""
        return list(self._by_name)


def _copy(record: Any, depends: list[str], constrains: list[str]) -> Any:
    from rattler import RepoDataRecord

    copy = RepoDataRecord(record, record.file_name, record.url, record.channel)
    copy.depends, copy.constrains = depends, constrains
    return copy


@cache
def _parse(spec: str) -> Any:
    """Read a MatchSpec leniently, and of any channel: the records are the mirror's."""
    from rattler import MatchSpec

    return MatchSpec(re.sub(r"^[^\[]*::", "", spec), strict=False)


def _refusal(spec: str) -> str | None:
    """Say why a text is no MatchSpec, as rattler does; None where it is one."""
    try:
        _parse(spec)
    except Exception as error:  # of many kinds; what it says is the answer
        return str(error) or type(error).__name__
    return None
