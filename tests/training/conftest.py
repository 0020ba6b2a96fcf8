"""A run trained with the fake engine, for all tests of this folder."""

import pytest
from fake_runs import Trained, train


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Train without interruption; tests only read the run."""
    return train(tmp_path_factory.mktemp("reference") / "run")
