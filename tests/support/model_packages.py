"""Model packages for tests: a small trained run, a complete card, keys that are trusted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.registry.assembly import Ingredients, assemble
from runtime.registry.card import ModelCard
from runtime.registry.gates import SkewEvidence
from runtime.registry.package import Package
from runtime.registry.signing import LocalSigner, generate_key, sign
from runtime.settings import Settings
from runtime.training.configuration import TrainingConfiguration
from runtime.training.run import RunRequest, run
from tests.support.training_sets import made_up_configuration, made_up_set

CARD: dict[str, Any] = {
    "name": "arrivals",
    "summary": "Says how likely an arrival is late.",
    "owner": "arrivals team",
    "contact": "arrivals@example.com",
    "licence": "Apache-2.0",
    "intended_use": "Planning of staff at the gate.",
    "out_of_scope_use": "Decisions about single persons.",
    "training_data": "Made-up arrivals of three weeks.",
    "evaluation_data": "Made-up arrivals of the week after.",
    "limitations": ["Knows four cities only."],
    "ethical_considerations": "No data of persons is used.",
    "slices": ["city"],
    "personal_data": {"used": False},
    "retention_days": 365,
}
SKEW = SkewEvidence("arrivals", "snapshot", "heat", 0.0, (), 100)


@dataclass(frozen=True)
class Keys:
    """A private key and the directory in which its public half is trusted."""

    private: Path
    trusted: Path


def card(**changes: Any) -> ModelCard:
    return ModelCard.model_validate({**CARD, **changes})


def trained_run(directory: Path, **changes: Any) -> Path:
    """A finished run: logistic regression and boosted trees on made-up rows."""
    data = made_up_set(directory / "data", rows=6000)
    request = RunRequest(
        TrainingConfiguration.model_validate(made_up_configuration(**changes)),
        str(data),
        ("boosted_trees",),
        workers=1,
        restarts=0,
        checkpoints="",
        slices=("city",),
    )
    run(Settings(), request, directory / "run")
    return directory / "run"


def make_keys(directory: Path, name: str = "release") -> Keys:
    public = generate_key(directory / f"{name}.key")
    trusted = directory / "trusted"
    trusted.mkdir(exist_ok=True)
    (trusted / f"{name}.pem").write_bytes(public)
    return Keys(directory / f"{name}.key", trusted)


def make_package(run_directory: Path, directory: Path, *, kind: str = "boosted_trees", **changes: Any) -> Package:
    """``changes``: fields of Ingredients."""
    given = {"card": card(), "author": "layla", "personal_views": {}, "skew": SKEW, **changes}
    return assemble(Ingredients(run=run_directory, kind=kind, **given), directory)


def signature_of(package: Package, keys: Keys) -> bytes:
    return sign(package.directory, package.manifest.name, LocalSigner(keys.private))
