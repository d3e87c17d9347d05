"""No test asks what runs by the real clock about a fixed day: some day is that day, and then the test fails."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
BY_THE_CLOCK = {"api", "browser", "hub", "joinder", "open_terminal", "world"}  # fixtures that stand for a whole server
FROZEN = "clock"  # the fixture that takes the clock's place; `pytestmark` may ask for it too
DAY = re.compile(r"\b20(2[4-9]|[3-9]\d)-[01]\d-[0-3]\d")  # what was before 2024 lies behind on every day
EPOCHS = (1_704_067_200, 4_102_444_800)  # 2024 to 2099


def is_day(node: ast.AST) -> bool:
    """`"2026-06-01"` in any text, `date(2026, 6, 1)`, `datetime(2026, 6, 1)`, `1_780_000_000`."""
    match node:
        case ast.Constant(value=str(text)):
            return bool(DAY.search(text))
        case ast.Constant(value=int(number) | float(number)):
            return EPOCHS[0] <= number < EPOCHS[1]
        case ast.Call(func=ast.Name(id="date" | "datetime"), args=[ast.Constant(value=int(year)), *_]):
            return 2024 <= year < 2100
    return False


def tells_a_day(node: ast.AST, names: set[str]) -> bool:
    """Itself, or by one of these names."""
    return any(is_day(one) or (isinstance(one, ast.Name) and one.id in names) for one in ast.walk(node))


def constants(module: ast.Module) -> set[str]:
    """Names of the module that stand for a fixed day."""
    found: set[str] = set()
    for node in module.body:
        if isinstance(node, ast.Assign) and tells_a_day(node.value, found):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return found


def each_test(module: ast.Module) -> Iterator[tuple[str, set[str], ast.AST]]:
    for node in module.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            yield node.name, {argument.arg for argument in node.args.args}, node


def beside_the_clock(source: str) -> Iterable[str]:
    """Names of the tests that do."""
    module = ast.parse(source)
    if f'pytestmark = pytest.mark.usefixtures("{FROZEN}")' in source:
        return
    names = constants(module)
    for name, fixtures, node in each_test(module):
        if fixtures & BY_THE_CLOCK and FROZEN not in fixtures and tells_a_day(node, names):
            yield name


def test_no_fixed_day_stands_beside_the_real_clock() -> None:
    found = {str(path): list(beside_the_clock(path.read_text())) for path in TESTS.rglob("test_*.py")}
    assert {path: names for path, names in found.items() if names} == {}, "use support.days_ago, or a `clock` fixture"


@pytest.mark.parametrize(
    ("arguments", "body", "found"),
    [
        ("world", "world('--start', '2026-11-20')", True),
        ("api", "ask(api, day_of(date(2031, 6, 1)))", True),
        ("hub", "poll(hub, NOON)", True),
        ("hub", "happen(hub, at=1_780_000_000)", True),
        ("api, clock", "ask(api, day_of(date(2031, 6, 1)))", False),
        ("world", "world('--start', days_ago(9), '--end', '2020-01-01')", False),
        ("day", "assert day == date(2026, 6, 1)", False),
    ],
)
def test_what_is_found(arguments: str, body: str, found: bool) -> None:
    source = f"NOON = datetime(2026, 6, 1, tzinfo=UTC)\n\ndef test_it({arguments}):\n    {body}\n"
    assert bool(list(beside_the_clock(source))) is found
