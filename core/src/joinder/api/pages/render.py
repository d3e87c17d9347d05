"""Pages out of templates, with the headers a page for strangers needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar import Response
from litestar.datastructures import Cookie
from markupsafe import Markup, escape

from joinder import virtual
from joinder.api.pages.catalogue import Catalogue
from joinder.clean import clean_text
from joinder.services.join.browser_sessions import authorize_path
from joinder.services.join.hosted_forms import Fault, Form
from joinder.services.join.intros import Choice, Intro
from joinder.services.join.join_ends import JoinRefused
from joinder.services.join.landings import Landing
from joinder.services.join.owner_links import Connection, Receipt
from joinder.services.join.redirects import with_result
from joinder.services.records.brands import Brand
from joinder.vendor import Vendor

HERE = Path(__file__).parent
HEADERS = {
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
POLICY = "default-src 'none'; style-src 'self'; img-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action "
VIRTUAL_CHOICES: tuple[tuple[str, dict[str, str]], ...] = (  # what a virtual owner does, and what the vendor answers
    ("virtual_yes", {"code": virtual.GRANTS}),
    ("virtual_no", {"error": "access_denied"}),
    ("virtual_fails", {"error": "server_error"}),
    ("virtual_approves", {"code": virtual.APPROVES}),
    ("virtual_rejects", {"code": virtual.REJECTS}),
)
_FAULTS: dict[Fault, str] = {"missing": "form_missing", "too long": "form_too_long", "not chosen": "form_not_chosen"}
REASON_TOLD = ("needs_consent", "rejected")  # the operator's own troubles are none of the owner's


@dataclass(frozen=True, kw_only=True)
class Look:
    """In which language a page speaks, and for whom; no brand where nobody knows who asked."""

    language: Catalogue
    brand: Brand | None = None
    locale: str | None = None  # as the link asked for; links of the page keep it

    def label(self, name: str, **values: str) -> str:
        return self.language.labels[name].format(**self.named(values))

    def named(self, values: Mapping[str, str]) -> dict[str, str]:
        """Returns the placeholders of a sentence."""
        return {"account": self.brand.name if self.brand else "?", "vendor": "?", **values}

    def day(self, at: int) -> str:
        """Writes a day of UTC as people of this language do."""
        when = datetime.fromtimestamp(at, UTC)
        month = self.language.labels["months"].split()[when.month - 1]
        return self.label("date", day=str(when.day), month=month, year=str(when.year))

    def minute(self, at: int) -> str:
        return f"{self.day(at)}, {datetime.fromtimestamp(at, UTC):%H:%M}"

    def vendors(self, text: str, vendor: Vendor | None) -> Markup:
        """Returns a vendor's own sentence in this language, or marked as English for those who hear it read."""
        found = self.language.translated(text, vendor)
        if found is not None:
            return escape(clean_text(found))
        return Markup('<span lang="en" dir="ltr">{}</span>').format(clean_text(text))

    def sentence(self, text: str, vendor: Vendor | None) -> Markup:
        """Returns a vendor's own words with the end that a sentence has which another follows."""
        told = self.vendors(text, vendor)
        return told if told.striptags().endswith((".", "!", "?")) else told + "."


def ending(
    look: Look,
    code: str,
    *,
    status: int,
    vendor: str = "?",
    said: Markup | None = None,
    way_back: str | None = None,
    restart_url: str | None = None,
    own_url: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response[str]:
    """Says how it ended, what to do, and every way on."""
    page = look.language.pages[code]
    named = look.named({"vendor": vendor})
    html = _page(
        "ending.html",
        look,
        vendor_label=vendor,
        title=page.title.format(**named),
        happened=page.happened.format(**named),
        todo=page.todo.format(**named),
        said=said,
        way_back=way_back,
        restart_url=restart_url,
        restart_label=look.label("choose_brand" if code == "vendor_not_offered" else "start_again"),
        own_url=own_url,
    )
    return _html(html, status, headers)


def refusal(look: Look, error: JoinRefused, vendor: str | None) -> Response[str]:
    wait = {"retry-after": str(error.retry_after_s)} if error.retry_after_s is not None else {}
    return ending(
        look,
        error.code,
        status=error.status,
        vendor=vendor or error.vendor or "?",
        way_back=error.way_back,
        restart_url=error.restart_url,
        headers=wait,
    )


def landing(look: Look, shown: Landing) -> Response[str]:
    label = shown.vendor.label if shown.vendor else shown.vendor_name
    return ending(
        look,
        shown.code,
        status=shown.status,
        vendor=label,
        said=look.vendors(shown.said, shown.vendor) if shown.said else None,
        way_back=shown.way_back,
        restart_url=shown.restart_url,
        own_url=shown.own_url,
    )


def choose(look: Look, choice: Choice) -> Response[str]:
    choices = [
        {"label": vendor.label, "url": authorize_path(choice.flow_id, vendor.name, choice.labels, look.locale)}
        for vendor in choice.vendors
    ]
    return _html(_page("choose.html", look, choices=choices), 200)


def intro(look: Look, shown: Intro, go_url: str) -> Response[str]:
    """Says who asks, and what is read, before the owner leaves."""
    vendor = shown.vendor
    html = _page(
        "intro.html",
        look,
        vendor=vendor,
        vendor_label=vendor.label,
        go_url=go_url,
        way_back=shown.way_back,
        lands=shown.lands,
    )
    return _html(html, 200)


def form(
    look: Look,
    shown: Form,
    *,
    status: int = 200,
    values: Mapping[str, str] | None = None,
    errors: Mapping[str, Markup | str] | None = None,
    retry_after_s: int | None = None,
) -> Response[str]:
    """The hosted form; what was typed into secret fields is never sent back."""
    html = _page(
        "form.html",
        look,
        vendor=shown.vendor,
        vendor_label=shown.vendor.label,
        fields=shown.fields,
        question=shown.question,
        form_token=shown.form_token,
        lands=shown.lands,
        values=values or {},
        errors=errors or {},
    )
    wait = {"retry-after": str(retry_after_s)} if retry_after_s is not None else {}
    return _html(html, status, wait, _form_action(shown))


def entry_errors(look: Look, shown: Form, faulty: Mapping[str, Fault]) -> dict[str, Markup | str]:
    """Says what is missing or too long, field by field."""
    told: dict[str, Markup | str] = {}
    for entry in shown.fields:
        if entry.name in faulty:
            label = _FAULTS[faulty[entry.name]]
            field = str(look.language.translated(entry.label, shown.vendor) or entry.label)
            told[entry.name] = look.label(label, field=field, most=str(entry.max_length))
    return told


def connection(look: Look, shown: Connection, vendor: Vendor | None, *, is_ending: bool = False) -> Response[str]:
    """The owner's own page; `is_ending`: asks whether it is to end."""
    label, reason = vendor.label if vendor else shown.row.vendor, shown.row.health_reason
    html = _page(
        "end.html" if is_ending else "connection.html",
        look,
        vendor=vendor,
        vendor_label=label,
        shown=shown,
        since=look.day(shown.row.created_at),
        last_read=look.minute(shown.last_read_at) if shown.last_read_at else look.label("own_never"),
        state=look.language.states[shown.state].format(**look.named({"vendor": label})),
        reason=look.vendors(reason, vendor) if reason and shown.state in REASON_TOLD else None,
        page_url=with_result("/join/connection", link=shown.link, ui_locales=look.locale),
        end_url=with_result("/join/connection/end", link=shown.link, ui_locales=look.locale),
    )
    return _html(html, 200, form_action="'self'")


def receipt(look: Look, shown: Receipt, vendor: Vendor | None) -> Response[str]:
    label = vendor.label if vendor else shown.vendor
    named = look.named({"vendor": label, "account": shown.asked_by})
    html = _page(
        "receipt.html",
        look,
        vendor=vendor,
        vendor_label=label,
        shown=shown,
        given=look.minute(shown.given_at),
        ended=look.minute(shown.ended_at) if shown.ended_at else None,
        made=look.minute(shown.made_at),
        how=look.language.revoked[shown.how or "none"].format(**named) if shown.ended_at else None,
    )
    return _html(html, 200)


def virtual_owner(look: Look, back: str, state: str, owner: str) -> Response[str]:
    """The page on which a virtual owner decides: every choice is a link to the callback, as a vendor would answer."""
    choices = [
        {"label": look.label(label), "url": with_result(back, state=state, **_as_owner(answer, owner))}
        for label, answer in VIRTUAL_CHOICES
    ]
    return _html(_page("virtual.html", look, choices=choices, owner=owner), 200)


def _as_owner(answer: Mapping[str, str], owner: str) -> dict[str, str]:
    return {**answer, "owner": owner} if "code" in answer else dict(answer)


def home(look: Look, status: int = 200) -> Response[str]:
    return _html(_page("home.html", look), status)


def see_other(url: str, cookies: Sequence[Cookie] = ()) -> Response[str]:
    """303, never 307: a form's body must not be sent on (RFC 9700 §4.12)."""
    return Response("", status_code=303, headers={**HEADERS, "location": url}, cookies=cookies)


@cache
def stylesheet() -> bytes:
    return (HERE / "style.css").read_bytes()


@cache
def icon() -> bytes:
    return (HERE / "icon.svg").read_bytes()


def _form_action(shown: Form) -> str:
    """Browsers apply it to the redirects after the form too, and those lead to the integrator and on."""
    return "'self' https:" + (" http:" if shown.leads_to.startswith("http:") else "")


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
        finalize=lambda value: clean_text(value) if isinstance(value, str) and not isinstance(value, Markup) else value,
        undefined=StrictUndefined,
        trim_blocks=True,
    )


def _page(template: str, look: Look, **values: Any) -> str:
    return _templates().get_template(template).render(look=look, brand=look.brand, **values)
