"""``python -m featx``, and what the command ``featx`` runs."""

from __future__ import annotations

TYPE_CHECKING = False  # type checkers take this name for true; typing itself need not be loaded
if TYPE_CHECKING:
    from typing import NoReturn


def run() -> NoReturn:
    """Run the command line; Ctrl-C while it is still being loaded is one line, too."""
    try:
        from featx import cli
    except KeyboardInterrupt:
        import sys

        sys.stderr.write("Interrupted.\n")
        sys.exit(130)
    cli.run()


if __name__ == "__main__":
    run()
