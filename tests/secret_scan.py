"""Looks for secrets in the files of the tree, and in each that any commit ever held (`make secrets`).

    .venv/bin/python tests/secret_scan.py [FOLDER]

What a secret looks like is the kit's own scanner's to say. Made-up ones stand in known_secrets.txt, by their hash. A
secret in history is spent: renew it, as deleting it helps nobody.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from joinder.testing.scanner import Finding, scan_text

KNOWN = Path(__file__).with_name("known_secrets.txt")
LARGEST_BYTES = 4 * 2**20


def known() -> frozenset[str]:
    """Returns the hashes of what only looks like a secret."""
    lines = (line.partition("#")[0].strip() for line in KNOWN.read_text().splitlines())
    return frozenset(line for line in lines if line)


def in_tree(folder: Path) -> Iterator[Finding]:
    """Scans what is or would be committed, as it is now."""
    listed = _git(folder, "ls-files", "-z", "--cached", "--others", "--exclude-standard").decode().split("\0")
    for name in sorted(filter(None, listed)):
        path = folder / name
        if path.is_file() and not path.is_symlink() and path.stat().st_size <= LARGEST_BYTES:
            yield from _scanned(path.read_bytes(), Path(name))


def in_history(folder: Path) -> Iterator[Finding]:
    """Scans every file of every commit that a branch or tag leads to; a line that many versions share is told once."""
    objects = _git(folder, "rev-list", "--objects", "--all").decode().splitlines()
    names = {name: path for name, _, path in (line.partition(" ") for line in objects) if path}
    seen: set[tuple[str, str]] = set()
    for name, content in _blobs(folder, list(names)):
        for found in _scanned(content, Path(f"{names[name]} ({name[:12]})")):
            if (key := (names[name], found.digest)) not in seen:
                seen.add(key)
                yield found


def _scanned(content: bytes, path: Path) -> Iterator[Finding]:
    if b"\0" not in content:
        yield from scan_text(content.decode(errors="replace"), path)


def _blobs(folder: Path, names: list[str]) -> Iterator[tuple[str, bytes]]:
    """Reads files by their names in git; folders and large files are left out."""
    asked = ["git", "-C", str(folder), "cat-file", "--batch"]
    with subprocess.Popen(asked, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as git:
        assert git.stdin is not None
        assert git.stdout is not None
        for name in names:
            git.stdin.write(f"{name}\n".encode())
            git.stdin.flush()
            if (content := _next(git.stdout)) is not None:
                yield name, content
        git.stdin.close()


def _next(answers: IO[bytes]) -> bytes | None:
    _, kind, size = answers.readline().split()
    content = answers.read(int(size) + 1)[:-1]
    return content if kind == b"blob" and len(content) <= LARGEST_BYTES else None


def _git(folder: Path, *arguments: str) -> bytes:
    return subprocess.run(["git", "-C", str(folder), *arguments], check=True, capture_output=True).stdout


def main(folder: Path) -> int:
    """Prints a line each; 1 where there is any."""
    made_up, count = known(), 0
    for where, findings in (("tree", in_tree(folder)), ("history", in_history(folder))):
        for found in findings:
            if found.digest not in made_up:
                count += 1
                print(f"{where}: {found.path}:{found.line}: {found.what}, {found.excerpt} ({found.digest})")
    print(f"{count} that look like secrets" + ("; a made-up one belongs in tests/known_secrets.txt" if count else ""))
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main(Path(*sys.argv[1:]) if sys.argv[1:] else Path(__file__).parents[1]))
