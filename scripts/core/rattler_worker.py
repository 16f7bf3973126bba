"""The one module that imports rattler: its API moves between minor versions. Acts.

Run as `python -m scripts.core.rattler_worker FUNCTION` with JSON arguments on stdin; prints one
line `{"rattler": {"result": …}}` or `{"rattler": {"error": "…"}}` and leaves by `os._exit`,
because rattler may crash while the interpreter ends. Works with py-rattler 0.25 to 0.28.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable
from typing import Any


def index(arguments: dict[str, Any]) -> None:
    """Index the channel folder `folder`, without `force`: records already there are kept."""
    from rattler.index import index_fs

    asyncio.run(index_fs(arguments["folder"], force=False))


def normalise(arguments: dict[str, Any]) -> dict[str, str]:
    """Map each text of `specs` to how rattler writes that MatchSpec; itself where it cannot."""
    from rattler import MatchSpec

    result = {}
    for text in arguments["specs"]:
        try:
            result[text] = str(MatchSpec(text))
        except Exception:  # rattler raises many kinds; such a text is compared as it is
            result[text] = text
    return result


def main(function: str) -> None:
    """Run one function and print its result."""
    functions: dict[str, Callable[[dict[str, Any]], Any]] = {"index": index, "normalise": normalise}
    arguments = json.loads(sys.stdin.buffer.read())
    answer: dict[str, Any]
    try:
        answer = {"result": functions[function](arguments)}
    except Exception as error:  # passed on to the parent, which decides
        import traceback

        traceback.print_exc()
        answer = {"error": str(error) or type(error).__name__}
    sys.stdout.write("\n" + json.dumps({"rattler": answer}) + "\n")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
