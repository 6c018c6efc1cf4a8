"""What the cluster back end makes of answers that are hard to get from a healthy API server, over real HTTP.

Guards: an error that hides its cause or shows a secret, endless retries, a credential sent elsewhere.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from falaj.engine.provider import InitializationError, ProviderError
from falaj.engine.values import UNKNOWN, Secret
from falaj.local.kubernetes import api_server, cluster
from falaj.local.kubernetes.provider import KubernetesProvider
from tests.support.kubernetes_api import Answer, FakeApi, serving_api, status
from tests.support.kubernetes_lifecycle import Resource, config_map, deployment, provider

CONFIG_MAP = "kubernetes:core/v1:ConfigMap"
DEPLOYMENT = "kubernetes:apps/v1:Deployment"
WIDGET = "kubernetes:falaj.test/v1:Widget"
MAP_PATH = "/api/v1/namespaces/ml/configmaps/c"
DEPLOYMENT_PATH = "/apis/apps/v1/namespaces/ml/deployments/api"


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_server, "_DELAYS_SECONDS", (0.01, 0.01, 0.01))
    monkeypatch.setattr(cluster, "_FIRST_POLL_SECONDS", 0.01)
    monkeypatch.setattr(cluster, "_NEW_KIND_SECONDS", 0.05)


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with serving_api() as made:
        yield made


@pytest.fixture
def applying(api: FakeApi, tmp_path: Path) -> KubernetesProvider:
    return provider(tmp_path, kubeconfig=api.kubeconfig())


@pytest.fixture
def settings(applying: KubernetesProvider) -> Resource:
    return Resource(applying, CONFIG_MAP, "settings")


def test_objects_are_applied_on_the_server_by_a_manager_that_is_kept(api: FakeApi, settings: Resource) -> None:
    settings.create(config_map({"a": "1"}, "c"))
    settings.update(config_map({"a": "2"}, "c"))
    first, second = api.sent("PATCH")
    assert first.path == second.path == MAP_PATH
    assert first.query == {
        "fieldManager": settings.outputs["__fieldManager"],
        "force": "false",
        "fieldValidation": "Strict",
    }
    assert second.query == first.query
    assert first.headers["Content-Type"] == "application/apply-patch+yaml"
    assert first.headers["Authorization"] == "Bearer correct-horse"


def test_a_preview_is_a_dry_run(api: FakeApi, settings: Resource) -> None:
    seen = settings.preview(config_map({"a": "1"}, "c"))
    [sent] = api.sent("PATCH")
    assert sent.query["dryRun"] == "All"
    assert api.objects == {}
    assert seen["metadata"]["uid"] is UNKNOWN
    assert seen["data"] == {"a": "1"}


def test_a_preview_of_what_needs_a_namespace_of_the_same_run_echoes_its_inputs(
    api: FakeApi, settings: Resource
) -> None:
    api.script["PATCH", MAP_PATH] = [status(404, "NotFound", 'namespaces "ml" not found')]
    inputs = config_map({"a": "1"}, "c")
    assert settings.preview(inputs) == inputs


def test_a_preview_of_a_replacement_does_not_ask_about_the_object_it_replaces(api: FakeApi, settings: Resource) -> None:
    settings.create(config_map({"a": "1"}, "c"))
    fresh = Resource(settings.provider, CONFIG_MAP, "settings")
    inputs = config_map({"a": "2"}, "c")
    assert fresh.preview(inputs) == inputs
    assert len(api.sent("PATCH")) == 1


def test_a_preview_with_unknown_values_asks_nobody(api: FakeApi, settings: Resource) -> None:
    inputs = config_map({"a": UNKNOWN}, "c")
    assert settings.preview(inputs) == inputs
    assert api.requests == []


def test_a_conflict_names_the_field_and_the_other_manager(api: FakeApi, settings: Resource) -> None:
    cause = {
        "reason": "FieldManagerConflict",
        "message": 'conflict with "kubectl-edit" using v1 at 2026-01-01T00:00:00Z',
        "field": ".data.a",
    }
    api.script["PATCH", MAP_PATH] = [status(409, "Conflict", "Apply failed with 1 conflict", causes=[cause])]
    with pytest.raises(ProviderError) as caught:
        settings.create(config_map({"a": "1"}, "c"))
    told = str(caught.value)
    assert 'data.a is owned by "kubectl-edit" using v1' in told
    assert 'ConfigMap ml/c (resource "settings"' in told
    assert "pulumi.com/patchForce" in told
    assert len(api.sent("PATCH")) == 1, "a conflict does not pass by waiting"


def test_an_annotation_takes_fields_over(api: FakeApi, settings: Resource) -> None:
    inputs = config_map({"a": "1"}, "c")
    inputs["metadata"]["annotations"] = {"pulumi.com/patchForce": "true"}
    settings.create(inputs)
    assert api.sent("PATCH")[0].query["force"] == "true"


def test_somebody_elses_object_is_not_taken_over(api: FakeApi, settings: Resource) -> None:
    foreign = [{"manager": "kubectl", "operation": "Apply"}]
    api.objects[MAP_PATH] = {"metadata": {"name": "c", "uid": "u", "managedFields": foreign}}
    with pytest.raises(ProviderError, match=r"exists already.*import_"):
        settings.create(config_map({"a": "1"}, "c"))
    assert api.sent("PATCH") == []


def test_an_object_that_a_killed_run_left_behind_is_taken_up_again(api: FakeApi, settings: Resource) -> None:
    settings.create(config_map({"a": "1"}, "c"))
    again = Resource(settings.provider, CONFIG_MAP, "settings").create(config_map({"a": "2"}, "c"))
    assert again.id == "ml/c"
    assert api.objects[MAP_PATH]["data"] == {"a": "2"}
    assert settings.provider.take_back(settings.urn, CONFIG_MAP, "settings", again.inputs)
    assert api.objects == {}


def test_existing_objects_are_taken_over_where_that_is_asked_for(api: FakeApi, tmp_path: Path) -> None:
    api.objects[MAP_PATH] = {"metadata": {"name": "c", "uid": "u"}}
    made = provider(tmp_path, kubeconfig=api.kubeconfig(), upsertExistingObjects="true")
    assert Resource(made, CONFIG_MAP).create(config_map({"a": "1"}, "c")).id == "ml/c"


def test_what_the_server_rejects_is_told_in_its_words_with_the_resource(api: FakeApi, settings: Resource) -> None:
    api.script["PATCH", MAP_PATH] = [status(422, "Invalid", "ConfigMap is invalid: data[a]: Too long: correct-horse")]
    with pytest.raises(ProviderError) as caught:
        settings.create(config_map({"a": Secret("correct-horse")}, "c"))
    expected = (
        'ConfigMap ml/c (resource "settings", kubernetes:core/v1:ConfigMap): create: '
        "ConfigMap is invalid: data[a]: Too long: [secret]"
    )
    assert str(caught.value) == expected


@pytest.mark.parametrize(
    "passing",
    [
        Answer(503, {"message": "starting"}),
        Answer(429, {"message": "too many requests"}, {"Retry-After": "0"}),
        status(409, "Conflict", "the object has been modified"),
        status(403, "Forbidden", "quota: status unknown: not yet ready to handle request"),
        status(500, "InternalError", "etcdserver: request timed out"),
        Answer(drop=True),
    ],
    ids=["restarting", "overloaded", "written in between", "quota not there yet", "storage slow", "connection lost"],
)
def test_what_may_pass_is_tried_again(api: FakeApi, settings: Resource, passing: Answer) -> None:
    api.script["PATCH", MAP_PATH] = [passing, passing]
    assert settings.create(config_map({"a": "1"}, "c")).id == "ml/c"
    assert len(api.sent("PATCH")) == 3


def test_retries_are_bounded(api: FakeApi, settings: Resource) -> None:
    api.script["PATCH", MAP_PATH] = [Answer(503, {"message": "still starting"})] * 9
    with pytest.raises(ProviderError, match="still starting"):
        settings.create(config_map({"a": "1"}, "c"))
    assert len(api.sent("PATCH")) == len(api_server._DELAYS_SECONDS) + 1


@pytest.mark.parametrize(
    ("code", "reason", "told"),
    [
        (403, "Forbidden", "exceeded quota: gpu"),
        (422, "Invalid", "data is invalid"),
        (500, "", "failed to create typed patch object: .dta: field not declared in schema"),
    ],
)
def test_a_refusal_is_not_tried_again(api: FakeApi, settings: Resource, code: int, reason: str, told: str) -> None:
    api.script["PATCH", MAP_PATH] = [status(code, reason, told)] * 2
    with pytest.raises(ProviderError, match=re.escape(told)):
        settings.create(config_map({"a": "1"}, "c"))
    assert len(api.sent("PATCH")) == 1


def test_a_server_that_is_gone_is_named_with_what_starts_it(tmp_path: Path) -> None:
    with serving_api() as api:
        kubeconfig, url = api.kubeconfig(), api.url
    with pytest.raises(ProviderError) as caught:
        Resource(provider(tmp_path, kubeconfig=kubeconfig), CONFIG_MAP).create(config_map({"a": "1"}, "c"))
    assert f"no API server answers at {url} (Connection refused)" in str(caught.value)
    assert "falaj cluster up" in str(caught.value)


def test_a_server_that_is_gone_is_waited_for_once_and_not_by_every_object(api: FakeApi, settings: Resource) -> None:
    settings.create(config_map({"a": "1"}, "c"))

    def attempts(answers: list[Answer]) -> int:
        before = len(api.sent("GET"))
        api.script["GET", MAP_PATH] = answers
        try:
            settings.refresh()
        except ProviderError as error:
            assert "no API server answers" in str(error)
        return len(api.sent("GET")) - before

    gone = Answer(drop=True)
    assert attempts([gone] * 4) == 4
    assert attempts([gone]) == 1
    assert attempts([]) == 1, "back"
    assert attempts([gone]) == 2, "a connection that is lost after that is tried again"


def test_objects_of_a_cluster_that_is_gone_for_good_can_be_forgotten(tmp_path: Path) -> None:
    with serving_api() as api:
        kubeconfig = api.kubeconfig()
        settings = Resource(provider(tmp_path, kubeconfig=kubeconfig), CONFIG_MAP).create(config_map({"a": "1"}, "c"))
    with pytest.raises(ProviderError, match="no API server answers"):
        settings.delete()
    settings.provider = provider(tmp_path, kubeconfig=kubeconfig, deleteUnreachable="true")
    settings.delete()
    assert not settings.refresh()


def test_a_redirect_is_not_followed(api: FakeApi, settings: Resource) -> None:
    with serving_api() as other:
        answer = Answer(307, {"message": "go elsewhere"}, {"Location": f"{other.url}{MAP_PATH}"})
        api.script["PATCH", MAP_PATH] = [answer]
        settings.create(config_map({"a": "1"}, "c"))
        assert other.requests == [], "a token went to another server"


def test_an_answer_is_bounded(api: FakeApi, settings: Resource, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_server, "_MOST_BYTES", 1000)
    api.script["GET", "/api/v1"] = [Answer(200, b" " * 2000)]
    with pytest.raises(ProviderError, match="more than 1000 bytes"):
        settings.create(config_map({"a": "1"}, "c"))


def test_a_kind_that_nobody_serves_is_named(api: FakeApi, applying: KubernetesProvider) -> None:
    widget = Resource(applying, WIDGET, "w")
    inputs = {"metadata": {"name": "w", "namespace": "ml"}, "spec": {}}
    assert widget.preview(inputs)["spec"] == {}
    with pytest.raises(ProviderError, match=r"serves no falaj.test/v1 Widget; declare its CustomResourceDefinition"):
        widget.create(inputs)
    widget.id, widget.inputs = "ml/w", widget.check(inputs)
    assert not widget.refresh(), "without its definition an object cannot be there"
    widget.delete()


def test_a_kind_that_appears_a_moment_later_is_waited_for(
    api: FakeApi, applying: KubernetesProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "_NEW_KIND_SECONDS", 10.0)
    monkeypatch.setattr(cluster, "_LAST_POLL_SECONDS", 0.02)
    listed = {"resources": [{"name": "widgets", "kind": "Widget", "namespaced": False}]}
    nothing = status(404, "NotFound", "the server could not find the requested resource")
    api.script["GET", "/apis/falaj.test/v1"] = [nothing, nothing, Answer(body=listed)]
    assert Resource(applying, WIDGET, "w").create({"metadata": {"name": "w"}, "spec": {}}).id == "w"
    assert api.sent("PATCH")[0].path == "/apis/falaj.test/v1/widgets/w"


def rolling(**counts: int) -> dict[str, Any]:
    return {**deployment(), "metadata": {"name": "api", "namespace": "ml", "uid": "uid-1"}, "status": counts}


def test_a_rollout_is_waited_for(api: FakeApi, applying: KubernetesProvider) -> None:
    ready = rolling(replicas=2, updatedReplicas=2, availableReplicas=2)
    absent = status(404, "NotFound", "not found")
    api.script["GET", DEPLOYMENT_PATH] = [absent, Answer(body=rolling()), Answer(body=rolling()), Answer(body=ready)]
    made = Resource(applying, DEPLOYMENT, "api").create(deployment())
    assert made.outputs["status"]["availableReplicas"] == 2


def test_an_object_that_does_not_become_ready_is_kept_with_the_reasons(
    api: FakeApi, applying: KubernetesProvider
) -> None:
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
    pod = {"metadata": {"name": "api-1"}, "status": {"containerStatuses": [{"name": "api", "state": waiting}]}}
    api.script["GET", "/api/v1/namespaces/ml/pods"] = [Answer(body={"items": [pod]})]
    with pytest.raises(InitializationError) as caught:
        Resource(applying, DEPLOYMENT, "api").create(deployment(), timeout_seconds=0.05)
    error = caught.value
    assert error.id == "ml/api"
    assert error.outputs["__inputs"]["spec"]["replicas"] == 2
    assert 'Deployment ml/api (resource "api"' in error.reasons[0]
    assert "not ready after 0.05 s: 0 of 2 replicas are updated" in error.reasons[0]
    assert error.reasons[1] == "pod api-1, container api: ImagePullBackOff: no such image"
    asked = [request.query for request in api.sent("GET") if request.path == "/api/v1/namespaces/ml/pods"]
    assert [query["labelSelector"] for query in asked] == ["app=api"]


def test_waiting_can_be_left_out_for_one_object(api: FakeApi, applying: KubernetesProvider) -> None:
    inputs = deployment()
    inputs["metadata"]["annotations"] = {"pulumi.com/skipAwait": "true"}
    assert Resource(applying, DEPLOYMENT, "api").create(inputs).id == "ml/api"


def test_an_interrupt_ends_waiting(api: FakeApi, applying: KubernetesProvider) -> None:
    errors: list[BaseException] = []

    def create() -> None:
        try:
            Resource(applying, DEPLOYMENT, "api").create(deployment())
        except InitializationError as error:
            errors.append(error)

    thread = threading.Thread(target=create)
    thread.start()
    while not api.sent("PATCH"):
        thread.join(0.01)
    applying.cancel()
    thread.join(10)
    [error] = errors
    assert "cancelled by the user" in str(error)


def test_an_apiserver_that_is_lost_while_waiting_leaves_the_object_known(
    api: FakeApi, applying: KubernetesProvider
) -> None:
    absent = status(404, "NotFound", "not found")
    api.script["GET", DEPLOYMENT_PATH] = [absent, *[Answer(drop=True)] * 9]
    with pytest.raises(InitializationError, match="it could not be watched: no API server answers") as caught:
        Resource(applying, DEPLOYMENT, "api").create(deployment())
    assert caught.value.id == "ml/api"


def test_a_deletion_that_finalizers_hold_names_them(api: FakeApi, settings: Resource) -> None:
    settings.create(config_map({"a": "1"}, "c"))
    held = {**api.objects[MAP_PATH]}
    held["metadata"] = {**held["metadata"], "finalizers": ["falaj.test/hold"]}
    api.script["DELETE", MAP_PATH] = [Answer(body=held)]
    api.script["GET", MAP_PATH] = [Answer(body=held)] * 50
    with pytest.raises(ProviderError, match=r"still there 0\.05 s after it was deleted: finalizers falaj.test/hold"):
        settings.delete(timeout_seconds=0.05)


def test_a_deletion_propagates_and_ends_when_another_object_has_the_name(api: FakeApi, settings: Resource) -> None:
    settings.create(config_map({"a": "1"}, "c"))
    ours = {**api.objects[MAP_PATH]}
    theirs = {**ours, "metadata": {**ours["metadata"], "uid": "another"}}
    api.script["GET", MAP_PATH] = [Answer(body=ours), Answer(body=ours), Answer(body=theirs)]
    settings.delete()
    assert api.sent("DELETE")[0].body["propagationPolicy"] == "Foreground"


def test_a_former_field_manager_gives_its_fields_up(api: FakeApi, settings: Resource) -> None:
    settings.create(config_map({"a": "1"}, "c"))
    former = settings.outputs["__fieldManager"]
    inputs = config_map({"a": "1"}, "c")
    inputs["metadata"]["annotations"] = {"pulumi.com/patchFieldManager": "gitops"}
    settings.update(inputs)
    assert settings.outputs["__fieldManager"] == "gitops"
    last = api.sent("PATCH")[-1]
    assert last.query["fieldManager"] == former
    assert last.body == {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "ml"}}


def test_what_is_read_has_no_record_of_managers(api: FakeApi, settings: Resource) -> None:
    settings.create(config_map({"a": "1"}, "c"))
    assert settings.refresh()
    assert "managedFields" not in settings.outputs["metadata"]
    assert settings.outputs["metadata"]["uid"] == "uid-1"
