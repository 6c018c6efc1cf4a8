"""The life of a model: registered, approved by two, judged, promoted.  Every change of stage is an audit record.

What changes a stage is decided while no one else may decide on the same model, and is recorded before and after: a
process killed in between leaves a record that says how far it came, and the same command again finishes it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from runtime import metrics
from runtime.lineage.artifacts import Artifact, Kind, parse_reference
from runtime.lineage.steps import Step, step
from runtime.registry import assembly
from runtime.registry.audit import AuditLog, Event, Record, approvals
from runtime.registry.card import ModelCard
from runtime.registry.errors import EnvelopeError, GatesFailed, PackageError, RequestError, SignatureError
from runtime.registry.fairness import slice_report
from runtime.registry.gates import Approval, Evidence, GatePolicy, GateReport, SkewEvidence, judge
from runtime.registry.intervals import Scores, difference_with_intervals, metrics_with_intervals
from runtime.registry.package import Package, read_package
from runtime.registry.signing import TrustedKey, load_trusted_keys, verify
from runtime.registry.store import Opened, PackageStore, Progress
from runtime.registry.tracking import ModelVersion, Tracking

if TYPE_CHECKING:
    from runtime.settings import Settings

CHAMPION: Final = "champion"
MOST_COMMENT_CHARACTERS: Final = 1000


@dataclass(frozen=True)
class Judged:
    """A version, what was found about it, and what the gates say."""

    version: ModelVersion
    champion: ModelVersion | None
    evidence: Evidence
    report: GateReport


@dataclass(frozen=True)
class Promotion:
    """A change of an alias that happened."""

    judged: Judged
    alias: str
    record: Record


class Registry:
    """One tenant's registry.  Methods raise InputError for what is refused, RegistryAwayError for what is away."""

    def __init__(
        self, settings: Settings, *, store: PackageStore | None = None, tracking: Tracking | None = None
    ) -> None:
        self._settings = settings
        self._store = store or PackageStore(settings)
        self._tracking = tracking or Tracking(settings)
        self._trusted: tuple[TrustedKey, ...] = load_trusted_keys(settings)

    def register(
        self, directory: Path, signature: bytes | None, actor: str, progress: Progress = lambda *_: None
    ) -> ModelVersion:
        """Checks a signed package, stores it encrypted, makes it a version.  The same package again changes nothing."""
        with _counted_refusals():
            verify(directory, signature, self._trusted)
            package = read_package(directory)
        assert signature is not None
        name, digest = package.manifest.name, package.digest
        with AuditLog.open(self._settings) as audit, step(self._settings, "registry.register") as running:
            for reference in package.document(assembly.LINEAGE)["inputs"]:
                running.read(parse_reference(reference))
            location = self._store.put(package, signature, progress)
            with audit.turn(name):
                version = self._tracking.register(name, digest, location, package.manifest.author)
                known = [r for r in audit.records(name) if r.action == "register" and r.version == version.version]
                if not known:
                    details = {"location": location, "author": package.manifest.author}
                    audit.append(Event(actor, "register", name, version.version, digest, details))
            running.read(Artifact(Kind.PACKAGE, name, digest), {"location": location, "kind": package.manifest.kind})
            running.made(_artifact(version), {"package": digest, "model_digest": package.manifest.model_digest})
        return version

    def approve(self, name: str, version: str, actor: str, comment: str = "") -> Record:
        """Records that ``actor`` approves exactly the package behind this version.

        Raises RequestError if the actor built or registered it, or approved it already.
        """
        found = self._tracking.version(name, version)
        if len(comment) > MOST_COMMENT_CHARACTERS:
            raise RequestError(f"comment: {len(comment)} characters; {MOST_COMMENT_CHARACTERS} are allowed")
        with AuditLog.open(self._settings) as audit, audit.turn(name):
            records = audit.records(name)
            if _person(actor) in _authors(records, found):
                raise RequestError(
                    f"{name} {found.version}: {actor} built or registered it; another person must approve"
                )
            given = approvals(records, name, found.version, found.digest)
            if _person(actor) in {_person(record.actor) for record in given}:
                raise RequestError(
                    f"{name} {found.version}: {actor} has approved it already; one more person is needed"
                )
            return audit.append(Event(actor, "approve", name, found.version, found.digest, {"comment": comment}))

    def withdraw(self, name: str, version: str, actor: str) -> Record:
        """Takes the actor's approval back.  Raises RequestError if there is none."""
        found = self._tracking.version(name, version)
        with AuditLog.open(self._settings) as audit, audit.turn(name):
            given = approvals(audit.records(name), name, found.version, found.digest)
            if actor not in {record.actor for record in given}:
                raise RequestError(f"{name} {found.version}: {actor} has not approved it")
            return audit.append(Event(actor, "withdraw", name, found.version, found.digest))

    def judge(
        self,
        name: str,
        version: str,
        policy: GatePolicy,
        alias: str = CHAMPION,
        progress: Progress = lambda *_: None,
    ) -> Judged:
        """What the gates say now; changes nothing."""
        with AuditLog.open(self._settings) as audit:
            return self._judge(audit, name, version, policy, alias, progress)

    def promote(
        self,
        name: str,
        version: str,
        policy: GatePolicy,
        actor: str,
        alias: str = CHAMPION,
        progress: Progress = lambda *_: None,
    ) -> Promotion:
        """Gives the alias to a version if every gate is open.  Raises GatesFailed, which names the closed ones.

        A process killed on the way leaves the alias with the old version or the new one; the same call again finishes
        what is missing, and once nothing is missing, changes nothing.
        """
        with AuditLog.open(self._settings) as audit, audit.turn(name):
            judged = self._judge(audit, name, version, policy, alias, progress)
            found = judged.version
            holder, last = self._tracking.holder(name, alias), _last_promotion(audit.records(name), alias)
            moved = holder is not None and holder.version == found.version
            ours = last is not None and (last.version, last.package) == (found.version, found.digest)
            event = Event(actor, "promotion.refused", name, found.version, found.digest)
            if moved and ours and last is not None and last.action == "promotion.decided":
                # The alias moved by that decision, whatever the gates would say by now.
                with step(self._settings, "registry.promote") as running:
                    record = _done(running, audit, event, dict(last.details))
                return Promotion(judged, alias, record)
            details = self._decision(judged, policy, alias)
            if not judged.report.open:
                audit.append(_as(event, "promotion.refused", details))
                metrics.counter("falaj_registry_promotions_refused_total", "Promotions that a gate refused.").inc()
                closed = "; ".join(f"{each.gate}: {each.reason} ({each.todo})" for each in judged.report.closed)
                raise GatesFailed(f"{name} {found.version} stays as it is: {closed}")
            if moved and ours and last is not None:
                audit.catch_up()
                return Promotion(judged, alias, last)
            with step(self._settings, "registry.promote") as running:
                audit.append(_as(event, "promotion.decided", details))
                self._tracking.point(name, alias, found.version)
                record = _done(running, audit, event, details)
        return Promotion(judged, alias, record)

    def verify(self, name: str, version: str, progress: Progress = lambda *_: None) -> Opened:
        """Is the package of a version whole, signed by a trusted key, and the one that was registered?"""
        with self.opened(self._tracking.version(name, version), progress) as opened:
            return opened

    @contextmanager
    def opened(self, version: ModelVersion, progress: Progress = lambda *_: None) -> Iterator[Opened]:
        """The verified package of a version, in a directory that is gone when the block ends."""
        with tempfile.TemporaryDirectory(prefix="falaj-package-") as directory, _counted_refusals():
            yield self._store.fetch(version.name, version.digest, Path(directory, "package"), self._trusted, progress)

    def versions(self, name: str) -> tuple[ModelVersion, ...]:
        """Newest first.  Raises RequestError if there is no such model."""
        found = self._tracking.versions(name)
        if not found:
            raise RequestError(f"{name}: no such model in tenant {self._settings.tenant}")
        return found

    def approvals(self, version: ModelVersion) -> tuple[Record, ...]:
        """Approvals of a version that stand."""
        with AuditLog.open(self._settings) as audit:
            return approvals(audit.records(version.name), version.name, version.version, version.digest)

    def _judge(
        self, audit: AuditLog, name: str, version: str, policy: GatePolicy, alias: str, progress: Progress
    ) -> Judged:
        found, champion = self._tracking.version(name, version), self._tracking.holder(name, alias)
        if champion is not None and champion.version == found.version:
            champion = None
        records = audit.records(name)
        given = approvals(records, name, found.version, found.digest)
        authors = _authors(records, found)
        standing = tuple(Approval(each.actor, each.at) for each in given if _person(each.actor) not in authors)
        rival: Scores | None = None
        if champion is not None:
            with self.opened(champion) as opened:
                rival = assembly.read_scores(opened.package.directory / assembly.SCORES)
        with self.opened(found, progress) as opened:
            evidence = _evidence(opened, policy, champion, rival, standing)
        return Judged(found, champion, evidence, judge(policy, evidence))

    def _decision(self, judged: Judged, policy: GatePolicy, alias: str) -> dict[str, Any]:
        before = judged.champion.version if judged.champion else ""
        return {
            "alias": alias,
            "before": before,
            "policy": policy.model_dump(mode="json"),
            "verdicts": [asdict(verdict) for verdict in judged.report.verdicts],
        }


def whoami(settings: Settings, declared: str) -> str:
    """Who acts: in the cloud the identity that AWS knows, and no other; on one machine the one that is declared.

    Raises RequestError for an identity declared in the cloud, or none on a machine of one's own.
    """
    if settings.is_local:
        if not declared.strip():
            raise RequestError("say who acts with --as NAME; in the cloud AWS says it")
        return declared.strip()
    if declared:
        raise RequestError("--as is for the local environment; here AWS says who acts")
    from botocore.exceptions import BotoCoreError, ClientError

    from runtime import aws

    try:
        return str(aws.client(settings, "sts").get_caller_identity()["Arn"])
    except (BotoCoreError, ClientError) as error:
        raise RequestError(f"AWS does not say who acts ({type(error).__name__}); sign in first") from None


def _evidence(
    opened: Opened,
    policy: GatePolicy,
    champion: ModelVersion | None,
    rival: Scores | None,
    standing: tuple[Approval, ...],
) -> Evidence:
    package = opened.package
    scores = assembly.read_scores(package.directory / assembly.SCORES)
    features = package.document(assembly.FEATURES)
    found = metrics_with_intervals(scores, resamples=policy.resamples, seed=policy.seed)
    against = None
    if rival is not None:
        against, _ = difference_with_intervals(scores, rival, resamples=policy.resamples, seed=policy.seed)
    return Evidence(
        metrics=found,
        against_champion=against,
        champion=f"version {champion.version}" if champion else "",
        slices={
            asked.column: slice_report(
                scores, asked.column, threshold=policy.decision_threshold, least_rows=policy.least_group_rows
            )
            for asked in policy.slices
            if asked.column in scores.slices
        },
        skew=_skew(package),
        feature_service=features["service"],
        feature_snapshot_id=features["snapshot_id"] if features["service"] else "",
        card=ModelCard.model_validate(package.document(assembly.CARD)),
        # A view of which nobody said whether it holds personal data counts as one that does.
        personal_views=tuple(view["name"] for view in features["views"] if view["personal"] is not False),
        author=package.manifest.author,
        signer=opened.verified.key_name,
        approvals=standing,
    )


def _skew(package: Package) -> SkewEvidence | None:
    if assembly.SKEW not in package.manifest.files:
        return None
    document = package.document(assembly.SKEW)
    return SkewEvidence(**{**document, "uncompared": tuple(document["uncompared"])})


def _authors(records: tuple[Record, ...], version: ModelVersion) -> set[str]:
    """Who built or registered the package: none of them approves it."""
    registered = {r.actor for r in records if r.action == "register" and r.package == version.digest}
    built = {
        str(r.details.get("author", "")) for r in records if r.action == "register" and r.package == version.digest
    }
    return {_person(each) for each in (registered | built | {version.author}) if each}


def _person(identity: str) -> str:
    return "".join(identity.split()).casefold()


def _artifact(version: ModelVersion) -> Artifact:
    return Artifact(Kind.MODEL, version.name, version.version)


def _as(event: Event, action: str, details: dict[str, Any]) -> Event:
    return replace(event, action=action, details=details)


def _done(running: Step, audit: AuditLog, event: Event, details: dict[str, Any]) -> Record:
    running.read(Artifact(Kind.MODEL, event.model, event.version))
    record = audit.append(_as(event, "promotion.done", details))
    deployment = Artifact(Kind.DEPLOYMENT, f"{event.model}/{details['alias']}", str(record.sequence))
    running.made(deployment, {"version": event.version})
    return record


def _last_promotion(records: tuple[Record, ...], alias: str) -> Record | None:
    """The last decision to move the alias, or its end."""
    ends = ("promotion.decided", "promotion.done")
    found = [record for record in records if record.action in ends and record.details.get("alias") == alias]
    return found[-1] if found else None


@contextmanager
def _counted_refusals() -> Iterator[None]:
    try:
        yield
    except (SignatureError, PackageError, EnvelopeError) as error:
        kind = type(error).__name__.removesuffix("Error").lower()
        metrics.counter("falaj_registry_refusals_total", "Packages that were refused.", ("kind",)).labels(kind).inc()
        raise
