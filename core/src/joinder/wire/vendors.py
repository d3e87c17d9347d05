"""The vendors that are installed, and what they ask for."""

from __future__ import annotations

from typing import Annotated

from msgspec import field

from joinder.vendor import Field as VendorField
from joinder.vendor import Flow, Support
from joinder.wire.base import Link, Wire, one_of


class ChoiceInfo(Wire, kw_only=True):
    value: str
    label: str


class FieldInfo(Wire, kw_only=True):
    """`choices`: the only values that are taken, where there are some."""

    name: str
    label: str
    secret: bool
    required: bool
    help: str | None = None
    choices: list[ChoiceInfo] = field(default_factory=list)

    @staticmethod
    def of(entry: VendorField) -> FieldInfo:
        return FieldInfo(
            name=entry.name,
            label=entry.label,
            secret=entry.secret,
            required=entry.required,
            help=entry.help,
            choices=[ChoiceInfo(value=value, label=label) for value, label in entry.choices],
        )


class CredentialTypeInfo(Wire, kw_only=True):
    type: str
    label: str
    flow: Annotated[str, one_of(Flow)]
    fields: list[FieldInfo]


class VendorInfo(Wire, kw_only=True):
    name: str
    label: str
    docs_url: Link = field(name="docsURL")
    flow: Annotated[str, one_of(Flow)]
    distribution: str
    version: str
    credential_types: list[CredentialTypeInfo]
    consent_fields: list[FieldInfo]
    flow_fields: list[FieldInfo]
    capabilities: dict[str, Annotated[str, one_of(Support)]]
    limits: dict[str, int]
    breakers: dict[str, str] = field(default_factory=dict)
    callback_url: Link | None = field(name="callbackURL", default=None)


class BrokenPlugin(Wire, kw_only=True):
    name: str
    distribution: str
    problem: str


class VendorList(Wire, kw_only=True):
    vendors: list[VendorInfo]
    broken: list[BrokenPlugin]
