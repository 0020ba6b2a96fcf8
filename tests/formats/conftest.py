"""Bundles of every kind of network, and two small runs trained on the plays."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from bundles import architecture_of
from commands import charlm
from conftest import RandomParameters
from formats.networks import BundleMaker, scale_of

from charlm.config.file import dump_config
from charlm.config.recipes import DEFAULT_CORPUS
from charlm.config.schema import Config, ModelConfig
from charlm.network.bundle import Bundle
from charlm.text.vocabulary import Vocabulary


@pytest.fixture
def make_bundle(random_parameters: RandomParameters) -> BundleMaker:
    """Return a function that makes a bundle of random weights; its characters or its vocabulary can be given."""

    def make(
        *, characters: Sequence[str] = tuple("\nabcd"), vocabulary: Vocabulary | None = None, **network: Any
    ) -> Bundle:
        known = vocabulary or Vocabulary(level="char", characters=tuple(characters))
        scale = network.pop("scale", scale_of(network.get("activation", "tanh")))
        parameters = random_parameters(vocabulary_size=len(known), scale=scale, **network)
        config = dump_config(Config(model=ModelConfig(layers=len(parameters.layers), units=4)))
        return Bundle(architecture_of(parameters), parameters, known, config)

    return make


@pytest.fixture(scope="session")
def trained_runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Train two networks on the plays for seconds: two layers with skip connections, and one without."""
    folder = tmp_path_factory.mktemp("runs")
    common = "training={steps: 100, batch_size: 32, sequence_length: 32, evaluate_every: 100, checkpoint_every: 100}"
    models = {
        "skip": "model={layers: 2, skip_connections: true, units: 48}",
        "plain": "model={layers: 1, units: 64, embedding: 16}",
    }
    for name, model in models.items():
        overrides = ("-s", common, "-s", model)
        command = charlm("train", DEFAULT_CORPUS, "-c", "tiny", *overrides, "-r", folder / name)
        assert command.exit_code == 0, command.stderr
    return {name: folder / name for name in models}
