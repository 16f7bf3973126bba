"""`pixi run bundle`: write what brings a channel elsewhere to what is published here."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial

from scripts.core.command import parse_path, run_task, task_parser
from scripts.core.console import Console
from scripts.core.report import Report
from scripts.keep.bundle import bundle
from scripts.keep.bundle_plan import parse_volume_size
from scripts.keep.bundle_sources import base_by_id, base_by_receipt
from scripts.workspace.settings import add_setting_options
from scripts.workspace.workspace import workspace_from


def main(argv: Sequence[str] | None = None) -> int:
    """Run the task with these arguments."""
    parser = task_parser(
        "bundle", "write a bundle: what brings a channel elsewhere to what is published here"
    )
    parser.add_argument(
        "out", type=parse_path, metavar="OUT", help="the folder to write, new or of a stopped run"
    )
    add_setting_options(parser, "bundle")
    base = parser.add_mutually_exclusive_group(required=True)
    base.add_argument("--full", action="store_true", help="carry all of it, for any channel")
    base.add_argument(
        "--since", metavar="ID", help="carry what is new since a snapshot (pixi run snapshots)"
    )
    base.add_argument(
        "--since-receipt",
        type=parse_path,
        metavar="FILE",
        help="carry what the channel lacks that this receipt is of",
    )
    parser.add_argument(
        "--tar", action="store_true", help="write uncompressed tar files, not a folder of files"
    )
    parser.add_argument(
        "--volume-size",
        type=_volume_size,
        metavar="SIZE",
        help="with --tar: begin another one before it is larger, as 4.7GB or 650MiB",
    )
    parser.add_argument(
        "--with-locks",
        action="store_true",
        help="carry the locks and manifests themselves, not their sha256 alone",
    )
    parser.add_argument(
        "--sign",
        type=parse_path,
        metavar="KEY",
        help="sign it with this SSH key, by ssh-keygen (docs/airgap.md)",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would be written, to the byte, then stop"
    )
    interrupted = "interrupted; the files that are whole are kept: run it again"
    return run_task("bundle", parser, partial(run, parser), argv, interrupted=interrupted)


def run(parser: argparse.ArgumentParser, options: argparse.Namespace, console: Console) -> Report:
    """Bundle the mirror of the workspace that the options name."""
    if options.volume_size is not None and not options.tar:
        parser.error("--volume-size is of tar files: give --tar, too")
    workspace = workspace_from(options)
    place, base = workspace.place, None
    with workspace.channel_lock():
        if options.since is not None:
            base = base_by_id(place, options.since)
        if options.since_receipt is not None:
            base = base_by_receipt(place, options.since_receipt)
        return bundle(
            place,
            console,
            out=options.out,
            base=base,
            is_tar=options.tar,
            volume_size=options.volume_size,
            with_locks=options.with_locks,
            key=options.sign,
            dry_run=options.dry_run,
        )


def _volume_size(text: str) -> int:
    try:
        return parse_volume_size(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no size, as 4.7GB or 650MiB") from None


if __name__ == "__main__":
    sys.exit(main())
