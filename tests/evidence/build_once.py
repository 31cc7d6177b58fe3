"""Builds one package with as little as possible installed: build_once.py RUN KEYS OUT; prints its sha256.

Needs cryptography, rfc8785 and jmespath; for a look at what another Python makes of the same run.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from worldflux.evidence import keys
from worldflux.evidence.build import Options, build
from worldflux.manifest.secrets import Gate

if __name__ == "__main__":
    run, key_folder, out = map(Path, sys.argv[1:])
    options = Options(key=keys.load(key_folder, "lab"))
    print(build(run, out, Gate(), options, archive=True, replace=True).sha256)
