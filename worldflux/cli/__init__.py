"""The command line.

This is what a command imports first. Until it can answer for itself, Ctrl-C ends it as it ends any
program, with no word, instead of with the traceback of some import.
"""

import os
import signal
import sys
import threading

_silent = (
    os.path.basename(sys.argv[0] if sys.argv else "") in ("worldflux", "worldflux-run")
    and threading.current_thread() is threading.main_thread()
    and signal.getsignal(signal.SIGINT) is signal.default_int_handler
)
if _silent:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def answer_interrupts() -> None:
    """From now on Ctrl-C is a KeyboardInterrupt, in a command where it was not, too."""
    if _silent and signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    from worldflux import interrupts

    interrupts.answer()
