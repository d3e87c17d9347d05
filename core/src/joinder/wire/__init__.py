"""The REST format: a module a resource, a struct with its `of(...)`, from what is stored to what is said.

Wh become kWh, epoch seconds ISO 8601. `api` and `commands` import it; it imports services, never a web framework.
Begin with `base.py`, then `sites.py`.
"""
