"""Ctrl-C at the moments that Python can not bear, each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from worldflux import interrupts

ROOT = Path(__file__).parents[1]
START = """
import os, signal, sys, threading
from worldflux import interrupts

interrupts.answer()

def press(number=signal.SIGINT):
    os.kill(os.getpid(), number)

def comes():
    "Whether an interrupt that was put off comes."
    try:
        threading.Event().wait(10)
    except KeyboardInterrupt:
        return True
    return False
"""
#: Presses at each line of the import system that an import runs through, in turn. After each one a thread must be
#: able to import something.
EACH_LINE = """
import colorsys

def trace(frame, event, _):
    global left
    if not frame.f_code.co_filename.startswith("<frozen importlib"):
        return None
    if event == "line":
        left -= 1
        if left == 0:
            sys.settrace(None)
            press()
    return trace

lines = lost = 0
while True:
    left = lines + 1
    del sys.modules["colorsys"]
    try:
        sys.settrace(trace)
        import colorsys
        sys.settrace(None)
        if left > 0:
            break
        lost += not comes()
    except KeyboardInterrupt:
        pass
    sys.modules["colorsys"] = colorsys
    sys.modules.pop("this_is_not", None)
    lines += 1

    def elsewhere():
        try:
            import this_is_not
        except ImportError:
            done.set()

    done = threading.Event()
    threading.Thread(target=elsewhere, daemon=True).start()
    if not done.wait(20):
        print("no thread can import any more after line", lines)
        os._exit(1)
print(lines > 100, lost)
"""
FINALIZER = """
class Pressed:
    def __del__(self):
        press()
        for _ in range(1000):
            pass

try:
    pressed = Pressed()
    del pressed
    print(comes())
except KeyboardInterrupt:
    print("at once")
"""
SLOW_MODULE = """
import os, sys, threading, time
from __main__ import press, PRESSES
for _ in range(PRESSES):
    press()
    threading.Event().wait(0.5)
"""
SLOW = """
import time
PRESSES = {presses}
try:
    import slow
    print("whole")
    print(comes())
except KeyboardInterrupt:
    print("in the middle" if "slow" not in sys.modules else "at its end")
"""
TOLD = """
heard = []
with interrupts.told(lambda: heard.append(1)):
    press()
    import slow
    press()
print(len(heard))
try:
    press()
    print(comes())
except KeyboardInterrupt:
    print("raised")
"""
TERMINATED = """
signal.signal(signal.SIGINT, signal.SIG_IGN)
PRESSES = 0
with interrupts.terminate_too():
    class AtImport:
        def find_spec(self, name, path=None, target=None):
            if name == "slow":
                press(signal.SIGTERM)
    sys.meta_path.insert(0, AtImport())
    try:
        import slow
        print(comes())
    except KeyboardInterrupt:
        print("slow" in sys.modules)
"""


def printed(script: str, folder: Path) -> list[str]:
    """What a script prints that begins as a command does."""
    (folder / "slow.py").write_text(SLOW_MODULE)
    (folder / "script.py").write_text(START + script)
    done = subprocess.run(
        [sys.executable, "script.py"],
        cwd=folder,
        env={"PYTHONPATH": f"{ROOT}:{folder}", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_no_moment_of_an_import_locks_out_the_threads(tmp_path: Path) -> None:
    """Pressed anywhere in the import system, Ctrl-C comes, and every thread can import after it."""
    assert printed(EACH_LINE, tmp_path) == ["True 0"]


def test_a_finalizer_does_not_swallow_it(tmp_path: Path) -> None:
    """Ctrl-C in a finalizer, where Python prints and forgets exceptions, comes a moment later."""
    assert printed(FINALIZER, tmp_path) == ["True"]


def test_an_import_is_finished_first(tmp_path: Path) -> None:
    """Pressed once, a module is not left half made."""
    assert printed(SLOW.format(presses=1), tmp_path) in (["whole", "True"], ["at its end"])


def test_pressed_twice_a_slow_import_ends(tmp_path: Path) -> None:
    """Who presses again does not wait for a module that takes long."""
    assert printed(SLOW.format(presses=2), tmp_path) == ["in the middle"]


def test_who_is_told_is_not_broken_into(tmp_path: Path) -> None:
    """Inside `told` nothing is raised, during an import neither; after it Ctrl-C is an exception again."""
    assert printed("PRESSES = 1\n" + TOLD, tmp_path) == ["3", "raised"]


def test_sigterm_comes_where_ctrl_c_is_ignored(tmp_path: Path) -> None:
    """A shell starts programs in the background with SIGINT ignored; SIGTERM ends a run there, too."""
    assert printed(TERMINATED, tmp_path)[0] == "True"


def test_other_threads_have_no_signals() -> None:
    """Outside the main thread the handlers stay as they are."""
    import signal
    import threading

    before = signal.getsignal(signal.SIGTERM)
    seen: list[object] = []

    def work() -> None:
        with interrupts.terminate_too(), interrupts.told(lambda: None):
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]
