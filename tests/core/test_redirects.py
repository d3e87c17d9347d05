"""Redirect URIs: refused when stored, untouched when used."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joinder.services.join.redirects import MAX_LENGTH, problem_with, with_result

GOOD = [
    "https://app.example/cb", "https://app.example", "https://app.example/", "https://app.example:8443/cb",
    "https://app.example/cb?tenant=7", "https://app.example/cb?a=1&a=2&b", "https://app.example/%7Euser/cb",
    "https://xn--bcher-kva.example/cb", "https://192.0.2.1/cb", "https://[2001:db8::1]/cb",
    "https://[2001:db8::1]:8443/cb", "HTTPS://App.Example/cb", "http://127.0.0.1/cb", "http://127.0.0.1:3000/cb",
    "http://localhost:3000/cb", "http://[::1]:3000/cb", "https://app.example/cb/?", "https://app.example/a'b(c)",
]  # fmt: skip
HOSTILE = [
    "", " ", "cb", "/cb", "//evil.example", "//evil.example/cb", "https:evil.example", "https:/evil.example",
    "https:///evil.example", "https://", "https://?x", "https://#x", "https://:443/", "http://app.example/cb",
    "http://127.0.0.1.evil.example/", "http://localhost.evil.example/", "http://127.0.0.2/", "http://127.1/",
    "http://2130706433/", "http://0x7f000001/", "http://[::]/", "http://[::ffff:127.0.0.1]/", "http://0.0.0.0/",
    "https://a@b/", "https://a:b@c/", "https://@b/", "https://:@b/", "https://app.example@evil.example/",
    "http://localhost:80@evil.example/cb", "http://127.0.0.1:80@evil.example/", "https://app.example%40evil.example/",
    "https://app.example/cb#", "https://app.example/cb#frag", "https://app.example#@evil.example/",
    "https://*.example/cb", "https://app.example/*", "https://app.example\\@evil.example/", "https://app.example\\cb",
    "https:\\\\evil.example", "\\\\evil.example", "https://app.example/c b", "https://app.example/cb\n",
    "\nhttps://app.example/cb", "https://app.example/cb\r\nSet-Cookie: a=b", "https://app.example/\tcb",
    "https://app.exa\tmple/", "https://app.example/\x00", "https://app.example/\x7f", "\x01https://app.example/",
    "https://bücher.example/cb", "https://app.example/ü", "https://аpp.example/", "https://app。example/",
    "javascript:alert(1)", "javascript://app.example/%0aalert(1)", "data:text/html,x", "file:///etc/passwd",
    "ftp://app.example/", "blob:https://app.example/x", "urn:ietf:wg:oauth:2.0:oob", "myapp://cb", "about:blank",
    "https://app.example:99999/", "https://app.example:-1/", "https://app.example:/", "https://app.example:x/",
    "https://app.example:0443/", "https://[::1", "https://::1/", "https://[app.example]/", "https://[v1.x]/",
    "https://[fe80::1%25eth0]/", "https://app%2eexample/", "https://%61pp.example/", "https://-app.example/",
    "https://app.example./cb", "https://.app.example/", "https://app_x.example/", "https://app.example,evil.example/",
    "https://app.example;evil.example/", 'https://app.example/"onload="', "https://app.example/<script>",
    "https://app.example/{x}", "https://app.example/|", "https://app.example/^", "https://app.example/`id`",
    "https://app.example/" + "a" * MAX_LENGTH,
]  # fmt: skip


@pytest.mark.parametrize("uri", GOOD)
def test_a_usable_redirect_uri_is_accepted(uri):
    assert problem_with(uri) is None


@pytest.mark.parametrize("uri", HOSTILE, ids=lambda uri: ascii(uri)[:50])
def test_a_hostile_redirect_uri_is_refused_with_a_reason(uri):
    problem = problem_with(uri)
    assert problem is not None
    assert problem.startswith(("must ", "is not "))


def test_the_longest_allowed_uri_is_accepted():
    start = "https://app.example/"
    assert problem_with(start + "a" * (MAX_LENGTH - len(start))) is None


@given(st.text(max_size=80))
def test_no_text_breaks_the_check(text):
    for uri in (text, f"https://{text}", f"https://app.example/{text}", f"http://localhost:{text}"):
        problem = problem_with(uri)
        if problem is None:
            parts = urlsplit(uri)
            assert parts.hostname
            assert parts.scheme in ("https", "http")
            assert uri.isascii()
            assert not set(uri) & set(' \t\r\n#"<>\\')


@pytest.mark.parametrize("uri", GOOD)
def test_results_are_appended_and_nothing_else_changes(uri):
    used = with_result(uri, state="a&b=c #d", error=None, enrollment="enrl-1")
    assert used.startswith(uri)
    before, after = parse_qsl(urlsplit(uri).query), parse_qsl(urlsplit(used).query)
    assert after == [*before, ("state", "a&b=c #d"), ("enrollment", "enrl-1")]
    assert urlsplit(used)[:3] == urlsplit(uri)[:3]
    assert not urlsplit(used).fragment


@pytest.mark.parametrize("uri", GOOD)
def test_without_results_the_uri_is_exactly_the_stored_one(uri):
    assert with_result(uri, state=None) == uri


@given(st.text(max_size=60))
def test_a_state_comes_back_exactly_and_injects_nothing(state):
    used = with_result("https://app.example/cb?a=1", state=state)
    assert used.isascii()
    assert not set(used) & set(" \r\n\t#<>\"'")
    assert parse_qsl(urlsplit(used).query, keep_blank_values=True) == [("a", "1"), ("state", state)]
