"""The command line: parse → call → print. Data goes to standard output, everything else to standard error."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

from featx.cli.console import ReaderGoneError, show_all_characters
from featx.cli.parser import make_parser
from featx.cli.signals import SIGNALS, Interrupts, leave_at_once
from featx.errors import FeatxError
from featx.system.progress import show_messages, write_line

if TYPE_CHECKING:
    pass


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code.

    0, 1 for an error or a damaged cache, 2 for wrong usage, 130 for Ctrl-C, 143 for SIGTERM.
    """
    with Interrupts() as signals:
        show_all_characters()
        args = argparse.Namespace(command="")
        try:
            args = make_parser().parse_args(argv)
            args.argv = sys.argv[1:] if argv is None else list(argv)
            show_messages(getattr(args, "quiet", False))
            return args.run(args) or 0
        except KeyboardInterrupt:
            return _interrupted(args.command, signals)
        except FeatxError as error:
            if signals.first:  # whatever went wrong then, somebody wanted it to end
                return _interrupted(args.command, signals)
            write_line(f"Error: {error}")
            return 1
        except ReaderGoneError:
            return 1
        except Exception:
            if signals.first:  # libraries may turn an interrupt into an error of their own
                return _interrupted(args.command, signals)
            raise


def run() -> NoReturn:
    """Run the command that was given to the process, and end the process."""
    try:
        code = main()
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)  # the last word is said; nothing is to change the exit code
    except KeyboardInterrupt:  # between the command's own handlers and the end, when all is said and done
        code = 128 + signal.SIGINT
    leave_at_once(code)


def _interrupted(command: str, signals: Interrupts) -> int:
    if sys.stderr is not None and sys.stderr.isatty():
        print(file=sys.stderr)  # the terminal has just echoed ^C
    kept = "" if command.startswith("cache ") else "Rows already committed are kept; "
    write_line(f"Interrupted. {kept}the same command goes on from there.".replace(". t", ". T"))
    return 128 + (signals.first or signal.SIGINT)
