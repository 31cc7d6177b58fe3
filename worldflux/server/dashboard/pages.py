"""The pages: one HTML frame each, whose module asks the API for the rest."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.responses import HTMLResponse, RedirectResponse, Response

from worldflux import __version__
from worldflux.server import sessions
from worldflux.server.auth import SESSION_COOKIE
from worldflux.server.core import Core, CoreDep
from worldflux.server.dashboard.assets import plotly, tree
from worldflux.server.problems import not_found

#: What a page may load and do. Styles come from files only; the plot library is content with that
#: because it finds its style elements there already (see `assets.Plotly`). Pictures of a shared run
#: are fetched with its token and shown from memory, hence `blob:`.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
    "connect-src 'self'; font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=()",
}
SECTIONS = ("keys", "members", "trusted-keys", "audit", "storage", "shares", "projects", "account")

#: Page -> module that runs it and its own style sheets, after those every page has.
_PAGES = {
    "runs": ("js/table/page.js", ("grid",)),
    "run": ("js/run/page.js", ("run", "plot")),
    "compare": ("js/compare/page.js", ("run", "compare", "plot")),
    "settings": ("js/settings/page.js", ("settings",)),
    "share": ("js/share.js", ("grid", "run", "plot")),
    "login": ("js/login.js", ("login",)),
}
_COMMON = ("base", "controls")

router = APIRouter(include_in_schema=False)


@lru_cache(maxsize=1)
def _frames() -> Environment:
    folder = Path(__file__).parent / "templates"
    loader = FileSystemLoader(folder)
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, auto_reload=False)


def load() -> None:
    """Read what pages are made of, so that they stay of one version whatever happens to the files."""
    tree()
    _frames().get_template("frame.html")


def inert(facts: dict[str, Any]) -> Markup:
    """JSON that no HTML parser can leave: it may stand in a script element."""
    text = json.dumps(facts, ensure_ascii=True, separators=(",", ":"))
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


def relative(target: str | None) -> str:
    """Where to go after signing in: a path of this server, or the start page for anything else."""
    if not target or len(target) > 2000 or not target.startswith("/"):
        return "/"
    if (
        target[1:2] in ("/", "\\")
        or "\\" in target
        or any(ord(unit) < 0x21 or ord(unit) == 0x7F for unit in target)
    ):
        return "/"
    return target


def frame(page: str, facts: dict[str, Any], *, nav: bool = True, home: str = "/") -> HTMLResponse:
    """One page.

    Args:
        page: a key of `_PAGES`.
        facts: what its module knows from the start.
        nav: whether to offer the other pages.
        home: where the mark in the corner leads.
    """
    files, (module, styles) = tree(), _PAGES[page]
    library = plotly() if "plot" in styles else None
    known = {"page": page, "version": __version__, "share": None, "session": None, "writable": False, **facts}
    if library is not None:
        known["plotly"] = library.url
    html = (
        _frames()
        .get_template("frame.html")
        .render(
            page=page,
            nav=nav,
            home=home,
            icon=files.url("icon.svg"),
            theme=files.url("js/theme.js"),
            styles=[files.url(f"css/{name}.css") for name in (*_COMMON, *styles) if name != "plot"],
            # The library writes its rules into the sheet of this id instead of a style element of its own.
            plot_style=files.url("css/plot.css") if library else None,
            modules=files.modules(module),
            style_ids=library.style_ids if library else (),
            boot=inert(known),
        )
    )
    return HTMLResponse(html, headers=HEADERS)


def _signed_in(core: Core, request: Request, page: str, **facts: Any) -> Response:
    cookie = request.cookies.get(SESSION_COOKIE, "")
    session = sessions.find(core, cookie) if cookie else None
    if session is None:
        here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(f"/login?next={quote(relative(here), safe='')}", 303, headers=HEADERS)
    return frame(page, {"session": session.shown(), "writable": "runs:write" in session.scopes, **facts})


@router.get("/")
def all_runs(core: CoreDep, request: Request) -> Response:
    """The runs of the workspace."""
    return _signed_in(core, request, "runs", project="")


@router.get("/p/{project}")
def project_runs(core: CoreDep, request: Request, project: str) -> Response:
    """The runs of a project."""
    return _signed_in(core, request, "runs", project=project)


@router.get("/runs/{run_id}")
def one_run(core: CoreDep, request: Request, run_id: str) -> Response:
    """One run."""
    return _signed_in(core, request, "run", run=run_id)


@router.get("/compare")
def compare(core: CoreDep, request: Request) -> Response:
    """Runs side by side."""
    return _signed_in(core, request, "compare")


@router.get("/settings")
def settings() -> Response:
    """The first of the settings' pages."""
    return RedirectResponse("/settings/keys", 303, headers=HEADERS)


@router.get("/settings/{section}")
def settings_section(core: CoreDep, request: Request, section: str) -> Response:
    """Keys, members, shares and what else a workspace has."""
    if section not in SECTIONS:
        raise not_found("page")
    return _signed_in(core, request, "settings", section=section)


@router.get("/login")
def login(core: CoreDep, request: Request) -> Response:
    """The way in; who is in already goes on."""
    target = relative(request.query_params.get("next"))
    cookie = request.cookies.get(SESSION_COOKIE, "")
    if cookie and sessions.find(core, cookie) is not None:
        return RedirectResponse(target, 303, headers=HEADERS)
    return frame("login", {"next": target}, nav=False)


@router.get("/s/{token}")
def shared(token: str) -> Response:
    """What a share shows to whoever has its address; the API decides whether the token holds."""
    return frame("share", {"share": token[:100]}, nav=False, home=f"/s/{quote(token[:100], safe='')}")
