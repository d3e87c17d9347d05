"""Webhooks: endpoints, deliveries, sending again. What happens is written by `records/events`.

Imports `join` and below. Begin at `deliveries`.
"""
