"""How systems come in: flows, sessions, consents, enrollments, links to consent again, and the operator's credentials.

Imports `readings` and below. Begin at `join_sessions`: one owner's way out to the vendor and back.
"""
