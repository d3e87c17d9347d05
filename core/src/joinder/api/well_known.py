"""Public files for vendors, below /.well-known. No authentication: the vendor fetches them."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get
from litestar.di import NamedDependency

from joinder.runtime.hub import Hub
from joinder.services.admin import public_files


@get("/.well-known/{rest:path}", include_in_schema=False, sync_to_thread=True)
def well_known(request: Request[Any, Any, Any], hub: NamedDependency[Hub]) -> Response[bytes]:
    """Serves a file that a vendor declares and the operator has put there; 404 for anything else."""
    served = public_files.read(hub, request.scope["path"])
    headers = {"cache-control": "public, max-age=3600"}
    return Response(served.content, media_type=served.media_type, headers=headers)
