"""Fixtures of the tests of files."""

from __future__ import annotations

from tests.s3_server import fault, s3

__all__ = ["fault", "s3"]
