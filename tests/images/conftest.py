from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from featx.images.resize import fast_resizer


@pytest.fixture
def pillow_resize(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Resize with Pillow, as on systems without cykooz-resizer: results equal Pillow's exactly."""
    monkeypatch.setitem(sys.modules, "cykooz_resizer", None)
    fast_resizer.cache_clear()
    assert fast_resizer() is None
    yield
    fast_resizer.cache_clear()
