"""The way in and out: cookies, tokens, origins, passwords."""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from browsing import Visit
from playwright.sync_api import expect
from server_process import Server, start

from worldflux.server import users
from worldflux.server.dashboard.pages import relative

PASSWORD = "a calm long password"


@pytest.fixture
def client(site: Server) -> Iterator[requests.Session]:
    """A browser-like client: keeps cookies, says where it comes from."""
    with requests.Session() as session:
        session.trust_env = False
        session.headers["Origin"] = site.url
        yield session


def post(client: requests.Session, site: Server, body: dict[str, str], **headers: str) -> requests.Response:
    return client.post(f"{site.url}/api/session", json=body, headers=headers, timeout=30)


def member(site: Server, login: str, *scopes: str) -> None:
    body = {"login": login, "name": login.title(), "password": PASSWORD}
    site.call("POST", "/api/users", json=body | ({"scopes": list(scopes)} if scopes else {}), expect=201)


def test_a_session_cookie_is_kept_from_scripts(client: requests.Session, site: Server) -> None:
    """The cookie is HttpOnly and SameSite, says nothing, and the key is not in it."""
    answer = post(client, site, {"key": site.key})
    assert answer.status_code == 201
    cookie = answer.headers["Set-Cookie"]
    assert re.match(r"wf_session=wfc_[A-Za-z0-9]{39}; ", cookie)
    assert {"HttpOnly", "SameSite=lax", "Path=/"} <= {part.strip() for part in cookie.split(";")}
    assert site.key not in answer.text + cookie and "no-store" in answer.headers["Cache-Control"]


def test_over_tls_the_cookie_is_secure(tmp_path: Path) -> None:
    """A server that browsers reach by https gives its cookie to https only, and knows its own origin."""
    origin = "https://runs.example.org"
    running = start(tmp_path / "data", None, "--public-url", origin)
    try:
        headers = {"Host": "runs.example.org", "Origin": origin}
        answer = running.call("POST", "/api/session", key=None, json={"key": running.key}, headers=headers)
        assert answer.status_code == 201 and "; Secure" in answer.headers["Set-Cookie"]
        other = running.call("GET", "/login", key=None, headers={"Host": "evil.example"})
        assert 400 <= other.status_code < 500
    finally:
        running.stop()


def test_unsafe_requests_need_the_token_and_the_origin(client: requests.Session, site: Server) -> None:
    """A session alone changes nothing: the page's token must come along, from the same origin."""
    token = post(client, site, {"key": site.key}).json()["csrf"]

    def rename(**headers: str) -> int:
        url = f"{site.url}/api/workspace"
        return client.patch(url, json={"name": "W"}, headers=headers, timeout=30).status_code

    assert rename() == 403
    assert rename(**{"X-CSRF-Token": "x" * len(token)}) == 403
    assert rename(**{"X-CSRF-Token": token, "Origin": "https://evil.example"}) == 403
    assert rename(**{"X-CSRF-Token": token, "Origin": "null"}) == 403
    assert rename(**{"X-CSRF-Token": token, "Sec-Fetch-Site": "cross-site"}) == 403
    assert rename(**{"X-CSRF-Token": token}) == 200


def test_another_site_can_not_sign_somebody_in(client: requests.Session, site: Server) -> None:
    """A sign-in that another origin sends is refused, and so is a form."""
    assert post(client, site, {"key": site.key}, Origin="https://evil.example").status_code == 403
    form = client.post(f"{site.url}/api/session", data={"key": site.key}, timeout=30)
    assert form.status_code == 415
    assert "wf_session" not in client.cookies


def test_signing_out_ends_the_session(client: requests.Session, site: Server) -> None:
    """The cookie is worthless afterwards, also a copy of it."""
    token = post(client, site, {"key": site.key}).json()["csrf"]
    kept = client.cookies["wf_session"]
    assert client.get(f"{site.url}/api/session", timeout=30).status_code == 200
    headers = {"X-CSRF-Token": token}
    assert client.delete(f"{site.url}/api/session", headers=headers, timeout=30).status_code == 204
    client.cookies.set("wf_session", kept)
    assert client.get(f"{site.url}/api/runs", timeout=30).status_code == 401


def test_a_session_ends_with_its_key(client: requests.Session, site: Server) -> None:
    """Revoking a key ends what was signed in with it at once, and narrows nobody else."""
    made = site.call(
        "POST", "/api/api-keys", json={"name": "short", "scopes": ["runs:read"]}, expect=201
    ).json()
    assert post(client, site, {"key": made["token"]}).json()["scopes"] == ["runs:read"]
    assert client.get(f"{site.url}/api/runs", timeout=30).status_code == 200
    site.call("DELETE", f"/api/api-keys/{made['id']}", expect=200)
    assert client.get(f"{site.url}/api/runs", timeout=30).status_code == 401
    page = client.get(f"{site.url}/", timeout=30, allow_redirects=False)
    assert (page.status_code, page.headers["Location"]) == (303, "/login?next=%2F")


def test_a_member_signs_in_with_a_password(client: requests.Session, site: Server) -> None:
    """A member has the scopes of the membership, until the membership ends."""
    member(site, "ada", "runs:read")
    told = post(client, site, {"login": "Ada", "password": PASSWORD}).json()
    assert told["user"] == {"login": "ada", "name": "Ada"} and told["scopes"] == ["runs:read"]
    site.call("PATCH", "/api/users/ada", json={"scopes": ["runs:read", "runs:write"]}, expect=200)
    assert client.get(f"{site.url}/api/session", timeout=30).json()["scopes"] == ["runs:read", "runs:write"]
    site.call("DELETE", "/api/users/ada", expect=204)
    assert client.get(f"{site.url}/api/session", timeout=30).status_code == 401
    assert post(client, site, {"login": "ada", "password": PASSWORD}).status_code == 401


def test_passwords_are_kept_as_argon2id(site: Server) -> None:
    """What is stored is an argon2id hash with 64 MiB; the password is in no file of the server."""
    member(site, "grace")
    stored = b"".join(
        path.read_bytes() for path in site.data.iterdir() if path.name.startswith("worldflux.db")
    )
    assert b"$argon2id$v=19$m=65536,t=3,p=1$" in stored
    assert PASSWORD.encode() not in stored


def test_a_new_password_ends_other_sessions(client: requests.Session, site: Server) -> None:
    """Changing it needs the old one; every other session of the user ends."""
    member(site, "lin")
    other = requests.Session()
    other.trust_env = False
    with other:
        post(other, site, {"login": "lin", "password": PASSWORD}, Origin=site.url)
        token = post(client, site, {"login": "lin", "password": PASSWORD}).json()["csrf"]
        url, headers = f"{site.url}/api/session/password", {"X-CSRF-Token": token}
        body = {"old": "something else", "new": "another calm password"}
        assert client.post(url, json=body, headers=headers, timeout=30).status_code == 422
        assert (
            client.post(
                url, json=body | {"old": PASSWORD, "new": "short"}, headers=headers, timeout=30
            ).status_code
            == 422
        )
        assert client.post(url, json=body | {"old": PASSWORD}, headers=headers, timeout=30).status_code == 204
        assert other.get(f"{site.url}/api/session", timeout=30).status_code == 401
        assert client.get(f"{site.url}/api/session", timeout=30).status_code == 200
    assert post(client, site, {"login": "lin", "password": "another calm password"}).status_code == 201


def test_wrong_passwords_have_to_wait(client: requests.Session, site: Server) -> None:
    """After five wrong ones even the right one has to wait, as Retry-After says; other logins do not."""
    member(site, "mary")
    member(site, "joan")
    for _ in range(users.FREE_TRIES):
        assert post(client, site, {"login": "mary", "password": "wrong"}).status_code == 401
    refused = post(client, site, {"login": "mary", "password": PASSWORD})
    assert refused.status_code == 429 and 1 <= int(refused.headers["Retry-After"]) <= 2
    assert post(client, site, {"login": "joan", "password": PASSWORD}).status_code == 201
    time.sleep(int(refused.headers["Retry-After"]))
    assert post(client, site, {"login": "mary", "password": PASSWORD}).status_code == 201


def test_many_tries_at_once_are_not_fewer(site: Server) -> None:
    """Wrong passwords that are sent together get no more looks than one after the other."""
    member(site, "june")

    def once(_: int) -> int:
        body = {"login": "june", "password": "wrong"}
        return requests.post(
            f"{site.url}/api/session", json=body, headers={"Origin": site.url}, timeout=30
        ).status_code

    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(once, range(12)))
    assert answers.count(401) <= users.FREE_TRIES + 1 and answers.count(429) >= 12 - users.FREE_TRIES - 1


@pytest.mark.serial
def test_an_unknown_login_takes_as_long(client: requests.Session, site: Server) -> None:
    """Neither the answer nor its time tells whether a login exists."""
    member(site, "olga")
    times: dict[bool, list[float]] = {True: [], False: []}
    answers: dict[bool, set[str]] = {True: set(), False: set()}
    for number in range(users.FREE_TRIES):
        for known in (True, False):  # in turn: what else the machine does is the same for both
            body = {"login": "olga" if known else f"nobody{number}", "password": "wrong"}
            begun = time.perf_counter()
            answer = post(client, site, body)
            times[known].append(time.perf_counter() - begun)
            answers[known].add(re.sub('"request_id":"[^"]*"', "", answer.text))
    assert answers[True] == answers[False]
    known_takes, unknown_takes = statistics.median(times[True]), statistics.median(times[False])
    assert abs(known_takes - unknown_takes) < max(0.5 * known_takes, 0.03), (known_takes, unknown_takes)


def test_nobody_gives_more_than_they_have(site: Server) -> None:
    """A keeper of keys without the scope admin makes no admin, and raises nobody above."""
    scopes = ["runs:read", "keys:admin"]
    made = site.call("POST", "/api/api-keys", json={"name": "keeper", "scopes": scopes}, expect=201).json()
    body = {"login": "eve", "password": PASSWORD, "scopes": ["admin"]}
    site.call("POST", "/api/users", key=made["token"], json=body, expect=403)
    site.call("POST", "/api/users", key=made["token"], json=body | {"scopes": ["runs:read"]}, expect=201)
    site.call("PATCH", "/api/users/eve", key=made["token"], json={"scopes": ["admin"]}, expect=403)


@pytest.mark.parametrize(
    ("target", "safe"),
    [
        ("/runs/1?x=1#log", "/runs/1?x=1#log"),
        ("", "/"),
        (None, "/"),
        *(
            (bad, "/")
            for bad in ("https://evil.example", "//evil.example", "/\\evil.example", "\\\\evil.example")
        ),
        *((bad, "/") for bad in ("/\tx", "/a\\b", "javascript:alert(1)", "/\r\nSet-Cookie: a=b", " /x")),
        ("/" + "a" * 3000, "/"),
    ],
)
def test_only_paths_are_gone_to(target: str | None, safe: str) -> None:
    """After signing in only paths of this server are gone to."""
    assert relative(target) == safe


def test_signing_in_by_the_page(stranger: Visit) -> None:
    """Who opens a page is asked to sign in, told when the key is wrong, and led back to the page."""
    page = stranger.open("/settings/storage", "#key")
    assert page.url.endswith("/login?next=%2Fsettings%2Fstorage")
    stranger.expected.append("401")
    page.get_by_label("API key").fill("wfx_wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator(".note.bad")).to_contain_text("not valid")
    page.get_by_label("API key").fill(stranger.site.key)
    page.keyboard.press("Enter")
    page.wait_for_url("**/settings/storage")
    page.get_by_label("Account").click()
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/login")
    page.goto(stranger.site.url + "/")
    page.wait_for_url("**/login?next=%2F")


def test_signing_in_by_password_on_the_page(stranger: Visit) -> None:
    """Login and password are enough; what is shown is theirs."""
    member(stranger.site, "ruth")
    page = stranger.open("/login", "#key")
    page.get_by_role("tab", name="Password").click()
    page.get_by_label("Login").fill("ruth")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/$"))
    page.goto(stranger.site.url + "/settings/account")
    expect(page.locator(".facts").first).to_contain_text("ruth")
