"""One written report, shared by the tests that only read it."""

import pytest

from edgekd import report as reports

from .sample import build


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> reports.Written:
    """The sample report, written."""
    return reports.write(build(), tmp_path_factory.mktemp("report"))
