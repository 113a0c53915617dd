"""Entry point of the command line: run one command and return its exit code."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from featx.cli.completion import complete
from featx.cli.console import ReaderGoneError, check_standard_output, open_closed_streams, show_all_characters
from featx.cli.option_words import in_option_words, options_of
from featx.cli.parser import make_parser
from featx.cli.signals import SIGNALS, Interrupts, exit_now
from featx.errors import FeatxError, OptionError, SourceError
from featx.system.terminal.messages import show_messages, write_line
from featx.system.terminal.progress import reporting


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code.

    Parameters
    ----------
    argv : sequence of str or None, default=None
        Arguments of the command line. None: those of the process.

    Returns
    -------
    int
        0 for success, 1 for an error, 2 for wrong usage, which includes invalid values of options
        (:class:`featx.errors.OptionError`), 130 for Ctrl-C, 143 for SIGTERM.
    """
    with Interrupts() as signals:
        show_all_characters()
        args = argparse.Namespace(command="")
        parser = make_parser()
        try:
            if "_ARGCOMPLETE" in os.environ:  # a shell looks for completions
                complete(parser)
            args = parser.parse_args(argv)
            args.argv = sys.argv[1:] if argv is None else list(argv)
            show_messages(
                getattr(args, "quiet", False), lambda text: in_option_words(text, options_of(parser, args.command))
            )
            with reporting(verbose=not getattr(args, "quiet", False)):
                return _run(args)
        except KeyboardInterrupt:
            return _interrupted(args.command, signals)
        except FeatxError as error:
            if signals.first:  # the error may be a consequence of the interrupt
                return _interrupted(args.command, signals)
            write_line(f"Error: {in_option_words(str(error), options_of(parser, args.command))}")
            for note in getattr(error, "__notes__", ()):
                write_line(f"Note: {in_option_words(note, options_of(parser, args.command))}")
            return 2 if isinstance(error, OptionError) else 1
        except ReaderGoneError:
            return 1
        except Exception:
            if signals.first:  # a library may turn the interrupt into another error
                return _interrupted(args.command, signals)
            raise


def _run(args: argparse.Namespace) -> int:
    check_standard_output(args)
    try:
        return args.run(args) or 0
    except FileNotFoundError as error:
        try:
            os.getcwd()
        except FileNotFoundError:
            message = "The working directory was removed. Change to another one (cd), and repeat the command."
            raise SourceError(message) from error
        raise


def run() -> NoReturn:
    """Run the command of this process, then exit."""
    open_closed_streams()
    try:
        code = main()
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)  # a late signal must not change the exit code
    except KeyboardInterrupt:  # after the handlers of the command were removed
        code = 128 + signal.SIGINT
    exit_now(code)


def _interrupted(command: str, signals: Interrupts) -> int:
    if sys.stderr is not None and sys.stderr.isatty():
        print(file=sys.stderr)  # the terminal has echoed ^C on this line
    kept = "" if command.startswith("cache ") else " Rows already written are kept."
    write_line(f"Interrupted.{kept} Repeat the command to continue.")
    return 128 + (signals.first or signal.SIGINT)
