"""Whether a plugin keeps the contract: looked at when it is loaded, before any of its hooks is called."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable

from joinder.contract import CONTRACT, version_of
from joinder.hookspecs import VendorSpecs
from joinder.vendor import Flow, Vendor, choices_problem

HOOKS = tuple(name for name, value in vars(VendorSpecs).items() if hasattr(value, "joinder_spec"))
BY_DESCRIPTION = {"build_authorize_url", "refresh"}  # hooks that core answers where Vendor.oauth2 says all of them


_FOREIGN = re.compile(r"^Unexpected keyword argument|^module '?joinder\b")  # of msgspec; of joinder.__getattr__


class Refused(Exception):
    """Why a plugin was not registered."""


def check_contract(vendor: Vendor) -> None:
    """Raises Refused for a plugin of another contract: of another major, or of a newer minor, than this one."""
    needed, ours = version_of(vendor.contract), version_of(CONTRACT)
    if needed is None or ours is None:
        raise Refused(f"its contract must be two numbers such as {CONTRACT}, not {vendor.contract!r:.20}")
    if needed > ours:
        raise Refused(f"it needs contract {vendor.contract}, this Joinder has {CONTRACT}: upgrade Joinder")
    if needed[0] < ours[0]:
        raise Refused(f"it was written for contract {vendor.contract}, this Joinder has {CONTRACT}: upgrade the plugin")


def check_fields(vendor: Vendor) -> None:
    """Raises Refused for choices that nobody could show, or tell apart."""
    groups = (vendor.consent_fields, vendor.flow_fields, *(kind.fields for kind in vendor.app_credentials))
    for entry in (entry for group in groups for entry in group):
        if problem := choices_problem(entry):
            raise Refused(f"field {entry.name}: {problem}")


def check_devices(vendor: Vendor) -> None:
    """Raises Refused for secrets that would go over plain http, and for ports that are none."""
    if any(not isinstance(port, int) or not 0 < port < 65536 for port in vendor.device_ports):
        raise Refused("device_ports must be numbers of ports")
    bare = [entry.name for entry in vendor.consent_fields if entry.secret or entry.password]
    if vendor.device_access == "plain" and bare:
        raise Refused(f"device_access is plain, and {', '.join(bare)} is secret: nothing secret goes over plain http")
    if vendor.device_access not in (None, "pinned", "plain"):
        raise Refused(f"device_access must be pinned or plain, not {vendor.device_access!r:.20}")


def other_contract(error: BaseException) -> str | None:
    """Says that an import failed over what this contract has not; None where it failed over anything else.

    A plugin for a newer minor names a field or a class that is not here yet.
    """
    of_ours = isinstance(error, ImportError) and (error.name or "").partition(".")[0] == "joinder"
    told = str(error)
    if of_ours or (isinstance(error, TypeError | AttributeError) and _FOREIGN.search(told)):
        return f"it uses what contract {CONTRACT} of this Joinder has not ({told[:120]}): upgrade Joinder or the plugin"
    return None


def check_hooks(vendor: Vendor, implemented: set[str]) -> None:
    if missing := required_hooks(vendor) - implemented:
        raise Refused(f"hooks missing: {', '.join(sorted(missing))}")


def required_hooks(vendor: Vendor) -> set[str]:
    required = {"describe_vendor", "handle_callback", "fetch_site", "fetch_readings"}
    if vendor.flow is Flow.REDIRECT:
        required.add("build_authorize_url")
    if vendor.is_renewable:
        required.add("refresh")
    return required - BY_DESCRIPTION if vendor.oauth2 else required


def check_signatures(plugin: object, parse: Callable[[object, str], object]) -> None:
    """Refuses defaulted and keyword-only arguments, which pluggy ignores without a word."""
    for name in dir(plugin):
        if parse(plugin, name) is None:
            continue
        if name not in HOOKS:
            raise Refused(f"unknown hook {name}; the hooks of contract {CONTRACT} are {', '.join(HOOKS)}")
        for parameter in inspect.signature(getattr(plugin, name)).parameters.values():
            if parameter.name == "self":
                continue
            if parameter.kind is not parameter.POSITIONAL_OR_KEYWORD or parameter.default is not parameter.empty:
                raise Refused(f"{name}: argument {parameter.name} must be a plain positional one without default")
