"""A run trained with the fake engine."""

import pytest
from fake_runs import Trained, train


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Train a run without interruption, which tests only read."""
    return train(tmp_path_factory.mktemp("reference") / "run")
