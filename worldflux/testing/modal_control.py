"""The control plane of the Modal stand-in: the calls that a run makes, and no others."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from google.protobuf.empty_pb2 import Empty
from grpclib import GRPCError, Status
from modal_proto import api_pb2 as api

from worldflux.testing.modal_box import Box, new_id
from worldflux.testing.modal_image import BuildFailed, build

if TYPE_CHECKING:
    from worldflux.testing.modal_server import ModalServer

_OK = api.GenericResult.GENERIC_STATUS_SUCCESS
_FAILED = api.GenericResult.GENERIC_STATUS_FAILURE


def ticket(**claims: Any) -> str:
    """A token of three parts whose expiry the SDK reads and whose signature nobody checks."""

    def part(document: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()

    return ".".join((part({"alg": "none"}), part({"exp": time.time() + 3600, **claims}), "unsigned"))


class Control:
    """Handlers of the service `ModalClient`, by the names of its methods."""

    def __init__(self, world: ModalServer) -> None:
        self.world = world
        self._failures: dict[str, str] = {}

    def box(self, identity: str) -> Box:
        found = self.world.boxes.get(identity)
        if found is None:
            raise GRPCError(Status.NOT_FOUND, f"Sandbox {identity} not found")
        return found

    async def ClientHello(self, r: Any) -> Any:
        return api.ClientHelloResponse()

    async def AuthTokenGet(self, r: Any) -> Any:
        return api.AuthTokenGetResponse(token=ticket())

    async def AppGetOrCreate(self, r: Any) -> Any:
        apps = self.world.apps
        if r.app_name not in apps:
            if r.object_creation_type != api.OBJECT_CREATION_TYPE_CREATE_IF_MISSING:
                raise GRPCError(Status.NOT_FOUND, f"App '{r.app_name}' not found")
            apps[r.app_name] = new_id("ap")
        identity = apps[r.app_name]
        answer = api.AppGetOrCreateResponse(app_id=identity)
        if hasattr(answer, "handle_metadata"):  # since 1.6
            answer.handle_metadata.app_id = identity
            answer.handle_metadata.description = r.app_name
        return answer

    async def EnvironmentGetOrCreate(self, r: Any) -> Any:
        settings = api.EnvironmentSettings(image_builder_version="2025.06")
        metadata = api.EnvironmentMetadata(name="main", settings=settings)
        return api.EnvironmentGetOrCreateResponse(environment_id=new_id("en"), metadata=metadata)

    async def ImageGetOrCreate(self, r: Any) -> Any:
        """Without a result the SDK goes on to watch the build; with one it is a cache hit."""
        digest = hashlib.sha256(r.image.SerializeToString(deterministic=True)).hexdigest()
        identity = f"im-{digest[:22]}"
        if identity in self.world.images:
            return api.ImageGetOrCreateResponse(image_id=identity, result=api.GenericResult(status=_OK))
        base = self.world.images.get(r.image.base_images[0].image_id) if r.image.base_images else None
        steps = list(r.image.dockerfile_commands)
        for name in r.image.context_files:
            self.world.context_files[identity, name.filename] = name.data
        mounts = [r.image.context_mount_id] if r.image.context_mount_id else []

        def read(path: str) -> bytes | None:
            given = self.world.context_files.get((identity, path))
            return given if given is not None else self.world.mounted(mounts, path)

        try:
            image = await asyncio.to_thread(build, base, steps, mounts, read, self.world.cache)
        except BuildFailed as error:
            self._failures[identity] = str(error)
        else:
            self.world.images[identity] = image
        return api.ImageGetOrCreateResponse(image_id=identity)

    async def ImageJoinStreaming(self, r: Any) -> AsyncIterator[Any]:
        problem = self._failures.pop(r.image_id, None)
        steps = self.world.images[r.image_id].steps if problem is None else ()
        for step in steps:
            line = api.TaskLogs(data=f"=> {step[:100]}\n")
            yield api.ImageJoinStreamingResponse(task_logs=[line], entry_id="1")
        result = api.GenericResult(status=_OK if problem is None else _FAILED, exception=problem or "")
        yield api.ImageJoinStreamingResponse(result=result, entry_id="2", eof=True)

    async def MountBatchedCheckExistence(self, r: Any) -> Any:
        missing = [each for each in r.sha256_hex_hashes if each not in self.world.files]
        return api.MountBatchedCheckExistenceResponse(missing_sha256_hex_hashes=missing)

    async def MountPutFile(self, r: Any) -> Any:
        kind = r.WhichOneof("data_oneof")
        if kind is not None:
            data = self.world.blobs[r.data_blob_id] if kind == "data_blob_id" else r.data
            if hashlib.sha256(data).hexdigest() != r.sha256_hex:
                raise GRPCError(Status.INVALID_ARGUMENT, "the content does not have this digest")
            self.world.files[r.sha256_hex] = data
        return api.MountPutFileResponse(exists=r.sha256_hex in self.world.files)

    async def MountGetOrCreate(self, r: Any) -> Any:
        identity = new_id("mo")
        self.world.mounts[identity] = list(r.files)
        handle = api.MountHandleMetadata(content_checksum_sha256_hex="0")
        return api.MountGetOrCreateResponse(mount_id=identity, handle_metadata=handle)

    async def BlobCreate(self, r: Any) -> Any:
        identity = new_id("bl")
        url = f"{self.world.blob_url}/{identity}"
        items = api.UploadUrlList(items=[url])
        return api.BlobCreateResponse(
            blob_id=identity, upload_url=url, blob_ids=[identity], upload_urls=items
        )

    async def SecretGetOrCreate(self, r: Any) -> Any:
        secrets = self.world.secrets
        if r.deployment_name:
            identity = f"st-{r.deployment_name}"
            if identity not in secrets:
                raise GRPCError(Status.NOT_FOUND, f"Secret '{r.deployment_name}' not found")
        else:
            identity = new_id("st")
            secrets[identity] = dict(r.env_dict)
        answer = api.SecretGetOrCreateResponse(secret_id=identity)
        if hasattr(answer.metadata, "keys"):  # since 1.6
            answer.metadata.keys.extend(secrets[identity])
        return answer

    async def SandboxCreate(self, r: Any) -> Any:
        box = await self._create(r, 1)
        return api.SandboxCreateResponse(sandbox_id=box.id, metadata=_handle(box))

    async def SandboxCreateV2(self, r: Any) -> Any:
        box = await self._create(r, 2)
        access = api.CommandRouterAccess(url=self.world.url, jwt=ticket(task=box.task))
        return api.SandboxCreateV2Response(
            sandbox_id=box.id, task_id=box.task, metadata=_handle(box), command_router_access=access
        )

    async def _create(self, r: Any, version: int) -> Box:
        if r.definition.resources.gpu_config.gpu_type == "B200":
            raise GRPCError(Status.RESOURCE_EXHAUSTED, "workspace GPU limit reached")
        image = self.world.images[r.definition.image_id]
        environment = self.world.secret_values(r.definition.secret_ids, getattr(r, "secret_sources", ()))
        box = Box(self.world.home, r, version, image, environment)
        for mount in (*image.mounts, *r.definition.mount_ids):
            for each in self.world.mounts[mount]:
                box.put(each.filename, self.world.files[each.sha256_hex], each.mode)
        self.world.boxes[box.id] = self.world.tasks[box.task] = box
        await box.boot()
        # The sandbox is there already, and its creator does not know it yet.
        await asyncio.sleep(self.world.late_create)
        return box

    async def SandboxGetTaskId(self, r: Any) -> Any:
        box = self.box(r.sandbox_id)
        return api.SandboxGetTaskIdResponse(task_id=box.task, task_result=box.result)

    SandboxGetTaskIdV2 = SandboxGetTaskId

    async def TaskGetCommandRouterAccess(self, r: Any) -> Any:
        if r.task_id not in self.world.tasks:
            raise GRPCError(Status.NOT_FOUND, "task not found")
        return api.TaskGetCommandRouterAccessResponse(url=self.world.url, jwt=ticket(task=r.task_id))

    async def SandboxGetCommandRouterAccess(self, r: Any) -> Any:
        if r.sandbox_id and self.box(r.sandbox_id).result is not None:
            raise GRPCError(Status.FAILED_PRECONDITION, "Sandbox has already finished")
        return api.SandboxGetCommandRouterAccessResponse(url=self.world.url, jwt=ticket())

    async def SandboxWait(self, r: Any) -> Any:
        box = self.box(r.sandbox_id)
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(box.done.wait(), r.timeout)
        return api.SandboxWaitResponse(result=box.result, metadata=_handle(box))

    SandboxWaitV2 = SandboxWait

    async def SandboxTerminate(self, r: Any) -> Any:
        box = self.box(r.sandbox_id)
        if self.world.refuse_terminate > 0:
            self.world.refuse_terminate -= 1
            raise GRPCError(Status.INTERNAL, "the sandbox could not be terminated")
        before = box.result
        box.finish(api.GenericResult.GENERIC_STATUS_TERMINATED, 137)
        return api.SandboxTerminateResponse(existing_result=before)

    SandboxTerminateV2 = SandboxTerminate

    async def SandboxTagsGet(self, r: Any) -> Any:
        tags = self.box(r.sandbox_id).tags.items()
        return api.SandboxTagsGetResponse(tags=[api.SandboxTag(tag_name=k, tag_value=v) for k, v in tags])

    async def SandboxTagsSet(self, r: Any) -> Any:
        self.box(r.sandbox_id).tags = {each.tag_name: each.tag_value for each in r.tags}
        return Empty()

    SandboxTagsGetV2, SandboxTagsSetV2 = SandboxTagsGet, SandboxTagsSet

    async def SandboxList(self, r: Any) -> Any:
        """One page, newest first; the SDK asks on until a page is empty."""

        def fits(box: Box) -> bool:
            return (
                (r.include_finished or box.result is None)
                and (not r.app_id or box.app_id == r.app_id)
                and all(box.tags.get(each.tag_name) == each.tag_value for each in r.tags)
                and (not r.before_timestamp or box.created < r.before_timestamp)
            )

        found = sorted((box for box in self.world.boxes.values() if fits(box)), key=lambda box: -box.created)
        return api.SandboxListResponse(sandboxes=[_info(box) for box in found[:2]])

    SandboxListV2 = SandboxList


def _handle(box: Box) -> Any:
    return api.SandboxHandleMetadata(app_id=box.app_id)


def _info(box: Box) -> Any:
    task = api.TaskInfo(id=box.task, result=box.result)
    return api.SandboxInfo(
        id=box.id, created_at=box.created, app_id=box.app_id, task_info=task, metadata=_handle(box)
    )
