"""One module per command of `joinder`; each holds `command`."""
