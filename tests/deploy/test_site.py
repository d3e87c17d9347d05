"""The documentation is a site: no link leads nowhere, nothing is fetched from elsewhere, and it can be searched."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FETCHED = re.compile(r"<(?:script|link|img|iframe|source)\b[^>]*\b(?:src|href)=\"?(?:https?:)?//[^\s\">]+")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    config = ROOT / "deploy/site/mkdocs.yml"
    command = (sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet")
    done = subprocess.run(
        [*command, "--config-file", config, "--site-dir", folder],
        capture_output=True,
        text=True,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_page_of_the_repository_is_there_and_found_by_words(site: Path) -> None:
    pages = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    vendors = {f"vendors/{path.parent.name}.md" for path in ROOT.glob("plugins/*/README.md")}
    for page in pages | vendors | {"readme.md", "contributing.md", "reporting.md"}:
        assert (site / page).with_suffix(".html").is_file(), page
    index = (site / "search/search_index.js").read_text()
    assert all(word in index for word in ("JoinderRenewalsLate", "journal_folder", "Powerwall"))


def test_a_page_fetches_nothing_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 40
    canonical = re.compile(r'<link[^>]*rel="?(?:canonical|prev|next)')
    found = [match for page in pages for match in FETCHED.findall(page.read_text()) if not canonical.match(match)]
    assert found == []


def test_remarks_for_tests_are_not_shown(site: Path) -> None:
    assert "run by tests/" not in (site / "upkeep.html").read_text()
