"""The kit's pytest plugin (entry point pytest11)."""
