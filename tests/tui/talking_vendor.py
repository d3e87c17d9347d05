"""A strict vendor with all that the screens of credentials and flows show."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from msgspec import structs

from joinder import AppCredentialType, Callback, Consent, Context, Field, Flow, Limits, Vendor, hookimpl
from joinder.errors import AppCredentialsRejected, AuthorizationLost, ConsentInvalid
from joinder.vendor import Capability, OperatorAction, Support
from services.strict_vendor import StrictVendor

CANARY = "canary-0123456789-never-shown"


@dataclass(eq=False)
class TalkingVendor(StrictVendor):
    knows_app: bool = True
    hangs: bool = False
    acted: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    @hookimpl
    def describe_vendor(self) -> Vendor:
        fields = (
            Field(name="clientID", label="Client ID", help="On the app's page", example="a1b2"),
            Field(name="clientSecret", label="Client secret", secret=True),
            Field(name="key", label="Private key", secret=True, multiline=True, required=False),
        )
        station = AppCredentialType(
            type="station", label="Station", flow=Flow.OPERATOR, fields=(Field(name="apiKey", label="API key"),)
        )
        register = OperatorAction(
            name="register",
            label="Register the domain",
            run=self.register,
            fields=(Field(name="domain", label="Domain", example="hub.example.com"),),
            credential_types=("app",),
        )
        return structs.replace(
            super().describe_vendor(),
            label="Talking [strict]",
            app_credentials=(AppCredentialType(type="app", label="App", fields=fields), station),
            flow_fields=(Field(name="programID", label="Programme", help="That owners join"),),
            operator_actions=(register,),
            limits=Limits(poll_every=timedelta(hours=1), calls_per_minute=10, calls_per_day=100),
            capabilities={
                Capability.SOLAR_INVERTERS: Support.YES,
                Capability.LIVE: Support.VENDOR_HAS_NONE,
                Capability.METERS: Support.NOT_YET,
            },
        )

    async def register(self, ctx: Context, values: Mapping[str, str]) -> str:
        assert ctx.app is not None
        self.acted.append((ctx.app["clientID"], dict(values)))
        return f"{values['domain']} is registered."

    @hookimpl
    async def handle_callback(self, ctx: Context, callback: Callback) -> Consent:
        if self.hangs:
            await asyncio.sleep(60)
        if ctx.app is not None and ctx.app.type == "station":
            if ctx.app["apiKey"] != "good-key":
                raise ConsentInvalid("The vendor does not know this key", fields={"apiKey": "is not known there"})
            return self.consent("station")
        if not self.knows_app:
            raise AppCredentialsRejected("The vendor refused the app credentials")
        raise AuthorizationLost("no such code")


@dataclass(eq=False)
class KeyVendor(StrictVendor):
    """Owners type a key; there is no app."""

    name: str = "keyed"

    @hookimpl
    def describe_vendor(self) -> Vendor:
        described = super().describe_vendor()
        return structs.replace(described, label="Keyed", flow=Flow.FORM, app_credentials=(), oauth2=None)
