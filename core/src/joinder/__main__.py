"""`python -m joinder`."""

from joinder.start import main

main()
