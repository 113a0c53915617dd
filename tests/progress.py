"""What every function that reports progress guarantees."""

from __future__ import annotations

from collections.abc import Sequence

from featx import Progress


def check_progress(seen: Sequence[Progress]) -> None:
    """Check the reports of one call: every stage starts at 0, never goes back, and ends with all of its units."""
    open_stages: dict[str, Progress] = {}
    for report in seen:
        before = open_stages.get(report.stage)
        if before is None and report.total != 0:
            assert (report.done, report.seconds) == (0, 0.0), f"{report} does not start at 0"
        if before is not None:
            assert report.done >= before.done
            assert report.seconds >= before.seconds
            assert report.unit == before.unit
        assert report.total is None or 0 <= report.done <= report.total
        open_stages[report.stage] = report
        if report.done == report.total:
            del open_stages[report.stage]
    assert not open_stages, f"not ended: {list(map(str, open_stages.values()))}"
    assert seen, "no report"
    assert seen[-1].done == seen[-1].total
