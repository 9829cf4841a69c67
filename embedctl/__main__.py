"""`python -m embedctl` is the console app."""

from embedctl.cli import main

if __name__ == "__main__":
    main()
