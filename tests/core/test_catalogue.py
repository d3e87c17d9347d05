"""One data file says which vendors there are; the page and the plugins of this repository agree with it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from joinder.contract import CONTRACT, version_of
from joinder.vendors.catalogue import catalogue

ROOT = Path(__file__).parents[2]
ROW = re.compile(
    r"^\| \[(\w+)\]\(\.\./([^)]+)/README\.md\) ([^|]+) \| `pip install ([\w-]+)` \| (\w+) \| ([^|]+) \| ([\d.]+) \|$"
)


def test_the_page_lists_what_the_catalogue_lists() -> None:
    lines = (ROOT / "docs/vendors.md").read_text().splitlines()
    shown = [found.groups() for line in lines if (found := ROW.match(line))]
    listed = [(v.name, v.home, v.label, v.distribution, v.kind, v.reads, v.contract) for v in catalogue()]
    assert shown == listed


def test_every_plugin_of_this_repository_is_listed_as_it_is() -> None:
    brought = set()
    for file in ROOT.glob("plugins/*/pyproject.toml"):
        project = tomllib.loads(file.read_text())["project"]
        for name in project["entry-points"]["joinder.vendors"]:
            brought.add((name, project["name"], str(file.parent.relative_to(ROOT))))
    listed = {(v.name, v.distribution, v.home) for v in catalogue() if v.home.startswith("plugins/")}
    assert listed == brought, "an entry in vendors/catalogue.toml, its row in docs/vendors.md"


def test_every_plugin_of_this_repository_is_installed_typed_and_layered() -> None:
    root = tomllib.loads((ROOT / "pyproject.toml").read_text())
    tool = root["tool"]
    of_plugins = ("Plugins use public joinder modules only", "Only joinder.http imports httpx")
    named_in = {
        "[tool.mypy]": tool["mypy"]["packages"],
        "[tool.importlinter]": tool["importlinter"]["root_packages"],
        **{
            one["name"]: one["source_modules"] for one in tool["importlinter"]["contracts"] if one["name"] in of_plugins
        },
    }
    assert len(named_in) == 4
    lacking = []
    for file in ROOT.glob("plugins/*/pyproject.toml"):
        own = tomllib.loads(file.read_text())
        name, (folder,) = own["project"]["name"], list(file.parent.glob("src/joinder_*/"))
        lacking += [f"{folder.name} in {where}" for where, names in named_in.items() if folder.name not in names]
        lacking += [f"{name} in dependencies"] * (f"{name}[simulator]" not in root["project"]["dependencies"])
        lacking += [f"{name} in [tool.uv.sources]"] * (name not in tool["uv"]["sources"])
        lacking += [f"{name} without [tool.{one}] of its own" for one in own["tool"] if one != "hatch"]
        lacking += [f"{name} in the extra `all` of core"] * (f"{name}[simulator]" not in _all())
    assert lacking == [], "docs/develop.md, Add a vendor"


def test_all_brings_every_extra_and_the_terminal() -> None:
    core = tomllib.loads((ROOT / "core/pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = set(re.findall(r"\w+", " ".join(text for text in _all() if text.startswith("joinder["))))
    behind = {extra for name in named & core.keys() for extra in re.findall(r"joinder\[(\w+)\]", " ".join(core[name]))}
    assert core.keys() - named - behind == {"all"}
    assert "joinder-tui[serve]" in _all()


def _all() -> set[str]:
    """What `joinder[all]` asks for, without versions."""
    extras = tomllib.loads((ROOT / "core/pyproject.toml").read_text())["project"]["optional-dependencies"]
    return {text.partition(">")[0] for text in extras["all"]}


def test_no_vendor_is_listed_twice_and_each_was_checked_with_a_contract_of_ours() -> None:
    names = [listed.name for listed in catalogue()]
    assert len(set(names)) == len(names)
    for listed in catalogue():
        assert re.fullmatch(r"[a-z][a-z0-9]*", listed.name)
        assert listed.kind in ("redirect", "form", "local")
        checked, ours = version_of(listed.contract), version_of(CONTRACT)
        assert checked is not None
        assert ours is not None
        assert (checked[0], checked <= ours) == (ours[0], True)
