"""Whose signatures count in a workspace: names, conflicts, and what follows for runs that have evidence."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from reading import new_workspace
from server_process import Server

from worldflux.evidence import keys
from worldflux.manifest.model import new_run_id


def test_another_key_takes_a_name_only_when_told_to(shared_server: Server, tmp_path: Path) -> None:
    """409 with the key that has the name and what to do; the same key again is fine; replacing is in the log."""
    key = new_workspace(shared_server, f"t{new_run_id()[-12:]}")
    first, second = keys.create(tmp_path, "first"), keys.create(tmp_path, "second")

    def put(public: keys.PublicKey, expect: int, **query: str) -> dict[str, Any]:
        path, body = "/api/trusted-keys/ada", {"pem": public.pem}
        return dict(shared_server.call("PUT", path, key=key, params=query, json=body, expect=expect).json())

    def listed() -> list[str]:
        found = shared_server.call("GET", "/api/trusted-keys", key=key, expect=200).json()["keys"]
        return [each["key_id"] for each in found]

    put(first, 200)
    assert put(first, 200)["key_id"] == first.key_id
    told = put(second, 409)
    assert told["code"] == "key-exists" and told["key_id"] == first.key_id
    assert "?replace=true" in told["hint"] and "`ada`" in told["detail"]
    put(second, 409, replace="false")
    assert listed() == [first.key_id]
    assert put(second, 200, replace="true")["key_id"] == second.key_id
    put(second, 200, replace="true")
    assert listed() == [second.key_id]
    query = {"action": "trusted-key."}
    records = shared_server.call("GET", "/api/audit-logs", key=key, params=query, expect=200).json()[
        "records"
    ]
    assert [each["detail"] for each in records] == [
        {"key_id": second.key_id, "replaced": first.key_id},
        {"key_id": first.key_id},
    ]


def test_of_two_keys_for_one_name_at_once_one_is_refused(shared_server: Server, tmp_path: Path) -> None:
    """Whoever comes second learns of the first, also when both look before either has written."""
    key = new_workspace(shared_server, f"t{new_run_id()[-12:]}")
    given = [keys.create(tmp_path, f"k{number}") for number in range(8)]

    def put(public: keys.PublicKey) -> int:
        answer = shared_server.call("PUT", "/api/trusted-keys/ada", key=key, json={"pem": public.pem})
        return int(answer.status_code)

    with ThreadPoolExecutor(len(given)) as pool:
        found = sorted(pool.map(put, given))
    assert found == [200] + [409] * (len(given) - 1)
