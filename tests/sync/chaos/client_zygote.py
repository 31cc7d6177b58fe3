"""Starts `worldflux` commands as processes of their own without importing everything each time.

One JSON line in, one out: {"argv", "cwd", "env", "out"} starts a command and gives its process's id;
{"wait": id} gives its exit code, {"kill": id} ends it as the system would.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any


def preload() -> None:
    """Import what every sync needs, so that a fork has it."""
    import worldflux.cli.cloud_session
    import worldflux.cli.main
    import worldflux.cli.session
    import worldflux.cli.sync
    import worldflux.cli.sync_bar
    import worldflux.cli.sync_session
    import worldflux.config.project
    import worldflux.config.yaml_file
    import worldflux.manifest.secrets
    import worldflux.sync.credentials
    import worldflux.sync.follow
    import worldflux.sync.http
    import worldflux.sync.journal
    import worldflux.sync.locks
    import worldflux.sync.retries
    import worldflux.sync.upload

    # Ten times as many disasters in the same time.
    worldflux.sync.retries.BASE_SECONDS /= 10


def start(order: dict[str, Any]) -> int:
    """A command in a process of its own; its id."""
    child = os.fork()
    if child:
        return child
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.chdir(order["cwd"])
        os.environ.clear()
        os.environ.update(order["env"])
        for stream, path in ((1, order["out"]), (2, order["out"] + ".err")):
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.dup2(file, stream)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.stdout = os.fdopen(1, "w")
        sys.stderr = os.fdopen(2, "w")
        from worldflux.cli.main import main

        main(order["argv"])
    except SystemExit as ended:
        sys.stdout.flush()
        os._exit(ended.code if isinstance(ended.code, int) else 1)
    except BaseException:
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
        os._exit(70)
    os._exit(0)


def serve() -> None:
    """Carry out orders until there are no more."""
    preload()
    for line in sys.stdin:
        order = json.loads(line)
        if "argv" in order:
            answer = start(order)
        elif "kill" in order:
            os.kill(order["kill"], signal.SIGKILL)
            answer = 0
        else:
            answer = os.waitstatus_to_exitcode(os.waitpid(order["wait"], 0)[1])
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve()
