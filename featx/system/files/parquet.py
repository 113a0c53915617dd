"""pyarrow, which reads and writes Parquet tables; it is an extra and is imported here only."""

from __future__ import annotations

from typing import Any

from featx.errors import missing_dependency


def import_pyarrow() -> Any:
    """Return pyarrow with its modules ``compute``, ``feather`` and ``parquet``.

    Raises
    ------
    MissingDependencyError
        pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.compute
        import pyarrow.feather
        import pyarrow.parquet
    except ImportError as error:
        raise missing_dependency("A Parquet table", "pyarrow", "'featx[jobs]'") from error
    assert pyarrow.compute
    assert pyarrow.feather
    assert pyarrow.parquet
    return pa
