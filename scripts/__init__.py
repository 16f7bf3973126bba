"""What the tasks are made of: one folder a stage, in the order in which data flows.

Every program of ours imports it first, so the streams are made fit here for what is printed.
"""

import io
import os
import sys


def _guard_streams() -> None:
    """Open what the caller has closed (`>&-`), for children too; let no character be a crash.

    A file of ours would get the number of the stream that is missing, and what is printed. What a
    Windows pipe with its code page of old lacks, and half a surrogate pair, become escapes.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            stream = open(os.devnull, mode, encoding="utf-8")  # noqa: PTH123, SIM115
            os.set_inheritable(stream.fileno(), True)  # noqa: FBT003
            setattr(sys, name, stream)
        # Python 3.6 cannot; it goes on to be told that it is too old.
        if mode == "w" and isinstance(stream, io.TextIOWrapper) and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


_guard_streams()
