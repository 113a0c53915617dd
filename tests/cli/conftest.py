"""Fixtures of the tests of the command line."""

from __future__ import annotations

import pytest

from featx.cli import main as cli


@pytest.fixture(autouse=True)
def _messages_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not let the command line change how warnings and messages are shown in other tests."""
    monkeypatch.setattr(cli, "show_messages", lambda *_: None)
