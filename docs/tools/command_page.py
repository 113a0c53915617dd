"""The page of the command line, from its parsers."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from featx.cli.parser import make_parser

#: The public function that does the same as a command.
FUNCTIONS = {
    "extract": "extract_images",
    "compare": "compare_images",
    "rank": "rank_images",
    "train": "train_images",
    "model": "read_model",
    "predict": "predict_images",
    "explain": "explain_images",
    "export": "export_model",
    "similar": "similar_images",
    "duplicates": "find_duplicates",
    "check": "check_images",
    "benchmark": "benchmark_images",
    "backbones": "available_backbones",
    "requirements": "requirements",
    "job plan": "plan_job",
    "job run": "run_job",
    "job status": "job_status",
    "job merge": "merge_job",
    "cache info": "cache_info",
    "cache verify": "verify_cache",
    "cache compact": "compact_cache",
    "cache clear": "clear_cache",
}
#: Further functions of a command: for another kind of input or an option.
MORE_FUNCTIONS = {
    "compare": ["compare_features"],
    "duplicates": ["select_duplicates"],
    "backbones": ["load_backbone", "search_backbones"],
}
_HEAD = """\
# Command line

What each command does, a public Python function does too; its parameters have the names of the options. Two things
differ: Python functions that take labels get paths and labels, which `find_images(source)` reads from any source, and
a backbone with other settings than the default is a `FeatureExtractor`, such as
`backbones=[FeatureExtractor(layer=0.5)]`. Results go to standard output, progress and messages to standard error.
`featx --version` prints the version, and `featx COMMAND --help` prints what this page shows.

| exit code | meaning |
|---|---|
| 0 | success |
| 1 | the work failed, reported in one line with a remedy; or a problem that the command was to find |
| 2 | wrong usage: an unknown command or option, an invalid value, or options that contradict each other |
| 130, 143 | interrupted by Ctrl-C or SIGTERM; repeat the command to continue |

| command | purpose | in Python |
|---|---|---|
"""
_GROUP_TITLES = {"options": "", "positional arguments": ""}


def page() -> str:
    """Return the page."""
    commands = dict(commands_of(make_parser()))
    rows = [_overview_row(name, parser) for name, parser in commands.items()]
    return _HEAD + "\n".join(rows) + "\n" + "".join(_section(name, parser) for name, parser in commands.items())


def commands_of(parser: argparse.ArgumentParser, prefix: str = "") -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Yield the name and the parser of each command and subcommand."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, child in action.choices.items():
                yield f"{prefix}{name}", child
                yield from commands_of(child, f"{prefix}{name} ")


def anchor(command: str) -> str:
    """Return the anchor of the section of a command."""
    return f"featx-{command.replace(' ', '-')}"


def _overview_row(name: str, parser: argparse.ArgumentParser) -> str:
    functions = ", ".join(f"`{function}`" for function in functions_of(name))
    return f"| [featx {name}](#{anchor(name)}) | {_summary(parser)} | {functions} |"


def functions_of(name: str) -> list[str]:
    """Return the public functions that do the same as a command."""
    return ([FUNCTIONS[name]] if name in FUNCTIONS else []) + MORE_FUNCTIONS.get(name, [])


def _summary(parser: argparse.ArgumentParser) -> str:
    return (parser.description or "").rstrip(".")


def _section(name: str, parser: argparse.ArgumentParser) -> str:
    groups = [group for group in parser._action_groups if _own_actions(group)]
    parts = [f"## featx {name}", parser.description or "", _epilog(parser), *(_table(group) for group in groups)]
    return "\n" + "\n\n".join(filter(None, parts)) + "\n"


def _epilog(parser: argparse.ArgumentParser) -> str:
    """Return the examples, and other notes, as a block of text."""
    heading, _, text = (parser.epilog or "").strip().partition("\n")
    if heading not in {"example:", "examples:"}:  # notes come first
        return f"```text\n{(parser.epilog or '').strip()}\n```"
    return "\n".join(["```text", *(line.removeprefix("  ") for line in text.splitlines()), "```"])


def _own_actions(group: argparse._ArgumentGroup) -> list[argparse.Action]:
    """Return the arguments of a group, without ``--help`` and the list of subcommands."""
    return [
        action
        for action in group._group_actions
        if action.help and action.dest != "help" and not isinstance(action, argparse._SubParsersAction)
    ]


def _table(group: argparse._ArgumentGroup) -> str:
    title = _GROUP_TITLES.get(group.title or "", group.title or "")
    kind = "argument" if group.title == "positional arguments" else "option"
    rows = [f"| {_option(action)} | {_help(action)} |" for action in _own_actions(group)]
    heading = [f"**{title[0].upper()}{title[1:]}**", ""] if title else []
    return "\n".join([*heading, f"| {kind} | description |", "|---|---|", *rows])


def _option(action: argparse.Action) -> str:
    """Return the names of an option with its value, as code."""
    names = " ".join(action.metavar) if isinstance(action.metavar, tuple) else action.metavar
    value = names or ("" if action.nargs == 0 else "|".join(map(str, action.choices or ())))
    value = f"{value} …" if action.nargs in {"+", "*"} else str(value)
    *short, long = sorted(action.option_strings, key=len) or [""]
    return ", ".join(f"`{text}`" for text in [*short, f"{long} {value}".strip()]).replace("|", "\\|")


def _help(action: argparse.Action) -> str:
    required = " (required)" if action.option_strings and action.required else ""
    return f"{(action.help or '').replace('%%', '%')}{required}"
