"""A key in a request: our header and no other, to its own server and to nobody else, on the wire."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from key_lab import Gatekeeper, gatekeeper, make_key

from worldflux.errors import RefusedError
from worldflux.sync.bearer import Bearer, origin_of, session
from worldflux.sync.credentials import Credential


@pytest.fixture
def key() -> str:
    return make_key()


@pytest.fixture
def server(key: str) -> Iterator[Gatekeeper]:
    with gatekeeper(key) as running:
        yield running


@pytest.fixture
def http(server: Gatekeeper, key: str) -> Iterator[requests.Session]:
    with session(Credential(key, "file", server.url)) as made:
        yield made


def plant_netrc(home: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """A netrc as wandb writes one, with a password for this server's host and for every other."""
    file = home / (".netrc" if how == ".netrc" else how)
    file.write_text("machine 127.0.0.1 login user password hunter2\ndefault login user password hunter2\n")
    file.chmod(0o600)
    if how == "elsewhere":
        monkeypatch.setenv("NETRC", str(file))


class TestNetrc:
    @pytest.mark.parametrize("how", [".netrc", "_netrc", "elsewhere"])
    def test_it_does_not_replace_our_header(
        self, http: requests.Session, server: Gatekeeper, key: str, how: str, clean_environment: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        """With a planted netrc, every method, with and without a body, carries the key; a bare session does not."""
        plant_netrc(clean_environment, monkeypatch, how)
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
            assert http.request(method, f"{server.url}/api/sync", data=b"x", timeout=5).status_code == 200
        assert server.authorizations == [f"Bearer {key}"] * 5
        requests.get(server.url, headers={"Authorization": f"Bearer {key}"}, timeout=5)
        assert str(server.authorizations[-1]).startswith("Basic "), "the netrc was not planted well"

    def test_it_does_not_come_in_by_a_redirect(
        self,
        http: requests.Session,
        server: Gatekeeper,
        clean_environment: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Following one, requests would ask the netrc again."""
        plant_netrc(clean_environment, monkeypatch, ".netrc")
        server.manner, server.elsewhere = "redirect302", f"{server.url}/again"
        with pytest.raises(RefusedError, match="redirect"):
            http.get(f"{server.url}/api/sync", timeout=5)
        assert len(server.seen) == 1

    def test_a_call_can_not_bring_another_authorization(
        self, http: requests.Session, server: Gatekeeper, key: str
    ) -> None:
        """Neither `auth=` nor a header of the call replaces the key."""
        http.get(f"{server.url}/api/sync", auth=("user", "hunter2"), timeout=5)
        http.get(f"{server.url}/api/sync", headers={"Authorization": "Basic x"}, timeout=5)
        assert server.authorizations == [f"Bearer {key}"] * 2


class TestOrigin:
    @pytest.mark.parametrize("method", ["GET", "POST", "PATCH"])
    def test_another_server_gets_nothing(self, http: requests.Session, method: str) -> None:
        """Another port of the same host is another server: refused before a byte is sent."""
        with gatekeeper() as other, pytest.raises(RefusedError, match="is not sent to") as caught:
            http.request(method, f"{other.url}/api/sync", timeout=5)
        assert other.seen == [] and caught.value.exit_code == 4

    def test_a_prepared_request_is_held_to_it_too(self, http: requests.Session, server: Gatekeeper) -> None:
        """The way around `request` ends at the same place."""
        with gatekeeper() as other:
            with pytest.raises(RefusedError, match="is not sent to"):
                http.prepare_request(requests.Request("GET", f"{other.url}/x"))
            assert other.seen == []

    @pytest.mark.parametrize(
        "url",
        ["{0}@evil.example/", "{0}.evil.example/", "http://user:pw@{1}/", "https://{1}/", "http://evil.example#{0}",
         "http://evil.example\\@{1}/"],
    )  # fmt: skip
    def test_addresses_that_look_like_ours(
        self, http: requests.Session, server: Gatekeeper, url: str
    ) -> None:
        """Tricks with userinfo, suffixes, schemes and backslashes do not reach a socket with the key."""
        with pytest.raises((RefusedError, requests.exceptions.InvalidURL)):
            http.get(url.format(server.url, server.url.removeprefix("http://")), timeout=2)
        assert server.seen == []

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    @pytest.mark.parametrize("where", ["other", "same", "relative", "https", "nonsense"])
    def test_no_redirect_is_followed(
        self, http: requests.Session, server: Gatekeeper, status: int, where: str
    ) -> None:
        """Not to another origin, not to the same one: the body would be lost or the key shown."""
        with gatekeeper() as other:
            server.manner = f"redirect{status}"
            server.elsewhere = {
                "other": f"{other.url}/steal",
                "same": f"{server.url}/moved",
                "relative": "/login",
                "https": server.url.replace("http:", "https:"),
                "nonsense": "\x85http://[::1",
            }[where]
            with pytest.raises(RefusedError) as caught:
                http.post(f"{server.url}/api/sync/bundle", data=b"x", timeout=5, allow_redirects=True)
            assert caught.value.code == "redirect" and other.seen == [] and len(server.seen) == 1

    def test_the_same_origin_in_other_words(self, http: requests.Session, server: Gatekeeper) -> None:
        """A default port or upper case is no other server."""
        assert origin_of("HTTPS://Runs.Example.org:443/x?y#z") == "https://runs.example.org"
        assert origin_of("http://runs.example.org/") == "" and origin_of("//x") == ""


class TestEnvironment:
    def test_a_proxy_does_not_see_loopback(
        self, http: requests.Session, server: Gatekeeper, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A planted HTTP_PROXY would read the key in clear: requests to this machine do not go through it."""
        with gatekeeper() as proxy:
            for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "HTTPS_PROXY"):
                monkeypatch.setenv(name, proxy.url)
            assert http.get(f"{server.url}/api/sync", timeout=5).status_code == 200
            prepared = http.prepare_request(requests.Request("GET", f"{server.url}/api/sync"))
            assert http.send(prepared, timeout=5).status_code == 200
            assert proxy.seen == []

    def test_a_proxy_is_used_for_other_servers_and_does_not_see_the_key(
        self, key: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Through HTTPS_PROXY goes a tunnel: the proxy learns the host and nothing else."""
        with gatekeeper() as proxy:
            proxy.manner = "403"
            monkeypatch.setenv("HTTPS_PROXY", proxy.url)
            http = session(Credential(key, "file", "https://runs.example.org"))
            with pytest.raises(requests.exceptions.ProxyError):
                http.get("https://runs.example.org/api/sync", timeout=5)
        assert [path for _, path, _ in proxy.seen] == ["runs.example.org:443"]
        assert proxy.authorizations == [None]

    @pytest.mark.parametrize("name", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
    def test_an_authority_of_ones_own(
        self, key: str, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        """Its certificate is trusted when one of the usual variables names it, and not otherwise."""
        for each in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
            monkeypatch.delenv(each, raising=False)
        with gatekeeper(key, certificate=certificate) as server:
            url = server.url.replace("127.0.0.1", "localhost")
            http = session(Credential(key, "file", url))
            with pytest.raises(requests.exceptions.SSLError):
                http.get(f"{url}/api/sync", timeout=5)
            assert server.seen == []
            monkeypatch.setenv(name, str(certificate[0]))
            assert http.get(f"{url}/api/sync", timeout=5).status_code == 200
            assert server.authorizations == [f"Bearer {key}"]
            http.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate of localhost that nobody trusts yet, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    files = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost", "-out", files[0], "-keyout", files[1]],
        check=True, capture_output=True, env={"PATH": os.environ["PATH"]},
    )  # fmt: skip
    return files


def test_nothing_that_is_printed_shows_the_key(http: requests.Session, server: Gatekeeper, key: str) -> None:
    """Neither the session, nor its auth, nor an error of a request."""
    with pytest.raises(requests.ConnectionError) as caught:
        server.manner = "cut"
        http.get(f"{server.url}/api/sync", timeout=5)
    assert key not in f"{http!r} {http.auth!r} {Bearer(key, server.url)!r} {caught.value!r} {http.headers}"
