"""What a plugin author imports stays light, seen from a fresh interpreter (import-linter sees only the source)."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("litestar", "sqlmodel", "sqlalchemy", "textual", "granian", "alembic", "jinja2", "cryptography.x509")


def loaded_after(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "statement",
    [
        "from joinder import Vendor, hookimpl, errors, http, oauth",
        "import joinder_enphase",
        "import joinder_iq_gateway",
        "from joinder.vendors.registry import Registry; Registry.load()",
    ],
)
def test_plugins_load_no_server_store_or_terminal(statement: str) -> None:
    assert loaded_after(statement).isdisjoint(HEAVY)


def test_import_joinder_loads_nothing_of_it() -> None:
    loaded = loaded_after("import joinder")
    assert {name for name in loaded if name.startswith("joinder.")} == set()
    assert "httpx" not in loaded
