"""One made-up training set for the tests of models and jobs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.training_sets import made_up_set


@pytest.fixture(scope="session")
def made_up(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_up_set(tmp_path_factory.mktemp("training") / "set")
