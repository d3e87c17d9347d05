"""Runs the tests of what has changed since the branch's remote, or the last commit: `make quick`.

A test belongs to a module when it is named after it, or when it has changed itself.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
MOST = 12  # files; more is what `make test` is for


def changed() -> list[Path]:
    """Files that differ from where the work began, those that git does not know yet included."""
    base = _told("merge-base", "HEAD", "@{upstream}") or _told("rev-parse", "HEAD~1") or "HEAD"
    names = _told("diff", "--name-only", base).split() + _told("ls-files", "--others", "--exclude-standard").split()
    return [ROOT / name for name in dict.fromkeys(names) if name.endswith(".py") and (ROOT / name).exists()]


def tests_of(files: list[Path]) -> list[Path]:
    """Test files, those that have changed first."""
    tests = [path for path in files if path.name.startswith("test_")]
    for path in files:
        if "tests" not in path.relative_to(ROOT).parts[:1]:
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
    chosen = [str(path.relative_to(ROOT)) for path in found[:MOST]]
    command = [sys.executable, "-m", "pytest", "-q", "-n", "4", "-k", "not postgresql", *chosen]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
