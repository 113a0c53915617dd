"""Entry point of ``python -m featx`` and of the command ``featx``."""

from __future__ import annotations

TYPE_CHECKING = False  # type checkers read this as True; importing typing would take time
if TYPE_CHECKING:
    from typing import NoReturn


def run() -> NoReturn:
    """Run the command line. Ctrl-C during the imports prints one line instead of a traceback."""
    try:
        import signal

        is_default = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if is_default:
            signal.signal(signal.SIGINT, _exit_interrupted)  # nothing has started yet
        from featx.cli import main as cli

        if is_default:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        cli.run()
    except KeyboardInterrupt:
        _exit_interrupted(2, None)


def _exit_interrupted(number: int, frame: object) -> NoReturn:
    import os

    try:
        os.write(2, b"Interrupted.\n")
    finally:  # also if standard error is closed
        os._exit(128 + number)


if __name__ == "__main__":
    run()
