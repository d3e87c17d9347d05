"""What can be seen of a process from outside: logs and their context, metrics, traces. Imports nothing above it."""
