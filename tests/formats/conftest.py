"""Two small runs trained on the plays."""

from pathlib import Path

import pytest
from commands import charlm

from charlm.config.recipes import DEFAULT_CORPUS


@pytest.fixture(scope="session")
def trained_runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Train two networks on the plays for seconds: two layers with skip connections, and one without."""
    folder = tmp_path_factory.mktemp("runs")
    common = "training={steps: 100, batch_size: 32, sequence_length: 32, evaluations: 1}"
    models = {
        "skip": "model={layers: 2, skip_connections: true, units: 48}",
        "plain": "model={layers: 1, units: 64, embedding: 16}",
    }
    for name, model in models.items():
        overrides = ("-s", common, "-s", model)
        command = charlm("train", DEFAULT_CORPUS, "-c", "tiny", *overrides, "-r", folder / name)
        assert command.exit_code == 0, command.stderr
    return {name: folder / name for name in models}
