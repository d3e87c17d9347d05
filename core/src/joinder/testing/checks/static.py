"""What can be seen without calling a hook that calls out."""

from __future__ import annotations

import os
import re
import subprocess
import sys

from joinder.testing.checks import check
from joinder.testing.subject import Failed, Subject
from joinder.vendor import SOLAR_AND_STORAGE, Flow, Refresh, Vendor, https_host
from joinder.vendors.registry import HOOKS

HEAVY = ("litestar", "sqlalchemy", "sqlmodel", "textual", "pytest", "vcr")
CORE_ONLY = ("joinder.store", "joinder.services", "joinder.api", "joinder.runtime")
_SECRET_NAMES = re.compile(r"(?i)secret|password|token$|api_?key$|private")


@check()
async def entry_point(subject: Subject) -> None:
    """The entry point loads, core accepts its hooks, and its name is the vendor's own."""
    vendor = subject.vendor()
    if vendor.name != subject.name or subject.entry.name != subject.name:
        raise Failed(f"the entry point is named {subject.entry.name}, the vendor calls itself {vendor.name}")


@check()
async def imports_light(subject: Subject) -> None:
    """Importing the plugin loads no server, store, terminal or test tool, and nothing of core but its public part."""
    code = f"import sys, {subject.entry.module} as _; print('\\n'.join(sys.modules))"
    path = os.pathsep.join(entry for entry in sys.path if entry)
    done = subprocess.run(  # noqa: ASYNC221, S603 - our own interpreter, one short import
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}
    )
    if done.returncode:
        raise Failed(f"importing it alone fails: {done.stderr.strip().rpartition(chr(10))[2]}")
    loaded = set(done.stdout.split())
    heavy = [name for name in (*HEAVY, *CORE_ONLY) if name in loaded]
    if heavy:
        raise Failed(f"importing it loads {', '.join(heavy)}")


@check()
async def hook_signatures(subject: Subject) -> None:
    """Each hook is there that the description calls for, and async where the contract is."""
    import inspect

    plugin = subject.entry.load()
    sync = [
        name
        for name in HOOKS
        if name != "describe_vendor"
        and hasattr(plugin, name)
        and not inspect.iscoroutinefunction(getattr(plugin, name))
    ]
    if sync:
        raise Failed(f"not async: {', '.join(sync)}")
    if inspect.iscoroutinefunction(plugin.describe_vendor):
        raise Failed("describe_vendor must not be async")


@check()
async def description_is_pure(subject: Subject) -> None:
    """describe_vendor answers the same value every time."""
    plugin = subject.entry.load()
    if not isinstance(plugin.describe_vendor(), Vendor) or plugin.describe_vendor() != plugin.describe_vendor():
        raise Failed("two calls of describe_vendor answer two different values")


@check()
async def description_is_whole(subject: Subject) -> None:
    """Label, docs, hosts, fields, limits and what it can are described, and fit together."""
    vendor = subject.vendor()
    wrong = [*_texts(vendor), *_addresses(vendor), *_fields(vendor), *_limits(vendor)]
    missing = [str(capability) for capability in SOLAR_AND_STORAGE if capability not in vendor.capabilities]
    if missing:
        wrong.append(f"capabilities leave out {', '.join(missing)}")
    if wrong:
        raise Failed("; ".join(wrong))


def _texts(vendor: Vendor) -> list[str]:
    wrong = []
    if not re.fullmatch(r"[a-z][a-z0-9]*", vendor.name):
        wrong.append("name must be lower-case letters and digits")
    if not vendor.label.strip():
        wrong.append("label is empty")
    if not vendor.docs_url.startswith("https://"):
        wrong.append("docs_url must be an https URL")
    return wrong


def _addresses(vendor: Vendor) -> list[str]:
    wrong = [f"host {host} must be a bare host name" for host in vendor.hosts if "/" in host or "*" in host or not host]
    if not vendor.hosts and not vendor.device_access:
        wrong.append("no hosts, and no device access: it could reach nothing")
    oauth2 = vendor.oauth2
    urls = [oauth2.authorize_url, oauth2.token_url, oauth2.revocation_url] if oauth2 else []
    for url in filter(None, urls):
        try:
            known = https_host(url) in vendor.hosts
        except ValueError:
            known = False
        if not known:
            wrong.append("an OAuth URL is not at a declared host over https")
    return wrong


def _fields(vendor: Vendor) -> list[str]:
    groups = [vendor.consent_fields, vendor.flow_fields, *(kind.fields for kind in vendor.app_credentials)]
    fields = [entry for group in groups for entry in group]
    wrong = [f"field {entry.name} has no label" for entry in fields if not entry.label.strip()]
    bare = [entry.name for entry in fields if _SECRET_NAMES.search(entry.name) and not entry.secret]
    wrong += [f"field {name} looks secret and is not declared so" for name in bare]
    if vendor.flow is Flow.FORM and not vendor.consent_fields:
        wrong.append("flow FORM without consent_fields")
    if vendor.flow is Flow.REDIRECT and not vendor.app_credentials:
        wrong.append("flow REDIRECT without an app credential type")
    return wrong


def _limits(vendor: Vendor) -> list[str]:
    limits = vendor.limits
    wrong = [] if limits.poll_every.total_seconds() >= 60 else ["poll_every is below a minute"]
    if limits.max_concurrency < 1:
        wrong.append("max_concurrency is below 1")
    wrong += [
        f"a limit of {rate.number} calls a {rate.per} lets none through" for rate in limits.calls if rate.number < 1
    ]
    wrong += [f"history window of {entry.resolution} is empty" for entry in limits.history if not entry.window]
    if vendor.refresh_grace is not None and vendor.refresh is not Refresh.ROTATING:
        wrong.append("refresh_grace without ROTATING")
    return wrong
