"""What makes one Python differ from another, as far as installed packages can tell.

Imported, it describes the running interpreter. Run as a script by another interpreter it prints
that one's description; it therefore uses the standard library only and what Python 3.8 knows.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import sysconfig


def facts() -> dict[str, str]:
    """The running interpreter: implementation, versions, binary interface, platform, libc, path.

    `path` is the interpreter that virtual environments are made from, links resolved.
    """
    base = getattr(sys, "_base_executable", None) or sys.executable
    return {
        "implementation": sys.implementation.name,
        "version": platform.python_version(),
        "soabi": str(sysconfig.get_config_var("SOABI") or ""),
        "platform": sysconfig.get_platform(),
        "libc": " ".join(platform.libc_ver()).strip(),
        "path": os.path.realpath(base if os.path.exists(base) else sys.executable),
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(facts()))
