"""The process that owns one command and everything the command starts.

`worldflux.runtime.process` starts it as a top-level package, on an interpreter that runs with
`-I -S`: it never imports worldflux, and each module it does import is paid for at every run.
So it talks plain bytes: no json, no subprocess, no ctypes, not even `signal`.

What it promises on Linux:

* the command has a session and a process group of its own, default signal dispositions, an
  empty signal mask, /dev/null as standard input, no controlling terminal and no descriptor
  beyond 0, 1 and 2;
* the leader is not reaped for as long as its group may be signalled: its process id stays
  reserved, and no stranger is ever hit;
* when it ends, nothing that descends from the command is alive, however it detached itself;
* output reaches the log byte for byte up to the cap and is drained beyond it, and a log that
  can not be written never stops the command;
* when the client disappears, the command is stopped and its record is written all the same.

Other systems have no sub-reaper: there it ends the process group, and the client ends what
carries the mark of the run.
"""
