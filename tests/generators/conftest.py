import pytest


@pytest.fixture(scope="module", autouse=True)
def read_pipelines_once():
    """Tests of loading read the files."""
