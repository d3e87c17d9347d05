"""What `joinder new-vendor` writes: a whole plugin for a vendor named acme, its name replaced."""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).parent / "vendor"
FILES = (
    "pyproject.toml",
    "README.md",
    "src/joinder_acme/__init__.py",
    "src/joinder_acme/api.py",
    "src/joinder_acme/mapping.py",
    "src/joinder_acme/simulator.py",
    "tests/test_conformance.py",
    "tests/cassettes/flow.yaml",
)


def render(name: str, label: str, into: Path) -> list[Path]:
    """Writes the files below `into`; answers their paths. Raises FileExistsError rather than replace one."""
    written = []
    for file in FILES:
        target = into / file.replace("acme", name)
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("x") as out:
            out.write((_FOLDER / file).read_text().replace("acme", name).replace("Acme", label))
        written.append(target)
    return written
