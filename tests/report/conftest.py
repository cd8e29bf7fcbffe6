import pytest
from report_sample import Sample, make_sample


@pytest.fixture(scope="session")
def sample() -> Sample:
    return make_sample()
