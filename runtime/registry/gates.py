"""Promotion gates: pure functions from policy and evidence to verdicts.  A model is promoted only if all are open.

Evidence that is missing closes its gate: nothing here is passed because nobody looked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from runtime.registry.card import ModelCard
from runtime.registry.errors import RequestError
from runtime.registry.fairness import LEAST_ROWS, SliceReport
from runtime.registry.intervals import HIGHER_IS_BETTER, RESAMPLES, Interval

MOST_POLICY_BYTES: Final = 1 << 20
APPROVALS: Final = 2
_METRICS = Literal["auc", "log_loss", "brier", "calibration_error"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SlicePolicy(_Frozen):
    """How much worse any group of a column may be served.  None: reported, not judged."""

    column: str = Field(min_length=1, max_length=128)
    most_auc_drop: float | None = Field(default=0.1, ge=0, le=1)
    most_calibration_gap: float | None = Field(default=0.1, ge=0, le=1)
    most_true_positive_rate_difference: float | None = Field(default=None, ge=0, le=1)
    most_false_positive_rate_difference: float | None = Field(default=None, ge=0, le=1)


class GatePolicy(_Frozen):
    """What a customer asks of a model before it may serve."""

    format_version: Literal[1] = 1
    thresholds: dict[_METRICS, float] = Field(default={"auc": 0.5})
    """The 95 % interval must lie wholly on the good side: above for AUC, below for losses."""
    against_champion: dict[_METRICS, float] = Field(default={"auc": 0.005})
    """How much worse than the champion each metric may be at most; with 0, no worse is allowed at all."""
    slices: tuple[SlicePolicy, ...] = Field(default=(), max_length=20)
    least_group_rows: int = Field(default=LEAST_ROWS, ge=1)
    decision_threshold: float = Field(default=0.5, gt=0, lt=1)
    most_skew: float = Field(default=0.001, ge=0, le=1)
    """Share of values of one feature that may differ between training and serving."""
    approvals: int = Field(default=APPROVALS, ge=APPROVALS, le=10)
    resamples: int = Field(default=RESAMPLES, ge=100, le=10_000)
    seed: int = 0


@dataclass(frozen=True)
class SkewEvidence:
    """What the skew check of the release found."""

    service: str
    snapshot_id: str
    worst_feature: str
    worst_share: float
    uncompared: tuple[str, ...]
    rows: int


@dataclass(frozen=True)
class Approval:
    """Who approved this package, and when (ISO 8601, UTC)."""

    identity: str
    at: str


@dataclass(frozen=True)
class Evidence:
    """Everything the gates judge by, gathered beforehand."""

    metrics: Mapping[str, Interval]
    against_champion: Mapping[str, Interval] | None
    """Candidate minus champion, above zero is better; None: there is no champion."""
    champion: str
    slices: Mapping[str, SliceReport]
    skew: SkewEvidence | None
    feature_service: str
    feature_snapshot_id: str
    """Of the training set; empty where features did not come from the feature store."""
    card: ModelCard
    personal_views: tuple[str, ...]
    """Feature views that are flagged to hold personal data."""
    author: str
    signer: str
    """Name of the trusted key whose signature was verified; empty: not verified."""
    approvals: tuple[Approval, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """Of one gate."""

    gate: str
    open: bool
    reason: str
    todo: str = ""
    """What to do about it; empty for an open gate."""


@dataclass(frozen=True)
class GateReport:
    """Verdicts of all gates, in the order they stand in ``GATES``."""

    verdicts: tuple[Verdict, ...] = field(default=())

    @property
    def open(self) -> bool:
        """Whether the model may be promoted."""
        return bool(self.verdicts) and all(verdict.open for verdict in self.verdicts)

    @property
    def closed(self) -> tuple[Verdict, ...]:
        return tuple(verdict for verdict in self.verdicts if not verdict.open)


def read_policy(path: Path) -> GatePolicy:
    """A policy from a YAML file.  Raises RequestError, which names the field."""
    import yaml

    try:
        if path.stat().st_size > MOST_POLICY_BYTES:
            raise RequestError(f"{path}: larger than {MOST_POLICY_BYTES} bytes; that is no policy")
        return GatePolicy.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise RequestError(f"{path}: cannot be read ({error.strerror}); name a gate policy in YAML") from None
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise RequestError(f"{path}: {'.'.join(str(part) for part in first['loc'])}: {first['msg']}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RequestError(f"{path}: not YAML: {' '.join(str(error).split())[:200]}") from None


def judge(policy: GatePolicy, evidence: Evidence) -> GateReport:
    """Every gate's verdict, closed ones included: who reads it sees all there is to do at once."""
    return GateReport(tuple(verdict for gate in GATES for verdict in gate(policy, evidence)))


def signature_gate(_: GatePolicy, evidence: Evidence) -> Sequence[Verdict]:
    if evidence.signer:
        return [Verdict("signature", True, f"by trusted key {evidence.signer}")]
    return [Verdict("signature", False, "was not verified", "sign with a trusted key: `registry sign`")]


def metric_gates(policy: GatePolicy, evidence: Evidence) -> Sequence[Verdict]:
    verdicts = []
    for name, limit in policy.thresholds.items():
        found, higher = evidence.metrics.get(name), HIGHER_IS_BETTER[name]
        asked = f"{'at least' if higher else 'at most'} {limit:g}"
        if found is None:
            verdicts.append(Verdict(f"metric {name}", False, "not measured", "package the scores of the test period"))
            continue
        # Written so that NaN closes the gate.
        good = found.low >= limit if higher else found.high <= limit
        todo = "" if good else "train a better model, or judge it on more rows if the interval is wide"
        verdicts.append(Verdict(f"metric {name}", good, f"{found}, asked {asked}", todo))
    return verdicts


def champion_gates(policy: GatePolicy, evidence: Evidence) -> Sequence[Verdict]:
    if evidence.against_champion is None:
        return [Verdict("champion", True, "there is no champion yet")]
    verdicts = []
    for name, margin in policy.against_champion.items():
        found = evidence.against_champion.get(name)
        if found is None:
            verdicts.append(Verdict(f"champion {name}", False, "not compared", "package the scores of the test period"))
            continue
        good = found.low >= -margin
        interval = f"{found.value:+.4f} ({found.low:+.4f} to {found.high:+.4f})"
        reason = f"{interval} against {evidence.champion}, asked at least {-margin:+g}"
        todo = "" if good else f"keep {evidence.champion}, or show on more rows that this one is no worse"
        verdicts.append(Verdict(f"champion {name}", good, reason, todo))
    return verdicts


def slice_gates(policy: GatePolicy, evidence: Evidence) -> Sequence[Verdict]:
    verdicts = []
    for asked in policy.slices:
        gate, report = f"slices {asked.column}", evidence.slices.get(asked.column)
        if report is None or not report.judged:
            lacking = "no report" if report is None else f"no group has {policy.least_group_rows} rows"
            verdicts.append(Verdict(gate, False, lacking, f"train with --slice {asked.column} on a longer test period"))
            continue
        limits = (
            ("AUC below overall", report.auc_drop, asked.most_auc_drop),
            ("calibration gap", report.calibration_gap, asked.most_calibration_gap),
            ("TPR difference", report.true_positive_rate_difference, asked.most_true_positive_rate_difference),
            ("FPR difference", report.false_positive_rate_difference, asked.most_false_positive_rate_difference),
        )
        judged = [(what, value, group, limit) for what, (value, group), limit in limits if limit is not None]
        over = [each for each in judged if not each[1] <= each[3]]
        shown = over or judged
        reason = "; ".join(f"{what} {value:.3f} ({group}), allowed {limit:g}" for what, value, group, limit in shown)
        todo = (
            f"look at {', '.join(dict.fromkeys(each[2] for each in over))}: more data, or features that tell them apart"
        )
        verdicts.append(Verdict(gate, not over, reason or "reported, not judged", todo if over else ""))
    return verdicts


def skew_gate(policy: GatePolicy, evidence: Evidence) -> Sequence[Verdict]:
    found = evidence.skew
    check = "run `features skew --json` for this release and package it with --skew"
    if found is None:
        return [Verdict("skew", False, "training and serving were not compared", check)]
    for name, expected, given in (
        ("service", evidence.feature_service, found.service),
        ("snapshot", evidence.feature_snapshot_id, found.snapshot_id),
    ):
        if expected and expected != given:
            return [Verdict("skew", False, f"compared was {name} {given}, trained was {expected}", check)]
    if found.uncompared or not found.rows:
        return [Verdict("skew", False, f"nothing compared for {', '.join(found.uncompared) or 'any feature'}", check)]
    good = found.worst_share <= policy.most_skew
    reason = f"{found.worst_feature} differs in {found.worst_share:.2%} of values, allowed {policy.most_skew:.2%}"
    return [Verdict("skew", good, reason, "" if good else "materialise again; compare the two computations")]


def card_gate(_: GatePolicy, evidence: Evidence) -> Sequence[Verdict]:
    missing = evidence.card.missing()
    if not missing:
        return [Verdict("card", True, "complete")]
    return [Verdict("card", False, f"lacks {', '.join(missing)}", "write these fields, then package again")]


def personal_data_gate(_: GatePolicy, evidence: Evidence) -> Sequence[Verdict]:
    data, views = evidence.card.personal_data, evidence.personal_views
    if views and data is not None and not data.used:
        reason = f"the card says none is used; {', '.join(views)} are flagged"
        return [Verdict("personal data", False, reason, "correct the card, or leave the features out")]
    if not views and (data is None or not data.used):
        open_ = data is not None
        todo = "" if open_ else "state personal_data in the card"
        return [Verdict("personal data", open_, "none is used" if open_ else "the card does not say", todo)]
    if data is not None and data.dpia_reference:
        return [Verdict("personal data", True, f"DPIA {data.dpia_reference}")]
    return [Verdict("personal data", False, "is used without a DPIA reference", "assess, then name it in the card")]


def approval_gate(policy: GatePolicy, evidence: Evidence) -> Sequence[Verdict]:
    names: dict[str, Approval] = {}
    for approval in evidence.approvals:
        if _same_person(approval.identity) != _same_person(evidence.author) and approval.at:
            names.setdefault(_same_person(approval.identity), approval)
    given = ", ".join(f"{each.identity} at {each.at}" for each in names.values()) or "none"
    if len(names) >= policy.approvals:
        return [Verdict("approvals", True, given)]
    lacking = policy.approvals - len(names)
    todo = f"{lacking} more by others than the author ({evidence.author}): `registry approve`"
    return [Verdict("approvals", False, f"{len(names)} of {policy.approvals}: {given}", todo)]


def _same_person(identity: str) -> str:
    """Case and spaces make no second person."""
    return "".join(identity.split()).casefold()


Gate = Callable[[GatePolicy, Evidence], Sequence[Verdict]]
GATES: Final[tuple[Gate, ...]] = (
    signature_gate,
    metric_gates,
    champion_gates,
    slice_gates,
    skew_gate,
    card_gate,
    personal_data_gate,
    approval_gate,
)


def skew_evidence(document: Any) -> SkewEvidence:
    """From the JSON that ``features skew --json`` prints.  Raises RequestError if it is something else."""
    try:
        features = [(str(f["feature"]), int(f["compared"]), int(f["different"])) for f in document["features"]]
        shares = [(different / compared if compared else 0.0, name) for name, compared, different in features]
        worst = max(shares)
        return SkewEvidence(
            service=str(document["service"]),
            snapshot_id=str(document["snapshot_id"]),
            worst_feature=worst[1],
            worst_share=worst[0],
            uncompared=tuple(name for name, compared, _ in features if not compared),
            rows=int(document["rows"]),
        )
    except (KeyError, TypeError, ValueError):
        raise RequestError("the skew report is not what `features skew --json` prints") from None
