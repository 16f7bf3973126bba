"""`pixi run new`: make a builder repository of your own from this template."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from scripts.core.command import parse_path, run_task, task_parser
from scripts.core.console import Console
from scripts.core.errors import usage_error
from scripts.core.redact import redact
from scripts.core.report import Report
from scripts.template.new import new_builder


def main(argv: Sequence[str] | None = None) -> int:
    """Run the task with these arguments."""
    parser = task_parser("new", "make a builder repository of your own from this template")
    parser.add_argument(
        "folder", type=parse_path, metavar="DIR", help="a new folder, or an empty one"
    )
    parser.add_argument(
        "packages",
        nargs="*",
        default=[],
        metavar="PACKAGE",
        help="what it mirrors, beside pip: numpy 'scipy>=1.15', as `pixi add` takes them"
        " (default: pandas)",
    )
    parser.add_argument(
        "--name", metavar="NAME", help="the workspace's name (default: the folder's)"
    )
    for short, word, default in (
        ("-c", "channel", "conda-forge"),
        ("-p", "platform", "linux-64, osx-arm64, win-64"),
    ):
        parser.add_argument(
            *(short, f"--{word}"),
            dest=f"{word}s",
            action="append",
            default=[],
            metavar=word.upper(),
            help=f"a {word} of it (repeatable; default: {default})",
        )
    parser.add_argument(
        "--no-pip",
        action="store_true",
        help="leave pip out, which comes along since conda requires it of every python",
    )
    return run_task("new", parser, run, argv)


def run(options: argparse.Namespace, console: Console) -> Report:
    """Make the builder; it has a workspace of its own, whatever --manifest-path says."""
    if options.manifest_path is not None:
        console.warn("new makes a workspace of its own; --manifest-path is not used")
    try:
        folder = options.folder.resolve()
    except (OSError, RuntimeError):  # RuntimeError: a circle of links, before Python 3.13
        raise usage_error(repr(str(options.folder)), "there can be no such folder") from None
    _refuse_no_text(folder, options)
    return new_builder(
        folder,
        name=folder.name if options.name is None else options.name,
        channels=options.channels,
        platforms=options.platforms,
        specs=options.packages,
        with_pip=not options.no_pip,
    )


def _refuse_no_text(folder: Path, options: argparse.Namespace) -> None:
    """Refuse what a manifest, which is UTF-8, cannot hold."""
    names = [] if options.name is None else [options.name]
    for subject, texts in (
        ("DIR", [str(folder)]),
        ("--name", names),
        ("--channel", options.channels),
        ("--platform", options.platforms),
        ("PACKAGE", options.packages),
    ):
        for text in texts:
            try:
                text.encode("utf-8")
            except UnicodeEncodeError:
                raise usage_error(subject, f"not UTF-8 text: {redact(repr(text))}") from None


if __name__ == "__main__":
    sys.exit(main())
