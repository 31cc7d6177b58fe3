"""The server as a process: who may listen where, one listening socket, one or more workers."""

from __future__ import annotations

import ipaddress
import os
import shutil
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass

from worldflux.errors import UsageError, WorldFluxError
from worldflux.server import gauges, heap
from worldflux.server.settings import VARIABLE, Settings

#: Host headers of this machine.
LOCAL_NAMES = ("127.0.0.1", "localhost", "[::1]")

APP = "worldflux.server.app:from_environment"

#: Connections that wait until a worker takes them.
BACKLOG = 512


@dataclass(frozen=True)
class Listen:
    """Where and how to listen.

    Attributes:
        host: an address of this machine or `localhost`.
        port: 0 is any free one.
        certificate: PEM file of the certificate chain; with `key` the server speaks TLS.
        insecure: listen beyond this machine without TLS, because somebody said so.
        workers: processes that answer.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    certificate: str | None = None
    key: str | None = None
    insecure: bool = False
    workers: int = 1

    @property
    def scheme(self) -> str:
        """`https` with a certificate, else `http`."""
        return "https" if self.certificate else "http"


def check(listen: Listen) -> None:
    """Refuse to send keys and runs over a network in the clear.

    Raises:
        UsageError: no number of workers, half a TLS pair, or an address beyond this machine without TLS.
    """
    if not 1 <= listen.workers <= 64:
        raise UsageError("--workers must be between 1 and 64", "worldflux server start --workers 2")
    if not 0 <= listen.port <= 65535:
        raise UsageError("--port must be between 0 and 65535", "worldflux server start --port 8080")
    if bool(listen.certificate) != bool(listen.key):
        raise UsageError(
            "--tls-certificate and --tls-key belong together",
            "worldflux server start --tls-certificate cert.pem --tls-key key.pem",
        )
    for path in (listen.certificate, listen.key):
        if path is not None and not os.access(path, os.R_OK):
            raise UsageError(f"{path}: can not be read", "give the path of a PEM file")
    if not is_local(listen.host) and not listen.certificate and not listen.insecure:
        raise UsageError(
            f"{listen.host} can be reached from other machines, and without TLS keys would travel in the clear",
            "--tls-certificate cert.pem --tls-key key.pem, a reverse proxy in front of 127.0.0.1, or "
            "--insecure-listen if the network is yours alone",
            code="insecure-listen",
        )


def is_local(host: str) -> bool:
    """Whether an address is reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def bind(listen: Listen) -> socket.socket:
    """The listening socket, so that a client may connect from now on.

    Made with `IPPROTO_TCP`: asyncio switches Nagle's algorithm off only for a socket that says so, and
    with it each answer on a kept connection waits 40 ms.

    Raises:
        WorldFluxError: the address is not of this machine, or somebody listens there.
    """
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((listen.host.strip("[]"), listen.port))
        listener.listen(BACKLOG)
    except (OSError, UnicodeError) as error:
        listener.close()
        reason = error.strerror if isinstance(error, OSError) else "no address"
        raise WorldFluxError(
            f"can not listen on {listen.host} port {listen.port}: {reason}",
            "choose another: worldflux server start --port 8081",
            code="listen",
        ) from None
    listener.set_inheritable(True)
    return listener


def url_of(listen: Listen, listener: socket.socket) -> str:
    """Where clients of this machine find the server."""
    host = f"[{listen.host.strip('[]')}]" if ":" in listen.host else listen.host
    return f"{listen.scheme}://{host}:{listener.getsockname()[1]}"


def run(settings: Settings, listen: Listen, listener: socket.socket, ready: Callable[[], None]) -> int:
    """Answer requests until SIGINT or SIGTERM; the exit code.

    Args:
        ready: called when the workers are about to start; connections made since `bind` wait for them.
    """
    os.environ[VARIABLE] = settings.to_json()
    counters = gauges.prepare(settings.folder)
    try:
        ready()
        if listen.workers == 1:
            return answer(settings, listen, listener)
        from worldflux.server import workers

        return workers.supervise(listen, listener)
    finally:
        shutil.rmtree(counters, ignore_errors=True)


def answer(settings: Settings, listen: Listen, listener: socket.socket) -> int:
    """Answer requests in this process until a signal ends it; 0 when it was up at all."""
    import uvicorn

    heap.tighten()
    for number in (signal.SIGINT, signal.SIGTERM):
        # Once all is finished uvicorn raises the signal again; being told to end is no failure.
        signal.signal(number, lambda *_: None)
    server = uvicorn.Server(
        uvicorn.Config(
            APP, factory=True, log_level="warning", access_log=False, server_header=False, ws="none",
            proxy_headers=bool(settings.trusted_proxies),
            forwarded_allow_ips=",".join(settings.trusted_proxies) or None,
            ssl_certfile=listen.certificate, ssl_keyfile=listen.key, backlog=BACKLOG,
            h11_max_incomplete_event_size=32768, timeout_keep_alive=30, timeout_graceful_shutdown=10,
        )
    )  # fmt: skip
    server.run(sockets=[listener])
    return 0 if server.started else 1
