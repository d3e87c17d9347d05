"""The Litestar application of one hub."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import msgspec
from litestar import Litestar, Request, Response, Router, get
from litestar.datastructures import State
from litestar.di import NamedDependency, Provide
from litestar.exceptions import NotFoundException
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.spec import Components, SecurityScheme

from joinder.api import deps
from joinder.api.auth import FailedLogins, OAuth2Controller, provide_caller
from joinder.api.backfills import BackfillController, EnrollmentBackfillController
from joinder.api.connections import ConnectionController
from joinder.api.devices import BatteryController, MeterController, SolarInverterController
from joinder.api.enrollments import EnrollmentController
from joinder.api.front_door import HANDLERS, home
from joinder.api.headers import shielded
from joinder.api.intake import Intake, admitted
from joinder.api.join import JoinController
from joinder.api.observe import metrics_page, observed
from joinder.api.operator import JoinFlowController, VendorController, VendorCredentialsController
from joinder.api.problems import MEDIA_TYPE, NotReady, Problem, problem
from joinder.api.sites import SiteController
from joinder.api.webhooks import EventController, WebhookController
from joinder.api.well_known import well_known
from joinder.runtime.hub import Hub
from joinder.services.admin.gauges import Gauges
from joinder.services.grants import durability
from joinder.services.operations.configuration import read_metrics_token
from joinder.services.records.access_tokens import Tokens
from joinder.services.refusals import pointer

MAX_BODY_BYTES = 256 * 1024
MEMBERS_MOST = 200
API_VERSION = "v2024-09-01"
_JSON_TYPES = ("application/json", "application/merge-patch+json")


def create_app(hub: Hub) -> Litestar:
    """Serves this hub; opening and closing it is the caller's. Raises ConfigError."""
    app = Litestar(
        route_handlers=[
            OAuth2Controller,
            VendorCredentialsController,
            JoinFlowController,
            JoinController,
            ConnectionController,
            well_known,
            VendorController,
            EnrollmentController,
            SiteController,
            SolarInverterController,
            BatteryController,
            MeterController,
            EventController,
            WebhookController,
            EnrollmentBackfillController,
            BackfillController,
            home,
            live,
            ready,
            openapi_json,
            metrics_page,
        ],
        state=State(
            {
                "hub": hub,
                "tokens": Tokens(hub),
                "failures": FailedLogins(),
                "intake": Intake(),
                "metrics_token": read_metrics_token(hub.settings),
                "gauges": Gauges(hub),
            }
        ),
        dependencies={
            "hub": Provide(deps.provide_hub, sync_to_thread=False),
            "caller": Provide(provide_caller, sync_to_thread=False),
            "paging": Provide(deps.provide_paging, sync_to_thread=False),
            "asked": Provide(deps.provide_device_filter, sync_to_thread=False),
            "window": Provide(deps.provide_window, sync_to_thread=False),
        },
        middleware=[admitted],
        before_request=_refuse_early,
        exception_handlers=HANDLERS,
        request_max_body_size=MAX_BODY_BYTES,
        openapi_config=_openapi(),
        logging_config=None,
    )
    app.asgi_handler = shielded(observed(app.asgi_handler), is_https=hub.settings.is_https)
    return app


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


@get("/openapi.json", include_in_schema=False, sync_to_thread=False)
def openapi_json(request: Request[Any, Any, Any]) -> dict[str, Any]:
    """Returns Litestar's schema, and on every operation what all errors look like."""
    schema: dict[str, Any] = request.app.openapi_schema.to_schema()
    (reference,), components = msgspec.json.schema_components([Problem], ref_template="#/components/schemas/{name}")
    schema["components"]["schemas"].update(components)
    problem_answer = {"description": "A problem (RFC 9457)", "content": {MEDIA_TYPE: {"schema": reference}}}
    for path in schema["paths"].values():
        for operation in path.values():
            operation["responses"] = {**operation["responses"], "default": problem_answer}
    return schema


async def _refuse_early(request: Request[Any, Any, Any]) -> Response[Any] | None:
    """Refuses before a body is converted: an unknown API version, or what is not JSON where JSON is expected."""
    wanted = request.headers.get("api-version")
    if wanted not in (None, API_VERSION):
        return problem(
            request,
            "bad-request",
            "Unknown API version",
            400,
            f"The only API version is {API_VERSION}; or leave it out.",
        )
    expects_json = request.method in ("POST", "PATCH") and not request.url.path.startswith(
        ("/oauth2/", "/join/sessions/", "/join/connection/")
    )
    has_body = request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers
    if not expects_json or not has_body:
        return None
    if _media_type(request) not in _JSON_TYPES:
        title, wants = "The request body has the wrong media type", "Send application/json."
        return problem(request, "unsupported-media-type", title, 415, wants)
    try:
        decoded = msgspec.json.decode(await request.body())
    except (ValueError, RecursionError):  # Litestar takes neither bad UTF-8 nor deep nesting for the sender's fault
        title, wants = "The request cannot be understood", "The body is not well-formed JSON."
        return problem(request, "bad-request", title, 400, wants)
    place = _too_many(decoded)
    if place is None:
        return None
    title, wants = "The request does not match its schema", f"Lists and objects have at most {MEMBERS_MOST} members."
    return problem(request, "validation-error", title, 400, wants, errors={place: "has too many members"})


def _too_many(value: object, place: str = "") -> str | None:
    """Says where a list or an object of a body is longer than any may be; nested no deeper than JSON was decoded."""
    if not isinstance(value, list | dict):
        return None
    if len(value) > MEMBERS_MOST:
        return place
    members = value.items() if isinstance(value, dict) else enumerate(value)
    places = (_too_many(member, place + pointer(name)) for name, member in members)
    return next((found for found in places if found is not None), None)


def _media_type(request: Request[Any, Any, Any]) -> str:
    return request.headers.get("content-type", "").split(";")[0].strip().lower()


def _nothing_here(_: Request[Any, Any, Any]) -> None:
    raise NotFoundException


def _openapi() -> OpenAPIConfig:
    """Configures /openapi.json alone: Litestar's own pages would load scripts and fonts from third parties."""
    return OpenAPIConfig(
        title="Joinder",
        version=version("joinder"),
        description="One REST API over many vendors of distributed energy resources. Errors are RFC 9457 "
        f"`{MEDIA_TYPE}` (docs/errors.md).",
        components=Components(security_schemes={"oauth2": SecurityScheme(type="http", scheme="bearer")}),
        security=[{"oauth2": []}],
        openapi_router=Router("/docs/api", route_handlers=[], before_request=_nothing_here, include_in_schema=False),
    )
