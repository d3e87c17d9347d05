"""Pages out of templates, with the headers a page for strangers needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar import Response
from litestar.datastructures import Cookie

from joinder.api.pages.texts import LABELS, PAGES, VIRTUAL_CHOICES
from joinder.clean import clean_text
from joinder.services.join.join_sessions import Choice, Form, authorize_path
from joinder.services.join.redirects import with_result

HERE = Path(__file__).parent
HEADERS = {
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
POLICY = "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action "


def message(
    code: str, *, status: int, restart_url: str | None = None, retry_after_s: int | None = None
) -> Response[str]:
    """Renders a page that says what happened and what to do."""
    title, happened, todo = PAGES[code]
    html = _page("message.html", title=title, happened=happened, todo=todo, restart_url=restart_url)
    wait = {"retry-after": str(retry_after_s)} if retry_after_s is not None else {}
    return _html(html, status, wait)


def _form_action(shown: Form) -> str:
    """Browsers apply it to the redirects after the form too, and those lead to the integrator and on."""
    return "'self' https:" + (" http:" if shown.leads_to.startswith("http:") else "")


def choose(choice: Choice) -> Response[str]:
    choices = [
        {
            "label": vendor.label,
            "url": authorize_path(choice.flow_id, vendor.name, choice.labels),
        }
        for vendor in choice.vendors
    ]
    return _html(_page("choose.html", choices=choices), 200)


def form(
    shown: Form,
    *,
    status: int = 200,
    values: Mapping[str, str] | None = None,
    errors: Mapping[str, str] | None = None,
    retry_after_s: int | None = None,
) -> Response[str]:
    """Renders the hosted form; what was typed into secret fields is never sent back."""
    html = _page(
        "form.html",
        vendor=shown.vendor,
        fields=shown.fields,
        question=shown.question,
        asked_by=shown.asked_by,
        title=LABELS["form_title"].format(vendor=shown.vendor.label),
        form_token=shown.form_token,
        values=values or {},
        errors=errors or {},
    )
    wait = {"retry-after": str(retry_after_s)} if retry_after_s is not None else {}
    return _html(html, status, wait, _form_action(shown))


def virtual_owner(back: str, state: str, owner: str) -> Response[str]:
    """The page on which a virtual owner decides: every choice is a link to the callback, as a vendor would answer."""
    ways = [
        (label, with_result(back, state=state, **{**answer, "owner": owner} if "code" in answer else answer))
        for label, answer in VIRTUAL_CHOICES
    ]
    return _html(_page("virtual.html", choices=[{"label": label, "url": url} for label, url in ways], owner=owner), 200)


def see_other(url: str, cookies: Sequence[Cookie] = ()) -> Response[str]:
    """Redirects with 303, never 307: a form's body must not be sent on (RFC 9700 §4.12)."""
    return Response("", status_code=303, headers={**HEADERS, "location": url}, cookies=cookies)


@cache
def stylesheet() -> bytes:
    return (HERE / "style.css").read_bytes()


def _html(
    html: str, status: int, headers: Mapping[str, str] | None = None, form_action: str = "'none'"
) -> Response[str]:
    return Response(
        html,
        status_code=status,
        media_type="text/html",
        headers={**HEADERS, "content-security-policy": POLICY + form_action, **(headers or {})},
    )


@cache
def _templates() -> Environment:
    return Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        finalize=lambda value: clean_text(value) if isinstance(value, str) else value,
        undefined=StrictUndefined,
        trim_blocks=True,
    )


def _page(template: str, **values: Any) -> str:
    return _templates().get_template(template).render(labels=LABELS, **values)
