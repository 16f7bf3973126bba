"""A team's year of weekly mirrors and bundles: what is on the disks, and what is carried."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

from bench.world import served
from tests.support.year import QUARTER, Week, live, make_year

WEEKS = 52
_KB = 1000


def weeks() -> Iterator[Week]:
    """Live through a year, every lock proven each week to install."""
    with tempfile.TemporaryDirectory(prefix="pixi-mirror-bench-") as folder:
        upstream = Path(folder, "upstream")
        upstream.mkdir()
        with served(upstream) as url:
            year = make_year(Path(folder, "team"), upstream, url, "--client", "rattler")
            for number in range(WEEKS):
                yield live(year, number)


def year_table(lived: Sequence[Week]) -> list[str]:
    """Write it as Markdown: each quarter's bundles, and what is on the disks at its end."""
    columns = (
        "weeks",
        "carried",
        "new artifacts",
        "new index files",
        "of files",
        "channel",
        "snapshots: files",
        "and records, locks",
        "caches, state",
        "far channel",
        "far state",
        "`mirror`",
    )
    lines = [f"| {' | '.join(columns)} |", f"| --- |{' ---: |' * (len(columns) - 1)}"]
    for first in range(0, len(lived), QUARTER):
        some = lived[first : first + QUARTER]
        last = some[-1]
        summed = (
            sum(each.carried for each in some),
            sum(each.artifacts for each in some),
            sum(each.index for each in some),
        )
        disks = (last.channel, last.trees, last.records, last.others, last.far, last.far_state)
        cells = [
            f"{first + 1} to {last.number + 1}",
            *(f"{each / _KB:,.0f} kB" for each in summed),
            str(sum(each.files for each in some)),
            *(f"{each / _KB:,.0f} kB" for each in disks),
            f"{median(each.seconds for each in some):.1f} s",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    over = max(each.carried - each.artifacts - each.index - 300 * each.files for each in lived)
    killed = sum(each.is_killed for each in lived)
    lines += ["", f"{lived[-1].snapshots} snapshots; unbundle.py was killed {killed} times."]
    lines += [f"Over its new bytes and 300 bytes a file a bundle had at most {over:,} bytes."]
    return lines
