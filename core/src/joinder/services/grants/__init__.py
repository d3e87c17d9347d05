"""The life and death of grants and apps: renewals that lose no token, one judge, one writer of health.

`refresh` is the door: `saving` puts the new token on disk, `journal` and `recovery` keep it through a database in
trouble, `failover` through another server, `barrier` after a restore. `verdict` is the judge's table, pure; `judging`
asks it with `evidence`, and `consequences` follow; `standing` writes health and due work together; `apps` suspects and
heals app credentials; `mass_refusal` is the brake; `invariant` checks and repairs what `standing` promises.

Imports `records` and below. Begin at `refresh`, or at `verdict.RULES`.
"""
