"""Ctrl-C as an exception that comes only where Python can bear it.

Python's own handler raises KeyboardInterrupt between any two instructions of the main thread. Two places do
not bear that. In the import system it may leave a lock taken for good, so that the next import in any thread
waits for ever, or a module half made. In a finalizer or a weak reference's callback it is printed and forgotten:
the program goes on as if nobody had pressed anything.

`interrupt` is a signal handler that waits until neither is the case. Who must not be broken into at all is told of
interrupts instead, with `told`.
"""

from __future__ import annotations

import _thread
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType
from typing import Any

#: Seconds until an interrupt that came at a bad moment comes again.
AGAIN = 0.002
#: What the frames of the import system name as their file.
IMPORT_SYSTEM = "<frozen importlib."


class _State:
    """Of the one main thread.

    Attributes:
        waiting: presses that came at a bad moment and have had no effect yet.
        number: the signal by which the last one came.
        sending: a thread is about to send it again.
        sent: it has, so what comes next is not a further press.
        listener: who is told instead of an exception.
    """

    waiting = 0
    number = int(signal.SIGINT)
    sending = False
    sent = False
    listener: Callable[[], None] | None = None


def interrupt(number: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt, or tell who asked for it: the handler of every signal that ends a run.

    While something is imported the exception waits. Who presses again waits only for the import system
    itself, not for a module that takes its time.

    Raises:
        KeyboardInterrupt: nobody is told, and the moment is right.
    """
    if not _State.sent:
        _State.waiting += 1
    _State.sent = False
    _State.number = number
    if _State.listener is not None:
        presses, _State.waiting = _State.waiting, 0
        for _ in range(presses):
            _State.listener()
    elif _is_importing(frame, deep=_State.waiting < 2):
        _send_again()
    else:
        _State.waiting = 0
        raise KeyboardInterrupt


def is_waiting() -> bool:
    """Whether an interrupt has come that had no effect yet."""
    return _State.waiting > 0


def answer() -> None:
    """From now on SIGINT is handled by `interrupt`, where it was by Python; an exception is not forgotten."""
    if not _is_main() or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return
    signal.signal(signal.SIGINT, interrupt)
    before = sys.unraisablehook

    def hook(forgotten: Any) -> None:
        if isinstance(forgotten.exc_value, KeyboardInterrupt):
            _State.waiting += 1
            _send_again()
        else:
            before(forgotten)

    sys.unraisablehook = hook


def end() -> None:
    """From now on Ctrl-C ends the process at once, without a word: what it had to do is done."""
    if _is_main() and signal.getsignal(signal.SIGINT) is interrupt:
        _State.waiting = 0
        signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def handled(*numbers: int, by: Callable[[int, FrameType | None], None] = interrupt) -> Iterator[None]:
    """Inside, these signals are handled by `by`, and SIGINT by `interrupt` where it was by Python.

    In any other than the main thread nothing changes: signals are the main thread's.
    """
    if not _is_main():
        yield
        return
    before = {each: signal.signal(each, by) for each in numbers}
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        before[signal.SIGINT] = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def terminate_too() -> AbstractContextManager[None]:
    """Inside, SIGTERM and SIGHUP end a run as Ctrl-C does: cleanly, with a record."""
    return handled(signal.SIGTERM, signal.SIGHUP)


@contextmanager
def told(listener: Callable[[], None]) -> Iterator[None]:
    """Inside, an interrupt calls `listener` and raises nothing. It may be called while it is still at work.

    In any other than the main thread nothing changes.
    """
    if not _is_main():
        yield
        return
    before, _State.listener = _State.listener, listener
    try:
        with handled():
            yield
    finally:
        _State.listener = before


def _is_main() -> bool:
    return threading.current_thread() is threading.main_thread()


def _is_importing(frame: FrameType | None, deep: bool) -> bool:
    """Whether a frame is the import system's own or, if `deep`, is called by it."""
    while frame is not None:
        if frame.f_code.co_filename.startswith(IMPORT_SYSTEM):
            return True
        frame = frame.f_back if deep else None
    return False


def _send_again() -> None:
    if not _State.sending:
        _State.sending = True
        # Not a threading.Thread: that takes locks which the main thread may hold at this moment.
        _thread.start_new_thread(_send, ())


def _send() -> None:
    time.sleep(AGAIN)
    _State.sending = False
    if _State.waiting:
        _State.sent = True
        signal.pthread_kill(threading.main_thread().ident or 0, _State.number)
