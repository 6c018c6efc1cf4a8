"""The kinds of model there are, by name; each is imported when it is asked for."""

from __future__ import annotations

import importlib
from typing import Final

from runtime.training.errors import ArtifactError, ConfigurationError
from runtime.training.trainers import TrainedModel, Trainer

_KINDS: Final = {
    "tabular_network": ("runtime.training.tabular", "TabularNetworkTrainer", "TabularNetworkModel"),
    "boosted_trees": ("runtime.training.boosting", "BoostedTreesTrainer", "BoostedTreesModel"),
    "logistic_regression": ("runtime.training.baseline", "LogisticRegressionTrainer", "LogisticRegressionModel"),
}
BASELINE: Final = "logistic_regression"
KINDS: Final = tuple(_KINDS)


def trainer(kind: str) -> Trainer:
    """Raises ConfigurationError for an unknown kind."""
    if kind not in _KINDS:
        raise ConfigurationError(f"trainer {kind!r} does not exist; choose {', '.join(KINDS)}")
    module, name, _ = _KINDS[kind]
    made: Trainer = getattr(importlib.import_module(module), name)()
    return made


def model_class(kind: str) -> type[TrainedModel]:
    """Raises ArtifactError for an unknown kind: the name comes from a file."""
    if kind not in _KINDS:
        raise ArtifactError(f"a model of kind {kind!r} is unknown here; known are {', '.join(KINDS)}")
    module, _, name = _KINDS[kind]
    found: type[TrainedModel] = getattr(importlib.import_module(module), name)
    return found
