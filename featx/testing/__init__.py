"""Helpers for tests of code that uses or extends featx: a backbone that counts, and contracts to subclass.

``backbones``       :class:`CountingBackbone`, a fast backbone for tests; :func:`registered`, a temporary registration
``faults``          failing, interrupted and killed file operations, for tests of what a crash leaves on disk
``row_store``       :class:`RowStore`, the interface of a row store; what its tests share
``store_contract``  :class:`StoreContract`, the tests that every row store must pass; needs pytest and hypothesis
``store_faults``    the part of these tests that injects faults

Nothing else in featx imports this package.

May import: ``backbones``, ``system``, ``errors``.
"""

from __future__ import annotations

import importlib.util

from featx.testing.backbones import CountingBackbone, registered
from featx.testing.row_store import RowStore

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from featx.testing.store_contract import StoreContract

__all__ = ["CountingBackbone", "RowStore", "StoreContract", "registered"]


def __getattr__(name: str) -> Any:
    if name != "StoreContract":
        raise AttributeError(f"module 'featx.testing' has no attribute {name!r}")
    from featx.errors import missing_dependency

    for package in ("pytest", "hypothesis"):
        if importlib.util.find_spec(package) is None:
            raise missing_dependency("featx.testing.StoreContract", package)
    from featx.testing.store_contract import StoreContract  # imports pytest

    return StoreContract
