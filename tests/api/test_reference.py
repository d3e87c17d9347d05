"""/docs is the API as a page: whole in the wheel, strict in what a browser may do with it."""

from __future__ import annotations

import hashlib
import re

import httpx
import pytest

from api.fakes import assert_problem

DATABASES = ("sqlite",)  # nothing here reads the database
FROM_NPM = {  # of swagger-ui-dist 5.35.0
    "swagger-ui-bundle.js": "e6a898692f2d768e807c3ba4626068a69a2c5dd960dd6c76f3e4d3a3de180af2",
    "swagger-ui.css": "5ed08757e53da3e026d6cbecc61fe5d43585c9560b302d534ad56692519a273d",
}


async def test_the_page_loads_nothing_from_anybody_else(anonymous: httpx.AsyncClient) -> None:
    page = await anonymous.get("/docs")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert not re.search(r"unsafe|https?:|\*", policy)
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert {"/docs/swagger-ui.css", "/docs/swagger-ui-bundle.js", "/docs/start.js", "/openapi.json"} <= set(loaded)
    assert not re.search(r"<script[^>]*>[^<]|<style|\son\w+=", page.text)
    for path in loaded:
        if path != "data:,":
            assert path.startswith("/")
            assert (await anonymous.get(path)).status_code == 200, path
    start = (await anonymous.get("/docs/start.js")).text
    assert not re.search(r"https?://", start)
    assert "validatorUrl: null" in start


@pytest.mark.parametrize("name", FROM_NPM)
async def test_its_files_are_those_of_the_release(anonymous: httpx.AsyncClient, name: str) -> None:
    for accepted in ("gzip", "identity"):
        answer = await anonymous.get(f"/docs/{name}", headers={"accept-encoding": accepted})
        assert answer.headers.get("content-encoding") == ("gzip" if accepted == "gzip" else None)
        assert answer.headers["vary"] == "accept-encoding"
        assert hashlib.sha256(answer.content).hexdigest() == FROM_NPM[name]


async def test_nothing_else_of_its_folder_is_served(anonymous: httpx.AsyncClient) -> None:
    for name in ("page.html", "__init__.py", "LICENSE", "swagger-ui.css.gz", "..%2fapp.py", "%2e%2e"):
        assert_problem(await anonymous.get(f"/docs/{name}"), 404, "not-found")
