"""The worker's side of the Modal stand-in: commands in a sandbox and their output."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from grpclib import GRPCError, Status
from modal_proto import task_command_router_pb2 as router

from worldflux.testing.modal_box import Box
from worldflux.testing.modal_process import Process

if TYPE_CHECKING:
    from worldflux.testing.modal_server import ModalServer


class Router:
    """Handlers of the service `TaskCommandRouter`."""

    def __init__(self, world: ModalServer) -> None:
        self.world = world

    def box(self, task: str) -> Box:
        found = self.world.tasks.get(task)
        if found is None or found.result is not None:
            raise GRPCError(Status.NOT_FOUND, "Sandbox has already shut down" if found else "task not found")
        return found

    def process(self, r: Any) -> Process:
        box = self.world.tasks.get(r.task_id)
        found = box.processes.get(r.exec_id) if box else None
        if found is None:
            raise GRPCError(Status.NOT_FOUND, "exec not found")
        return found

    async def TaskExecStart(self, r: Any) -> Any:
        box = self.box(r.task_id)
        if r.exec_id not in box.processes:  # the id makes a repeated request harmless
            environment = self.world.secret_values(
                getattr(r, "secret_ids", ()), getattr(r, "secret_sources", ())
            )
            environment.update(getattr(r, "env", {}))
            await box.execute(r.exec_id, list(r.command_args), r.workdir, environment, r.timeout_secs or None)
        return router.TaskExecStartResponse()

    async def TaskExecStdioRead(self, r: Any) -> AsyncIterator[Any]:
        """Output from an offset; `cut_streams` breaks the connection every so many bytes."""
        stdout = r.file_descriptor == router.TASK_EXEC_STDIO_FILE_DESCRIPTOR_STDOUT
        sent = 0
        async for data in self.process(r).read(1 if stdout else 2, r.offset):
            yield router.TaskExecStdioReadResponse(data=data)
            sent += len(data)
            if self.world.cut_streams > 0 and sent >= self.world.cut_after:
                self.world.cut_streams -= 1
                raise GRPCError(Status.UNAVAILABLE, "the connection broke")

    async def TaskExecWait(self, r: Any) -> Any:
        code = await self.process(r).wait()
        if code < 0:
            return router.TaskExecWaitResponse(signal=-code)
        return router.TaskExecWaitResponse(code=code)

    async def TaskExecPoll(self, r: Any) -> Any:
        code = self.process(r).code
        if code is None:
            return router.TaskExecPollResponse()
        return (
            router.TaskExecPollResponse(signal=-code) if code < 0 else router.TaskExecPollResponse(code=code)
        )
