"""What leaves the server and what comes in by odd ways: TLS, names of files, addresses, two uploads at once."""

from __future__ import annotations

import ast
import datetime
import ipaddress
import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
import warm_python
from sent_runs import SentRun, patch, result, send, sha256
from server_process import BIN, Server

import worldflux.server
from worldflux.server.ingest import reading


def certificate(folder: Path) -> None:
    """A key pair for 127.0.0.1 in `cert.pem` and `key.pem`."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "key.pem").write_bytes(private)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_it_speaks_tls(tmp_path: Path, workers: str) -> None:
    """With a certificate it answers over https and not in the clear, with one worker and with two."""
    certificate(tmp_path)
    words = ["--tls-certificate", str(tmp_path / "cert.pem"), "--tls-key", str(tmp_path / "key.pem")]
    place = ["--data", str(tmp_path / "data"), "--port", "0", "--host", "0.0.0.0", "--workers", workers]
    with (tmp_path / "err").open("wb") as errors:
        process = warm_python.WarmPopen(
            [BIN / "worldflux", "--json", "server", "start", *place, *words, "--allow-host", "127.0.0.1"],
            stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True,
        )  # fmt: skip
    assert process.stdout is not None
    told = json.loads(process.stdout.readline())["data"]
    server = Server(
        told["url"].replace("0.0.0.0", "127.0.0.1"), told["first_key"], tmp_path / "data", None, process
    )
    try:
        assert server.url.startswith("https://")
        server.call("GET", "/api/sync", expect=200, verify=str(tmp_path / "cert.pem"))
        with pytest.raises(requests.RequestException):
            server.session.get(server.url.replace("https", "http") + "/healthz", timeout=10)
    finally:
        assert server.stop() == 0


def test_two_uploads_of_one_blob(shared_server: Server) -> None:
    """Four clients that send the same blob at the same time, each from the offset it is told, make it whole."""
    data = b"".join(b"%08d" % number for number in range(20000))
    name = sha256(data)

    def upload(step: int) -> int:
        link = Server(shared_server.url, shared_server.key, shared_server.data, None, shared_server.process)
        refused, at = 0, 0
        for _ in range(500):
            answer = patch(link, name, at, len(data), data[at : at + step])
            if answer.status_code == 200 and answer.json()["complete"]:
                break
            assert answer.status_code in (200, 409), answer.text
            refused += answer.status_code == 409
            at = int(answer.headers["Upload-Offset"])
        link.session.close()
        return refused

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(upload, (7000, 11000, 13000, 7000)))
    assert shared_server.call("POST", "/api/sync/blobs", json={"sha256": [name]}).json() == {"missing": []}
    run = SentRun(artifacts={"a": data})
    told = result(send(shared_server, *run.stream_frames(), run.manifest_frame(), expect=200))
    assert told["outcome"] == "stored"


@pytest.mark.parametrize(
    "path",
    ["../x", "a/../../x", "/etc/passwd", "a//b", "a/./b", "C:\\x", "a\\..\\b", "a\0b", "a\nb", "%2e%2e/x", "x" * 1025,
     "", ".", "a/", "\u202egnp.exe"],
)  # fmt: skip
def test_names_of_files_that_are_none(path: str) -> None:
    """A manifest with a path that could mean something else somewhere is refused; no path reaches a disk anyway."""
    document = SentRun(artifacts={"a": b"a"}).document()
    document["artifacts"][0]["path"] = path
    with pytest.raises(reading.Invalid, match="artifacts/0/path"):
        reading.read(json.dumps(document).encode())


def test_the_server_calls_nobody() -> None:
    """No module of the server imports an HTTP client; S3, by the keeper's settings, is the only way out."""
    clients = {
        "requests",
        "urllib.request",
        "http.client",
        "httpx",
        "aiohttp",
        "urllib3",
        "ftplib",
        "smtplib",
    }
    root = Path(worldflux.server.__file__).parent
    for path in root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not clients & set(names), path
            assert path.name == "blob_s3.py" or not any(name.startswith("boto") for name in names), path


def test_openapi_is_there_and_names_every_problem(shared_server: Server) -> None:
    """The description of the API is served, and every answer has an id to ask about."""
    answer = shared_server.call("GET", "/openapi.json", key=None, expect=200)
    assert "/api/sync/bundle" in answer.json()["paths"]
    assert len(answer.headers["X-Request-Id"]) == 32 and answer.headers["X-Content-Type-Options"] == "nosniff"
    refused = shared_server.call("GET", "/api/sync", key=None, expect=401)
    assert refused.json()["request_id"] == refused.headers["X-Request-Id"]
    assert refused.headers["Cache-Control"] == "no-store"
    assert "server" not in {name.lower() for name in refused.headers}
