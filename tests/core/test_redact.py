"""No secret leaves in text: by its value while it lives, by its shape always."""

from __future__ import annotations

import copy
import gc
import io
import json
import logging
import pickle
from typing import Literal

import msgspec
import pytest

from joinder.errors import ConsentInvalid, PluginBug
from joinder.observe.logs import formatter
from joinder.redact import MASK, Secrets, redact, redact_code

JWT = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiI0MiJ9.c2lnbmF0dXJl"
LEAK = "hunter2hunter2"

SHAPES = [
    JWT,
    f"token is {LEAK}".replace("token is ", "access_token="),
    f"Authorization: Bearer {LEAK}",
    f"authorization: bearer {LEAK}",
    f"Authorization: Basic {LEAK}==",
    f"GET /v4/systems?key={LEAK}&size=1",
    f"GET /sites/list?api_key={LEAK}",
    f"GET /sites/list?size=1&apikey={LEAK}",
    f"x-api-key: {LEAK}",
    f"/callback?code={LEAK}&state=abc",
    f"/callback?a=1&state={LEAK}",
    f"code_verifier={LEAK}",
    f"client_secret={LEAK}",
    f"clientSecret: {LEAK}",
    f"keySecret={LEAK}",
    f"session_token={LEAK}",
    f"csrf_token={LEAK}",
    f"user_password={LEAK}",
    f"username={LEAK}",
    f'{{"access_token": "{LEAK}", "token_type": "bearer"}}',
    f'{{"refresh_token":"{LEAK}"}}',
    f'{{"id_token" : "{LEAK}"}}',
    f"{{'password': '{LEAK}'}}",
    f"{{'password': b'{LEAK}'}}",
    f"{{b'client_secret': b'{LEAK}'}}",
    '{\\"access_token\\":\\"' + LEAK + '\\"}',
    f"Cookie: sessionId={LEAK}",
    f"Cookie: a=1; theme=dark; other={LEAK}",
    f"Set-Cookie: sid={LEAK}; HttpOnly",
    f"{{'cookie': 'a=1; sid={LEAK}'}}",
    f"Headers([(b'cookie', b'sid={LEAK}')])".replace("', b'", "': b'"),
    f"grant_type=refresh_token&refresh_token={LEAK}&client_id=x",
]


@pytest.mark.parametrize("text", SHAPES)
def test_what_looks_like_a_secret_is_masked(text):
    cleaned = redact(f"before {text} after")
    assert LEAK not in cleaned
    assert JWT not in cleaned
    assert MASK in cleaned
    assert cleaned.startswith("before ")


HARMLESS = [
    "plugin enphase disabled: hooks missing: refresh",
    "GET api.enphaseenergy.com/api/v4/systems answered 503",
    "token_type is bearer",
    "The vendor no longer accepts this consent",
    "invalid_grant at 2026-11-21T12:00:00Z",
    "KeyError at mapping.py:12",
    "enrl-abcdefghijklmnop of site-abcdefghijklmnop",
]


@pytest.mark.parametrize("text", HARMLESS)
def test_ordinary_text_stays_as_it_is(text):
    assert redact(text) == text


def test_a_live_secret_is_masked_wherever_it_stands():
    secrets = Secrets({"odd": "Tr0ub4dor&3"})
    assert redact(f"x{secrets['odd']}y") == f"x{MASK}y"


@pytest.mark.parametrize(
    ("value", "form"),
    [
        ("a/b+c==d&e", "a%2Fb%2Bc%3D%3Dd%26e"),
        ("correct horse battery", "correct+horse+battery"),
        ("correct horse battery", "correct%20horse%20battery"),
        ("line one\nline two", "line one\\nline two"),
    ],
)
def test_a_live_secret_is_masked_in_its_encoded_forms(value, form):
    secrets = Secrets({"odd": value})
    assert form not in redact(f"x{form}y")
    assert secrets["odd"] == value


def test_a_secret_that_begins_like_another_hides_both():
    short, long = Secrets({"a": "prefix-"}), Secrets({"b": "prefix-remainder-of-it"})
    for _ in range(3):
        assert redact(f"<{long['b']}><{short['a']}>") == f"<{MASK}><{MASK}>"


def test_a_secret_is_forgotten_with_its_mapping():
    value = "forgotten-value-1"
    secrets = Secrets({"odd": value})
    assert redact(value) == MASK
    del secrets
    gc.collect()
    assert redact(value) == value


def test_values_too_short_to_be_secrets_do_not_blank_the_text():
    secrets = Secrets({"region": "eu", "empty": "", "digit": "1"})
    assert redact("europe has 1 sun") == "europe has 1 sun"
    assert len(secrets) == 3


SHOWN = [repr, str, "{}".format, "%s".__mod__, "{!r}".format, lambda secrets: f"{[secrets]} {secrets!s}"]


@pytest.mark.parametrize("show", SHOWN)
def test_secrets_show_their_names_only(show):
    shown = show(Secrets({"access_token": LEAK}))
    assert LEAK not in shown
    assert "access_token" in shown


@pytest.mark.parametrize(
    "leave", [pickle.dumps, copy.copy, copy.deepcopy, json.dumps, msgspec.json.encode, msgspec.msgpack.encode]
)
def test_secrets_cannot_leave_the_process(leave):
    with pytest.raises(TypeError):
        leave(Secrets({"access_token": LEAK}))


@pytest.mark.parametrize("value", [None, 7, b"bytes", ["list"], Secrets({})])
def test_a_secret_that_is_no_text_is_refused_at_once(value):
    with pytest.raises(TypeError):
        Secrets({"access_token": value})
    assert redact("still works") == "still works"


def test_secrets_are_read_only():
    secrets = Secrets({"access_token": LEAK})
    with pytest.raises(TypeError):
        secrets["access_token"] = "other"  # type: ignore[index]
    with pytest.raises(AttributeError):
        secrets.other = "x"  # type: ignore[attr-defined]


def test_secrets_do_not_change_with_the_mapping_they_were_made_of():
    source = {"access_token": LEAK}
    secrets = Secrets(source)
    source["access_token"] = "other"
    assert secrets["access_token"] == LEAK


def test_errors_redact_their_text_detail_and_fields():
    bug = PluginBug(f"failed with key={LEAK}", detail=f"Bearer {LEAK}")
    wrong = ConsentInvalid("no", fields={"token": f"token={LEAK}"})
    assert LEAK not in f"{bug} {bug!r} {bug.detail} {wrong.fields}"


def log_line(log: object, format: Literal["json", "text"]) -> str:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter(format))
    logger = logging.Logger("test")  # noqa: LOG001 - with no parent that could log as well
    logger.addHandler(handler)
    log(logger)  # type: ignore[operator]
    return stream.getvalue()


def raise_and_log(logger: logging.Logger) -> None:
    try:
        try:
            raise ValueError(f"https://api.example/?api_key={LEAK}")
        except ValueError as error:
            raise RuntimeError(f"Bearer {LEAK}") from error
    except RuntimeError:
        logger.exception("failed with %s", JWT)


@pytest.mark.parametrize("format", ["json", "text"])
@pytest.mark.parametrize(
    "log",
    [
        lambda logger: logger.debug("key=%s", LEAK),
        lambda logger: logger.info("%s", {"refresh_token": LEAK}),
        lambda logger: logger.warning(f"GET /?api_key={LEAK}"),  # noqa: G004
        lambda logger: logger.error("%(token)s", {"token": f"token={LEAK}"}),
        lambda logger: logger.critical("%s", Secrets({"a": LEAK})),
        lambda logger: logger.critical("password: %s", LEAK, stack_info=True),
        raise_and_log,
    ],
)
def test_log_lines_hold_no_secret_at_any_level(log, format):
    line = log_line(log, format)
    assert MASK in line
    assert LEAK not in line
    assert JWT not in line


@pytest.mark.parametrize("format", ["json", "text"])
def test_a_traceback_is_still_readable(format):
    assert "RuntimeError" in log_line(raise_and_log, format)
    assert "raise_and_log" in log_line(raise_and_log, format)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("token = await api.get(ctx, grant, path)", None),
        ("""cookie = answer.headers["set-cookie"]; raise ValueError(1)""", None),
        ("""headers = {"authorization": f"{grant.secrets['access_token']}"}""", None),
        ("""api_key = "abcdef123456", rest""", f"""api_key = "{MASK}", rest"""),
        ("""Secrets({"password": 'abcd efgh', "x": key})""", f"""Secrets({{"password": '{MASK}', "x": key}})"""),
        ("""f("Bearer abcdefgh12345678")""", f"""f("Bearer {MASK}")"""),
    ],
)
def test_a_line_of_source_stays_but_for_what_stands_in_quotes(line: str, told: str | None) -> None:
    assert redact_code(line) == (told or line)
