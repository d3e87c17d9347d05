"""Every sentence an owner reads, by code. (title, what happened, what to do)"""

from __future__ import annotations

from joinder import virtual

PAGES: dict[str, tuple[str, str, str]] = {
    "flow_gone": (
        "This link does not work",
        "The page that sent you here uses a link this server does not know.",
        "Go back to that page and try again. If it stays this way, tell the people who sent you the link.",
    ),
    "vendor_not_offered": (
        "This link does not work",
        "The link names a brand that is not offered here.",
        "Go back to the page that sent you here and try again.",
    ),
    "state_too_long": (
        "This link does not work",
        "The link that brought you here is too long.",
        "Tell the people who sent you the link: its state may have at most 1,024 characters.",
    ),
    "link_invalid": (
        "This link does not work",
        "It is incomplete, or it was not made here. Nothing was saved.",
        "Go back to the page that sent you here and start again.",
    ),
    "link_expired": (
        "This link is too old",
        "It was made more than 30 days ago. Nothing was saved.",
        "Ask the people who sent it for a new one.",
    ),
    "session_expired": (
        "That took too long",
        "For your safety a connection must be finished within 30 minutes. Nothing was saved.",
        "Start again; it takes a minute.",
    ),
    "link_used": (
        "This step is already over",
        "The link was used before, and works only once.",
        "If your system is not connected yet, start again.",
    ),
    "too_many_tries": (
        "That was tried too often",
        "The form was sent five times, and none of the entries worked. Nothing was saved.",
        "Look up the entries once more, then start again.",
    ),
    "wrong_entries": (
        "That took too long",
        "The entries did not work, and the time to correct them is over. Nothing was saved.",
        "Start again; it takes a minute.",
    ),
    "interrupted": (
        "The connection was interrupted",
        "Our service stopped before the answer of the maker of your system was stored. Nothing was saved.",
        "Start again; it takes a minute.",
    ),
    "still_running": (
        "This takes longer than usual",
        "The maker of your system has not answered yet.",
        "Load this page again in a few seconds.",
    ),
    "slow_down": (
        "Too many people are here at once",
        "Somebody asks this server for a lot at the moment. What you did so far is not lost.",
        "Wait a minute, then load this page again.",
    ),
    "app_changed": (
        "Please start again",
        "The settings of this connection were changed while you were away. Nothing was saved.",
        "Start again; it takes a minute.",
    ),
    "app_refused": (
        "This is not your fault",
        "The company that asks for your data is not accepted by the maker of your system at the moment. "
        "Nothing was saved.",
        "Tell the people who sent you the link; they have to correct it. Nothing can be done from here.",
    ),
    "wrong_browser": (
        "Please go back to the browser where you started",
        "This page was opened in another browser or app than the one you began in. Nothing was saved.",
        "Return to that browser, or start again here.",
    ),
    "vendor_unavailable": (
        "The service cannot be reached right now",
        "We could not reach the maker of your system. Nothing was saved.",
        "Try again in a few minutes.",
    ),
    "store_unavailable": (
        "The service cannot be used right now",
        "Our own service has trouble at the moment; it is neither your fault nor your system's.",
        "Load this page again in a minute. If it stays this way, tell the people who sent you the link.",
    ),
    "operator_action": (
        "This is not your fault",
        "The connection to the maker of your system is not set up correctly. Nothing was saved.",
        "Tell the people who sent you the link; they have to correct it.",
    ),
    "internal_error": (
        "Something went wrong here",
        "Nothing was saved.",
        "Try again in a few minutes. If it stays this way, tell the people who sent you the link.",
    ),
}

VIRTUAL_CHOICES: tuple[tuple[str, dict[str, str]], ...] = (  # what a virtual owner does, and what the vendor answers
    ("Give consent", {"code": virtual.GRANTS}),
    ("Say no", {"error": "access_denied"}),
    ("The vendor fails", {"error": "server_error"}),
    ("Give consent; the vendor approves it a minute later", {"code": virtual.APPROVES}),
    ("Give consent; the vendor rejects it a minute later", {"code": virtual.REJECTS}),
)

LABELS = {
    "start_again": "Start again",
    "choose_title": "Connect your system",
    "choose_lead": "Which brand is your system?",
    "virtual_title": "A virtual owner",
    "virtual_lead": "This page stands for the vendor's. You are {owner}; nobody's system is connected.",
    "form_title": "Connect your {vendor}",
    "form_asks": "{asked_by} asks to read your system.",
    "form_read": "What will be read",
    "form_not_read": "What will not be read or done",
    "form_not_read_text": "No settings are changed, nothing is switched, and no password is asked for.",
    "form_not_changed": "No settings are changed, and nothing is switched.",
    "form_password": "{vendor} offers no other way than your own login: user name and password are kept, encrypted, to "
    "read your system for {asked_by}, and shown to nobody.",
    "form_steps": "Where to find it",
    "form_revoke": "You can end this at any time with the people who sent you here.",
    "form_send": "Connect",
    "form_cancel": "Cancel",
    "form_problem": "There is a problem",
    "form_again": "Try again. Your entries were not saved.",
    "optional": "(optional)",
    "choose": "Please choose",
    "example": "For example: ",
}
