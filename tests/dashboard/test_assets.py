"""Files and frames as they are sent."""

from __future__ import annotations

import gzip
import re

import pytest
import requests
from server_process import Server

from worldflux.server.dashboard import assets, pages

FILES = assets.tree().files


def get(site: Server, path: str, **headers: str) -> requests.Response:
    return requests.get(site.url + path, headers=headers, timeout=30, allow_redirects=False)


def test_the_policy_allows_files_of_this_server_only() -> None:
    """Scripts, styles, pictures and requests come from the server itself; nothing inline, nothing evaluated."""
    rules = dict(rule.strip().split(" ", 1) for rule in pages.POLICY.split(";"))
    assert (
        rules["default-src"] == "'none'"
        and rules["script-src"] == "'self'"
        and rules["style-src"] == "'self'"
    )
    assert (
        rules["frame-ancestors"] == "'none'"
        and rules["base-uri"] == "'none'"
        and rules["connect-src"] == "'self'"
    )
    assert "unsafe" not in pages.POLICY and "http" not in pages.POLICY


@pytest.mark.parametrize("path", ["/login", "/", "/runs/x", "/compare", "/settings/keys", "/s/wfs_x"])
def test_every_page_has_the_policy(site: Server, path: str) -> None:
    """No page is sent without the headers that keep it safe, redirects included."""
    answer = get(site, path)
    assert answer.headers["Content-Security-Policy"] == pages.POLICY
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-store"
    assert not re.search(r"<script(?![^>]*(src=|application/json))|<style|\son\w+=|style=", answer.text)


def test_no_file_names_another_host() -> None:
    """No style and no module has an address elsewhere, but for the names of namespaces."""
    for name, file in FILES.items():
        found = set(re.findall(r"https?://[\w.-]+", file.body.decode())) - {"http://www.w3.org"}
        assert not found, (name, found)


def test_no_module_parses_html() -> None:
    """Nothing turns text into elements or code."""
    danger = re.compile(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc"
    )
    assert [name for name, file in FILES.items() if danger.search(file.body.decode())] == []


def test_each_import_is_there() -> None:
    """Every module that is imported exists, so no page breaks half-way."""
    for name, file in FILES.items():
        for target in re.findall(r"""(?:from|import)\s*\(?["'](\.[^"']+)["']""", file.body.decode()):
            assert assets._beside(name, target) in FILES, (name, target)


@pytest.mark.parametrize("page", sorted(pages._PAGES))
def test_a_page_weighs_little(page: str) -> None:
    """Frame, styles and modules together are below 300 kB before the plot library, even without compression."""
    module, styles = pages._PAGES[page]
    files = [url.split("/", 3)[3] for url in assets.tree().modules(module)]
    files += [f"css/{name}.css" for name in (*pages._COMMON, *styles)] + ["js/theme.js", "icon.svg"]
    assert sum(len(FILES[name].body) for name in files) < 300_000


def test_files_are_kept_for_ever_under_their_digest(site: Server) -> None:
    """A file's address holds the digest of all; an older address is answered, and not kept."""
    url = assets.tree().url("js/dom.js")
    answer = get(site, url, **{"Accept-Encoding": "gzip"})
    assert answer.headers["Cache-Control"] == assets.FOREVER and answer.headers["Content-Encoding"] == "gzip"
    assert answer.content == FILES["js/dom.js"].body
    assert get(site, url, **{"If-None-Match": answer.headers["ETag"]}).status_code == 304
    plain = get(site, url, **{"Accept-Encoding": "identity"})
    assert "Content-Encoding" not in plain.headers and plain.content == answer.content
    assert get(site, "/static/0000/js/dom.js").headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize(
    "name", ["../pages.py", "js/../../pages.py", "%2e%2e/pages.py", "/etc/passwd", "js", "js/none.js"]
)
def test_only_files_of_the_tree_are_sent(site: Server, name: str) -> None:
    """No path leads out of the folder of files."""
    assert get(site, f"/static/{assets.tree().build}/{name}").status_code == 404


def test_the_plot_library_comes_from_its_package(site: Server) -> None:
    """The very file of the installed package is sent, under its own digest, compressed."""
    found = assets.plotly()
    assert found is not None and found.style_ids
    answer = get(site, found.url, **{"Accept-Encoding": "gzip"})
    assert answer.content == found.path.read_bytes()
    assert answer.headers["Cache-Control"] == assets.FOREVER
    assert int(answer.headers["Content-Length"]) < 0.4 * len(answer.content)


def test_facts_in_a_page_can_not_leave_their_element() -> None:
    """Whatever a fact holds, the JSON in the page has no character that an HTML parser acts on."""
    text = str(pages.inert({"a": "</script><!--<script>&\u2028"}))
    assert not set("<>&\u2028") & set(text)


def test_packing_is_reproducible() -> None:
    """Two servers send the same bytes for the same file."""
    first, second = (assets._file(b"x" * 1000, ".css") for _ in range(2))
    assert first == second and first.packed is not None and gzip.decompress(first.packed) == b"x" * 1000
