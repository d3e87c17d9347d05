"""Public files a vendor fetches from this server: only those a vendor declares, only what the operator put there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from joinder.runtime.hub import Hub
from joinder.services.refusals import NotFound
from joinder.vendor import ServedFile

MAX_BYTES = 64 * 1024


@dataclass(frozen=True)
class PublicFile:
    content: bytes
    media_type: str


def read(hub: Hub, path: str) -> PublicFile:
    """Reads the file a vendor declares at this path.

    Raises NotFound for a path no vendor declares, and for a file that is missing or not of the declared kind.
    """
    for vendor in hub.registry.vendors:
        for declared in vendor.served_files:
            if declared.path == path:
                content = found(hub.settings.public_files, declared)
                if content is not None:
                    return PublicFile(content, declared.media_type)
    raise NotFound


def found(folder: str | None, declared: ServedFile) -> bytes | None:
    """Reads the file when it may be served: a regular file in the folder itself, of the declared beginning.

    Else None.
    """
    if not folder:
        return None
    root = Path(folder).resolve()
    path = (root / declared.path.rpartition("/")[2]).resolve()  # a link may not lead out of the folder
    if path.parent != root or not path.is_file() or path.stat().st_size > MAX_BYTES:
        return None
    content = path.read_bytes()
    allowed = content.startswith(declared.starts_with.encode()) and b"PRIVATE KEY" not in content
    return content if allowed else None
