"""`joinder keys rotate --pepper`, `keys peppers` and the end of a pepper, as a person runs them."""

from __future__ import annotations

import pytest

from cli.world import World
from joinder.services.admin import peppers
from joinder.store import vault

DATABASES = ("sqlite",)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new pepper is in use at once."""
    for module in (vault, peppers):
        monkeypatch.setattr(module, "KNOWN_AFTER_S", -2)


def states(world: World) -> list[tuple[list[str], str]]:
    return [(one["clients"], one["state"]) for one in world.json("keys", "peppers")]


def test_a_pepper_is_rotated_and_the_old_one_ends_when_no_client_needs_it(world: World) -> None:
    world("clients", "create", "back\x1bend", "--account", world.ids["account"])
    client = world.json("clients", "list")[0]
    (old,) = [one["pepper"] for one in world.json("keys", "peppers")]
    world.ids["old"] = old
    told = world.json("keys", "rotate", "--pepper", "--dry-run")[0]
    assert told == {"clients": 1, "heads": 2}
    assert [state for _, state in states(world)] == ["makes what is new"]
    done = world.json("keys", "rotate", "--pepper")[0]
    assert (done["pepper"] != old, done["heads"]) == (True, 2)
    assert [state for _, state in states(world)] == ["needed", "makes what is new"]
    refused = world("keys", "retire", "{old}", "--confirm", "{old}", code=4)
    assert "Rotate or revoke them first" in refused.stderr
    assert "\x1b" not in refused.stderr + world("keys", "peppers").stdout
    world("clients", "revoke", str(client["id"]), "--yes")
    assert [state for _, state in states(world)] == ["may be retired", "makes what is new"]
    tried = world("keys", "retire", "{old}", "--dry-run")
    assert "work no more" in tried.stderr
    assert len(states(world)) == 2
    world("keys", "retire", "{old}", "--confirm", "{old}")
    assert [state for _, state in states(world)] == ["makes what is new"]
    assert world("audit", "verify").exit_code == 0


@pytest.mark.parametrize("others", ["--data-keys", "--signing", "--prepare"])
def test_one_kind_of_key_at_a_time(world: World, others: str) -> None:
    assert "Give one of" in world("keys", "rotate", "--pepper", others, code=2).stderr
