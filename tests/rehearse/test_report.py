"""Targets, and the report in its three forms.  Guards: a miss that is called a pass, a page that needs the network."""

from __future__ import annotations

import dataclasses
import json
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blueprints import load
from falaj.cli.rehearse_view import print_report
from falaj.rehearse.drills.drill import Goal
from falaj.rehearse.errors import AskError
from falaj.rehearse.page import page
from falaj.rehearse.picture import NodeGroup
from falaj.rehearse.plan import plan
from falaj.rehearse.plots import ceiling
from falaj.rehearse.reasons import Reason
from falaj.rehearse.rehearsal import choose
from falaj.rehearse.report import Placement, as_json, month_usd, percentile, placement_of, serving_seconds, verdicts
from falaj.rehearse.sightings import Pod
from tests.support.rehearsals import picture_of, report_of

SMB = plan(load("smb"))
NOTHING = picture_of()
NODE = NodeGroup("gpu-spot", "g6.4xlarge", "mec1-az1", "spot", 1, 1, 0.34)
IN_TIME = Placement(10, 1.0, 2.0, 3.0, 4.0)


def missed(goal: Goal, **changes: object) -> list[str]:
    values = {
        "placement": IN_TIME,
        "serving": 2.0,
        "pending": (),
        "before": picture_of(NODE, NODE),
        "after": picture_of(NODE, gpus_held=1),
    } | changes
    return [each.target for each in verdicts(SMB, goal, **values) if not each.passed]  # type: ignore[arg-type]


@pytest.mark.parametrize("goal", list(Goal))
def test_drill_within_every_target_passes(goal: Goal) -> None:
    assert missed(goal) == []


def test_each_target_can_be_missed() -> None:
    late = dataclasses.replace(IN_TIME, last_seconds=121.0)
    left = (Reason(1, ("default",), "no", ()),)
    assert missed(Goal.PLACEMENT, placement=late) == ["seconds to placement"]
    assert missed(Goal.BURST, placement=late) == ["seconds to placement"]
    assert missed(Goal.BURST, pending=left) == ["pods left pending"]
    assert missed(Goal.RECOVERY, serving=121.0) == ["serving recovers"]
    assert missed(Goal.RECOVERY, serving=None, pending=left) == ["pods left pending", "serving recovers"]
    assert missed(Goal.PLACEMENT, after=picture_of(NODE)) == ["GPU packing"]
    assert missed(Goal.SAVING, after=picture_of(NODE, NODE, gpus_held=2)) == ["cost falls"]
    assert missed(Goal.RECOVERY, after=picture_of(NODE, gangs=2, gangs_in_one_zone=1)) == ["gangs in one zone"]


def test_month_beyond_the_budget_is_a_miss() -> None:
    dear = dataclasses.replace(NODE, usd_per_hour=50.0)
    assert missed(Goal.PLACEMENT, after=picture_of(dear, gpus_held=1)) == ["a month at these nodes"]


def test_month_of_a_scaled_ask_is_judged_only_by_a_target_of_its_own() -> None:
    dear = picture_of(dataclasses.replace(NODE, usd_per_hour=50.0), gpus_held=1)
    scaled = plan(SMB.blueprint, gpus=SMB.gpus + 1)
    stated = scaled.blueprint.model_copy(
        update={"rehearsal": scaled.blueprint.rehearsal.model_copy(update={"usd_per_month": 100.0})}
    )
    targets = [
        [each.target for each in verdicts(asked, Goal.PLACEMENT, IN_TIME, 2.0, (), dear, dear) if not each.passed]
        for asked in (scaled, dataclasses.replace(scaled, blueprint=stated))
    ]
    assert targets == [[], ["a month at these nodes"]]


def test_month_counts_training_by_the_hour_and_the_rest_all_month() -> None:
    standing = month_usd(SMB, picture_of(dataclasses.replace(NODE, usd_per_hour=1.0)))
    training = month_usd(
        SMB, picture_of(dataclasses.replace(NODE, usd_per_hour=1.0), gpus_held=1, training_usd_per_hour=1.0)
    )
    assert standing - training == pytest.approx(730 - SMB.blueprint.training.gpu_hours_per_month)


@given(st.lists(st.floats(0, 1000), min_size=1))
def test_percentiles_are_of_the_values_and_in_order(values: list[float]) -> None:
    ordered = sorted(values)
    found = [percentile(ordered, percent) for percent in (1, 50, 99, 100)]
    assert found == sorted(found) and set(found) <= set(ordered) and found[-1] == ordered[-1]


def test_placement_leaves_out_what_stood_before() -> None:
    pods = [Pod("a", "g", "serving", 0, 0.0, placed_at=1.0), Pod("b", "g", "serving", 0, 0.0, placed_at=7.0)]
    assert placement_of(pods, 5.0) == Placement(1, 2.0, 2.0, 2.0, 2.0)
    assert placement_of(pods, 8.0) is None


def test_serving_that_still_waits_has_not_recovered() -> None:
    pods = [Pod("a", "g", "serving", 0, 0.0, placed_at=7.0), Pod("b", "g", "serving", 0, 0.0)]
    assert serving_seconds(pods, 5.0) is None
    assert serving_seconds(pods[:1], 5.0) == 2.0


def test_json_is_plain_and_says_the_same() -> None:
    document = json.loads(json.dumps(as_json(report_of(passed=False))))
    assert document["passed"] is False
    (drill,) = document["drills"]
    assert drill["placement"] == {
        "pods": 8,
        "first_seconds": 3.0,
        "p50_seconds": 5.0,
        "p99_seconds": 12.0,
        "last_seconds": 12.5,
    }
    assert drill["after"]["usd_per_hour"] == 10.0
    assert drill["after"]["aed_per_hour"] == pytest.approx(36.73, abs=0.01)


class Checker(HTMLParser):
    """Collects what a page would fetch, and sees that every element is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.fetched += [str(value) for name, value in attrs if name in ("src", "href", "data")]
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.fetched += [str(value) for name, value in attrs if name in ("src", "href", "data")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_page_is_whole_by_itself_and_well_formed() -> None:
    text = page(report_of(pending=(Reason(2, ("jobs",), "0/3 nodes", ("taint <x>",)),)))
    checker = Checker()
    checker.feed(text)
    assert checker.open == [] and checker.fetched == []
    assert "<script" not in text and "url(" not in text and not re.search(r"https?://", text)
    assert text.count("<svg") == 3


def test_page_escapes_what_others_said() -> None:
    text = page(report_of(pending=(Reason(2, ("jobs",), "0/3 nodes", ("taint <x>",)),)))
    assert "taint &lt;x&gt;" in text and "a &lt;note&gt; &amp; more" in text


@given(st.floats(min_value=1e-3, max_value=1e6))
def test_axis_ends_above_its_values_and_not_far_above(value: float) -> None:
    assert value <= ceiling(value) * (1 + 1e-6) <= 2.6 * value


def test_table_fits_a_terminal_and_names_what_was_missed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    print_report(report_of(passed=False, pending=(Reason(2, ("jobs",), "0/3 nodes [x]", ()),)))
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 100
    assert "missed: scale from zero: seconds to placement: 12.5 s; wanted at most 120 s" in shown
    assert "2 pods of jobs: 0/3 nodes [x]" in shown


def test_drills_are_played_in_their_own_order_and_unknown_ones_refused() -> None:
    assert choose(("consolidation", "zone-loss")) == ("zone-loss", "consolidation")
    assert choose(())[0] == "scale-from-zero"
    with pytest.raises(AskError, match="--drill storm: no such drill; allowed: scale-from-zero, spot-interruption"):
        choose(("storm",))
