"""What stands beside a field of the hosted form: the vendor's help, then an example, as sentences."""

from __future__ import annotations

import re

import pytest
from msgspec import structs

from joinder import Field
from joinder.api.pages import catalogue, render
from joinder.services.join.hosted_forms import Form
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
    shown = Form(
        vendor=structs.replace(StrictVendor().describe_vendor(), oauth2=None),
        account_id="acct-aaaaaaaaaaaaaaaa",
        asked_by="Acme",
        form_token="t",
        leads_to="https://app.example/",
        fields=(field,),
    )
    page = render.form(render.Look(language=catalogue.choose("en", None)), shown).content
    (hint,) = re.findall(r'id="keyID-hint">(.*?)</p>', page)
    assert re.sub(r"<[^>]*>", "", hint) == told
