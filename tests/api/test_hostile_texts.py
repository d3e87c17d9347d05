"""S23 S25: what others named steers nobody who reads a page, a problem, or the terminal it is printed to."""

from __future__ import annotations

from html.parser import HTMLParser
from urllib.parse import quote, urljoin, urlsplit

import httpx
import pytest
from sqlalchemy import text

from api.fakes import Vendors, begin, new_flow
from api.test_join import form_of, send
from hostile import HOSTILE, unseen
from joinder import errors
from joinder.runtime.hub import Hub
from joinder.services.refusals import Invalid

DATABASES = ("sqlite",)
ELEMENTS = {"script", "img", "iframe", "object", "svg"}
KINDS = {**HOSTILE, "elements": "<script>x()</script>\"'><img src=x onerror=x()><a href=javascript:x()>y</a>"}


class Elements(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.attributes: set[str] = set()
        self.leads_to: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.attributes |= {name for name, _ in attrs}
        self.leads_to += [value or "" for name, value in attrs if name == "href" and tag == "a"]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_form_shows_every_name_as_it_is(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, hub: Hub, vendors: Vendors, kind: str
) -> None:
    """The account's name, the vendor's words, and what was typed before."""
    name = KINDS[kind][:300]
    session = await begin(browser, await new_flow(api, "boxy"))
    form_token = await form_of(browser, session)
    async with hub.store.write() as stored:
        await stored.execute(text("UPDATE account SET name = :name"), {"name": name})
    vendors.boxy.failures["handle_callback"] = errors.ConsentInvalid(name, fields={"host": name, "note": name})
    answer = await send(browser, session, form_token=form_token, host=name[:90], token="x", note=name[:90])
    again = await browser.get(f"/join/sessions/{session}")
    assert (again.status_code, answer.status_code) == (200, 422)
    for page in (again, answer):
        assert unseen(page.text.replace("\t", " ")) == set()
        found = Elements(page.text)
        assert not ELEMENTS & set(found.seen)
        assert all(place.startswith("#") for place in found.leads_to)  # to the field that is wrong
        assert not [one for one in found.attributes if one.startswith("on")]


@pytest.mark.parametrize("path", ["//evil.example/x", "/%2Fevil.example/x", "///evil.example/x"])
async def test_a_problem_names_no_other_server(api: httpx.AsyncClient, path: str) -> None:
    answer = await api.get(f"{api.base_url}".rstrip("/") + path)
    assert answer.status_code == 404
    assert urlsplit(urljoin("https://joinder.example", answer.json()["instance"])).netloc == "joinder.example"


@pytest.mark.parametrize("kind", KINDS)
async def test_a_problem_is_cleaned_wherever_its_words_come_from(
    api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    name = KINDS[kind][:300]

    async def refused(*_: object, **__: object) -> None:
        raise Invalid(name, errors={f"/{name}": name})

    answers = [
        await api.get(f"/nothing/{quote(name, safe='')}"),
        await api.post("/webhooks", json={"url": "https://a.example/", name: 1}),
        await api.get("/enrollments", params={"vendor": name, "pageToken": name}),
    ]
    monkeypatch.setattr("joinder.services.events.webhooks.create", refused)
    answers.append(await api.post("/webhooks", json={"url": "https://a.example/"}))
    for answer in answers:
        assert answer.status_code in (400, 404)
        problem = answer.json()
        told = [problem["detail"], problem["instance"], problem["title"]]
        told += [word for entry in problem.get("errors", []) for word in entry.values()]
        assert unseen("".join(told)) == set()
        assert "\n" not in "".join(told)
        assert not set(problem["instance"]) & set('<>"{} \\^`|')  # it is a URI
