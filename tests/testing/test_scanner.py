"""What looks like a secret, and what does not; the scanner knows nothing of the scrubber."""

from __future__ import annotations

import base64
import random
from pathlib import Path

import pytest

from joinder.testing.scanner import scan_text


def random_text(length: int, seed: int) -> str:
    return base64.urlsafe_b64encode(random.Random(seed).randbytes(length)).decode().rstrip("=")  # noqa: S311 - made up for the test


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("a JWT", f"token: ey{'J'}{random_text(12, 1)}.{random_text(30, 2)}.{random_text(20, 3)}"),
        ("a region-prefixed token", "refresh_token: NA_" + "0123456789abcdef" * 2),
        ("a bearer or basic header", f"authorization: Bearer {random_text(18, 4)}"),
        ("a bearer or basic header", f"- Basic {random_text(24, 5)}=="),
        ("a private key", "-----BEGIN EC PRIVATE" + " KEY-----"),
        ("a key in a query", f"uri: https://a.example/x?size=1&api_key={random_text(15, 6)}"),
        ("a random text", f'"enl": "{random_text(32, 7)}"'),
        ("a random text", f"string: '{random_text(48, 8)}'"),
    ],
)
def test_what_secrets_look_like(what: str, text: str) -> None:
    assert what in [finding.what for finding in scan_text(text, Path("flow.yaml"))]


@pytest.mark.parametrize(
    "text",
    [
        "authorization: Bearer SCRUBBED-12",
        "uri: https://a.example/x?key=SCRUBBED-2&size=100",
        "test_a_gateway_whose_certificate_changed_is_refused_and_its_token_is_not_sent_anywhere",
        "sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "redirect_uri=https%3A%2F%2Fhub.example%2Fjoin%2Facme%2Fauth-granted",
        "from joinder.services.join.vendor_credentials import create, change, delete",
    ],
)
def test_what_does_not_look_like_one(text: str) -> None:
    assert list(scan_text(text, Path("flow.yaml"))) == []


def test_a_finding_does_not_repeat_the_secret() -> None:
    secret = random_text(40, 9)
    found = list(scan_text(f"key: {secret}", Path("flow.yaml")))
    assert found
    assert secret not in repr(found)
