"""What one process is: `hub` (settings, vendors, store, vault, HTTP), `serve`, `worker`, `due`, the work queue.

`hub` is handed to every service; the others stand above the services and below the commands. Begin at `serve`.
"""
