"""Request bodies: read whole, checked against their digest, unpacked with care, decoded strictly."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from fastapi import Depends, Request
from starlette.requests import ClientDisconnect

from worldflux.server.problems import Problem

if TYPE_CHECKING:
    from pydantic import BaseModel

#: Packed text shrinks to a fiftieth at most; what shrinks more is meant to hurt.
MAX_RATIO = 200

_DIGEST = re.compile(r"sha-256=:([A-Za-z0-9+/]{43}=):")


async def read(request: Request, most: int) -> bytes:
    """The body of a request.

    Raises:
        Problem: 413 when it has more than `most` bytes, however it is announced; 400 when it was cut.
    """
    announced = request.headers.get("content-length")
    if announced is not None and announced.isdecimal() and int(announced) > most:
        raise too_large(most)
    parts, size = [], 0
    cut = Problem(400, "cut", "the body ended early", "send it again")
    try:
        async for part in request.stream():
            size += len(part)
            if size > most:
                raise too_large(most)
            parts.append(part)
    except ClientDisconnect:  # nobody will read the answer; the log is not to call it a fault of ours
        raise cut from None
    if announced is not None and announced.isdecimal() and size != int(announced):
        raise cut
    return b"".join(parts)


def too_large(most: int) -> Problem:
    """What is said to a body that is too large; the connection is closed, for its rest is not read."""
    return Problem(
        413, "too-large", f"the body has more than {most} bytes", "send it in smaller parts",
        headers={"Connection": "close"}, limit=most,
    )  # fmt: skip


def check_digest(header: str | None, body: bytes, *, required: bool = True) -> None:
    """Compare a body with its `Content-Digest` (RFC 9530).

    Raises:
        Problem: 422 when they differ, 400 when the header is missing, though required, or has no SHA-256.
    """
    if header is None:
        if required:
            raise Problem(400, "digest", "there is no Content-Digest", "Content-Digest: sha-256=:<base64>:")
        return
    match = _DIGEST.search(header)
    if match is None:
        raise Problem(400, "digest", "Content-Digest has no sha-256", "Content-Digest: sha-256=:<base64>:")
    try:
        stated = base64.b64decode(match[1], validate=True)
    except binascii.Error:
        stated = b""
    if hashlib.sha256(body).digest() != stated:
        raise Problem(
            422, "digest", "the body does not have its Content-Digest; nothing was kept", "send it again"
        )


def unpack(encoding: str | None, body: bytes, most: int) -> bytes:
    """A body without its `Content-Encoding`.

    Raises:
        Problem: 415 for an encoding other than gzip, 413 when it unpacks to more than `most` bytes or by more
            than `MAX_RATIO`, 400 when it is damaged.
    """
    if encoding is None or encoding.lower() == "identity":
        return body
    if encoding.lower() not in ("gzip", "x-gzip"):
        raise Problem(
            415, "encoding", "the body's encoding is not supported", "Content-Encoding: gzip, or none"
        )
    limit = min(most, max(65536, len(body) * MAX_RATIO))
    unpacker = zlib.decompressobj(wbits=31)
    try:
        data = unpacker.decompress(body, limit + 1)
    except zlib.error:
        raise Problem(400, "encoding", "the body is no gzip data", "send it again") from None
    if len(data) > limit:
        raise too_large(most)
    if not unpacker.eof or unpacker.unused_data:
        raise Problem(
            400, "encoding", "the body's gzip data is cut, or something follows it", "send it again"
        )
    return data


async def document(request: Request, most: int = 1 << 20) -> dict[str, Any]:
    """A body that is one JSON object, decoded strictly.

    Raises:
        Problem: 400 no JSON object, 413 too large, 415 another media type, 422 NaN, a name twice, a lone
            surrogate or U+0000.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Problem(415, "media-type", "the body must be JSON", "Content-Type: application/json")
    return decode(await read(request, most))


Model = TypeVar("Model", bound="BaseModel")


def strict(model: type[Model]) -> Any:
    """A dependency that is the request's JSON body as a model, decoded by `document`.

    Raises:
        Problem: 422 with every field that is wrong; a value is never repeated.
    """
    from pydantic import ValidationError

    async def body(request: Request) -> Model:
        found = await document(request)
        try:
            return model.model_validate(found, strict=True)
        except ValidationError as error:
            faults = [
                {"where": "/".join(str(step) for step in fault["loc"]), "problem": fault["msg"]}
                for fault in error.errors(include_input=False, include_url=False, include_context=False)[:20]
            ]
            detail = f"{faults[0]['where']}: {faults[0]['problem']}"
            raise Problem(422, "invalid", detail, "see /openapi.json", faults=faults) from None

    return Depends(body)


def described(model: type[BaseModel]) -> dict[str, Any]:
    """What OpenAPI says about the body of an endpoint that uses `strict`: `openapi_extra=described(Model)`."""
    return described_as("application/json", model.model_json_schema())


def described_as(media_type: str, schema: dict[str, Any]) -> dict[str, Any]:
    """What OpenAPI says about a body that has to be there: `openapi_extra=described_as(...)`."""
    return {"requestBody": {"required": True, "content": {media_type: {"schema": schema}}}}


def decode(body: bytes) -> dict[str, Any]:
    """The JSON object in a body; see `document`."""
    try:
        found = json.loads(body.decode(), object_pairs_hook=_once, parse_constant=_refuse)
    except _Twice as error:
        raise Problem(422, "invalid", str(error), "see /openapi.json") from None
    except (ValueError, RecursionError):
        raise Problem(400, "json", "the body is no JSON", "see /openapi.json") from None
    if not isinstance(found, dict):
        raise Problem(422, "invalid", "the body is no JSON object", "see /openapi.json")
    if b"\\u" in body and _has_bad_text(found):
        raise Problem(422, "invalid", "a text holds U+0000 or half of a surrogate pair", "leave it out")
    return found


class _Twice(ValueError):
    """What strict JSON refuses though the standard library takes it."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise _Twice("a field stands twice in one object")
    return result


def _refuse(name: str) -> float:
    raise _Twice(f"{name} is not JSON")


def _has_bad_text(value: Any) -> bool:
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, str):
            if "\0" in each or any("\ud800" <= character <= "\udfff" for character in each):
                return True
        elif isinstance(each, Mapping):
            waiting += [*each.keys(), *each.values()]
        elif isinstance(each, list):
            waiting += each
    return False


def path_text(text: str) -> str:
    """A part of an address as it may be compared with text in the database.

    Raises:
        Problem: 404 for what no database holds: U+0000, half of a surrogate pair, a very long name.
    """
    if "\0" in text or len(text) > 500 or any("\ud800" <= character <= "\udfff" for character in text):
        raise Problem(404, "not-found", "there is no such thing in this workspace")
    return text
