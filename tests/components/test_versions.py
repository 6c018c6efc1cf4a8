"""A licence that asks for something in return, or an image from outside the country, arrives with one careless row."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from components.registry import UPSTREAMS
from components.versions import (
    ADDON_VERSIONS,
    CATALOGUE,
    PERMITTED_LICENCES,
    UnsupportedVersionError,
    catalogue,
    mirrored_repository,
    pin,
)
from falaj.cluster.recipes import pinned_version, recipe
from tests.support.addons_page import PAGE, rewritten

EVERYTHING = [entry for version in sorted(ADDON_VERSIONS) for entry in catalogue(version)]


@pytest.mark.parametrize("entry", EVERYTHING, ids=lambda entry: f"{entry.kind}:{entry.name}:{entry.version}")
def test_nothing_is_installed_by_default_under_another_licence(entry: object) -> None:
    assert entry.licence in PERMITTED_LICENCES  # type: ignore[attr-defined]


@pytest.mark.parametrize("licence", ["AGPL-3.0-only", "BUSL-1.1", "SSPL-1.0", "GPL-3.0-only", "Elastic-2.0", ""])
def test_licences_that_ask_for_something_in_return_are_not_permitted(licence: str) -> None:
    assert licence not in PERMITTED_LICENCES


def test_seldon_stays_at_its_last_permissive_release() -> None:
    assert {entry.version for entry in CATALOGUE if entry.source == "SeldonIO/seldon-core"} == {"1.17.1"}


def test_grafana_is_not_installed() -> None:
    assert [entry.name for entry in EVERYTHING if "grafana" in f"{entry.name} {entry.source}".lower()] == []


def test_every_name_is_pinned_once_for_each_kind() -> None:
    assert [found for found, count in Counter((e.kind, e.name) for e in CATALOGUE).items() if count > 1] == []


def test_no_row_names_a_registry() -> None:
    """A path that starts with a host would be pulled from there."""
    assert [entry.path for entry in CATALOGUE if not re.fullmatch(r"[a-z0-9-]+(/[a-z0-9-]+)+", entry.path)] == []


def test_a_chart_lies_under_its_own_name() -> None:
    """Helm takes the last part of an OCI reference for the chart's name."""
    assert [e.name for e in CATALOGUE if e.kind == "chart" and e.path.rpartition("/")[2] != e.name] == []


def test_a_digest_is_whole_or_absent() -> None:
    wrong = [e.name for e in CATALOGUE if e.digest and not re.fullmatch(r"sha256:[0-9a-f]{64}", e.digest)]
    assert wrong == []


def test_what_is_pulled_through_comes_from_an_upstream_that_the_registry_mirrors() -> None:
    assert {entry.origin for entry in CATALOGUE} - {"mirror"} <= set(UPSTREAMS)


def test_copied_images_have_repositories_of_their_own() -> None:
    assert mirrored_repository("falaj-dev", pin("image", "prometheus")) == "falaj-dev/mirror/prometheus/prometheus"
    assert mirrored_repository("falaj-dev", pin("image", "jobset")) == "falaj-dev/kubernetes/jobset/jobset"


@pytest.mark.parametrize(
    ("name", "tool", "module"),
    [
        ("karpenter", "manifests", "github.com/aws/karpenter-provider-aws"),
        ("cert-manager", "manifests", "github.com/cert-manager/cert-manager"),
        ("kubeflow-trainer", "manifests", "github.com/kubeflow/trainer/v2"),
    ],
)
def test_the_local_cluster_has_the_kinds_of_the_chart_that_is_installed(name: str, tool: str, module: str) -> None:
    assert pin("chart", name).version.removeprefix("v") == pinned_version(recipe(tool), module).removeprefix("v")


def test_the_local_cluster_has_the_kinds_of_the_operator_that_is_installed() -> None:
    module = "github.com/prometheus-operator/prometheus-operator"
    assert pin("image", "prometheus-operator").version == pinned_version(recipe("manifests"), module)


def test_rules_are_checked_by_the_prometheus_that_runs_them() -> None:
    """Prometheus' Go module counts 3.16.0 as v0.316.0."""
    major, minor, patch = pin("image", "prometheus").version.removeprefix("v").split(".")
    assert pinned_version(recipe("promql")) == f"v0.{major}{int(minor):02d}.{patch}"


def test_an_unknown_chart_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(
        UnsupportedVersionError, match=r'chart "grafana" is not in the catalogue; use one of .*karpenter'
    ):
        pin("chart", "grafana")


def test_the_page_says_what_the_table_says() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert text == rewritten(text), "run `python -m tests.support.addons_page`"
