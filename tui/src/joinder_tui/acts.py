"""Keys and what they do: each with a sentence of help and, where it does more than look around, the command twin."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from textual.binding import Binding, BindingType

ACTS = "acts"  # the group of workers that do what a key asks for
ACTOR = "terminal"  # as the audit names who acted


@dataclass(frozen=True)
class Act(Binding):
    """A binding; `tooltip` is its help. One without `twin` only moves about in what is shown."""

    twin: str = ""  # as typed: joinder enrollments refresh ID
    changes: bool = False  # something in the store or at a vendor: off in --readonly


COPY_ACCOUNT = Act("I", "copy_account", "Copy account", show=False, tooltip="Copy the id of the account it is of")


def acts_of(bindings: Iterable[BindingType]) -> list[Act]:
    return [binding for binding in bindings if isinstance(binding, Act)]
