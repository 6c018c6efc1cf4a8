"""A training file that asks for what cannot be must be refused before a row is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from runtime.training.configuration import load_configuration
from runtime.training.errors import ConfigurationError
from tests.support.training_sets import made_up_configuration


def written(directory: Path, document: Any) -> Path:
    path = directory / "training.yaml"
    path.write_text(document if isinstance(document, str) else yaml.safe_dump(document))
    return path


def test_a_plain_date_means_midnight_utc(tmp_path: Path) -> None:
    configuration = load_configuration(written(tmp_path, made_up_configuration()))
    assert configuration.data.train.start.isoformat() == "2024-01-01T00:00:00+00:00"


def test_the_digest_names_the_content_not_the_spelling(tmp_path: Path) -> None:
    first = load_configuration(written(tmp_path, made_up_configuration()))
    spelt_out = made_up_configuration(data={"train": {"start": "2024-01-01T00:00:00+00:00", "end": "2024-01-21"}})
    assert load_configuration(written(tmp_path, spelt_out)).digest == first.digest
    assert load_configuration(written(tmp_path, made_up_configuration(seed=12))).digest != first.digest


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (made_up_configuration(sed=3), "sed: Extra inputs are not permitted"),
        (made_up_configuration(tabular_network={"learning_rat": 1}), "tabular_network.learning_rat: Extra inputs"),
        (made_up_configuration(tabular_network={"dropout": 1.0}), "dropout: Input should be less than 1"),
        (made_up_configuration(tabular_network={"batch_rows": 130}), "multiple of data_shards=4"),
        (made_up_configuration(boosted_trees={"members": 0}), "members: Input should be greater than or equal to 1"),
        (made_up_configuration(checkpoints={"keep": 1}), "keep: Input should be greater than or equal to 2"),
        (made_up_configuration(data={"numericals": ["late"]}), "the label late must not be a feature"),
        (made_up_configuration(data={"numericals": ["city"]}), "named twice: city"),
        (made_up_configuration(data={"categoricals": [], "numericals": []}), "name at least one column"),
        (
            made_up_configuration(data={"train": {"start": "2024-01-01", "end": "2024-01-22"}}),
            "a later row may not train",
        ),
        (made_up_configuration(data={"train": {"start": "2024-01-09", "end": "2024-01-02"}}), "must lie before end"),
        ("[1, 2]", "a mapping with the key `data` is expected"),
        ("a: [", "not YAML"),
        ("x" * 300_000, "larger than"),
    ],
)
def test_refuses_in_one_line_what_is_not_allowed(tmp_path: Path, document: Any, words: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_configuration(written(tmp_path, document))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_yaml_cannot_make_objects(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="not YAML"):
        load_configuration(written(tmp_path, "!!python/object/apply:os.system ['true']"))
