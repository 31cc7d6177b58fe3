"""The pages of a workspace, in a browser."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from browsing import Visit
from fill import send_all, sweep
from playwright.sync_api import expect

from worldflux.evidence import keys

#: A browser and a server start with a module.
pytestmark = pytest.mark.timeout(180)


def test_a_key_is_made_used_rotated_and_revoked(visit: Visit) -> None:
    """A new key is shown once and works; its rotation gives another; revoked it is worthless."""
    page = visit.open("/settings/keys", "table")
    page.get_by_role("button", name="New key").click()
    page.get_by_label("Name").fill("laptop")
    page.locator("input[value='artifacts:write']").uncheck()
    page.get_by_role("button", name="Make it").click()
    dialog = page.get_by_role("dialog", name="Copy the key now")
    token = dialog.locator("code").first.inner_text()
    dialog.get_by_role("button", name="I have it").click()
    told = visit.site.call("GET", "/api/sync", key=token, expect=200).json()
    assert told["key"]["name"] == "laptop" and "artifacts:write" not in told["key"]["scopes"]
    row = page.locator("tr", has_text=token[-4:])
    row.get_by_role("button", name="Rotate").click()
    page.get_by_role("dialog").get_by_role("button", name="Rotate").click()
    dialog = page.get_by_role("dialog", name="Copy the key now")
    second = dialog.locator("code").first.inner_text()
    dialog.get_by_role("button", name="I have it").click()
    assert second != token
    row = page.locator("tr", has_text=second[-4:])
    row.get_by_role("button", name="Revoke").click()
    page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    expect(row).to_contain_text("Revoked")
    visit.site.call("GET", "/api/sync", key=second, expect=401)


def test_a_member_is_added_changed_and_removed(visit: Visit) -> None:
    """A member signs in with the first password; scopes change; a removed one is out."""
    page = visit.open("/settings/members", ".empty")
    page.get_by_role("button", name="Add a member").click()
    page.get_by_label("Login").fill("ada")
    page.get_by_label("First password").fill("a calm long password")
    page.get_by_role("button", name="Add", exact=True).click()
    row = page.locator("tr", has_text="ada")
    expect(row).to_contain_text("runs:write")
    row.get_by_role("button", name="Scopes").click()
    page.get_by_role("dialog").locator("input[value='runs:write']").uncheck()
    page.get_by_role("button", name="Save").click()
    expect(row).not_to_contain_text("runs:write")
    row.get_by_role("button", name="Remove").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    expect(page.locator(".empty")).to_be_visible()


def test_a_weak_password_is_refused_in_the_dialog(visit: Visit) -> None:
    """What the server refuses stands in the dialog, which stays open."""
    page = visit.open("/settings/members", ".card > *")
    visit.expected.append("422")
    page.get_by_role("button", name="Add a member").click()
    page.get_by_label("Login").fill("not a login!")
    page.get_by_label("First password").fill("a calm long password")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("a login has letters")


def test_the_audit_log_tells_and_is_checked(visit: Visit) -> None:
    """What was done stands in the log, and its chain is checked on the page."""
    visit.site.call(
        "POST", "/api/api-keys", json={"name": "for the log", "scopes": ["runs:read"]}, expect=201
    )
    page = visit.open("/settings/audit", "table tbody tr")
    expect(page.get_by_role("table", name="Audit log")).to_contain_text("key.create")
    page.get_by_role("button", name="Check the chain").click()
    expect(page.get_by_text("records is whole")).to_be_visible()


def test_storage_is_shown_and_retention_set(visit: Visit) -> None:
    """Space and runs are counted; for how long runs are kept can be changed."""
    send_all(visit.site, sweep(7))
    page = visit.open("/settings/storage", ".card")
    expect(page.locator(".card", has_text="Runs").first).to_be_visible()
    page.get_by_role("button", name="Change").click()
    page.get_by_label("Delete runs after").fill("90")
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".facts")).to_contain_text("90 days")
    assert visit.site.call("GET", "/api/workspace").json()["retention_days"] == 90


def test_projects_are_listed_and_archived(visit: Visit) -> None:
    """Each project stands with its number of runs, and can be put away and brought back."""
    send_all(visit.site, sweep(3, project="aside"))
    page = visit.open("/settings/projects", "table")
    row = page.locator("tr", has_text="aside")
    expect(row.locator("td").nth(1)).to_have_text("3")
    row.get_by_role("button", name="Archive").click()
    expect(row).to_contain_text("archived")
    row.get_by_role("button", name="Bring back").click()
    expect(row).not_to_contain_text("archived")


def test_a_key_is_trusted_and_no_longer(visit: Visit, tmp_path: Path) -> None:
    """A private key and no key are refused, a taken name until one says to replace its key; removed it is gone."""
    key, other = keys.create(tmp_path, "ada"), keys.create(tmp_path, "other")
    page = visit.open("/settings/trusted-keys", ".empty")
    expect(page.locator(".empty")).to_contain_text("worldflux evidence key show")
    dialog = page.get_by_role("dialog", name="Trust a key")

    def trust(name: str, pem: str) -> None:
        if not dialog.is_visible():
            page.get_by_role("button", name="Trust a key").click()
        dialog.get_by_label("Whose it is").fill(name)
        dialog.get_by_label("Public key").fill(pem)
        dialog.get_by_role("button", name="Trust it").click()

    trust("ada", key.pem)
    row = page.get_by_role("table", name="Trusted keys").locator("tbody tr")
    expect(row).to_contain_text(f"ada{key.key_id}")
    visit.expected.append("409")
    trust("ada", other.pem)
    expect(dialog.get_by_role("alert")).to_contain_text(f"another key is trusted as `ada`: {key.key_id}")
    expect(row).to_contain_text(key.key_id)
    assert dialog.locator(".body").evaluate("body => body.scrollWidth <= body.clientWidth")
    replacing = dialog.get_by_label("Replace the key that has this name")
    replacing.check()
    dialog.get_by_label("Whose it is").fill("bob")
    expect(replacing).to_be_hidden()
    dialog.get_by_label("Whose it is").fill("ada")
    dialog.get_by_role("button", name="Trust it").click()
    expect(replacing).not_to_be_checked()
    replacing.check()
    dialog.get_by_role("button", name="Trust it").click()
    expect(row).to_contain_text(f"ada{other.key_id}")
    sent = len(visit.addresses)
    trust("private", (tmp_path / "other.pem").read_text())
    expect(dialog.get_by_role("alert")).to_contain_text("it was not sent")
    assert len(visit.addresses) == sent
    visit.expected.append("422")
    trust("nothing", "-----BEGIN PUBLIC KEY-----")
    expect(dialog.get_by_role("alert")).to_contain_text("no public key")
    dialog.get_by_role("button", name="Cancel").click()
    (listed,) = visit.site.call("GET", "/api/trusted-keys", expect=200).json()["keys"]
    assert listed == {"name": "ada", "key_id": other.key_id, "pem": other.pem}
    row.get_by_role("button", name="Remove").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    expect(page.locator(".empty")).to_be_visible()
    assert visit.site.call("GET", "/api/trusted-keys", expect=200).json()["keys"] == []


def test_who_may_only_read_sees_whose_keys_are_trusted(visit: Visit, tmp_path: Path) -> None:
    """Without `keys:admin` the list is there, and nothing that would change it."""
    key = keys.create(tmp_path, "lab")
    visit.site.call("PUT", "/api/trusted-keys/lab", json={"pem": key.pem}, expect=200)
    made = visit.site.call(
        "POST", "/api/api-keys", json={"name": "looker", "scopes": ["runs:read"]}, expect=201
    )
    visit.sign_in(made.json()["token"])
    page = visit.open("/settings/trusted-keys", "table tbody tr")
    expect(page.get_by_role("table", name="Trusted keys")).to_contain_text("lab")
    expect(page.get_by_role("button", name=re.compile("Trust a key|Remove"))).to_have_count(0)
    visit.site.call("DELETE", "/api/trusted-keys/lab", expect=200)


def test_who_may_not_is_told_so(visit: Visit) -> None:
    """A key without a scope sees a page that says which, and no tools for what it may not do."""
    made = visit.site.call(
        "POST", "/api/api-keys", json={"name": "reader", "scopes": ["runs:read"]}, expect=201
    )
    send_all(visit.site, sweep(2, project="seen"))
    visit.sign_in(made.json()["token"])
    visit.expected.append("403")
    page = visit.open("/settings/keys", ".note.warn")
    expect(page.locator(".note.warn")).to_contain_text("keys:admin")
    visit.open_runs("/p/seen")
    page.locator(".grid-row[data-place='0'] input").check()
    expect(
        page.locator(".status-line").get_by_role("button", name=re.compile("Delete|Archive|Tag"))
    ).to_have_count(0)
    page.locator(".grid-row[data-place='0'] .open").click()
    expect(page.locator("#run-name")).to_be_visible()
    expect(page.get_by_role("button", name="Add tag")).to_have_count(0)


def test_the_account_page(visit: Visit) -> None:
    """It says with which key one is signed in, and until when."""
    page = visit.open("/settings/account", ".facts")
    expect(page.locator(".facts")).to_contain_text("first admin key")
