"""Lets all sessions of botocore in a process that imports this share what it reads of AWS's services.

That of EC2 alone takes a fifth of a second to read, for each test and each command again; with the list of all
addresses, with S3 and the prices, that is half of the processor time of a run.
"""

from __future__ import annotations

import pickle
from typing import Any

import botocore.handlers  # noqa: F401  what a session needs besides
from botocore.loaders import JSONFileLoader, Loader, create_loader

#: Shared by all who read them.
SERVICES = ("ec2", "ssm", "sts")

#: Each reader gets one of its own, as that of S3 is changed by who reads it.
COPIED = ("s3", "pricing")

_read_service, _read_data, _read_file = (
    Loader.load_service_model,
    Loader.load_data_with_path,
    JSONFileLoader.load_file,
)
_list_available = Loader.list_available_services
_known: dict[tuple[str, ...], list[str]] = {}
_services: dict[tuple[str, str, str | None], Any] = {}
_endpoints: dict[tuple[str, ...], Any] = {}
_files: dict[str, bytes] = {}


def _service(self: Any, service_name: str, type_name: str, api_version: str | None = None) -> Any:
    if service_name not in SERVICES:
        return _read_service(self, service_name, type_name, api_version)
    asked = service_name, type_name, api_version
    if asked not in _services:
        _services[asked] = _read_service(self, service_name, type_name, api_version)
    return _services[asked]


def _data(self: Any, name: str) -> Any:
    if name != "endpoints":
        return _read_data(self, name)
    places = tuple(self.search_paths)
    if places not in _endpoints:
        _endpoints[places] = _read_data(self, name)
    return _endpoints[places]


def _file(self: Any, file_path: str) -> Any:
    if file_path not in _files:
        if (read := _read_file(self, file_path)) is None:
            return None
        _files[file_path] = pickle.dumps(read, pickle.HIGHEST_PROTOCOL)
    return pickle.loads(_files[file_path])  # noqa: S301  our own bytes


def _available(self: Any, type_name: str) -> Any:
    places = (type_name, *self.search_paths)
    if places not in _known:
        _known[places] = _list_available(self, type_name)
    return list(_known[places])


Loader.list_available_services = _available
Loader.load_service_model = _service
Loader.load_data_with_path = _data
JSONFileLoader.load_file = _file
for _name in ("endpoints", "partitions", "sdk-default-configuration", "_retry"):
    create_loader().load_data(_name)
create_loader().list_available_services("service-2")
for _each in (*SERVICES, *COPIED):
    for _kind in ("service-2", "endpoint-rule-set-1"):
        create_loader().load_service_model(_each, _kind)
