"""The life and death of grants and apps: one judge for renewals, reads, joins and questions, and one writer of health.

`verdict` is the table, pure; `judging` gathers what is known and carries a verdict out; `standing` writes health and
due work together; `apps` suspects, tests and heals app credentials; `mass_refusal` is the brake; `invariant` checks
and repairs what `standing` promises. Begin reading at `verdict.RULES`.
"""
