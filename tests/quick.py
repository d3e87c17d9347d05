"""Runs the tests of what has changed since the branch's remote, or the last commit: `make quick`.

A test belongs to a module when it is named after it, when it looks over the module's whole room (`GUARDS`: they tell
what was forgotten), or when it has changed itself.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
MOST = 16  # files; more is what `make test` is for
CORE = "core/src/joinder"
PARITY, JSON = "tests/cli/test_parity.py", "tests/cli/test_json.py"
TERMINAL = "tests/tui/test_every_key.py"
VENDORS = ("tests/core/test_catalogue.py", "tests/packaging/test_extras.py")
GUARDS = {  # where a change begins → tests that name what it lacks elsewhere
    f"{CORE}/api/": (
        *(PARITY, "tests/contract/test_examples.py"),
        *(f"tests/api/test_{name}.py" for name in ("isolation", "openapi", "problems", "audit")),
    ),
    f"{CORE}/cli.py": (PARITY, JSON, "tests/cli/test_help.py"),
    f"{CORE}/commands/": (PARITY, JSON, "tests/cli/test_help.py"),
    f"{CORE}/services/admin/enrollment_operations.py": (PARITY, JSON, TERMINAL),
    f"{CORE}/store/tables/": ("tests/core/test_migrate.py",),
    f"{CORE}/store/migrations/": ("tests/core/test_migrate.py",),
    f"{CORE}/hookspecs.py": ("tests/core/test_hooks_doc.py",),
    f"{CORE}/errors.py": ("tests/core/test_errors_doc.py",),
    "core/src/": ("tests/core/test_layers.py", "tests/packaging/test_circles.py"),
    "tui/": (TERMINAL,),
    "plugins/": VENDORS,
    "pyproject.toml": VENDORS,
    "docs/": ("tests/deploy/test_documentation.py", PARITY),
}


def changed() -> list[Path]:
    """Files that differ from where the work began, those that git does not know yet included."""
    names = _told("diff", "--name-only", _base()).split() + _told("ls-files", "--others", "--exclude-standard").split()
    return [ROOT / name for name in dict.fromkeys(names) if (ROOT / name).exists()]


def _base() -> str:
    """Returns the commit the work began at: a branch that was never pushed began at the remote's main, or at ours."""
    head = _told("rev-parse", "HEAD")
    for place in ("@{upstream}", "origin/HEAD", "main"):
        found = _told("merge-base", "HEAD", place)
        if found and (place != "main" or found != head):
            return found
    return _told("rev-parse", "HEAD~1") or "HEAD"


def tests_of(files: list[Path]) -> list[Path]:
    """Test files, those that have changed first, then those that look over a room."""
    tests = [path for path in files if path.name.startswith("test_") and path.suffix == ".py"]
    names = [str(path.relative_to(ROOT)) for path in files]
    for begin, guards in GUARDS.items():
        if any(name.startswith(begin) for name in names):
            tests += [ROOT / guard for guard in guards]
    for path in files:
        if path.suffix == ".py" and "tests" not in path.relative_to(ROOT).parts[:1]:
            tests += sorted((ROOT / "tests").rglob(f"test_{path.stem}.py"))
    return list(dict.fromkeys(tests))


def _told(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def main() -> int:
    found = tests_of(changed())
    if len(found) > MOST:
        print(f"{len(found)} test files belong to what has changed; {MOST} of them are run. make test runs all.")
    if not found:
        print("No test is named after what has changed.")
        return 0
    if any("tui" in path.parts for path in found):
        print("Keys are not pressed here, not even by tests that have changed: make terminal does.")
    chosen = [str(path.relative_to(ROOT)) for path in found[:MOST]]
    command = [sys.executable, "-m", "pytest", "-q", "-n", "4", "-m", "not proof", "-k", "not postgresql", *chosen]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
