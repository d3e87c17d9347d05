"""What plugin code answers, and what becomes of whatever else it does: hang, raise, answer another type."""

from __future__ import annotations

import asyncio
import inspect
import traceback
from collections.abc import Callable
from typing import Any, TypeVar

from joinder import patience
from joinder.errors import ConsentContinues, PluginBug, TransientError, VendorError

T = TypeVar("T")
HOOK_DEADLINE = 90.0  # beyond every deadline inside; a hook that passes it hangs


async def typed(name: str, what: str, answer_type: type[T], call: Callable[[], Any]) -> T:
    """Returns what plugin code answers inside its deadline. Raises VendorError and nothing else."""
    try:
        answer = call()
        if inspect.isawaitable(answer):
            async with patience.deadline(HOOK_DEADLINE):
                answer = await answer
    except ConsentContinues:
        if what != "handle_callback":
            raise PluginBug(f"plugin {name} asks the owner in {what}, where nobody answers") from None
        raise
    except VendorError:
        raise
    except TimeoutError:
        raise TransientError(f"{name} did not finish {what} within {HOOK_DEADLINE:.0f} s") from None
    except BaseException as error:  # whatever it raised is the plugin's bug
        if _not_its_own(error):
            raise
        raise PluginBug(f"plugin {name} failed in {what}", detail=_where(error)) from None
    if not isinstance(answer, answer_type):
        raise PluginBug(f"plugin {name} answered {type(answer).__name__} to {what}, expected {answer_type.__name__}")
    return answer


def gated(name: str, what: str, answer: T, check: Callable[[T], T]) -> T:
    """Returns the answer as far as core believes it. One that breaks the very checking is the plugin's bug."""
    try:
        return check(answer)
    except VendorError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a plugin's own types do when they are looked at
        raise PluginBug(f"plugin {name} answered {what} with what cannot be read", detail=_where(error)) from None


def _where(error: BaseException) -> str:
    """Returns type and place, not the text: a plugin's exception text may quote a vendor's answer."""
    frames = traceback.extract_tb(error.__traceback__)
    last = frames[-1] if frames else None
    return (
        f"{type(error).__name__} at {last.filename.rsplit('/', 1)[-1]}:{last.lineno}" if last else type(error).__name__
    )


def _not_its_own(error: BaseException) -> bool:
    """Tells whether somebody outside told the hook; a plugin may raise CancelledError though nobody cancels it."""
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is not None and task.cancelling() > 0
    return isinstance(error, KeyboardInterrupt | GeneratorExit)
