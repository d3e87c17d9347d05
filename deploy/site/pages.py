"""A hook of MkDocs: pages that lie elsewhere in the repository belong to the site too, and links lead there."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
ELSEWHERE = {"README.md": "readme.md", "SECURITY.md": "reporting.md", "CONTRIBUTING.md": "contributing.md"}
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#|/)([^)\s#]+)(#[^)\s]*)?(?=\))")
SHIM = "https://unpkg.com/iframe-worker/shim"  # what Material would fetch to search from a disk; it lies here
OWN_SHIM = "assets/javascripts/iframe-worker.js"
HIDDEN = re.compile(r"^<!--.*?-->\n", re.MULTILINE)


def on_config(config: Any) -> Any:
    """Adds what there is one file each of to the navigation."""
    vendors = sorted(uri for uri in _pages().values() if uri.startswith("vendors/"))
    decisions = sorted(f"decisions/{path.name}" for path in (ROOT / "docs/decisions").glob("*.md"))
    config.nav = [*config.nav, {"Vendors": vendors}, {"Decisions": decisions}]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Adds the pages from elsewhere."""
    for source, uri in _pages().items():
        if source not in files.src_uris:
            files.append(File.generated(config, uri, content=(ROOT / source).read_text("utf-8")))
    shim = Path(__file__).with_name("iframe-worker.js").read_text("utf-8")
    files.append(File.generated(config, OWN_SHIM, content=shim))
    return files


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Lets the page fetch nothing from elsewhere."""
    return output.replace(SHIM, posixpath.relpath(OWN_SHIM, posixpath.dirname(page.file.dest_uri) or "."))


def on_post_template(output_content: str, **_: Any) -> str:
    """Renders as a page does, for the one that says that there is none."""
    return output_content.replace(SHIM, OWN_SHIM)


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Lets each link lead to where its page is in the site, and hides remarks for the tests."""
    pages = _pages()
    places = {uri: source for source, uri in pages.items()}
    uri = page.file.src_uri
    source = places.get(uri, f"docs/{uri}")

    def led(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), match[1]))
        found = pages.get(target) or target.removeprefix("docs/")
        return posixpath.relpath(found, posixpath.dirname(uri) or ".") + (match[2] or "")

    return HIDDEN.sub("", LINK.sub(led, markdown))


def _pages() -> dict[str, str]:
    """Returns path in the repository → place in the site, of pages outside of docs/."""
    vendors = {
        str(path.relative_to(ROOT)): f"vendors/{path.parent.name}.md" for path in ROOT.glob("plugins/*/README.md")
    }
    return {**ELSEWHERE, **vendors}
