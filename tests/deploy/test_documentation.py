"""Documentation names only commands, options, files and headings that exist; each block is run or says why not."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from joinder.cli import group

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("plugins/*/README.md")])
MARK = re.compile(r"<!-- (?:run by (tests/\S+\.py)|not run: .+) -->\n")
BEGINS = re.compile(r"(?:(?<=^)|(?<= -- )|(?<=/bin/)|(?<=&& ))joinder .*")
OWN = {"--config", "--no-input", "--help", "--version"}  # anywhere on the line
pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def commands(text: str) -> list[str]:
    """What stands in blocks of a shell, continued lines as one, and in line."""
    fenced = "\n".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL)).replace("\\\n", " ")
    lines = [line.split(" #")[0] for line in fenced.splitlines()]
    inline = re.findall(r"`(joinder [^`]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    found = [match[0] for line in lines for match in [BEGINS.search(line)] if match]
    return [*found, *(" ".join(text.split()) for text in inline)]


def unknown(line: str) -> str | None:
    """What of the line is no command or option; None when all is."""
    words = re.split(r"[|&>;]", re.sub(r"\$\([^)]*\)|\"[^\"]*\"|'[^']*'", "TEXT", line))[0].split()[1:]
    command: click.Command = group
    path = ["joinder"]
    while words and isinstance(command, click.Group):
        if words[0].startswith("-"):
            break
        context = click.Context(command, info_name=path[-1])
        try:
            _, found, _ = command.resolve_command(context, [words[0]])
        except click.UsageError:
            return f"{' '.join(path)} {words[0]}"
        assert found is not None
        command = found
        path.append(words.pop(0))
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)} | OWN
    wrong = [word for word in words if word.startswith("--") and word.split("=")[0].rstrip(",") not in known]
    return f"{' '.join(path)} {wrong[0]}" if wrong else None


def test_what_is_unknown_is_seen() -> None:
    assert unknown("joinder enrollments lst") == "joinder enrollments lst"
    assert unknown("joinder backup x --kep 3") == "joinder backup --kep"
    assert unknown("joinder backup x --keep 3 | tail") is None


@pages
def test_every_command_and_option_exists(page: Path) -> None:
    assert [wrong for line in commands(page.read_text()) if (wrong := unknown(line))] == []


@pages
def test_every_block_is_run_or_says_why_not(page: Path) -> None:
    if "plugins" in page.parts:
        return
    text = page.read_text()
    for before in re.split(r"^```sh$", text, flags=re.M)[:-1]:
        mark = MARK.search(before[-200:] if not before.endswith("-->\n") else before[before.rindex("<!--") :])
        assert mark is not None, before[-100:]
        assert before.endswith(mark[0]), before[-100:]
        if mark[1]:
            assert page.name in (ROOT / mark[1]).read_text(), f"{mark[1]} does not read {page.name}"


def anchors(page: Path) -> set[str]:
    lines = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL).splitlines()
    titles = [line.lstrip("#").strip().lower() for line in lines if line.startswith("#")]
    return {re.sub(r"[^\w\- ]", "", title).replace(" ", "-") for title in titles}


@pages
def test_every_link_leads_somewhere(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in target:
            continue
        name, _, heading = target.partition("#")
        led = (page.parent / name).resolve() if name else page
        if not led.exists() or (heading and heading not in anchors(led)):
            broken.append(target)
    assert broken == []
