"""One thin module per pixi task, same name: options in, one call, a result, an exit code."""

from __future__ import annotations

import atexit
import gc
import signal
import sys

# While `python -m tasks.NAME` still imports, Ctrl-C ends it without a traceback; the task itself
# then says a sentence. Python calls the program `-m` until it has found the module.
if sys.argv[0] == "-m" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

# As it ends, Python would look for cycles once more: a tenth of a run with nothing to do.
atexit.register(gc.freeze)
