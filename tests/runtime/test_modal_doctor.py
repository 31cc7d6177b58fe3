"""What doctor says of Modal: SDK, token, server, leftovers, age of the rates."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from modal_bench import Bench

from worldflux.errors import AccessError
from worldflux.runtime.base import Adapter
from worldflux.runtime.modal import sdk
from worldflux.runtime.modal_plugin import ModalPlugin
from worldflux.runtime.remote import client

pytestmark = pytest.mark.filterwarnings("default::modal.exception.DeprecationError")


class TestDoctor(Bench):
    def test_doctor_says_what_is_missing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """SDK, token, server, leftovers and the age of the rates, one line each."""
        text = "\n".join(self.make_plugin().doctor())
        for part in ("modal 1.", "a token is set", "answers", "no sandbox is running", "rates are of"):
            assert part in text
        monkeypatch.setenv("MODAL_TOKEN_SECRET", "wrong")
        assert self.make_plugin().doctor()[-1].startswith("error: modal could not look the app up: AuthError")
        monkeypatch.delenv("MODAL_TOKEN_SECRET")
        assert self.make_plugin().doctor()[-1].startswith("error: there is no Modal token")
        assert not any(line.startswith("error:") for line in ModalPlugin().doctor())
        with pytest.raises(AccessError):
            self.make_plugin().build_env(Adapter("suite"), Path())

    def test_a_missing_or_strange_sdk_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The remedy is in the message, and importing the plugin needs no SDK."""
        import modal

        monkeypatch.setattr(modal, "__version__", "1.7.0")
        assert "is not supported; wanted >=1.5.5,<1.7" in self.make_plugin().doctor()[0]
        monkeypatch.setitem(sys.modules, "modal", None)
        assert self.make_plugin().doctor() == [
            "error: the modal SDK is not installed; pip install 'worldflux[modal]'"
        ]
        code = "import sys; import worldflux.runtime.dispatcher; sys.exit('modal' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", code]).returncode == 0

    def test_doctor_tells_what_was_left_behind(self) -> None:
        """A sandbox whose client is dead is named with the command that ends it; no other one is."""
        import modal

        session = modal.Client.from_credentials("ak-stand-in", "as-stand-in-secret")
        app = modal.App.lookup("worldflux-tests", create_if_missing=True, client=session)
        image = modal.Image.debian_slim(python_version="3.11")
        for run_id, who in (("dead", client.me().rpartition("/")[0] + "/0"), ("alive", client.me())):
            tags = {"worldflux_run": run_id, "worldflux_client": who}
            modal.Sandbox.create(app=app, image=image, tags=tags, timeout=60, client=session).detach()
        lines = self.make_plugin().doctor()
        (line,) = [line for line in lines if "left behind" in line]
        assert "of run dead (its client is dead)" in line and "alive" not in line and "runs reap" in line
        assert "2 sandboxes are running" in lines and len(self.world.running()) == 2
        sdk.close(session)
