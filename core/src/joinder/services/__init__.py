"""What Joinder does, in rooms. Each imports only rooms below it (`make check` proves it), never a front end.

From below: `calls` (how a vendor is called) · `work` (leases, when work is due) · `records` (accounts, events, health,
grants as stored) · `grants` (renewals, life and death) · `readings` (polls, history, what is served) · `recheck` (what
earlier versions stored) · `join` (owners, consents, enrollments) · `events` (webhooks) · `admin` · `operations`.
"""
