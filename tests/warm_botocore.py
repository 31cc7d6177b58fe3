"""Lets all sessions of botocore in a process that imports this share what it reads of AWS's services.

That of EC2 alone takes a fifth of a second to read, for each test and each command again.
"""

from __future__ import annotations

from typing import Any

import botocore.handlers  # noqa: F401  what a session needs besides
from botocore.loaders import Loader, create_loader

#: Read with the import.
SERVICES = ("ec2", "ssm", "sts")

_read = Loader.load_service_model
_kept: dict[tuple[str, str, str | None], Any] = {}


def _remembered(self: Any, service_name: str, type_name: str, api_version: str | None = None) -> Any:
    if service_name not in SERVICES:  # that of S3 is changed by who reads it
        return _read(self, service_name, type_name, api_version)
    asked = service_name, type_name, api_version
    if asked not in _kept:
        _kept[asked] = _read(self, service_name, type_name, api_version)
    return _kept[asked]


Loader.load_service_model = _remembered
for _service in SERVICES:
    for _kind in ("service-2", "endpoint-rule-set-1"):
        create_loader().load_service_model(_service, _kind)
