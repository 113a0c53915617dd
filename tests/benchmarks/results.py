"""The results of benchmarks as JSON and Markdown, merged row by row with those of earlier runs."""

from __future__ import annotations

import dataclasses
import datetime
import json
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from featx.system.processes import n_cores, processor_name
from tests.benchmarks.harness import ROOT, Measurement

RESULTS = Path(__file__).parent / "results"
Row = dict[str, Any]


def current_commit() -> str:
    """Return the abbreviated commit, with a + if code was changed, or an empty string outside a checkout.

    Results themselves are no code: each benchmark of a run would otherwise mark the next one.
    """
    commit = _git("describe", "--always", "--exclude=*")
    is_changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", f":!{RESULTS.relative_to(ROOT)}")
    return commit + ("+" if is_changed else "")


def _git(*arguments: str) -> str:
    """Return the output of git, or an empty string outside a checkout."""
    process = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False, cwd=ROOT)
    return process.stdout.strip()


def as_row(measurement: Measurement) -> Row:
    """Return a measurement with date, machine and commit."""
    return {
        **dataclasses.asdict(measurement),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": processor_name(),
        "cores": n_cores(),
        "commit": current_commit(),
    }


def merge_rows(old: Iterable[Row], new: Iterable[Row]) -> list[Row]:
    """Return the latest row of each measurement and machine, sorted by machine and name."""
    rows = {(row["machine"], row["cores"], row["name"]): row for row in [*old, *new]}
    return [rows[key] for key in sorted(rows)]


def read_rows(folder: Path) -> list[Row]:
    """Return the rows of earlier runs."""
    path = folder / "results.json"
    rows: list[Row] = json.loads(path.read_text()) if path.exists() else []
    return rows


def save_rows(folder: Path, new: Iterable[Row]) -> None:
    """Merge rows into ``results.json``, and write ``results.md`` from it."""
    rows = merge_rows(read_rows(folder), new)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(rows, indent=2, ensure_ascii=False) + "\n")
    (folder / "results.md").write_text(as_markdown(rows))


def as_markdown(rows: Iterable[Row]) -> str:
    """Return one table for each machine."""
    tables: dict[str, list[str]] = {}
    for row in rows:
        machine = f"{row['machine']}, {row['cores']} cores"
        if machine not in tables:
            header = "| name | description | value | target | details | date | commit |"
            tables[machine] = [f"## {machine}", "", header, "|---|---|---|---|---|---|---|"]
        value = "skipped" if row["value"] is None else f"{row['value']:g}{'' if row['passed'] else ' (missed)'}"
        cells = (row["name"], row["description"], value, row["target"], row["details"], row["date"], row["commit"])
        tables[machine].append(f"| {' | '.join(cells)} |")
    return "\n\n".join("\n".join(table) for table in tables.values()) + "\n"
