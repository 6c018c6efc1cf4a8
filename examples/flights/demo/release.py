"""The better model into a signed package, into the registry, through approvals and gates."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from examples.flights.demo.features import Features
from examples.flights.demo.ingest import Observe
from examples.flights.demo.train import KINDS, MODEL
from runtime.lineage.artifacts import Artifact, Kind, parse_reference
from runtime.lineage.steps import step

if TYPE_CHECKING:
    from runtime.registry.gates import GatePolicy, GateReport
    from runtime.registry.package import Package
    from runtime.settings import Settings
    from runtime.training.run import RunResult

_RELEASE: Final = Path(__file__).parents[1] / "release"
CARD: Final = _RELEASE / "card.yaml"
GATES: Final = _RELEASE / "gates.yaml"
REQUIREMENTS: Final = Path(__file__).parents[3] / "requirements" / "runtime.txt"

AUTHOR: Final = "demo-author"
APPROVERS: Final = ("demo-approver-1", "demo-approver-2")
"""Stand-ins: in the cloud AWS says who acts, and these are three people."""


@dataclass(frozen=True)
class Released:
    """A version that serves as champion."""

    package: Package
    version: str
    kind: str
    gates: GateReport
    promoted_now: bool
    """False where an earlier run had promoted this very package."""

    @property
    def artifact(self) -> Artifact:
        return Artifact(Kind.MODEL, MODEL, self.version)

    @property
    def card(self) -> Path:
        return self.package.directory / "CARD.md"


def better(settings: Settings, result: RunResult, features: Features, training: Any) -> str:
    """The kind with the lower log-loss on the validation period; the test period chooses nothing."""
    from runtime.training.evaluation import score
    from runtime.training.preparation import prepare
    from runtime.training.trainers import load_model

    data = prepare(settings, training, features.training_set_uri)
    losses = {
        model.kind: score(load_model(model.directory), data, "validation").log_loss
        for model in result.models
        if model.kind in KINDS
    }
    return min(losses, key=lambda kind: losses[kind])


def release(
    settings: Settings,
    result: RunResult,
    features: Features,
    kind: str,
    skew: dict[str, Any],
    directory: Path,
    policy: GatePolicy,
    observe: Observe,
) -> Released:
    """Packages, signs, registers, approves and promotes.  Raises GatesFailed, which names what is closed."""
    from runtime.registry.lifecycle import CHAMPION, Registry
    from runtime.registry.signing import open_signer, sign

    package = _packaged(settings, result, features, kind, skew, directory, observe)
    signature_path = directory.with_name(f"{directory.name}.sig")
    signature = sign(directory, MODEL, open_signer(settings))
    signature_path.write_bytes(signature)
    registry = Registry(settings)
    version = registry.register(directory, signature, AUTHOR, observe)
    standing = {record.actor for record in registry.approvals(version)}
    for approver in APPROVERS:
        if approver not in standing:
            registry.approve(MODEL, version.version, approver, "looked at by nobody: this is a demonstration")
    observe("gates", 0, 1)
    champion = next((each for each in registry.versions(MODEL) if CHAMPION in each.aliases), None)
    promote = champion is None or champion.version != version.version
    if promote:
        judged = registry.promote(MODEL, version.version, policy, AUTHOR, progress=observe).judged
    else:
        judged = registry.judge(MODEL, version.version, policy, progress=observe)
    registry.verify(MODEL, version.version)
    observe("", 1, 1)
    return Released(package, version.version, kind, judged.report, promote)


def _packaged(
    settings: Settings,
    result: RunResult,
    features: Features,
    kind: str,
    skew: dict[str, Any],
    directory: Path,
    observe: Observe,
) -> Package:
    from runtime.registry.assembly import LINEAGE, Ingredients, assemble
    from runtime.registry.card import read_card
    from runtime.registry.gates import skew_evidence

    catalogue = features.declaration.catalogue
    ingredients = Ingredients(
        run=result.directory,
        kind=kind,
        card=read_card(CARD),
        author=AUTHOR,
        personal_views={view.name: view.pii for view in catalogue.all_views},
        skew=skew_evidence(skew),
        requirements=REQUIREMENTS,
    )
    with step(settings, "registry.package") as running:
        package = assemble(ingredients, directory, observe)
        for reference in package.document(LINEAGE)["inputs"]:
            running.read(parse_reference(reference))
        running.made(Artifact(Kind.PACKAGE, MODEL, package.digest), {"kind": kind, "author": AUTHOR})
    return package
