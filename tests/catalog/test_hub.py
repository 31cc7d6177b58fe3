"""The Hub client: one clear block for each refusal, and a token that stays with its host."""

from __future__ import annotations

import socket

import pytest
from hub_standin import TOKEN, Request, StandInHub

from worldflux.catalog.hub import HubClient
from worldflux.errors import AccessError, TemporaryError, UsageError, WorldFluxError

SECRET_FREE = "must not show the token"


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def client(hub: StandInHub, waits: list[float]) -> HubClient:
    return HubClient(sleep=waits.append)


def whole(client: HubClient, repo: str, path: str, offset: int = 0, kind: str = "model") -> bytes:
    commit = client.info(kind, repo, "main").commit
    with client.open(kind, repo, commit, path, offset) as (start, chunks):
        assert start == offset
        return b"".join(chunks)


def test_reads_info_listing_and_files(hub: StandInHub, client: HubClient) -> None:
    """A revision becomes a commit, a listing comes page by page, small and large files arrive."""
    hub.page = 2
    files = {f"f{number}.txt": bytes([number]) for number in range(5)}
    repo = hub.add("me/a", {**files, "w.safetensors": b"weights" * 100}, card={"license": "mit"})
    info = client.info("model", "me/a", "main")
    assert (info.commit, info.gated, info.tags) == (repo.commit, False, ("license:mit",))
    listed = list(client.tree("model", "me/a", info.commit))
    assert [file.path for file in listed] == [*files, "w.safetensors"]
    assert listed[-1].sha256 == repo.files["w.safetensors"].sha256 and listed[0].sha256 is None
    assert whole(client, "me/a", "f3.txt") == b"\x03"
    assert whole(client, "me/a", "w.safetensors", offset=7) == b"weights" * 99


def test_the_token_goes_to_the_hub_and_to_no_other_host(
    hub: StandInHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HF_TOKEN travels as a bearer to HF_ENDPOINT; the store it redirects to never sees one."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.add("me/a", {"w.safetensors": b"x" * 50}, gated=True)
    assert whole(HubClient(), "me/a", "w.safetensors") == b"x" * 50
    assert {request.authorization for request in hub.requests if request.host == "hub"} == {f"Bearer {TOKEN}"}
    assert [request.authorization for request in hub.requests if request.host == "store"] == [None]


def test_credentials_of_netrc_are_not_sent(
    hub: StandInHub, client: HubClient, tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither host gets what somebody keeps in ~/.netrc for it."""
    netrc = f"{tmp_path}/netrc"
    with open(netrc, "w") as handle:
        handle.write("machine 127.0.0.1 login a password b\nmachine localhost login a password b\n")
    monkeypatch.setenv("NETRC", netrc)
    hub.add("me/a", {"w.safetensors": b"x"})
    assert whole(client, "me/a", "w.safetensors") == b"x"
    assert {request.authorization for request in hub.requests} == {None}


def test_gated_without_token(hub: StandInHub, client: HubClient) -> None:
    """A gated repo says where to accept the conditions, and that a token is needed."""
    hub.add("me/a", {"config.json": b"{}"}, gated=True)
    with pytest.raises(AccessError) as caught:
        whole(client, "me/a", "config.json")
    assert caught.value.code == "gated" and caught.value.exit_code == 5
    assert f"{hub.url}/me/a" in caught.value.hint and "HF_TOKEN" in caught.value.hint


def test_gated_with_a_token_that_was_not_let_in(hub: StandInHub) -> None:
    """With a token that has no access the advice is another one, and the token is not shown."""
    hub.add("me/a", {"config.json": b"{}"}, gated=True)
    with pytest.raises(AccessError) as caught:
        whole(HubClient(token="hf_other_secret"), "me/a", "config.json")
    assert "has not been let in" in caught.value.problem
    assert "hf_other_secret" not in str(caught.value), SECRET_FREE


def test_no_such_repo(hub: StandInHub, client: HubClient) -> None:
    """A repo that is not there, or private, is a wrong name until a token says otherwise."""
    with pytest.raises(UsageError) as caught:
        client.info("model", "me/nothing", "main")
    assert caught.value.code == "repo_not_found" and "HF_TOKEN" in caught.value.hint
    with pytest.raises(UsageError) as with_token:
        HubClient(token="hf_x").info("model", "me/nothing", "main")
    assert "HF_TOKEN" not in with_token.value.hint


def test_no_such_revision_or_file(hub: StandInHub, client: HubClient) -> None:
    """A wrong branch and a wrong path are told apart from a wrong repo."""
    hub.add("me/a", {"a": b"a"})
    with pytest.raises(UsageError) as caught:
        client.info("model", "me/a", "no-branch")
    assert caught.value.code == "revision_not_found" and "no-branch" in caught.value.problem
    with pytest.raises(UsageError) as missing:
        whole(client, "me/a", "b")
    assert missing.value.code == "file_not_found"


def test_a_refused_token_is_named_as_the_cause(hub: StandInHub) -> None:
    """401 for a token the Hub does not know is about the token, not about the repo."""
    hub.add("me/a", {"a": b"a"})
    hub.busy = [(401, {})]
    with pytest.raises(AccessError) as caught:
        HubClient(token="hf_old_secret").info("model", "me/a", "main")
    assert caught.value.code == "token_refused"
    assert "hf_old_secret" not in str(caught.value), SECRET_FREE


def test_a_renamed_repo_is_told_not_followed(hub: StandInHub, client: HubClient) -> None:
    """The new name is in the error, with the command to import it."""
    hub.add("me/old", {}, renamed_to="me/new")
    with pytest.raises(UsageError) as caught:
        client.info("model", "me/old", "v1")
    assert caught.value.problem == "me/old is now called me/new"
    assert "worldflux import lerobot:me/new@v1" in caught.value.hint


def test_rate_limit_is_waited_for(hub: StandInHub, client: HubClient, waits: list[float]) -> None:
    """A short wait the Hub asks for is kept, whichever header asks, and the answer then comes."""
    hub.add("me/a", {"a": b"a"})
    hub.busy = [(503, {}), (429, {"Retry-After": "7"})]
    with pytest.raises(TemporaryError):
        client.info("model", "me/a", "main")
    hub.busy = []
    client.info("model", "me/a", "main")
    waits.clear()
    hub.busy = [(429, {"Retry-After": "7"}), (429, {"RateLimit": '"api";r=0;t=11'})]
    assert client.info("model", "me/a", "main").commit
    assert waits == [7.0, 11.0]


def test_a_long_rate_limit_is_told(hub: StandInHub, client: HubClient, waits: list[float]) -> None:
    """A wait of minutes is not sat through: the error says how long, and that nothing is lost."""
    hub.add("me/a", {"a": b"a"})
    hub.busy = [(429, {"Retry-After": "280"})]
    with pytest.raises(TemporaryError) as caught:
        client.info("model", "me/a", "main")
    assert caught.value.code == "rate_limit" and caught.value.exit_code == 3
    assert "in 280 s" in caught.value.hint and "what has arrived is kept" in caught.value.hint
    assert waits == []


def test_failures_of_the_hub_are_tried_again(hub: StandInHub, client: HubClient, waits: list[float]) -> None:
    """A passing 502 is not shown to anybody; one that stays is a temporary error."""
    hub.add("me/a", {"a": b"a"})
    client.info("model", "me/a", "main")
    hub.busy = [(502, {}), (500, {})]
    client.info("model", "me/a", "main")
    assert len(waits) == 2
    hub.busy = [(502, {})] * 9
    with pytest.raises(TemporaryError) as caught:
        client.info("model", "me/a", "main")
    assert caught.value.code == "hub_down"


def test_offline_is_told_quickly(waits: list[float]) -> None:
    """No connection from the start: two tries, then one block with the host's name."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    client = HubClient(f"http://127.0.0.1:{port}", sleep=waits.append)
    with pytest.raises(TemporaryError) as caught:
        client.info("model", "me/a", "main")
    assert caught.value.code == "offline" and f"127.0.0.1:{port}" in caught.value.problem
    assert len(waits) == 1


def test_a_hub_that_does_not_answer_in_time(hub: StandInHub, waits: list[float]) -> None:
    """Silence is told apart from no connection."""
    import threading

    release = threading.Event()
    hub.before = lambda request: void(release.wait(5))
    client = HubClient(timeout=(1.0, 0.1), sleep=waits.append)
    try:
        with pytest.raises(TemporaryError) as caught:
            client.info("model", "me/a", "main")
    finally:
        release.set()
    assert "does not answer in time" in caught.value.problem


def void(value: object) -> None:
    return None


def test_offline_by_choice(hub: StandInHub, client: HubClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """HF_HUB_OFFLINE forbids to ask, and the error says that it is set."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(TemporaryError, match="HF_HUB_OFFLINE is set"):
        client.info("model", "me/a", "main")
    assert hub.requests == []


def test_something_that_is_no_hub(hub: StandInHub, client: HubClient) -> None:
    """A page of a proxy that answers 200 is not taken for a Hub."""
    hub.busy = [(200, {})]
    with pytest.raises(WorldFluxError) as caught:
        client.info("model", "me/a", "main")
    assert caught.value.code == "hub_answer"


@pytest.mark.parametrize(
    "endpoint", ["hub.example", "ftp://hub.example", "https://me:pw@hub.example", "https://"]
)
def test_a_wrong_endpoint_is_refused_without_repeating_it(endpoint: str) -> None:
    """HF_ENDPOINT must be an address without credentials; what was written is not shown."""
    with pytest.raises(UsageError) as caught:
        HubClient(endpoint)
    assert "pw" not in str(caught.value)


def test_a_following_page_on_another_host_is_not_asked(hub: StandInHub, client: HubClient) -> None:
    """A listing that continues on another host is refused: the token would follow it there."""
    hub.page = 1
    hub.add("me/a", {"a": b"a", "b": b"b"})
    hub.url, real = hub.store_url, hub.url
    with pytest.raises(WorldFluxError):
        list(HubClient(real).tree("model", "me/a", hub.repos[("model", "me/a")].commit))
    assert all(request.host == "hub" for request in hub.requests)


def test_requests_are_counted(hub: StandInHub, client: HubClient) -> None:
    """The client names itself and asks for bytes as they are, so that ranges and digests hold."""
    seen: list[Request] = []
    hub.before = seen.append
    hub.add("me/a", {"a": b"abc"})
    assert whole(client, "me/a", "a", offset=1) == b"bc"
    assert seen[-1].range == "bytes=1-"
