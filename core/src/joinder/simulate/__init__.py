"""What a vendor's simulator is made of. Each vendor distribution ships one (entry-point group `joinder.simulators`).

A simulator speaks the vendor's documented wire format on 127.0.0.1. Beside the vendor's paths it serves
`POST/DELETE /_faults` (faults.py), `POST /_clock` (clock.py) and `GET /_state` (its own counts, for tests).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from joinder.plugins import loadable
from joinder.simulate.clock import SimulatedClock
from joinder.simulate.truth import Owner, Refusal, TrueSite

ENTRY_POINT_GROUP = "joinder.simulators"
Asgi = Callable[[Any, Any, Any], Any]


@dataclass(kw_only=True)
class Simulator:
    """One vendor's stand-in. Core reroutes `stands_in_for` to it; nothing in the plugin knows."""

    vendor: str
    stands_in_for: tuple[str, ...]  # the vendor's hosts, or the address of one device in an allowed network
    app: Asgi
    clock: SimulatedClock
    home: Mapping[str, TrueSite] = field(default_factory=dict)  # site id → what it really did, for the kit
    app_credentials: Mapping[str, str] | None = None  # a `credentials` object its token endpoint accepts
    owner_form: Mapping[str, str] = field(default_factory=dict)  # what a FORM owner types
    owner_choice: Mapping[str, str] = field(default_factory=dict)  # what a REDIRECT owner posts on its consent page
    owners: Mapping[str, Owner] = field(default_factory=dict)  # scenario owners by name: no-sites, revokes-later …
    refusals: tuple[Refusal, ...] = ()  # of reads, in the vendor's own words
    silent_owner: Mapping[str, str] = field(default_factory=dict)  # the choice of one whose home has a silent inverter
    flow_options: Mapping[str, str] = field(default_factory=dict)  # what the operator sets on the join flow
    call_limits: Mapping[str, int] = field(default_factory=dict)  # span → calls of its app's plan, if not the declared
    tls: bool = False  # True: a device with a self-signed certificate
    is_device: bool = False  # True: a device by plain http; `stands_in_for` is its address with the port
    has_history: bool = True  # False: readings exist only where somebody polled
    impostor: Callable[[], Simulator] | None = None  # of a device: another one of this maker at the same address
    in_demo: bool = True  # False: the twin of another one, such as a vendor's sandbox
    notes: tuple[str, ...] = ()
    conformance_skips: Mapping[str, str] = field(default_factory=dict)  # check → reason it cannot hold here


def installed_simulators(names: tuple[str, ...] = (), *, allow: Collection[str] | None = None) -> list[Simulator]:
    """Makes a fresh simulator of every installed vendor, or of those named; `allow` as in plugins.py.

    Raises LookupError for an unknown name.
    """
    found = loadable(ENTRY_POINT_GROUP, allow)
    unknown = [name for name in names if name not in found]
    if unknown:
        raise LookupError(f"no simulator named {', '.join(unknown)}; installed: {', '.join(sorted(found))}")
    return [found[name].load()() for name in (names or sorted(found))]
