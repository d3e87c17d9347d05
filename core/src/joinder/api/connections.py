"""The owner's own page of a connection, its end, and receipts: by signed links, without a session or a cookie."""

from __future__ import annotations

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency

from joinder.api.join import pairs, refuse_foreign, single
from joinder.api.owner_answers import Incoming, answered, look_of, on_bug, on_store_trouble, on_vendor_error
from joinder.api.pages import catalogue, render
from joinder.api.pages.render import Look
from joinder.errors import VendorError
from joinder.runtime.hub import Hub
from joinder.services.join import landings, owner_links
from joinder.services.join.redirects import with_result
from joinder.trouble import StoreTrouble


class ConnectionController(Controller):
    path = owner_links.PATH
    tags = ["Join"]  # noqa: RUF012 - Litestar's own convention
    exception_handlers = {  # noqa: RUF012 - Litestar's own convention
        VendorError: on_vendor_error,
        StoreTrouble: on_store_trouble,
        Exception: on_bug,
    }

    @get("/", operation_id="showConnection", media_type="text/html", summary="The owner's own page")
    async def page(self, request: Incoming, hub: NamedDependency[Hub]) -> Response[str]:
        """Public. Query: `link`, as POST /enrollments/{id}/owner-link made it."""
        return await answered(request, hub, _page(request, hub))

    @get("/end", operation_id="askToEndConnection", media_type="text/html", summary="Ask whether it is to end")
    async def ask(self, request: Incoming, hub: NamedDependency[Hub]) -> Response[str]:
        return await answered(request, hub, _page(request, hub, is_ending=True))

    @post(
        "/end",
        operation_id="endConnection",
        media_type="text/html",
        status_code=303,
        summary="The owner withdraws the consent",
    )
    async def end(self, request: Incoming, hub: NamedDependency[Hub]) -> Response[str]:
        """Public. Form: `link`. Ends the enrollment, and the consent at the vendor where it takes that."""
        return await answered(request, hub, _end(request, hub))

    @get("/receipt", operation_id="showReceipt", media_type="text/html", summary="What was agreed, or ended")
    async def receipt(self, request: Incoming, hub: NamedDependency[Hub]) -> Response[str]:
        return await answered(request, hub, _receipt(request, hub))


async def _page(request: Incoming, hub: Hub, *, is_ending: bool = False) -> Response[str]:
    shown = await owner_links.look(hub, single(request).get("link", ""))
    look = await look_of(request, hub, shown.row.account_id)
    return render.connection(look, shown, landings.vendor_of(hub, shown.row.vendor), is_ending=is_ending)


async def _end(request: Incoming, hub: Hub) -> Response[str]:
    refuse_foreign(request, hub)
    values = pairs((await request.body()).decode(errors="replace"))
    url = await owner_links.withdraw(hub, values.get("link", ""))
    return render.see_other(with_result(url, ui_locales=catalogue.known_locale(values.get("ui_locales"))))


async def _receipt(request: Incoming, hub: Hub) -> Response[str]:
    shown = owner_links.receipt_of(hub, single(request).get("link", ""))
    look: Look = await look_of(request, hub, shown.account_id)
    return render.receipt(look, shown, landings.vendor_of(hub, shown.vendor))
