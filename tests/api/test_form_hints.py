"""What stands beside a field of the hosted form: the vendor's help, then an example, as sentences."""

from __future__ import annotations

import re

import pytest
from msgspec import structs

from joinder import Field
from joinder.api.pages import catalogue, render
from joinder.services.join.hosted_forms import Form
from joinder.vendor import Vendor
from joinder.vendors.registry import Registry
from services.strict_vendor import StrictVendor


@pytest.mark.parametrize(
    ("help_text", "told"),
    [
        ("19 digits", "19 digits. For example: 13003"),
        ("On its label.", "On its label. For example: 13003"),
        ("Which one?", "Which one? For example: 13003"),
        (None, "For example: 13003"),
    ],
)
def test_help_and_example_are_two_sentences(help_text: str | None, told: str) -> None:
    field = Field(name="keyID", label="API ID", help=help_text, example="13003")
    vendor = structs.replace(StrictVendor().describe_vendor(), oauth2=None)
    for tag in ("en", "de"):  # where nobody translated it, English stands there, marked as such
        (hint,) = hints(vendor, (field,), tag)
        assert hint.replace("Zum Beispiel", "For example") == told


@pytest.mark.parametrize("tag", sorted(catalogue.languages()))
def test_no_sentence_beside_a_field_ends_twice(tag: str) -> None:
    """A translation may end as the English words do not."""
    found = [hint for vendor in Registry.load().vendors for hint in hints(vendor, vendor.consent_fields, tag)]
    assert len(found) >= 4
    assert [hint for hint in found if re.search(r"[.!?]\s*[.!?]|\w (Zum Beispiel|For example):", hint)] == []


def hints(vendor: Vendor, fields: tuple[Field, ...], tag: str) -> list[str]:
    """What stands beside the fields of a vendor's form, as it is read."""
    shown = Form(
        vendor=vendor,
        account_id="acct-aaaaaaaaaaaaaaaa",
        asked_by="Acme",
        form_token="t",
        leads_to="https://app.example/",
        fields=fields,
    )
    page = render.form(render.Look(language=catalogue.choose(tag, None)), shown).content
    return [re.sub(r"<[^>]*>", "", hint) for hint in re.findall(r'-hint">(.*?)</p>', page)]
