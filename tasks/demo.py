"""`pixi run demo`, `./run demo`: show the main job on a small upstream, with no network."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from scripts.core.command import run_task, task_parser
from scripts.core.console import Console
from scripts.core.report import Report
from scripts.demo.stage import demo


def main(argv: Sequence[str] | None = None) -> int:
    """Run the task with these arguments."""
    parser = task_parser(
        "demo", "Mirror a small upstream of the demo's own, with nothing but loopback."
    )
    return run_task("demo", parser, run, argv)


def run(options: argparse.Namespace, console: Console) -> Report:
    """Run the demo; it has a workspace of its own, whatever --manifest-path says."""
    if options.manifest_path is not None:
        console.warn("the demo has a workspace of its own; --manifest-path is not used")
    return demo(console)


if __name__ == "__main__":
    sys.exit(main())
