"""pyarrow, where it is installed."""

from pathlib import Path
from typing import Any

from edgekd.errors import EnvironmentFault


def import_parquet(path: Path) -> tuple[Any, Any]:
    """The packages pyarrow and pyarrow.parquet, to read `path`.

    Raises:
        EnvironmentFault: they are not installed.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as err:
        raise EnvironmentFault(f'{path}: Parquet needs pyarrow; install it: pip install "edgekd[parquet]"') from err
    return pyarrow, parquet
