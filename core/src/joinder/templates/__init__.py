"""What `joinder new-vendor` writes: a whole plugin for a vendor named acme, its name replaced. Three kinds of it."""

from __future__ import annotations

import shutil
from pathlib import Path

from joinder.small_files import naming

_HERE = Path(__file__).parent
_SOURCE = "src/joinder_acme"
KINDS = {
    "oauth": "owners consent on the vendor's pages (OAuth)",
    "key": "owners type a key on Joinder's page",
    "local": "owners name a device in their own network",
}
_COMMON = {  # file → where it stands here
    "pyproject.toml": "common/pyproject.toml",
    "LICENSE": "common/LICENSE",
    ".gitignore": "common/gitignore",
    ".github/workflows/check.yml": "common/check.yml",
    f"{_SOURCE}/py.typed": "common/py.typed",
    "tests/test_conformance.py": "common/test_conformance.py",
}
_CLOUD = {f"{_SOURCE}/{name}.py": f"vendor/{_SOURCE}/{name}.py" for name in ("mapping", "homes")}


def _own(kind: str, *names: str) -> dict[str, str]:
    files = ("README.md", *(f"{_SOURCE}/{name}.py" for name in names), "tests/cassettes/flow.yaml")
    return {file: f"{kind}/{file}" for file in files}


FILES = {
    "oauth": {**_COMMON, **_CLOUD, **_own("vendor", "__init__", "api", "simulator")},
    "key": {**_COMMON, **_CLOUD, **_own("key", "__init__", "api", "simulator")},
    "local": {**_COMMON, **_own("local", "__init__", "api", "mapping", "simulator")},
}


def render(name: str, label: str, into: Path, kind: str = "oauth") -> list[Path]:
    """Writes the files below `into`; answers their paths. Raises FileExistsError rather than replace one."""
    is_new = not into.exists()
    try:
        return _written(name, label, into, kind)
    except OSError:
        if is_new:
            shutil.rmtree(into, ignore_errors=True)  # half a plugin would stand in the way of a whole one
        raise


def _written(name: str, label: str, into: Path, kind: str) -> list[Path]:
    written = []
    for file, source in FILES[kind].items():
        target = into / file.replace("acme", name)
        target.parent.mkdir(parents=True, exist_ok=True)
        with naming(target), target.open("x") as out:
            out.write((_HERE / source).read_text().replace("acme", name).replace("Acme", label))
        written.append(target)
    return written
