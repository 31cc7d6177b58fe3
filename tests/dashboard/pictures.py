"""Takes the pictures of the documentation: `python tests/dashboard/pictures.py`."""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "server"))

from browsing import DESK, PHONE, Visit, launched
from fill import VariedRun, curve, send_all, sweep
from films import film
from PIL import Image
from richrun import rich_run
from sent_runs import send
from server_process import Server, start

from worldflux.manifest.model import success_metric

FOLDER = Path(__file__).parents[2] / "worldflux" / "server" / "dashboard" / "docs"
LARGEST = 200_000


def pairs() -> list[VariedRun]:
    """Two policies over six seeds."""
    rates = {"act": [20, 22, 19, 25, 21, 18], "diffusion": [33, 36, 31, 40, 35, 30]}
    return [
        VariedRun(
            project="pusht",
            name=f"{policy} seed {seed}",
            metrics={"success": success_metric(k, 50), "loss": {"value": 0.1, "step": 99, "kind": "value"}},
            params={"recipe": "push-eval", "seed": seed, "params": {"policy": policy, "lr": 0.1}},
            series=curve(seed + len(policy), 0.06 if policy == "act" else 0.1, 100),
        )
        for policy, found in rates.items()
        for seed, k in enumerate(found)
    ]


def take(visit: Visit, name: str, path: str, wait: str) -> None:
    """One picture."""
    visit.open(path, wait)
    visit.page.wait_for_load_state("networkidle")
    visit.page.mouse.move(0, 0)
    visit.page.wait_for_timeout(400)
    target = FOLDER / f"{name}.png"
    # Few colours are enough, and a third of the bytes.
    Image.open(io.BytesIO(visit.page.screenshot())).convert("RGB").quantize(255).save(target, optimize=True)
    size = target.stat().st_size
    assert size < LARGEST, f"{name}: {size} bytes"
    print(name, size)


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, launched() as browser:
        site: Server = start(Path(folder) / "data")
        try:
            compared = pairs()
            rich = rich_run(film(browser), project="pusht", name="diffusion, long horizon")
            send_all(site, sweep(240))
            send_all(site, compared)
            send(site, *rich.frames(), expect=200)
            site.call("PATCH", f"/api/runs/{compared[6].run_id}", json={"baseline": True}, expect=200)
            ids = ",".join(run.run_id for run in compared)
            shots = [
                (
                    "runs-light",
                    DESK,
                    "light",
                    "/p/pusht?filter=params.lr%20%3C%200.1&sort=-metrics.success",
                    "#total",
                ),
                ("runs-dark", DESK, "dark", "/p/pusht?differs=1", "[data-column='params.lr']"),
                ("groups-light", DESK, "light", "/p/pusht?group=params.policy,params.lr", ".groups tbody tr"),
                ("runs-phone", PHONE, "light", "/p/pusht", "#total"),
                ("run-light", DESK, "light", f"/runs/{rich.run_id}", ".timeline"),
                ("run-phone", PHONE, "dark", f"/runs/{rich.run_id}", ".timeline"),
                ("curves-dark", DESK, "dark", f"/runs/{rich.run_id}#metrics", ".scatterlayer .trace"),
                ("log-light", DESK, "light", f"/runs/{rich.run_id}#log", ".log .lines > div"),
                ("compare-light", DESK, "light", f"/compare?runs={ids}", ".scatterlayer .trace"),
            ]
            for name, size, scheme, path, wait in shots:
                with Visit.begin(browser, site, viewport=size, color_scheme=scheme) as visit:
                    visit.sign_in()
                    take(visit, name, path, wait)
        finally:
            site.stop()


if __name__ == "__main__":
    main()
