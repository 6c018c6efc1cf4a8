"""Gates open on evidence alone; intervals and slices say what they are said to say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.registry.card import ModelCard, read_card, render
from runtime.registry.errors import PackageError, RequestError
from runtime.registry.fairness import slice_report
from runtime.registry.gates import (
    Approval,
    Evidence,
    GatePolicy,
    SkewEvidence,
    SlicePolicy,
    judge,
    read_policy,
    skew_evidence,
)
from runtime.registry.intervals import Interval, Scores, difference_with_intervals, metrics_with_intervals
from tests.support.model_packages import CARD, SKEW, card

POLICY = GatePolicy(thresholds={"auc": 0.7}, against_champion={"auc": 0.01}, slices=(SlicePolicy(column="city"),))
APPROVED = (Approval("omar", "2026-11-23T10:00:00+00:00"), Approval("mariam", "2026-11-23T11:00:00+00:00"))


def scores(rows: int = 2000, seed: int = 0, signal: float = 1.5) -> Scores:
    rng = np.random.default_rng(seed)
    strength = rng.normal(size=rows)
    labels = (rng.random(rows) < 1 / (1 + np.exp(-signal * strength))).astype(float)
    city = np.where(np.arange(rows) % 2, "dubai", "sharjah").astype(object)
    return Scores(labels, 1 / (1 + np.exp(-signal * strength)), {"city": city})


SLICES = {"city": slice_report(scores(), "city", threshold=0.5)}
SOUND = Evidence(
    metrics={"auc": Interval(0.8, 0.78, 0.82)},
    against_champion={"auc": Interval(0.01, -0.005, 0.02)},
    champion="version 1",
    slices=SLICES,
    skew=SKEW,
    feature_service="arrivals",
    feature_snapshot_id="snapshot",
    card=card(),
    personal_views=(),
    author="layla",
    signer="release",
    approvals=APPROVED,
)


def closed(evidence: Evidence, policy: GatePolicy = POLICY) -> set[str]:
    report = judge(policy, evidence)
    for verdict in report.verdicts:
        assert verdict.reason and bool(verdict.todo) != verdict.open
    return {verdict.gate for verdict in report.closed}


def test_sound_evidence_opens_every_gate() -> None:
    report = judge(POLICY, SOUND)
    assert report.open and not report.closed
    assert {v.gate for v in report.verdicts} == {
        "signature", "metric auc", "champion auc", "slices city", "skew", "card", "personal data", "approvals",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("gate", "change"),
    [
        ("signature", {"signer": ""}),
        ("metric auc", {"metrics": {"auc": Interval(0.75, 0.69, 0.8)}}),
        ("metric auc", {"metrics": {}}),
        ("metric auc", {"metrics": {"auc": Interval(float("nan"), float("nan"), float("nan"))}}),
        ("champion auc", {"against_champion": {"auc": Interval(0.0, -0.02, 0.02)}}),
        ("champion auc", {"against_champion": {}}),
        ("slices city", {"slices": {}}),
        ("skew", {"skew": None}),
        ("skew", {"skew": replace(SKEW, worst_share=0.01)}),
        ("skew", {"skew": replace(SKEW, uncompared=("heat",))}),
        ("skew", {"skew": replace(SKEW, rows=0)}),
        ("skew", {"skew": replace(SKEW, snapshot_id="another")}),
        ("skew", {"skew": replace(SKEW, service="another")}),
        ("card", {"card": card(limitations=[])}),
        ("card", {"card": card(intended_use="TBD")}),
        ("personal data", {"personal_views": ("drivers_v1",)}),
        ("approvals", {"approvals": APPROVED[:1]}),
        ("approvals", {"approvals": ()}),
        ("approvals", {"approvals": (APPROVED[0], replace(APPROVED[0], identity=" OMAR "))}),
        ("approvals", {"approvals": (APPROVED[0], Approval("Layla", "2026-11-23"))}),
        ("approvals", {"approvals": (APPROVED[0], Approval("mariam", ""))}),
    ],
)
def test_evidence_that_lacks_closes_its_gate_and_no_other(gate: str, change: dict[str, Any]) -> None:
    assert closed(replace(SOUND, **change)) == {gate}


def personal(**changes: Any) -> ModelCard:
    data = {"used": True, "categories": ["location"], "legal_basis": "consent", "dpia_reference": "DPIA-7"}
    return card(personal_data={**data, **changes})


def test_personal_data_needs_the_reference_of_its_assessment() -> None:
    assert closed(replace(SOUND, card=personal(), personal_views=("drivers_v1",))) == set()
    assert closed(replace(SOUND, card=personal(dpia_reference=""))) == {"personal data"}
    assert closed(replace(SOUND, card=card(personal_data=None))) == {"card", "personal data"}


def test_the_first_model_has_no_champion_to_beat() -> None:
    assert closed(replace(SOUND, against_champion=None)) == set()


def test_no_policy_can_ask_for_fewer_than_two_approvals(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text("approvals: 1")
    with pytest.raises(RequestError, match="approvals"):
        read_policy(path)


@pytest.mark.parametrize("text", ["", "[]", "thresholds: {auk: 1}", "a: [", "unknown: 1", "resamples: 1"])
def test_a_policy_that_is_none_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(text)
    with pytest.raises(RequestError) as caught:
        read_policy(path)
    assert "\n" not in str(caught.value)


@given(st.sets(st.sampled_from(["signer", "skew", "slices", "approvals", "metrics"])))
def test_a_report_is_open_only_if_nothing_lacks(lacking: set[str]) -> None:
    empty: dict[str, Any] = {"signer": "", "skew": None, "slices": {}, "approvals": (), "metrics": {}}
    report = judge(POLICY, replace(SOUND, **{name: empty[name] for name in lacking}))
    assert report.open == (not lacking)
    assert len(report.closed) == len(lacking)


# -- intervals ---------------------------------------------------------------------------------------------------------


def test_metrics_are_those_of_scikit_learn() -> None:
    from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

    judged = scores()
    # Ties, as trees make them.
    judged = Scores(judged.labels, judged.probabilities.round(1).clip(0.01, 0.99), judged.slices)
    found = metrics_with_intervals(judged, resamples=100)
    assert found["auc"].value == pytest.approx(roc_auc_score(judged.labels, judged.probabilities), abs=1e-12)
    assert found["log_loss"].value == pytest.approx(log_loss(judged.labels, judged.probabilities), abs=1e-12)
    assert found["brier"].value == pytest.approx(brier_score_loss(judged.labels, judged.probabilities), abs=1e-12)


def test_intervals_hold_the_value_and_narrow_with_rows() -> None:
    few, many = metrics_with_intervals(scores(500)), metrics_with_intervals(scores(20_000))
    for name in few:
        assert many[name].high - many[name].low < few[name].high - few[name].low
    for name in ("auc", "log_loss", "brier"):
        assert few[name].low < few[name].value < few[name].high


def test_95_percent_intervals_hold_the_truth_about_95_times_in_100() -> None:
    truth = metrics_with_intervals(scores(400_000, seed=999), resamples=1)["auc"].value
    found = [metrics_with_intervals(scores(600, seed=seed), resamples=200)["auc"] for seed in range(100)]
    assert 88 <= sum(each.low <= truth <= each.high for each in found) <= 100


def test_the_same_seed_gives_the_same_interval() -> None:
    assert metrics_with_intervals(scores(), seed=3) == metrics_with_intervals(scores(), seed=3)


def test_a_model_is_no_better_than_itself_and_pairing_shows_a_small_gain() -> None:
    judged = scores(4000)
    same, paired = difference_with_intervals(judged, judged)
    assert paired and all((each.value, each.low, each.high) == (0, 0, 0) for each in same.values())
    rng = np.random.default_rng(1)
    noisy = np.clip(judged.probabilities + rng.normal(0, 0.1, len(judged)), 0.01, 0.99)
    gain, paired = difference_with_intervals(judged, Scores(judged.labels, noisy, judged.slices))
    assert paired and gain["auc"].low > 0 and gain["log_loss"].low > 0
    other, unpaired = difference_with_intervals(judged, scores(4000, seed=5))
    assert not unpaired and other["auc"].high - other["auc"].low > gain["auc"].high - gain["auc"].low


@pytest.mark.parametrize(
    ("labels", "probabilities"),
    [
        ([], []),
        ([1, 1], [0.5, 0.5]),
        ([0, 2], [0.5, 0.5]),
        ([0, 1], [0.5, 1.5]),
        ([0, 1], [0.5, np.nan]),
        ([0, 1], [1]),
    ],
)
def test_scores_that_cannot_be_judged_are_refused(labels: list[float], probabilities: list[float]) -> None:
    with pytest.raises(PackageError):
        Scores(np.array(labels, float), np.array(probabilities, float), {})


# -- slices ------------------------------------------------------------------------------------------------------------


def test_a_group_that_is_served_worse_closes_its_gate() -> None:
    judged = scores(4000)
    probabilities = judged.probabilities.copy()
    worse = judged.slices["city"] == "sharjah"
    probabilities[worse] = np.random.default_rng(0).random(int(worse.sum()))
    report = slice_report(Scores(judged.labels, probabilities, judged.slices), "city", threshold=0.5)
    assert report.auc_drop[1] == "sharjah" and report.auc_drop[0] > 0.1
    verdict = next(v for v in judge(POLICY, replace(SOUND, slices={"city": report})).closed)
    assert (verdict.gate, "sharjah" in verdict.reason, "sharjah" in verdict.todo) == ("slices city", True, True)


def test_rates_of_groups_are_counted_right() -> None:
    labels = np.array([1, 1, 0, 0, 1, 0], float)
    judged = Scores(labels, np.array([0.9, 0.2, 0.8, 0.1, 0.9, 0.1]), {"g": np.array([*"aaaa", None, None], object)})
    report = slice_report(judged, "g", threshold=0.5, least_rows=3)
    first, second = report.groups
    assert (first.value, first.rows, first.judged) == ("a", 4, True)
    assert (first.true_positive_rate, first.false_positive_rate, first.selection_rate) == (0.5, 0.5, 0.5)
    assert first.auc == 0.75 and first.calibration_gap == pytest.approx(0.0)
    assert (second.value, second.judged) == ("(missing)", False)


def test_groups_too_small_to_judge_prove_nothing() -> None:
    report = slice_report(scores(100), "city", threshold=0.5, least_rows=200)
    assert closed(replace(SOUND, slices={"city": report})) == {"slices city"}


def test_a_slice_that_was_not_kept_is_named() -> None:
    with pytest.raises(PackageError, match="train with --slice"):
        slice_report(scores(), "carrier", threshold=0.5)


# -- card and skew -----------------------------------------------------------------------------------------------------


@given(st.sets(st.sampled_from(["summary", "owner", "limitations", "personal_data", "intended_use", "contact"])))
def test_a_card_lacks_exactly_what_was_left_out(left_out: set[str]) -> None:
    given_fields = {name: value for name, value in CARD.items() if name not in left_out}
    assert set(ModelCard.model_validate(given_fields).missing()) == left_out


@pytest.mark.parametrize("text", ["tbd", "TODO", "n/a", "...", "???", "Lorem ipsum dolor sit amet", "two words"])
def test_a_placeholder_says_nothing(text: str) -> None:
    assert card(intended_use=text).missing() == ("intended_use",)


def test_a_card_reads_as_markdown_whose_tables_hold() -> None:
    text = render(card(owner="a | b\nc"), {"Metrics": {"AUC": 0.75}})
    assert "| Owner | a \\| b c |" in text and "| AUC | 0.7500 |" in text
    assert "Incomplete" not in text and "> Incomplete: owner" in render(card(owner=""), {})


@pytest.mark.parametrize("text", ["name: Arrivals", "a: [", "[]", "name: arrivals\nunknown: 1", "\x00"])
def test_a_card_that_is_none_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "card.yaml"
    path.write_text(text)
    with pytest.raises(PackageError) as caught:
        read_card(path)
    assert "\n" not in str(caught.value)


def test_the_worst_feature_of_a_skew_report_is_what_counts() -> None:
    feature = {"fresher_online": 0, "largest_difference": None, "example": ""}
    document = {
        "service": "arrivals",
        "snapshot_id": "s",
        "rows": 10,
        "features": [
            {"feature": "heat", "compared": 10, "different": 2, **feature},
            {"feature": "wind", "compared": 0, "different": 0, **feature},
        ],
    }
    assert skew_evidence(document) == SkewEvidence("arrivals", "s", "heat", 0.2, ("wind",), 10)
    for nonsense in ({}, [], None, {**document, "features": []}):
        with pytest.raises(RequestError):
            skew_evidence(nonsense)
