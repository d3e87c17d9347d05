"""Joinder's admin terminal, on the same store through the same services as the server."""
