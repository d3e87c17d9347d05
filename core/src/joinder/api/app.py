"""The Litestar application of one hub."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec
from litestar import Controller, Litestar, Response, get
from litestar.datastructures import State
from litestar.di import NamedDependency, Provide
from litestar.openapi.config import OpenAPIConfig

from joinder.api import deps, devices
from joinder.api.aggregates import AggregateController
from joinder.api.asking import refuse_early
from joinder.api.auth import FailedLogins, OAuth2Controller, provide_caller
from joinder.api.backfills import BackfillController, EnrollmentBackfillController
from joinder.api.browser_keys import BrowserKeyController, shared
from joinder.api.client_budgets import ClientBudgets
from joinder.api.connections import ConnectionController
from joinder.api.document import describe
from joinder.api.elsewhere import BatteryControlController, JoinSessionController
from joinder.api.enrollments import EnrollmentController
from joinder.api.front_door import HANDLERS, home
from joinder.api.headers import shielded
from joinder.api.idempotent import idempotent
from joinder.api.intake import Intake, admitted
from joinder.api.join import JoinController
from joinder.api.members import TYPE_DECODERS
from joinder.api.observe import metrics_page, observed
from joinder.api.operator import JoinFlowController, VendorController, VendorCredentialsController
from joinder.api.problems import NotReady
from joinder.api.programs import ApplicationController, ProgramController, VirtualEnrollmentController
from joinder.api.reference import reference_file, reference_page
from joinder.api.settled import Settled
from joinder.api.short_way import lists_of, shortened
from joinder.api.sites import SiteController
from joinder.api.transfer import transferred
from joinder.api.virtual import (
    VirtualBatteryController,
    VirtualSiteController,
    VirtualSolarInverterController,
    virtual_consent,
)
from joinder.api.webhooks import EventController, WebhookController
from joinder.api.well_known import well_known
from joinder.runtime.hub import Hub
from joinder.services.admin.gauges import Gauges
from joinder.services.grants import durability
from joinder.services.operations.configuration import read_metrics_token
from joinder.services.records.access_tokens import Tokens

MAX_BODY_BYTES = 256 * 1024
DEPENDENCIES = {
    "hub": Provide(deps.provide_hub, sync_to_thread=False),
    "caller": Provide(provide_caller, sync_to_thread=False),
    "paging": Provide(deps.provide_paging, sync_to_thread=False),
    "stamp": Provide(deps.provide_stamp, sync_to_thread=False),
    "asked": Provide(deps.provide_device_filter, sync_to_thread=False),
    "window": Provide(deps.provide_window, sync_to_thread=False),
}


def routes() -> list[type[Controller]]:
    """Returns what the document tells of, in its order."""
    return [
        OAuth2Controller,
        VendorCredentialsController,
        JoinFlowController,
        JoinController,
        ConnectionController,
        VendorController,
        EnrollmentController,
        SiteController,
        *devices.controllers(),
        AggregateController,
        EventController,
        WebhookController,
        EnrollmentBackfillController,
        BackfillController,
        BrowserKeyController,
        ProgramController,
        ApplicationController,
        VirtualEnrollmentController,
        BatteryControlController,
        JoinSessionController,
        VirtualSiteController,
        VirtualSolarInverterController,
        VirtualBatteryController,
    ]


def create_app(hub: Hub) -> Litestar:
    """Serves this hub; opening and closing it is the caller's. Raises ConfigError."""
    app = Litestar(
        route_handlers=[
            *routes(),
            virtual_consent,
            home,
            live,
            ready,
            well_known,
            openapi_json,
            reference_page,
            reference_file,
            metrics_page,
        ],
        state=State(
            {
                "hub": hub,
                "tokens": Tokens(hub),
                "failures": FailedLogins(),
                "budgets": ClientBudgets(hub.settings.requests_per_minute),
                "intake": Intake(),
                "queries": {},
                "settled": Settled(),
                "metrics_token": read_metrics_token(hub.settings),
                "gauges": Gauges(hub),
            }
        ),
        type_decoders=TYPE_DECODERS,
        dependencies=DEPENDENCIES,
        middleware=[admitted, idempotent],
        before_request=refuse_early,
        exception_handlers=HANDLERS,
        request_max_body_size=MAX_BODY_BYTES,
        openapi_config=None,
        logging_config=None,
    )
    routed = shared(transferred(shortened(app.asgi_handler, lists_of(app))), hub.settings.cors_origins)
    app.asgi_handler = shielded(observed(routed), is_https=hub.settings.is_https)
    return app


@cache
def openapi_document() -> dict[str, Any]:
    """Describes the API; the same for every installation of this version."""
    app = Litestar(
        route_handlers=[*routes(), live, ready],
        dependencies=DEPENDENCIES,
        openapi_config=OpenAPIConfig(title="Joinder", version="0"),
        logging_config=None,
    )
    return describe(app)


@cache
def _openapi_bytes() -> bytes:
    return msgspec.json.encode(openapi_document())


@get("/health/live", operation_id="getLiveness", summary="The process answers", tags=["Health"])
async def live() -> dict[str, str]:
    return {"status": "ok"}


@get(
    "/health/ready",
    operation_id="getReadiness",
    summary="The store takes a write, the key fits and the disk has room",
    tags=["Health"],
)
async def ready(hub: NamedDependency[Hub]) -> dict[str, str]:
    if hub.stopping.is_set():
        raise NotReady("It is stopping.")
    await durability.ready(hub)
    return {"status": "ok"}


@get("/openapi.json", include_in_schema=False, sync_to_thread=True)
def openapi_json() -> Response[bytes]:
    return Response(_openapi_bytes(), media_type="application/json")
