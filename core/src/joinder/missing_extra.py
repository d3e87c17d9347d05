"""Says which extra brings a module that is not installed. Imports nothing of others, as they may not be there."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, requires

OTHER_NAMES = {
    "vcr": "vcrpy",
    "backports": "backports.zstd",
    "opentelemetry": "opentelemetry-sdk",
    "textual": "joinder-tui",
}
EVERYTHING = "all"
COMMANDS_NEED = "server"  # of several extras that bring a module: the one that brings every command


def sentence(error: ModuleNotFoundError) -> str | None:
    """Returns what to install; None where the module is nobody's extra, and the error is a bug."""
    module = (error.name or "").split(".")[0]
    distribution = OTHER_NAMES.get(module, module.replace("_", "-"))
    if distribution == "joinder-tui":
        return "This needs joinder-tui, which is not installed: pip install joinder-tui"
    extras = _extras_with(distribution) if distribution else []
    if not extras:
        return None
    extra = COMMANDS_NEED if COMMANDS_NEED in extras else extras[0]
    return f"This needs {distribution}, which is not installed: pip install 'joinder[{extra}]'"


def _extras_with(distribution: str) -> list[str]:
    """Lists the extras of Joinder that bring it, in the order they are declared; EVERYTHING is more than is asked."""
    try:
        declared = requires("joinder") or []
    except PackageNotFoundError:
        return []
    name = re.sub("[-_.]+", "[-_.]+", distribution)  # spelled in several ways (PEP 503)
    named = re.compile(rf"{name}\b(?!-).*extra == ['\"]([\w-]+)['\"]", re.IGNORECASE)
    extras = [found[1] for one in declared if (found := named.match(one))]
    return [extra for extra in extras if extra != EVERYTHING]
