"""Identifiers say their kind and nothing else."""

from __future__ import annotations

import base64
import re
from typing import get_args

import pytest

from joinder import clock, ids
from joinder.ids import Tag, is_id, new_id, new_token, next_id

TAGS = get_args(Tag)


@pytest.mark.parametrize("tag", TAGS)
def test_an_id_has_its_tag_and_shape(tag):
    identifier = new_id(tag)
    assert re.fullmatch(rf"{tag}-[a-z2-7]{{16}}", identifier)
    assert is_id(identifier)
    assert is_id(identifier, tag)
    assert not any(is_id(identifier, other) for other in TAGS if other != tag)


def test_ids_do_not_repeat_and_use_every_bit():
    found = [base64.b32decode(new_id("site")[5:].upper()) for _ in range(5000)]
    assert len(set(found)) == 5000
    for bit in range(80):
        ones = sum(value[bit // 8] >> bit % 8 & 1 for value in found)
        assert 2000 < ones < 3000


def test_ids_of_what_happens_are_in_order_and_do_not_repeat(monkeypatch):
    monkeypatch.setattr(ids, "_LAST", [0])
    found = [next_id("evnt") for _ in range(5000)]
    assert found == sorted(set(found))
    assert all(is_id(identifier, "evnt") for identifier in found)
    monkeypatch.setattr(clock, "civil_time", lambda: 1_800_000_000.5)
    at_once = [next_id("dlvy") for _ in range(20_000)]  # while the clock stands still
    assert at_once == sorted(set(at_once))
    monkeypatch.setattr(clock, "civil_time", lambda: 4_000_000_000.0)
    later = next_id("dlvy")
    monkeypatch.setattr(clock, "civil_time", lambda: 1_800_000_000.5)  # put back
    assert at_once[-1] < later < next_id("dlvy")


@pytest.mark.parametrize(
    "text",
    [
        "", "site", "site-", "site-abcdefghijklmno", "site-abcdefghijklmnopq", "site-ABCDEFGHIJKLMNOP",
        "Site-abcdefghijklmnop", "site-abcdefghijklmn01", "site-abcdefghijklmnop\n", " site-abcdefghijklmnop",
        "site_abcdefghijklmnop", "site-abcdefghijklmno%", "site-abcdefghijklmnoé", "sit-abcdefghijklmnop",
        "../../etc/passwd", "site-abcdefghijklmnop' OR 1=1", "site-abcdefghijklmnop/x", "٣٣٣٣-abcdefghijklmnop",
    ],
)  # fmt: skip
def test_other_text_is_no_id(text):
    assert not is_id(text)
    assert not is_id(text, "site")


def test_tokens_carry_256_bits_and_fit_into_urls():
    tokens = [new_token() for _ in range(500)]
    assert len(set(tokens)) == 500
    assert all(re.fullmatch(r"[\w-]{43}", token, re.ASCII) for token in tokens)
