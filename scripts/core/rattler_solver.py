"""Solve with rattler; imported by `rattler_worker.py` alone."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from scripts.core.rattler_types import subdir_type, virtual_package


def solve(arguments: dict[str, Any]) -> list[dict[str, Any]]:
    """Solve each of `questions`, all with the empty folder `cache` for their repodata.

    A question has `channels` (URLs, the most important first), `subdir`, `specs`, `constraints`,
    `virtual_packages` (triples of name, version and build), `channel_priority` and `strategy`;
    `undeclared` are maps with the URL of a `channel` that comes after all of these for some
    package `names` alone, and its `folder`.
    Returns for each the `urls` that answer it, or in `refused` why nothing does.
    """
    return asyncio.run(_solve_all(arguments))


async def _solve_all(arguments: dict[str, Any]) -> list[dict[str, Any]]:
    from pathlib import Path

    from rattler import Gateway

    gateway = Gateway(cache_dir=Path(arguments["cache"]))
    answers: list[dict[str, Any]] = []
    for question in arguments["questions"]:
        try:
            answers.append({"urls": await _solve(question, gateway)})
        except Exception as error:  # of many kinds; the caller shows what it says
            answers.append({"refused": str(error) or type(error).__name__})
    return answers


async def _solve(question: dict[str, Any], gateway: Any) -> list[str]:
    """Try the kinds of channel priority in turn; the last one's refusal counts."""
    kinds = _channel_priorities(question["channel_priority"])
    for kind in kinds[:-1]:
        with contextlib.suppress(Exception):  # the next one is there for that
            return await _solve_once(question, gateway, kind)
    return await _solve_once(question, gateway, kinds[-1])


async def _solve_once(question: dict[str, Any], gateway: Any, kind: Any) -> list[str]:
    from rattler import MatchSpec
    from rattler import solve as solve_specs

    subdir = subdir_type()
    records = await solve_specs(
        [*question["channels"], *map(_NamesAlone, question["undeclared"])],
        [MatchSpec(text, strict=False) for text in question["specs"]],
        gateway=gateway,
        platforms=[subdir(question["subdir"]), subdir("noarch")],
        virtual_packages=[virtual_package(*each) for each in question["virtual_packages"]],
        channel_priority=kind,
        strategy=question["strategy"],
        constraints=[MatchSpec(text, strict=False) for text in question["constraints"]],
    )
    return sorted(record.url for record in records)


class _NamesAlone:
    """A channel in a folder, of which a solver sees a few names: a RepoDataSource of rattler."""

    def __init__(self, undeclared: dict[str, Any]) -> None:
        from pathlib import Path

        self._channel, self._folder = undeclared["channel"], Path(undeclared["folder"])
        self._names = frozenset(undeclared["names"])

    async def fetch_package_records(self, platform: Any, name: Any) -> list[Any]:
        """Return the records of a name in the subdir `platform`."""
        from rattler import Channel, SparseRepoData

        file = self._folder / str(platform) / "repodata.json"
        if name.normalized not in self._names or not file.is_file():
            return []
        repodata = SparseRepoData(Channel(self._channel), str(platform), file)
        return list(repodata.load_records(name))

    def package_names(self, _platform: Any) -> list[str]:
        """Return all names, whatever the subdir."""
        return sorted(self._names)


def _channel_priorities(word: str) -> list[Any]:
    """Return what pixi's word means; before 0.28 nothing but two attempts is `flexible`."""
    from rattler import ChannelPriority

    kinds: dict[str, list[Any]] = {
        "strict": [ChannelPriority.Strict],
        "flexible": [ChannelPriority.Strict, ChannelPriority.Disabled],
        "disabled": [ChannelPriority.Disabled],
    }
    if hasattr(ChannelPriority, "Flexible"):
        kinds["flexible"] = [ChannelPriority.Flexible]
    return kinds[word]
