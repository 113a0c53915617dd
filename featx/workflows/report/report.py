"""A comparison → one HTML page that needs nothing else: no network, no other file."""

from featx.workflows.report.comparison_page import write_report

__all__ = ["write_report"]
