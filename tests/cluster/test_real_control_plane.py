"""The real control plane, from the real programs.  Guards every promise that only they can keep."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from falaj.cluster.api import ApiClient, Endpoint, has_condition
from falaj.cluster.control_plane import ControlPlane, Options, Started
from falaj.cluster.errors import ApiError, ClusterError, PortInUseError
from falaj.cluster.kwok import fake_node
from falaj.local import process_table
from tests.support.control_plane import built, client_of, kubectl, namespace, pod, raw_etcd_value, running

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cluster"), pytest.mark.timeout(240)]

START_SECONDS = 10
RESIDENT_MEBIBYTES = 1024
WAIT_SECONDS = 60
PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok", "karpenter")
RBAC = "/apis/rbac.authorization.k8s.io/v1"


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ControlPlane, Started]]:
    with running(tmp_path_factory.mktemp("cluster")) as made:
        yield made


@pytest.fixture(scope="module")
def plane(started: tuple[ControlPlane, Started]) -> ControlPlane:
    return started[0]


@pytest.fixture(scope="module")
def admin(plane: ControlPlane) -> Iterator[ApiClient]:
    with plane.client() as client:
        yield client


def eventually(test: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not test():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def test_starts_in_time_and_in_little_memory(
    started: tuple[ControlPlane, Started], capsys: pytest.CaptureFixture[str]
) -> None:
    plane, first = started
    assert first.started == PROGRAMS
    status = plane.status()
    assert status is not None and status.ready
    parts = ", ".join(f"{process.name} {process.resident_bytes >> 20}" for process in status.processes)
    with capsys.disabled():
        print(f"\ncontrol plane: {first.seconds:.1f} s, {status.resident_bytes >> 20} MiB ({parts})")
    seconds = first.seconds
    if seconds >= START_SECONDS and plane.down():  # a machine that is busy for a moment gets a second chance
        seconds = plane.up(built()).seconds
    assert seconds < START_SECONDS
    assert status.resident_bytes >> 20 < RESIDENT_MEBIBYTES


def test_server_reports_the_pinned_version(admin: ApiClient) -> None:
    assert admin.get("/version")["gitVersion"] == "v1.34.4"


def test_official_client_works_with_the_kubeconfig(plane: ControlPlane) -> None:
    assert stat.S_IMODE(plane.layout.kubeconfig.stat().st_mode) == 0o600
    assert kubectl(plane, "auth", "whoami", "-o", "jsonpath={.status.userInfo.username}") == "falaj:administrator"


def test_second_up_reuses_every_process(plane: ControlPlane) -> None:
    before = plane.status()
    again = plane.up(built())
    assert before is not None
    assert again.started == () and again.mended == ()
    assert [(p.name, p.pid) for p in again.status.processes] == [(p.name, p.pid) for p in before.processes]


def test_nothing_listens_beyond_loopback(plane: ControlPlane) -> None:
    status = plane.status()
    assert status is not None
    seen = {process.name: listening(process.pid) for process in status.processes}
    assert all(seen.values()), "each program listens somewhere"
    # 0100007F is 127.0.0.1 as the kernel writes it.
    assert {address for addresses in seen.values() for address in addresses} == {"0100007F"}


def listening(pid: int) -> set[str]:
    """Addresses that a process listens on, as /proc writes them."""
    inodes = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        target = str(descriptor.readlink())
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            columns = line.split()
            if columns[3] == "0A" and columns[9] in inodes:
                found.add(columns[1].rpartition(":")[0])
    return found


def test_user_without_rights_is_refused_and_one_with_a_role_is_not(plane: ControlPlane, admin: ApiClient) -> None:
    home = namespace(admin, "rights")
    with client_of(plane, "amal", "team-a") as amal:
        with pytest.raises(ApiError, match='User "amal" cannot list resource "pods"') as caught:
            amal.get(f"{home}/pods")
        assert caught.value.status == 403
        role = {"metadata": {"name": "read"}, "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]}
        admin.create(f"{RBAC}/namespaces/rights/roles", role)
        binding = {
            "metadata": {"name": "read"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "read"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "team-a"}],
        }
        admin.create(f"{RBAC}/namespaces/rights/rolebindings", binding)
        eventually(lambda: can(amal, f"{home}/pods"), "the role never took effect")
        assert not can(amal, f"{home}/secrets")
        assert not can(amal, "/api/v1/namespaces/default/pods")


def can(client: ApiClient, path: str) -> bool:
    try:
        client.get(path)
    except ApiError as error:
        assert error.status == 403
        return False
    return True


def test_nobody_is_let_in_without_a_certificate(plane: ControlPlane) -> None:
    endpoint = plane.client().endpoint
    nameless = Endpoint(endpoint.host, endpoint.port, endpoint.authority)
    for path in ("/api/v1/namespaces", "/readyz", "/version"):
        with ApiClient(nameless) as nobody, pytest.raises(ApiError) as caught:
            nobody.get(path)
        assert caught.value.status == 401


def test_pod_security_refuses_a_privileged_pod(admin: ApiClient) -> None:
    home = namespace(admin, "restricted", {"pod-security.kubernetes.io/enforce": "restricted"})
    admin.create(f"{home}/pods", pod("good"))
    bad = pod("bad")
    bad["spec"]["containers"][0]["securityContext"] = {"privileged": True}
    with pytest.raises(ApiError, match=r'violates PodSecurity "restricted.*privileged') as caught:
        admin.create(f"{home}/pods", bad)
    assert caught.value.status == 403


def test_quota_refuses_a_pod_that_asks_for_too_many_gpus(admin: ApiClient) -> None:
    home = namespace(admin, "quota")
    admin.create(
        f"{home}/resourcequotas", {"metadata": {"name": "q"}, "spec": {"hard": {"requests.nvidia.com/gpu": "2"}}}
    )
    used = lambda thing: bool((thing.get("status") or {}).get("hard"))  # noqa: E731
    admin.wait_for(f"{home}/resourcequotas/q", used, timeout_seconds=WAIT_SECONDS, what="the quota is not counted")
    admin.create(f"{home}/pods", pod("two", resources={"limits": {"nvidia.com/gpu": "2"}}, nodeName="nowhere"))
    with pytest.raises(ApiError, match=r"exceeded quota: q, requested: requests\.nvidia\.com/gpu=1"):
        admin.create(f"{home}/pods", pod("one", resources={"limits": {"nvidia.com/gpu": "1"}}))


def test_limit_range_gives_a_pod_its_defaults(admin: ApiClient) -> None:
    home = namespace(admin, "limits")
    limit = {"type": "Container", "default": {"cpu": "500m"}, "defaultRequest": {"cpu": "100m"}}
    admin.create(f"{home}/limitranges", {"metadata": {"name": "l"}, "spec": {"limits": [limit]}})

    def given() -> dict[str, Any]:
        admitted = admin.request("POST", f"{home}/pods?dryRun=All", pod("p"))
        return dict(admitted["spec"]["containers"][0]["resources"])

    eventually(lambda: bool(given()), "the defaults never came")
    assert given() == {"limits": {"cpu": "500m"}, "requests": {"cpu": "100m"}}


def test_secrets_are_encrypted_in_etcd_and_other_objects_are_not(plane: ControlPlane, admin: ApiClient) -> None:
    word = "the-falcon-cannot-hear"
    home = namespace(admin, "kept")
    admin.create(f"{home}/secrets", {"metadata": {"name": "s"}, "stringData": {"k": word}})
    admin.create(f"{home}/configmaps", {"metadata": {"name": "c"}, "data": {"k": word}})
    secret = raw_etcd_value(plane, "/registry/secrets/kept/s")
    assert b"k8s:enc:secretbox:v1:local:" in secret
    assert word.encode() not in secret
    assert word.encode() in raw_etcd_value(plane, "/registry/configmaps/kept/c"), "the witness reads what is there"
    assert admin.get(f"{home}/secrets/s")["data"] == {"k": "dGhlLWZhbGNvbi1jYW5ub3QtaGVhcg=="}


def test_audit_log_holds_the_refusal_and_never_the_secret(plane: ControlPlane, admin: ApiClient) -> None:
    word = "spoken-to-nobody"
    home = namespace(admin, "audited")
    with client_of(plane, "salim") as salim, pytest.raises(ApiError, match="cannot create resource"):
        salim.create(f"{home}/secrets", {"metadata": {"name": "s"}, "stringData": {"k": word}})
    admin.create(f"{home}/secrets", {"metadata": {"name": "s"}, "stringData": {"k": word}})

    def events() -> list[dict[str, Any]]:
        lines = plane.layout.audit_log.read_text().splitlines()
        made = [json.loads(line) for line in lines if line.endswith("}")]
        return [e for e in made if e["verb"] == "create" and (e.get("objectRef") or {}).get("namespace") == "audited"]

    def told() -> dict[str, int]:
        secrets = (e for e in events() if e["objectRef"]["resource"] == "secrets")
        return {e["user"]["username"]: e["responseStatus"]["code"] for e in secrets}

    eventually(lambda: told() == {"salim": 403, "falaj:administrator": 201}, f"the log tells {told()}")
    assert word not in plane.layout.audit_log.read_text()


def test_kwok_node_becomes_ready_and_runs_a_pod(admin: ApiClient) -> None:
    admin.create("/api/v1/nodes", fake_node("by-hand", labels={"made": "by-hand"}))
    ready = has_condition("Ready")
    admin.wait_for("/api/v1/nodes/by-hand", ready, timeout_seconds=WAIT_SECONDS, what="the node is not ready")
    home = namespace(admin, "on-kwok")
    admin.create(f"{home}/pods", pod("p", nodeSelector={"made": "by-hand"}))
    placed = admin.wait_for(f"{home}/pods/p", ready, timeout_seconds=WAIT_SECONDS, what="the pod is not ready")
    assert placed["spec"]["nodeName"] == "by-hand"


def test_karpenter_makes_a_node_of_the_region_for_a_pending_pod(admin: ApiClient) -> None:
    reference = {"group": "karpenter.kwok.sh", "kind": "KWOKNodeClass", "name": "default"}
    admin.create(
        "/apis/karpenter.kwok.sh/v1alpha1/kwoknodeclasses", named("KWOKNodeClass", "karpenter.kwok.sh/v1alpha1")
    )
    requirements = [
        {"key": "karpenter.k8s.aws/instance-family", "operator": "In", "values": ["g5", "g6"]},
        {"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["spot"]},
    ]
    taint = {"key": "nvidia.com/gpu", "effect": "NoSchedule"}
    template = {"spec": {"nodeClassRef": reference, "requirements": requirements, "taints": [taint]}}
    pool = named("NodePool", "karpenter.sh/v1", name="gpu-spot", spec={"template": template})
    admin.create("/apis/karpenter.sh/v1/nodepools", pool)
    home = namespace(admin, "scaled")
    asks = {"requests": {"cpu": "1", "memory": "1Gi", "nvidia.com/gpu": "1"}, "limits": {"nvidia.com/gpu": "1"}}
    admin.create(
        f"{home}/pods", pod("train", resources=asks, tolerations=[{"key": "nvidia.com/gpu", "operator": "Exists"}])
    )
    began = time.monotonic()
    ready = has_condition("Ready")
    placed = admin.wait_for(f"{home}/pods/train", ready, timeout_seconds=WAIT_SECONDS, what="the pod was not placed")
    print(f"placed after {time.monotonic() - began:.1f} s")
    node = admin.get(f"/api/v1/nodes/{placed['spec']['nodeName']}")
    labels = node["metadata"]["labels"]
    assert labels["karpenter.sh/nodepool"] == "gpu-spot"
    assert labels["karpenter.sh/capacity-type"] == "spot"
    assert labels["topology.kubernetes.io/zone"] == "mec1-az1", "the only zone that stands and has these families"
    assert labels["karpenter.k8s.aws/instance-gpu-count"] == "1" == node["status"]["allocatable"]["nvidia.com/gpu"]


def named(kind: str, version: str, *, name: str = "default", **more: Any) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, **more}


@pytest.mark.parametrize(
    ("path", "kind", "wrong"),
    [
        ("/apis/karpenter.sh/v1/nodepools", "NodePool", {"spec": {"weight": 1000}}),
        ("/apis/karpenter.k8s.aws/v1/ec2nodeclasses", "EC2NodeClass", {"spec": {"amiFamily": "Windows95"}}),
        ("/apis/cert-manager.io/v1/namespaces/default/certificates", "Certificate", {"spec": {"duration": 5}}),
        (
            "/apis/monitoring.coreos.com/v1/namespaces/default/servicemonitors",
            "ServiceMonitor",
            {"spec": {"endpoints": 1}},
        ),
        (
            "/apis/monitoring.coreos.com/v1/namespaces/default/prometheusrules",
            "PrometheusRule",
            {"spec": {"groups": 1}},
        ),
        ("/apis/trainer.kubeflow.org/v1alpha1/namespaces/default/trainjobs", "TrainJob", {"spec": {"trainer": 1}}),
    ],
)
def test_definition_of_an_add_on_checks_its_objects(
    admin: ApiClient, path: str, kind: str, wrong: dict[str, Any]
) -> None:
    group, version = path.split("/")[2:4]
    with pytest.raises(ApiError, match=rf"{kind}.* is invalid|{kind} in version") as caught:
        admin.create(path, named(kind, f"{group}/{version}", name="wrong", **wrong))
    assert caught.value.status in (400, 422)


def test_permissive_definition_takes_anything_and_says_so(admin: ApiClient) -> None:
    path = "/apis/machinelearning.seldon.io/v1/namespaces/default/seldondeployments"
    made = named("SeldonDeployment", "machinelearning.seldon.io/v1", name="any", spec={"predictors": 7})
    assert admin.create(path, made)["spec"] == {"predictors": 7}
    definition = admin.get(
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/seldondeployments.machinelearning.seldon.io"
    )
    assert definition["metadata"]["annotations"]["falaj/schema"] == "permissive"


def test_killed_scheduler_is_reported_and_started_again(plane: ControlPlane) -> None:
    before = plane.status()
    assert before is not None
    victim = next(process for process in before.processes if process.name == "kube-scheduler")
    os.kill(victim.pid, signal.SIGKILL)
    eventually(lambda: process_table.identity(victim.pid) is None, "it survived")
    broken = plane.status()
    assert broken is not None and not broken.ready
    note = next(process.note for process in broken.processes if process.name == "kube-scheduler")
    assert "has ended" in note and "end of its log: " in note and "its log is empty" not in note
    mended = plane.up(built())
    assert mended.started == ("kube-scheduler",)
    assert mended.mended == (note,)
    assert mended.status.ready
    kept = {process.name: process.pid for process in before.processes if process.name != "kube-scheduler"}
    assert kept.items() <= {process.name: process.pid for process in mended.status.processes}.items()


def test_killed_store_and_server_come_back_with_their_data(plane: ControlPlane, admin: ApiClient) -> None:
    namespace(admin, "before-the-crash")
    status = plane.status()
    assert status is not None
    for process in status.processes:
        if process.name in ("etcd", "kube-apiserver"):
            os.kill(process.pid, signal.SIGKILL)
    assert plane.up(built()).started[:2] == ("etcd", "kube-apiserver")
    assert admin.find("/api/v1/namespaces/before-the-crash") is not None


def test_down_leaves_nothing_running_and_up_continues_on_the_same_port(tmp_path: Path) -> None:
    with running(tmp_path / "c", Options(autoscaler=False)) as (plane, first):
        assert "karpenter" not in first.started
        with plane.client() as client:
            namespace(client, "kept")
        pids = [process.pid for process in first.status.processes]
        assert plane.down()
        assert plane.status() is None
        assert [pid for pid in pids if process_table.identity(pid) is not None] == []
        assert process_table.marked(f"FALAJ_CLUSTER={tmp_path / 'c'}") == []
        second = plane.up(built(), Options(autoscaler=False))
        assert second.status.endpoint_url == first.status.endpoint_url
        with plane.client() as client:
            assert client.find("/api/v1/namespaces/kept") is not None
        port = int(first.status.endpoint_url.rpartition(":")[2])
        with pytest.raises(ClusterError, match=f"runs on port {port} already, not on {port + 1}"):
            plane.up(built(), Options(port=port + 1))
    assert not (tmp_path / "c" / "pki").exists()


def test_port_of_another_program_is_refused_by_name_and_nothing_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        plane = ControlPlane(tmp_path / "c")
        with pytest.raises(PortInUseError, match=rf"port {port} .* in use by pid {os.getpid()} .*--port"):
            plane.up(built(), Options(port=port))
    assert plane.status() is None


def test_program_that_does_not_start_is_reported_and_the_rest_is_ended(tmp_path: Path) -> None:
    plane = ControlPlane(tmp_path / "c")
    binaries = built()
    broken = tmp_path / "kube-apiserver"
    broken.write_text("#!/bin/sh\necho 'this machine is too small'\nexit 3\n")
    broken.chmod(0o755)
    binaries.programs["kube-apiserver"] = broken
    with pytest.raises(ClusterError, match=r"kube-apiserver .*exit code 3; end of its log: this machine is too small"):
        plane.up(binaries)
    assert plane.status() is None
    assert process_table.marked(f"FALAJ_CLUSTER={tmp_path / 'c'}") == []
