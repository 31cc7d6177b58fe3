"""One prediction of the Replicate stand-in: a local command with the life cycle of the real thing."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import threading
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from worldflux.testing import warden
from worldflux.testing.replicate_models import Model

TERMINAL = ("succeeded", "failed", "canceled", "aborted")


class Prediction:
    """Runs a model's command in a thread of its own.

    Args:
        cancel_after: seconds from now; before the start it ends as `aborted`, after it as `canceled`.
    """

    def __init__(
        self,
        model: Model,
        inputs: dict[str, Any],
        api: str,
        delivery: str,
        folder: Path,
        cancel_after: float | None,
    ) -> None:
        self.id = secrets.token_hex(13)
        self.model, self.inputs = model, inputs
        self.out = folder / self.id / "out"
        self.out.mkdir(parents=True)
        self.done = threading.Event()
        self._delivery = delivery
        self._cancel_after = cancel_after
        self._cancelled = threading.Event()
        self._lock = threading.Lock()
        shown = {k: "[REDACTED]" if k in model.secrets else v for k, v in inputs.items()}
        self._state: dict[str, Any] = {
            "id": self.id,
            "model": model.name,
            "version": model.version,
            "input": shown,
            "output": None,
            "logs": "",
            "error": None,
            "status": "starting",
            "created_at": _now(),
            "started_at": None,
            "completed_at": None,
            "metrics": {},
            "source": "api",
            "urls": {
                "get": f"{api}/v1/predictions/{self.id}",
                "cancel": f"{api}/v1/predictions/{self.id}/cancel",
            },
        }
        threading.Thread(target=self._live, daemon=True).start()

    def document(self) -> dict[str, Any]:
        with self._lock:
            return json.loads(json.dumps(self._state))  # type: ignore[no-any-return]

    def cancel(self) -> None:
        """Ask for the end; the status follows."""
        self._cancelled.set()

    def _set(self, **values: Any) -> None:
        with self._lock:
            self._state.update(values)

    def _live(self) -> None:
        created = time.monotonic()
        deadline = created + self._cancel_after if self._cancel_after is not None else float("inf")
        cancelled = self._cancelled.wait(min(self.model.boot, deadline - created))
        if not cancelled and self.model.boot >= deadline - created:
            self._set(status="aborted", completed_at=_now(), error="Prediction aborted: deadline exceeded")
        elif cancelled:
            self._set(status="canceled", completed_at=_now())
        else:
            self._run(created, deadline)
        self.done.set()

    def _run(self, created: float, deadline: float) -> None:
        began = time.monotonic()
        self._set(status="processing", started_at=_now())
        code = self._carry_out(deadline)
        metrics = {"predict_time": time.monotonic() - began, "total_time": time.monotonic() - created}
        if self._cancelled.is_set() or code is None:
            self._set(status="canceled", completed_at=_now(), metrics=metrics)
        elif code:
            error = (self.document()["logs"].strip().splitlines() or ["the model exited"])[-1]
            self._set(status="failed", completed_at=_now(), metrics=metrics, error=error)
        else:
            self._set(status="succeeded", completed_at=_now(), metrics=metrics, output=self._output())

    def _carry_out(self, deadline: float) -> int | None:
        """The command's exit code; None at the deadline."""
        held, handed = os.pipe()
        process = subprocess.Popen(
            [sys.executable, "-IS", warden.__file__, str(held), *self.model.command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={"PATH": os.environ["PATH"], "OUT": str(self.out), "REPLICATE_PREDICTION_ID": self.id},
            pass_fds=(held,),
        )
        os.close(held)
        assert process.stdin is not None and process.stdout is not None
        with process.stdin as stdin:
            stdin.write(json.dumps(self.inputs).encode())
        reader = threading.Thread(target=self._read, args=(process.stdout.fileno(),), daemon=True)
        reader.start()
        late = False
        while process.poll() is None and not self._cancelled.is_set() and not late:
            time.sleep(0.01)
            late = time.monotonic() >= deadline
        os.close(handed)
        code = process.wait()
        reader.join(5)
        process.stdout.close()
        return None if late else code

    def _read(self, descriptor: int) -> None:
        while chunk := os.read(descriptor, 65536):
            with self._lock:
                self._state["logs"] += chunk.decode(errors="replace")

    def _output(self) -> Any:
        address = f"{self._delivery}/{self.id}"
        own = self.out / "output.json"
        if own.is_file():
            return json.loads(own.read_text().replace("{delivery}", address))
        files = [f"{address}/{path.name}" for path in sorted(self.out.iterdir())]
        return files[0] if len(files) == 1 else files or None


def _now() -> str:
    return datetime.now(timezone.utc).isoformat().replace("+00:00", "Z")
