"""The plugin contract: five hooks and one that describes. docs/hooks.md explains each with an example.

A plugin is a module or object named by an entry point of group `joinder.vendors`. Every hook takes all arguments
it names positionally, without defaults; an implementation may leave out trailing arguments it does not need.
Hooks raise the classes of joinder.errors; anything else is reported as PluginBug.
"""

from __future__ import annotations

from typing import Protocol

import pluggy

from joinder.energy import Readings, ReadingsQuery, Site
from joinder.grants import AuthorizeRequest, Callback, Consent, Context, Grant
from joinder.vendor import Vendor

hookspec = pluggy.HookspecMarker("joinder")
hookimpl = pluggy.HookimplMarker("joinder")


class VendorSpecs(Protocol):
    @hookspec(firstresult=True)
    def describe_vendor(self) -> Vendor:
        """The vendor as data. Pure: no I/O, the same answer every time, no secrets."""

    @hookspec(firstresult=True)
    async def build_authorize_url(self, ctx: Context, request: AuthorizeRequest) -> str:
        """REDIRECT: the vendor's consent URL, carrying state, redirect_uri and code_challenge unchanged."""

    @hookspec(firstresult=True)
    async def handle_callback(self, ctx: Context, callback: Callback) -> Consent:
        """Turns query parameters or form values into a grant with its site ids, checked against the vendor.

        Raises ConsentDenied (owner said no), ConsentInvalid (owner can correct the form), others as they come.
        """

    @hookspec(firstresult=True)
    async def refresh(self, ctx: Context, grant: Grant) -> Grant:
        """The grant renewed: one exchange with the vendor, no retry. Core never calls twice at once.

        Raises AuthorizationLost when the vendor says the grant is dead, OutcomeUnknown when the answer was cut off.
        """

    @hookspec(firstresult=True)
    async def fetch_site(self, ctx: Context, grant: Grant, site_id: str) -> Site:
        """The site and its devices, normalised. `site_id` is one of grant.site_ids."""

    @hookspec(firstresult=True)
    async def fetch_readings(self, ctx: Context, grant: Grant, query: ReadingsQuery) -> Readings:
        """Intervals inside [query.start, query.end), sorted by start, and live power when asked for."""
