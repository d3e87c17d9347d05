"""Parts of the OpenAPI document that no signature tells: forms, redirects, pages, and what every problem looks like."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from joinder.api.asking import API_VERSION
from joinder.api.problems import MEDIA_TYPE
from joinder.services.records.accounts import REVEAL, SCOPES

Part = dict[str, Any]
TEXT: Part = {"type": "string"}
SCOPE_TEXTS = {
    "read:sites": "Sites, devices, intervals, live power.",
    "read:enrollments": "Enrollments, backfills, events.",
    "manage:enrollments": "Refresh, pause, end, label and reconnect enrollments; start backfills.",
    "read:flows": "Join flows.",
    "manage:flows": "Create and delete join flows.",
    "read:credentials": "Vendor credentials without secrets, their quotas and actions.",
    "manage:credentials": "Store, change and delete vendor credentials; run operator actions.",
    "read:webhooks": "Webhooks and deliveries.",
    "manage:webhooks": "Create, change, delete and test webhooks; send again.",
    REVEAL: "The secrets of vendor credentials. No client has it unless asked for.",
}
TAGS = {
    "OAuth 2.0": "Access tokens (RFC 6749 §4.4), the server's metadata (RFC 8414) and keys (RFC 7517).",
    "Vendor credentials": "The operator's app credentials at vendors. Secrets go in and do not come out again.",
    "Join flows": "Reusable links an operator sends system owners to.",
    "Join": "The public way of an owner: from the link to the vendor or our form, and back. Answers are pages.",
    "Enrollments": "One consent each: what it opened, whose it is, how the connection is.",
    "Sites": "Homes and plants: what they are, their history, their power now.",
    "Solar inverters": "What makes solar power, and how much.",
    "Batteries": "What stores energy, and how much of it.",
    "Meters": "What flows through the grid connection and the home.",
    "Backfills": "History of an enrollment, fetched in the background.",
    "Events": "What happened, the newest last.",
    "Webhooks": "Endpoints events are sent to, signed as Standard Webhooks 1.0 says.",
    "Programmes": "What enrollments are in, applications to them, and what is decided.",
    "Virtual mode": "Homes that exist only here, to build and test against.",
    "Battery control": "Known from Derapi's client; Joinder steers nothing.",
    "Join sessions": "Known from Derapi's client; join flows do this.",
    "Vendors": "The vendors that are installed, what they ask for and can do.",
    "Health": "For load balancers.",
}
SECURITY: Part = {
    "oauth2": {
        "type": "oauth2",
        "description": "Client credentials (RFC 6749 §4.4). Tokens are JWTs (RFC 9068) and last an hour.",
        "flows": {
            "clientCredentials": {
                "tokenUrl": "/oauth2/token",
                "scopes": {scope: SCOPE_TEXTS.get(scope, scope) for scope in (*SCOPES, REVEAL)},
            }
        },
    },
    "client": {"type": "http", "scheme": "basic", "description": "Client id and secret, for the token endpoint."},
}
VERSION: Part = {
    "name": "api-version",
    "in": "header",
    "required": False,
    "description": "The version asked for; the only one when left out.",
    "schema": {"type": "string", "enum": [API_VERSION]},
}
_RETRY_AFTER: Part = {"retry-after": {"description": "Seconds until it may work.", "schema": {"type": "integer"}}}
LIMITS: Part = {
    "ratelimit": {"description": "What is left of the client's requests: `r`, all again in `t` s.", "schema": TEXT},
    "ratelimit-policy": {"description": "Requests (`q`) in so many seconds (`w`).", "schema": TEXT},
}
_CHALLENGE: Part = {"www-authenticate": {"description": "RFC 6750 §3.", "schema": TEXT}}
_PROBLEMS = {
    400: ("BadRequest", "The query or the body is wrong; `errors` names each member by JSON Pointer.", {}),
    401: ("Unauthorized", "No valid access token.", _CHALLENGE),
    403: ("Forbidden", "The token lacks the scope.", _CHALLENGE),
    404: ("NotFound", "No such id in this account, or nothing of the kind.", {}),
    406: ("NotAcceptable", "`Accept` takes no JSON.", {}),
    409: ("Conflict", "The present state does not allow it.", {}),
    410: ("Gone", "No grant lists the site any more, and nothing of it is stored.", {}),
    413: ("TooLarge", "The body is larger than 256 kB. The connection ends.", {}),
    415: ("UnsupportedMediaType", "The body is not declared to be JSON.", {}),
    422: ("Unprocessable", "Well-formed, but it cannot work.", {}),
    429: ("RateLimited", "Too many requests.", {**_RETRY_AFTER, **LIMITS}),
    502: ("VendorFailed", "The vendor's answer cannot be used; `actor` says who must act.", {}),
    503: ("Unavailable", "Not now: this server, its database or the vendor's call limit.", _RETRY_AFTER),
    504: ("VendorTimeout", "The vendor, or the owner's device, did not answer in time.", _RETRY_AFTER),
}
_PROBLEM: Part = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
RESPONSES: Part = {
    name: {"description": text, "content": _PROBLEM, **({"headers": headers} if headers else {})}
    for name, text, headers in _PROBLEMS.values()
} | {"Problem": {"description": "Any other problem (RFC 9457).", "content": _PROBLEM}}


def problems(*statuses: int) -> Part:
    """Returns the responses of these problems, and of any other."""
    told = {str(status): {"$ref": f"#/components/responses/{_PROBLEMS[status][0]}"} for status in sorted(statuses)}
    return {**told, "default": {"$ref": "#/components/responses/Problem"}}


def answer(schema: Part, status: int = 200, media_type: str = "application/json") -> Part:
    return {str(status): {"description": HTTPStatus(status).phrase, "content": {media_type: {"schema": schema}}}}


def _query(name: str, description: str, **more: Any) -> Part:
    return {"name": name, "in": "query", "required": False, "description": description, "schema": TEXT, **more}


def _object(required: tuple[str, ...] = (), **members: Part) -> Part:
    return {"type": "object", "properties": members, **({"required": list(required)} if required else {})}


def _page(status: int, description: str) -> Part:
    return {str(status): {"description": description, "content": {"text/html": {"schema": TEXT}}}}


def _sent(description: str) -> Part:
    return {
        "303": {
            "description": description,
            "headers": {
                "location": {
                    "description": "Where the owner goes.",
                    "schema": {"type": "string", "format": "uri-reference"},
                }
            },
        }
    }


_REFUSED = _page(400, "A page for the owner that says what happened and what to do.")
_ELSE: Part = {**_REFUSED, "default": {"description": "Such a page."}}
_OUT = {**_sent("On to the vendor's consent, or to our form."), **_ELSE}
_BACK = {
    **_sent(
        "To the page that says how it went, or, where the flow has `skipLanding`, at once: back to `redirectURI` with "
        "`state` and `enrollmentID`, or with `error`, `error_description`, `error_code`."
    ),
    **_ELSE,
}
_INTRO = "Who asks, and what will be read; a click goes on. Left out by the flow's `skipIntro`."
_LOCALE = _query("ui_locales", "Languages of the pages, the best first, as BCP 47 tags; else what the browser prefers.")
_LINK = _query("link", "As `createOwnerLink`, or the landing page, made it.", required=True)
_TOKEN = _object(
    ("access_token", "token_type", "expires_in", "expires_at", "scope"),
    access_token=TEXT,
    token_type={"type": "string", "enum": ["Bearer"]},
    expires_in={"type": "integer", "description": "Seconds."},
    expires_at={"type": "number", "description": "Epoch seconds."},
    scope=TEXT,
)
_OAUTH_ERROR = _object(("error", "error_description"), error=TEXT, error_description=TEXT)
_TOKEN_REQUEST = _object(
    ("grant_type",),
    grant_type={"type": "string", "enum": ["client_credentials"]},
    scope={"type": "string", "description": "Scopes, divided by blanks; all of the client's when left out."},
    client_id={"type": "string", "description": "Where the client is not told by HTTP Basic."},
    client_secret=TEXT,
)
_FORM = {"type": "object", "additionalProperties": TEXT, "description": "The fields of the form."}
_END = _object(("link",), link=TEXT, ui_locales=TEXT)
_OK = _object(("status",), status={"type": "string", "enum": ["ok"]})
_METADATA = _object(
    ("issuer", "token_endpoint", "jwks_uri"),
    issuer=TEXT,
    token_endpoint=TEXT,
    jwks_uri=TEXT,
    grant_types_supported={"type": "array", "items": TEXT},
    token_endpoint_auth_methods_supported={"type": "array", "items": TEXT},
    scopes_supported={"type": "array", "items": TEXT},
    response_types_supported={"type": "array", "items": TEXT},
)
_JWKS = _object(("keys",), keys={"type": "array", "items": {"type": "object", "additionalProperties": True}})
_ABOUT_TOKEN = {
    "required": True,
    "content": {
        "application/x-www-form-urlencoded": {
            "schema": {
                "type": "object",
                "properties": dict.fromkeys(("token", "token_type_hint", "client_id", "client_secret"), TEXT),
                "required": ["token"],
            }
        }
    },
}
_INTROSPECTION = {
    "type": "object",
    "properties": {
        "active": {"type": "boolean"},
        **dict.fromkeys(("token_type", "scope", "client_id", "sub", "iss", "aud", "jti"), TEXT),
        **{name: {"type": "integer"} for name in ("iat", "exp")},
    },
    "required": ["active"],
}
_REFUSED_CLIENT = {**answer(_OAUTH_ERROR, 400), **answer(_OAUTH_ERROR, 401)}
PARTS: dict[str, Part] = {  # what replaces parts of an operation, by its id
    "createAccessToken": {
        "requestBody": {
            "required": True,
            "content": {"application/x-www-form-urlencoded": {"schema": _TOKEN_REQUEST}},
        },
        "security": [{"client": []}, {}],
        "responses": {
            **answer(_TOKEN),
            **answer(_OAUTH_ERROR, 400),
            **answer(_OAUTH_ERROR, 401),
            **problems(429),
        },
    },
    "revokeAccessToken": {
        "requestBody": _ABOUT_TOKEN,
        "security": [{"client": []}, {}],
        "responses": {**answer({"type": "object"}), **_REFUSED_CLIENT, **problems(429)},
    },
    "introspectAccessToken": {
        "requestBody": _ABOUT_TOKEN,
        "security": [{"client": []}, {}],
        "responses": {**answer(_INTROSPECTION), **_REFUSED_CLIENT, **problems(429)},
    },
    **{
        name: {"responses": problems(401, 403, 404, 422, 429)}
        for name in ("getSiteBatteryControl", "putSiteBatteryControl", "createJoinSession", "getJoinSessionToken")
    },
    "getJwks": {"responses": {**answer(_JWKS), **problems()}},
    "getAuthorizationServer": {"responses": {**answer(_METADATA), **problems()}},
    "getLiveness": {"responses": {**answer(_OK), **problems()}},
    "getReadiness": {"responses": {**answer(_OK), **problems(503)}},
    "startJoin": {
        "query": [
            _query("vendor", "One of the flow's vendors. Left out: a page to choose one, where there are several."),
            _query("state", "Yours, opaque, at most 1,024 characters; it comes back with the owner."),
            _query("reference", "Your own word for the enrollment, at most 256 characters of one line."),
            _LOCALE,
        ],
        "responses": {**_page(200, f"The owner chooses a vendor, or reads: {_INTRO}"), **_OUT},
    },
    "startReconnect": {
        "query": [_query("link", "As `createReconnectLink` made it.", required=True), _LOCALE],
        "responses": {**_page(200, _INTRO), **_OUT},
    },
    "finishConsent": {
        "query": [_query("state", "Ours."), _query("code", "The vendor's."), _query("error", "The vendor's.")],
        "responses": _BACK,
    },
    "showJoinForm": {"responses": {**_page(200, "The form; after the end, how it went."), **_ELSE}},
    "submitJoinForm": {
        "requestBody": {"required": True, "content": {"application/x-www-form-urlencoded": {"schema": _FORM}}},
        "responses": {**_BACK, **_page(422, "The form again, with what can be corrected.")},
    },
    "showConnection": {
        "query": [_LINK, _LOCALE],
        "responses": {**_page(200, "What is read, by whom, since when; its receipts; its end."), **_ELSE},
    },
    "askToEndConnection": {
        "query": [_LINK, _LOCALE],
        "responses": {**_page(200, "Whether it is to end."), **_ELSE},
    },
    "endConnection": {
        "requestBody": {"required": True, "content": {"application/x-www-form-urlencoded": {"schema": _END}}},
        "responses": {**_sent("To the receipt of the end."), **_ELSE},
    },
    "showReceipt": {
        "query": [_query("link", "Of the page that shows it.", required=True), _LOCALE],
        "responses": {**_page(200, "What was agreed, or ended, and when; to print or keep."), **_ELSE},
    },
}
