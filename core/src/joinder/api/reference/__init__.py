"""The API as a page one can try, at /docs: Swagger UI out of this wheel, so that it works offline and asks nobody else.

Litestar's own pages load their scripts from third parties. Of the references that come as one file, Swagger UI needs
neither inline scripts nor `eval`, and its makers keep it. The two files are those of `swagger-ui-dist` 5.35.0 (npm,
Apache-2.0), packed by `gzip -n -9`, as most browsers are sent them.
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

from litestar import MediaType, Request, Response, get
from litestar.exceptions import NotFoundException
from litestar.params import FromPath

HERE = Path(__file__).parent
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
)
_HEADERS = {"content-security-policy": POLICY, "cache-control": "public, max-age=3600"}
_FILES = {
    "start.js": "text/javascript",
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
}


@get("/docs", media_type=MediaType.HTML, include_in_schema=False, sync_to_thread=True)
def reference_page() -> Response[bytes]:
    return Response((HERE / "page.html").read_bytes(), media_type=MediaType.HTML, headers=_HEADERS)


@get("/docs/{name:str}", include_in_schema=False, sync_to_thread=True)
def reference_file(request: Request[Any, Any, Any], name: FromPath[str]) -> Response[bytes]:
    """Serves a file of the page, packed as it lies there to who takes gzip."""
    media_type = _FILES.get(name)
    if media_type is None:
        raise NotFoundException
    headers = {**_HEADERS, "vary": "accept-encoding"}
    packed = HERE / f"{name}.gz"
    if not packed.exists():
        return Response((HERE / name).read_bytes(), media_type=media_type, headers=headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        headers["content-encoding"] = "gzip"
        return Response(packed.read_bytes(), media_type=media_type, headers=headers)
    return Response(gzip.decompress(packed.read_bytes()), media_type=media_type, headers=headers)
