"""``python -m featx``, and what the command ``featx`` runs."""

from __future__ import annotations

TYPE_CHECKING = False  # type checkers take this name for true; typing itself need not be loaded
if TYPE_CHECKING:
    from typing import NoReturn


def run() -> NoReturn:
    """Run the command line; Ctrl-C while it is still being loaded is one line, too."""
    try:
        import signal

        is_python_s_own = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if is_python_s_own:
            signal.signal(signal.SIGINT, _leave)  # nothing has begun that could need clearing up
        from featx.cli import main as cli

        if is_python_s_own:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        cli.run()
    except KeyboardInterrupt:
        _leave(2, None)


def _leave(number: int, frame: object) -> NoReturn:
    import os

    os.write(2, b"Interrupted.\n")
    os._exit(128 + number)


if __name__ == "__main__":
    run()
