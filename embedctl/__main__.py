"""`embedctl`, `python -m embedctl`: the console app."""

from __future__ import annotations

import signal


def main() -> None:
    """Import the app and run it; Ctrl-C meanwhile ends it without a traceback."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from embedctl.cli import main as run

    signal.signal(signal.SIGINT, signal.default_int_handler)
    run()


if __name__ == "__main__":
    main()
