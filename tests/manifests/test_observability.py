"""An alert without a runbook, a dashboard over a series that nobody shows, a route that nobody hears."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blueprints import load
from manifests.objects import OBSERVABILITY_NAMESPACE, title
from manifests.observability import observability
from manifests.observability.alerts import alertmanager_configuration
from manifests.observability.dashboards import DASHBOARD_LABEL, all_dashboards
from manifests.observability.metrics import LATENCY_BOUNDS_SECONDS, OTHERS, OWN, latency_bound
from manifests.observability.panels import GRID_WIDTH, Dashboard, Panel
from manifests.observability.rules import rule_groups

BLUEPRINTS = ("enterprise", "smb")
TOPIC = "arn:aws:sns:me-central-1:123456789012:falaj-dev-alerts"
DOCS = Path(__file__).resolve().parents[2] / "docs"


def alerts(name: str) -> list[dict[str, Any]]:
    return [rule for group in rule_groups(load(name)) for rule in group["rules"] if "alert" in rule]


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as a renderer of Markdown makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", BLUEPRINTS)
def test_every_alert_says_how_bad_it_is_what_it_means_and_what_to_do(name: str) -> None:
    for alert in alerts(name):
        assert alert["labels"]["severity"] in ("critical", "warning"), alert["alert"]
        assert alert["labels"]["area"], alert["alert"]
        assert len(alert["annotations"]["summary"]) > 10, alert["alert"]
        assert len(alert["annotations"]["description"]) > 10, alert["alert"]


@pytest.mark.parametrize("name", BLUEPRINTS)
def test_every_alert_links_to_a_section_that_exists(name: str) -> None:
    known = anchors(DOCS / "runbooks.md")
    for alert in alerts(name):
        page, _, anchor = alert["annotations"]["runbook_url"].partition("#")
        assert page == "docs/runbooks.md"
        assert anchor in known, alert["alert"]


def test_every_runbook_is_about_an_alert_and_says_how_bad_it_is() -> None:
    severity = {
        (alert["alert"], alert["labels"]["severity"].capitalize()) for name in BLUEPRINTS for alert in alerts(name)
    }
    text = (DOCS / "runbooks.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^### (\w+)\n\n(\w+)\.", text, re.MULTILINE)) == severity


@pytest.mark.parametrize("name", BLUEPRINTS)
def test_no_two_alerts_share_a_name(name: str) -> None:
    names = [alert["alert"] for alert in alerts(name)]
    assert len(names) == len(set(names)) > 30


@pytest.mark.parametrize("name", BLUEPRINTS)
def test_expressions_name_only_series_that_somebody_shows(name: str) -> None:
    """`make scan` asks Prometheus' parser the same; this catches a mistyped name in every run."""
    known = set(OWN) | {series for names in OTHERS.values() for series in names}
    blueprint = load(name)
    expressions = [rule["expr"] for group in rule_groups(blueprint) for rule in group["rules"]]
    expressions += [e for board in all_dashboards(blueprint) for panel in board.panels for e in panel.queries.values()]
    own = {found for text in expressions for found in re.findall(r"\b(?:falaj|karpenter|kube|DCGM)_\w+", text)}
    assert own - known == set()


def test_a_blueprint_without_gpus_has_no_rules_about_them() -> None:
    smb = load("smb")
    without = smb.model_copy(update={"node_pools": tuple(p for p in smb.node_pools if p.purpose != "gpu")})
    assert "falaj-gpu" in [group["name"] for group in rule_groups(smb)]
    assert "falaj-gpu" not in [group["name"] for group in rule_groups(without)]


def test_lag_is_judged_by_the_blueprints_retention() -> None:
    def limit(hours: int) -> str:
        blueprint = load("smb", {"streaming.retention_hours": hours})
        rules = [rule for group in rule_groups(blueprint) for rule in group["rules"]]
        return str(next(rule["expr"] for rule in rules if rule.get("alert") == "IngestionLosesData"))

    assert limit(24).endswith(f"> {12 * 3_600}")
    assert limit(168).endswith(f"> {84 * 3_600}")


@given(st.floats(min_value=0.01, max_value=10_000))
def test_a_target_is_judged_at_a_bound_that_it_does_not_exceed(target_ms: float) -> None:
    bound = float(latency_bound(target_ms))
    assert bound in LATENCY_BOUNDS_SECONDS
    assert bound * 1_000 >= target_ms * (1 - 1e-9)
    tighter = [other for other in LATENCY_BOUNDS_SECONDS if other < bound]
    assert all(other * 1_000 < target_ms for other in tighter)


def test_a_target_beyond_the_histogram_is_refused() -> None:
    with pytest.raises(ValueError, match="p99_target_ms=10001: the latency histogram ends at 10 s"):
        latency_bound(10_001)


# -- routes ------------------------------------------------------------------------------------------------------------


def configuration(name: str = "enterprise") -> dict[str, Any]:
    spec = alertmanager_configuration(load(name), alerts_topic_arn=TOPIC)["spec"]
    assert isinstance(spec, dict)
    return spec


def receiver(labels: dict[str, str]) -> tuple[str, list[str]]:
    """Receiver and grouping of an alert, found as Alertmanager does: the first route whose matchers all hold."""
    root = configuration()["route"]
    for route in root["routes"]:
        found = [
            (labels.get(matcher["name"], "") == matcher["value"]) == (matcher["matchType"] == "=")
            for matcher in route["matchers"]
        ]
        if all(found):
            return route["receiver"], route["groupBy"]
    return root["receiver"], root["groupBy"]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"severity": "critical"}, "critical"),
        ({"severity": "critical", "tenant": "risk"}, "critical"),
        ({"severity": "warning"}, "warning"),
        ({"severity": "warning", "tenant": "risk"}, "warning"),
    ],
)
def test_alerts_go_to_the_receiver_of_their_severity(labels: dict[str, str], expected: str) -> None:
    assert receiver(labels)[0] == expected


@pytest.mark.parametrize("severity", ["critical", "warning"])
def test_no_message_mixes_tenants(severity: str) -> None:
    assert "tenant" in receiver({"severity": severity, "tenant": "risk"})[1]


def test_every_receiver_publishes_to_the_platforms_topic_in_its_region() -> None:
    for made in configuration()["receivers"]:
        (sent,) = made["snsConfigs"]
        assert sent["topicARN"] == TOPIC
        assert sent["sigv4"] == {"region": "me-central-1"}
        assert sent["attributes"]["severity"] == made["name"]


def test_inhibitions_name_alerts_that_exist() -> None:
    names = {alert["alert"] for alert in alerts("enterprise")}
    for rule in configuration()["inhibitRules"]:
        for matcher in (*rule["sourceMatch"], *rule["targetMatch"]):
            assert matcher["value"] in names


# -- dashboards --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BLUEPRINTS)
def test_dashboards_are_found_by_their_label_and_are_json(name: str) -> None:
    made = next(m for m in observability(load(name), alerts_topic_arn=TOPIC) if m["kind"] == "ConfigMap")
    assert made["metadata"]["labels"][DASHBOARD_LABEL] == "1"
    titles = {json.loads(text)["title"] for text in made["data"].values()}
    assert titles == {
        "Falaj / Cost",
        "Falaj / Ingestion and features",
        "Falaj / Overview",
        "Falaj / Serving",
        "Falaj / Training and GPUs",
    }


@given(st.lists(st.integers(min_value=1, max_value=GRID_WIDTH), min_size=1, max_size=30))
def test_panels_never_overlap_nor_leave_the_grid(widths: list[int]) -> None:
    panels = tuple(Panel(f"p{i}", {"": "up"}, width=width) for i, width in enumerate(widths))
    taken: set[tuple[int, int]] = set()
    for placed in Dashboard("u", "t", panels).model()["panels"]:
        at = placed["gridPos"]
        cells = {(at["y"], x) for x in range(at["x"], at["x"] + at["w"])}
        assert at["x"] + at["w"] <= GRID_WIDTH
        assert not cells & taken
        taken |= cells


def test_cost_is_shown_in_both_currencies_at_the_catalogues_rate() -> None:
    (board,) = (board for board in all_dashboards(load("smb")) if board.uid == "falaj-cost")
    units = {panel.unit for panel in board.panels}
    assert {"currencyUSD", "currency:AED"} <= units
    (aed,) = (panel.queries[""] for panel in board.panels if panel.title == "AED a month at this rate")
    assert aed.endswith("* 730 * 3.6725")


# -- all of it ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BLUEPRINTS)
def test_everything_lies_in_the_observability_namespace_under_names_of_its_own(name: str) -> None:
    made = observability(load(name), alerts_topic_arn=TOPIC)
    assert {m["metadata"]["namespace"] for m in made} == {OBSERVABILITY_NAMESPACE}
    assert len({title(m) for m in made}) == len(made)


def test_the_same_blueprint_gives_the_same_objects() -> None:
    first, second = (json.dumps(observability(load("smb"), alerts_topic_arn=TOPIC)) for _ in range(2))
    assert first == second
