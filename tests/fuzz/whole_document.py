"""Schemathesis over the whole OpenAPI document, at a hub with two accounts (`make fuzz`).

    .venv/bin/python tests/fuzz/whole_document.py --seconds 600

It asks every operation what the document allows and what it does not, follows what it made, and asks each account for
what is the other's: half of the ids in paths are of rows that are there.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import IO

from api.test_problems import UNKNOWN
from fuzz.checks import VARIABLE
from fuzz.world import World, opened
from joinder.api.app import openapi_document
from loopback import staying
from served import served

PEERS = ("one", "other")
NOT_ASKED = "positive_data_acceptance"  # no schema says which vendors, pages and flows there are
KNOWN_SHARE = 0.5
WORDS = {"vendor": ["sunny", "boxy"], "uri": ["https://integrator.example/back"]}
PLACES = {  # what is taken from a dictionary half of the time, so that some of what is asked for is made
    **{f"path.{name}": tag for name, tag in UNKNOWN.items()},
    **{f"body.{name}": "vendor" for name in ("vendor", "vendors[*].vendor")},
    **{f"body.{name}": "uri" for name in ("url", "redirectURI")},
    "query.vendor": "vendor",
}
KINDS = (
    *("webhooks", "(enrollments|backfills)", "(sites|solar-inverters|batteries|meters)"),
    *("join/flows", "programs", "vendor-credentials", "virtual"),
)
_ID = re.compile(r"\b[a-z]{4}-[a-z2-7]{16}\b")


async def owned(world: World) -> dict[str, list[str]]:
    """Returns the ids of all that each account has, as its lists tell them."""
    lists = [path for path, item in openapi_document()["paths"].items() if "get" in item and "{" not in path]
    found: dict[str, list[str]] = {}
    for account in PEERS:
        async with world.client(account) as api:
            answers = [await api.get(path) for path in lists if not path.startswith(("/join/c", "/join/r", "/oauth2"))]
        found[account] = sorted({one for answer in answers if answer.is_success for one in _ID.findall(answer.text)})
    return found


def configuration(folder: Path, tokens: dict[str, str], ids: dict[str, list[str]]) -> Path:
    """Writes who asks, and for what."""
    users = [
        {"name": name, "fixedHeaders": [{"name": "Authorization", "value": f"Bearer {token}"}]}
        for name, token in tokens.items()
    ]
    (folder / "users.json").write_text(json.dumps({"auth": users}))
    (folder / "owned.json").write_text(json.dumps(ids))
    words = defaultdict(list, WORDS)
    for one in (one for each in ids.values() for one in each):
        words[one[:4]].append(one)
    lines = [f'[auth.wfc]\npath = "{folder}/users.json"\npeers = {json.dumps(PEERS)}']
    lines += [f"[dictionaries.{name}]\nvalues = {json.dumps(values)}" for name, values in words.items()]
    lines += ["[parameters]"]
    lines += [
        f'"{place}" = {{dictionary = "{name}", probability = {KNOWN_SHARE}}}'
        for place, name in PLACES.items()
        if name in words
    ]
    path = folder / "schemathesis.toml"
    path.write_text("\n".join(lines))
    return path


async def run(world: World, folder: Path, *budget: str, into: IO[str] | None = None) -> int:
    """Returns the exit code of Schemathesis, whose report goes to the terminal, or into this file."""
    config = configuration(folder, world.tokens, await owned(world))
    env = {**os.environ, "SCHEMATHESIS_HOOKS": "fuzz.checks", VARIABLE: str(folder / "owned.json")}
    env["PYTHONPATH"] = str(Path(__file__).parents[1])
    async with served(world.app) as base:
        asked = ["--config-file", str(config), "run", f"{base}/openapi.json"]
        asked += ["--checks", "all", "--exclude-checks", NOT_ASKED, "--max-redirects", "0"]
        asked += ["--generation-database", "none", "--warnings", "off"]
        process = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).with_name("st")), *asked, *budget, cwd=folder, env=env, stdout=into
        )
        return await process.wait()


def following(paths: str) -> tuple[str, ...]:
    """Returns a run that goes on with what it made, among one kind of thing; among all at once it makes little."""
    return ("--phases", "stateful", "--include-path-regex", f"^/{paths}")


async def main(seconds: int) -> int:
    """Asks the whole document for two thirds of the time, and follows each kind of thing in the rest."""
    budgets = [("--max-time", str(seconds * 2 // 3))]
    budgets += [(*following(paths), "--max-time", str(max(5, seconds // 3 // len(KINDS)))) for paths in KINDS]
    with staying(), tempfile.TemporaryDirectory() as name:
        async with opened(Path(name)) as world:
            return max([await run(world, Path(name), *budget) for budget in budgets])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=600)
    sys.exit(asyncio.run(main(parser.parse_args().seconds)))
