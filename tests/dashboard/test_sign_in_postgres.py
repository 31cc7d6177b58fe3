"""The way in on PostgreSQL: the same as on SQLite."""

from __future__ import annotations

from pathlib import Path

import requests
from server_process import running_postgres, start

PASSWORD = "a calm long password"


def test_keys_and_passwords_on_postgresql(tmp_path: Path) -> None:
    """Signing in by key and by password, waiting after wrong ones, new passwords and signing out."""
    with running_postgres() as postgres:
        site = start(tmp_path / "data", postgres.new_database())
        try:
            site.call("POST", "/api/users", json={"login": "ada", "password": PASSWORD}, expect=201)
            site.call("PATCH", "/api/users/ada", json={"scopes": ["runs:read"]}, expect=200)
            with requests.Session() as client:
                client.trust_env = False
                client.headers["Origin"] = site.url
                url = f"{site.url}/api/session"
                for _ in range(5):
                    wrong = client.post(url, json={"login": "ada", "password": "wrong"}, timeout=30)
                    assert wrong.status_code == 401
                assert (
                    client.post(url, json={"login": "ada", "password": PASSWORD}, timeout=30).status_code
                    == 429
                )
                told = client.post(url, json={"key": site.key}, timeout=30).json()
                assert told["key"]["name"] == "first admin key"
                assert client.get(f"{site.url}/", timeout=30).status_code == 200
                headers = {"X-CSRF-Token": told["csrf"]}
                assert client.delete(url, headers=headers, timeout=30).status_code == 204
                assert client.get(url, timeout=30).status_code == 401
            site.call("DELETE", "/api/users/ada", expect=204)
            assert site.call("GET", "/api/users").json() == {"users": []}
        finally:
            site.stop()
