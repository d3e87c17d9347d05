"""`python -m joinder`."""

from joinder.cli import main

main()
