"""`python -m joinder`."""

from joinder.start import main

if __name__ == "__main__":
    main()
