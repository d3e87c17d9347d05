"""A stand-in for Acme on 127.0.0.1: the data of three homes (homes.py), by key and region.

Owners, each with a key: grants (two sites), second (another site, in the other region), no-sites.
"""

from __future__ import annotations

from typing import Any

from litestar import Litestar, Request, Response, get
from litestar.datastructures import State

from joinder.errors import AuthorizationLost, NotSupported
from joinder.simulate import Simulator
from joinder.simulate.clock import SimulatedClock
from joinder.simulate.truth import Owner, Refusal
from joinder_acme.homes import FIRST, SECOND, SITES, THIRD, Body, SimulatedSite, answer
from joinder_acme.homes import page as page_of

OWNERS: dict[str, tuple[SimulatedSite, ...]] = {"grants": (FIRST, SECOND), "second": (THIRD,), "no-sites": ()}
HOSTS = {"eu": "eu.acme.example", "us": "us.acme.example"}
ENTERED = {
    "grants": {"region": "eu", "apiKey": "acme-simulated-7Qm2Vb9TzR4kXw"},
    "second": {"region": "us", "apiKey": "acme-simulated-3Lt8Hd5YcN6pJs"},
    "no-sites": {"region": "eu", "apiKey": "acme-simulated-1Fg4Wr7ZvB9uMa"},
}
KEYS = {(HOSTS[entered["region"]], entered["apiKey"]): owner for owner, entered in ENTERED.items()}
Incoming = Request[Any, Any, State]


@get("/v1/{path:path}", sync_to_thread=False)
def data(request: Incoming) -> Response[Body]:
    clock: SimulatedClock = request.app.state.clock
    path = request.scope["path"].removeprefix("/v1/sites").strip("/")
    owner = KEYS.get((request.headers.get("host", ""), request.headers.get("x-api-key", "")))
    if owner is None:
        return Response({"error": "unauthorized"}, status_code=401)
    sites = {site.id: site for site in OWNERS[owner]}
    if path == "":
        number = int(request.query_params["page"])
        return Response({"account": f"account-{owner}", **page_of(list(sites), number)})
    site_id, _, rest = path.partition("/")
    body = answer(sites[site_id], rest, request.query_params, clock.now()) if site_id in sites else None
    return Response(body) if body is not None else Response({"error": "not found"}, status_code=404)


def simulator() -> Simulator:
    """A fresh stand-in for Acme's hosts."""
    clock = SimulatedClock()
    app = Litestar([data], openapi_config=None, logging_config=None, state=State({"clock": clock}))
    return Simulator(
        vendor="acme",
        stands_in_for=tuple(HOSTS.values()),
        app=app,
        clock=clock,
        home={site.id: site.truth for site in SITES},
        owner_form=ENTERED["grants"],
        refusals=(
            Refusal(means=AuthorizationLost, body='{"error": "key_withdrawn"}'),
            Refusal(means=NotSupported, status=403, body='{"error": "not_in_plan"}'),
        ),
        owners={
            name: Owner(answers=ENTERED[name], site_ids=tuple(site.id for site in sites))
            for name, sites in OWNERS.items()
        },
    )
