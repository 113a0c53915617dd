"""A comparison → one HTML page that needs nothing else: no network, no other file."""

from featx.report.page import write_report

__all__ = ["write_report"]
