"""How many secrets the gate finds, what it refuses wrongly, and what it costs.

`python tests/bench/bench_secrets.py [tune]`: recall and false positives on the held-out third of the corpus
(or on the rest), by kind of family; then CPU time. Values are never printed; ids of misses only with `tune`,
because the held-out third must not be looked at.
"""

from __future__ import annotations

import collections
import json
import os
import random
import statistics
import string
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import secret_corpus

from worldflux.manifest import secret_rules, secret_vendors
from worldflux.manifest.secrets import Gate

MEGABYTE = 1_000_000


def accuracy(split: str) -> None:
    for kind, word in (("positive", "found"), ("negative", "refused")):
        tally: dict[str, list[int]] = collections.defaultdict(lambda: [0, 0])
        odd = []
        for case in secret_corpus.load(kind, split):
            hit = bool(Gate.from_environment(case.env).check(case.data))
            group = tally[case.family.split()[0]]
            group[0] += hit
            group[1] += 1
            if hit != (kind == "positive"):
                odd.append(case.id)
        hits, total = (sum(group[i] for group in tally.values()) for i in (0, 1))
        print(f"{kind:9} {split}: {hits}/{total} {word} ({100 * hits / total:.1f} %)")
        if kind == "positive":
            print("   ", ", ".join(f"{name} {hit}/{count}" for name, (hit, count) in sorted(tally.items())))
        if odd and split == "tune":
            print("    wrong:", " ".join(odd))


def manifest(size: int) -> bytes:
    """A document with the proportions of a manifest."""
    source = random.Random(1)
    document: dict[str, Any] = {"secrets": [{"name": "HF_TOKEN"}], "artifacts": [], "packages": {}}
    document["run"] = {"argv": ["worldflux", "run", "seed=3"], "error": {"message": "exit 1: see the log\n"}}
    for n in range(size // 175):
        digest = {"sha256": source.randbytes(32).hex()}
        entry = {"path": f"artifacts/rollout_{n:05}.mp4", "bytes": n, "digest": digest, "commit": n % 2 == 0}
        document["artifacts"].append(entry)
        document["packages"][f"package-{n}"] = f"{n}.{n % 7}.1"
    return json.dumps(document, separators=(",", ":"), sort_keys=True).encode()


def cpu(work: Callable[[], object], rounds: int = 9, times: int = 1) -> float:
    """Least CPU seconds a call, so that a busy machine counts little."""
    took = []
    for _ in range(rounds):
        began = time.process_time()
        for _ in range(times):
            work()
        took.append((time.process_time() - began) / times)
    return min(took)


def speed() -> None:
    source = random.Random(2)
    letters = string.ascii_letters + string.digits
    env = {f"SERVICE{n}_API_KEY": "".join(source.choices(letters, k=20 + n)) for n in range(20)}
    small, large = manifest(20_000), manifest(10 * MEGABYTE)
    gate = Gate.from_environment(env)
    began = time.process_time()
    gate.check(small)
    print(f"first check, 20 values: {1e3 * (time.process_time() - began):.1f} ms")
    print(f"{len(small) / 1e3:.0f} kB manifest: {1e3 * cpu(lambda: gate.check(small), times=20):.2f} ms")
    print(f"  of that json.loads: {1e3 * cpu(lambda: json.loads(small), times=20):.2f} ms")
    print(f"{len(large) / 1e6:.0f} MB manifest: {cpu(lambda: gate.check(large), 3):.2f} s")
    print(f"{len(large) / 1e6:.0f} MB of text: {cpu(lambda: gate.check(large[1:]), 3):.2f} s")


def start() -> None:
    """Milliseconds to import the module where `worldflux.errors` is there already, with byte code on disk."""
    code = (
        "import time, worldflux.errors; t = time.perf_counter(); import worldflux.manifest.secrets;"
        "print(1e3 * (time.perf_counter() - t))"
    )
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    runs = [float(subprocess.check_output([sys.executable, "-c", code], env=env)) for _ in range(12)]
    print(f"import: {min(runs):.1f} ms at best, {statistics.median(runs):.1f} ms median of {len(runs)}")


def hostile() -> None:
    units = [
        "a",
        "A",
        "-",
        " ",
        '"',
        "a=",
        "token=",
        "--a ",
        "://a:",
        "Bearer ",
        "Authorization: ",
        "eyJ.",
        "key\n",
    ]
    units += [prefix for _, prefix, _, _ in secret_vendors.VENDORS]
    patterns = [secret_vendors._pattern(prefix, rest) for _, prefix, rest, _ in secret_vendors.VENDORS]
    patterns += [secret_rules.userinfo_pattern(), secret_rules._scheme(), secret_rules._header()]
    patterns += [
        secret_rules._flag(),
        secret_rules._assignment(),
        secret_rules._value(),
        secret_vendors._azure(),
    ]
    worst, where = 0.0, ""
    for unit in units:
        text = (unit * (MEGABYTE // len(unit) + 1))[:MEGABYTE]
        for pattern in patterns:
            took = cpu(lambda text=text, pattern=pattern: collections.deque(pattern.finditer(text), 0), 1)
            if took > worst:
                took = cpu(lambda text=text, pattern=pattern: collections.deque(pattern.finditer(text), 0), 3)
            if took > worst:
                worst, where = took, f"{pattern.pattern[:30]!r} on {unit!r}"
    print(f"slowest of {len(patterns)} patterns on 1 MB of {len(units)} texts:", end=" ")
    print(f"{1e3 * worst:.0f} ms, {where}")


def main() -> None:
    split = "tune" if "tune" in sys.argv[1:] else "held"
    accuracy(split)
    speed()
    start()
    hostile()


if __name__ == "__main__":
    main()
