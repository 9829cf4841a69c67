"""Entry point of the commands `embedctl` and `python -m embedctl`."""

from __future__ import annotations

import signal


def main() -> None:
    """Import and run the app; Ctrl-C during the imports ends the process without a traceback."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from embedctl.cli import main as run

    signal.signal(signal.SIGINT, signal.default_int_handler)
    run()


if __name__ == "__main__":
    main()
