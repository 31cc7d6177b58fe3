"""HTTP with a key: the header is ours, the origin is fixed, and nobody is followed elsewhere.

`requests` puts a password of ~/.netrc in place of a header, sends a loopback request through HTTP_PROXY, and
follows redirects with the header on the same host. None of it may happen to a key.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import requests
from requests.auth import AuthBase

from worldflux import __version__
from worldflux.errors import RefusedError, UsageError
from worldflux.sync.origin import check_origin, is_loopback

if TYPE_CHECKING:
    from worldflux.sync.credentials import Credential

__all__ = ["Bearer", "BearerSession", "session"]


class Bearer(AuthBase):
    """Sets `Authorization: Bearer` on requests to one origin.

    Raises:
        RefusedError: when the request goes to another origin; nothing was sent.
    """

    def __init__(self, token: str, origin: str) -> None:
        self._token, self._origin = token, origin

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        target = origin_of(request.url or "")
        if target != self._origin:
            raise RefusedError(
                f"the key of {self._origin} is not sent to {target or 'another server'}",
                "sign in there with a key of its own: worldflux auth login --server URL",
                code="origin",
            )
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request

    def __repr__(self) -> str:
        return f"Bearer(origin={self._origin!r})"


class BearerSession(requests.Session):
    """A session for one server. Proxies and certificates of the environment hold, ~/.netrc does not.

    A redirect is an error, whatever its target: no address of the API has one, and a body that was sent to a
    page that moved is lost. On loopback no proxy is used.

    Raises:
        RefusedError: from any request, for another origin or a redirect.
    """

    def __init__(self, credential: Credential) -> None:
        super().__init__()
        self.origin = credential.origin
        self.auth = Bearer(credential.token, credential.origin)
        self.headers["User-Agent"] = f"worldflux/{__version__}"
        self._local = is_loopback(credential.origin)

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Nothing is prepared for another place: there ~/.netrc would come in again."""

    def merge_environment_settings(self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any) -> Any:
        settings = super().merge_environment_settings(url, proxies, stream, verify, cert)
        if self._local:
            settings["proxies"] = {}
        if settings["verify"] is True and (bundle := os.environ.get("SSL_CERT_FILE")):
            settings["verify"] = bundle  # what every other tool here reads; requests knows only its own names
        return settings

    def request(self, method: Any, url: Any, *args: Any, **kwargs: Any) -> requests.Response:
        # Another auth or netrc must not come in by the call either; a given header is replaced by ours.
        kwargs["auth"] = None
        kwargs["allow_redirects"] = False
        return super().request(method, url, *args, **kwargs)

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        kwargs["allow_redirects"] = False
        if self._local:
            kwargs["proxies"] = {}
        response = super().send(request, **kwargs)
        if response.is_redirect:
            response.close()
            raise RefusedError(
                f"{self.origin} answers with a redirect to {origin_of(_target(response)) or 'another page'}, "
                "and a key is not taken along",
                "sign in to the server's own address: worldflux auth login --server URL",
                code="redirect",
            )
        return response


def session(credential: Credential) -> BearerSession:
    """A session that sends this key to its own server and nowhere else."""
    return BearerSession(credential)


def origin_of(url: str) -> str:
    """The origin of a whole address; empty when a key must not go there at all."""
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url)
        return check_origin(f"{parts.scheme}://{parts.netloc}")
    except (ValueError, UsageError):
        return ""


def _target(response: requests.Response) -> str:
    from urllib.parse import urljoin

    location = response.headers.get("location", "")
    return urljoin(response.url, location.encode("latin-1", "replace").decode("utf-8", "replace"))
