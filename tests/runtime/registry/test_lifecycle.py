"""A model's whole life on real servers: from a trained run to champion, through the commands people type."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from runtime import metrics
from runtime.cli import cli
from runtime.errors import FalajError
from runtime.registry.audit import AuditLog
from runtime.registry.errors import GatesFailed, RegistryAwayError, RequestError, SignatureError
from runtime.registry.gates import GatePolicy, SlicePolicy
from runtime.registry.lifecycle import Registry, whoami
from runtime.registry.package import Package
from runtime.registry.tracking import Tracking
from runtime.settings import Settings
from tests.support.model_packages import CARD, Keys, card, make_package, signature_of
from tests.support.runtime_servers import ROOT, Aws, Server, environment
from tests.support.training_sets import made_up_configuration, made_up_set

pytestmark = pytest.mark.timeout(600)
POLICY = GatePolicy(
    thresholds={"auc": 0.6},
    against_champion={"auc": 0.02},
    slices=(SlicePolicy(column="city", most_auc_drop=0.2),),
    resamples=100,
)


@dataclass(frozen=True)
class Here:
    settings: Settings
    registry: Registry
    keys: Keys
    built: Package
    trained: Path
    command: Callable[..., Result]

    def registered(self, package: Package | None = None) -> str:
        package = package or self.built
        return self.registry.register(package.directory, signature_of(package, self.keys), "layla").version

    def actions(self) -> list[str]:
        with AuditLog.open(self.settings) as log:
            assert log.verify() == ()
            return [record.action for record in log.records()]


@pytest.fixture(scope="session")
def mlflow_dsn(postgres_server: Server) -> str:
    """MLflow's own database, once: making its tables takes long."""
    import psycopg

    from falaj.local.servers import postgresql

    with psycopg.connect(postgresql.dsn(postgres_server.port), autocommit=True) as connection:
        connection.execute("CREATE DATABASE mlflow_registry_tests")
    return postgresql.dsn(postgres_server.port, "mlflow_registry_tests")


@pytest.fixture
def here(
    store_settings: Settings,
    postgres_dsn: str,
    mlflow_dsn: str,
    aws: Aws,
    keys: Keys,
    built: Package,
    trained: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Here:
    bucket = store_settings.model_bucket.replace("model", "audit")
    aws.client("s3").create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "me-central-1"})
    own = {"postgres_dsn": postgres_dsn, "mlflow_tracking_uri": mlflow_dsn, "audit_bucket": bucket}
    # A tenant for each test: they share one MLflow.
    settings = store_settings.model_copy(update={**own, "tenant": f"t{bucket[-10:]}"})
    for name, value in environment(settings).items():
        monkeypatch.setenv(name, value)

    def command(*arguments: str) -> Result:
        return CliRunner().invoke(cli, ["registry", *arguments])

    return Here(settings, Registry(settings), keys, built, trained, command)


def test_a_model_goes_from_a_run_to_champion_by_commands(here: Here, tmp_path: Path) -> None:
    (tmp_path / "card.yaml").write_text(yaml.safe_dump(CARD))
    (tmp_path / "policy.yaml").write_text(yaml.safe_dump({**POLICY.model_dump(mode="json"), "resamples": 100}))
    feature = {"feature": "heat", "compared": 9, "different": 0}
    skew = {"service": "arrivals", "snapshot_id": "s", "rows": 9, "features": [feature]}
    (tmp_path / "skew.json").write_text(json.dumps(skew))
    out, policy = str(tmp_path / "package"), str(tmp_path / "policy.yaml")
    run = ["--run", str(here.trained), "--model", "boosted_trees", "--card", str(tmp_path / "card.yaml")]

    def done(*arguments: str) -> str:
        result = here.command(*arguments)
        assert result.exit_code == 0, (arguments, result.output, result.exception)
        return result.output

    assert "model/model.onnx" in done(
        "package", *run, "--skew", str(tmp_path / "skew.json"), "--out", out, "--as", "layla"
    )
    assert "signed arrivals" in done("sign", out)
    assert "arrivals version 1: s3://" in done("register", out, "--as", "layla")

    before = metrics.value("falaj_registry_promotions_refused_total")
    refused = here.command("promote", "arrivals", "1", "--policy", policy, "--as", "omar")
    assert metrics.value("falaj_registry_promotions_refused_total") == before + 1
    assert isinstance(refused.exception, GatesFailed) and "approvals" in str(refused.exception)
    assert here.registry.versions("arrivals")[0].aliases == ()

    done("approve", "arrivals", "1", "--as", "omar", "--comment", "read it")
    listed = here.command("gates", "arrivals", "1", "--policy", policy)
    assert listed.exit_code == 1 and "CLOSED" in listed.output and "1 of 2" in listed.output
    done("approve", "arrivals", "1", "--as", "mariam")
    assert "arrivals 1 is champion now" in done("promote", "arrivals", "1", "--policy", policy, "--as", "omar")
    assert "champion" in done("show", "arrivals") and "omar, mariam" in done("show", "arrivals")
    assert "is good" in done("verify", "arrivals", "@champion")
    assert "the chain and its copy agree" in done("audit", "--verify")
    assert here.actions() == [
        "register", "promotion.refused", "approve", "approve", "promotion.decided", "promotion.done",
    ]  # fmt: skip
    lineage = Path(here.settings.lineage_url.removeprefix("file:")).read_text()
    for words in ("registry.package", "registry.register", "registry.promote", "training_set", "deployment"):
        assert words in lineage


def test_a_challenger_replaces_the_champion_only_if_it_is_no_worse(here: Here, tmp_path: Path) -> None:
    def approved(package: Package) -> str:
        version = here.registered(package)
        for person in ("omar", "mariam"):
            here.registry.approve("arrivals", version, person)
        return version

    def champions() -> list[str]:
        return [each.version for each in here.registry.versions("arrivals") if each.aliases == ("champion",)]

    # The made-up rows are linear in their signal: a logistic regression is as good as trees, or better.
    first = approved(make_package(here.trained, tmp_path / "linear", kind="logistic_regression"))
    here.registry.promote("arrivals", first, POLICY, "omar")
    second = approved(here.built)
    strict = POLICY.model_copy(update={"against_champion": {"log_loss": 0.0}})
    with pytest.raises(GatesFailed, match="champion log_loss"):
        here.registry.promote("arrivals", second, strict, "omar")
    assert champions() == [first]
    lenient = POLICY.model_copy(update={"against_champion": {"log_loss": 0.05}})
    done = here.registry.promote("arrivals", second, lenient, "omar")
    assert done.judged.champion is not None and done.judged.champion.version == first
    assert done.record.details["before"] == first and champions() == [second]


def test_registering_the_same_package_again_changes_nothing(here: Here) -> None:
    assert here.registered() == here.registered() == "1"
    assert here.actions() == ["register"]
    assert len(here.registry.versions("arrivals")) == 1


@pytest.mark.parametrize("person", ["layla", "LAYLA", " layla "])
def test_nobody_approves_what_they_built(here: Here, person: str) -> None:
    here.registered()
    with pytest.raises(RequestError, match="another person"):
        here.registry.approve("arrivals", "1", person)


def test_nobody_approves_twice_and_a_withdrawn_approval_counts_no_more(here: Here) -> None:
    here.registered()
    here.registry.approve("arrivals", "1", "omar")
    with pytest.raises(RequestError, match="approved it already"):
        here.registry.approve("arrivals", "1", "Omar")
    here.registry.approve("arrivals", "1", "mariam")
    here.registry.withdraw("arrivals", "1", "omar")
    with pytest.raises(GatesFailed, match="1 of 2"):
        here.registry.promote("arrivals", "1", POLICY, "omar")
    assert here.registry.versions("arrivals")[0].aliases == ()


def test_a_tampered_package_is_not_registered(here: Here, tmp_path: Path) -> None:
    directory = tmp_path / "package"
    shutil.copytree(here.built.directory, directory)
    signature = signature_of(here.built, here.keys)
    graph = directory / "model/model.onnx"
    graph.write_bytes(graph.read_bytes()[:-1] + b"\x01")
    before = metrics.value("falaj_registry_refusals_total", kind="signature")
    with pytest.raises(SignatureError, match="altered"):
        here.registry.register(directory, signature, "layla")
    with pytest.raises(SignatureError, match="not signed"):
        here.registry.register(here.built.directory, None, "layla")
    assert metrics.value("falaj_registry_refusals_total", kind="signature") == before + 2
    with pytest.raises(RequestError, match="no such model"):
        here.registry.versions("arrivals")
    assert here.actions() == []


def test_a_champion_is_never_taken_from_storage_that_was_tampered_with(here: Here, aws: Aws) -> None:
    here.registered()
    for person in ("omar", "mariam"):
        here.registry.approve("arrivals", "1", person)
    s3, bucket = aws.client("s3"), here.settings.model_bucket
    key = f"packages/{here.settings.tenant}/arrivals/{here.built.digest}/0001.enc"
    s3.put_object(Bucket=bucket, Key=key, Body=s3.get_object(Bucket=bucket, Key=key)["Body"].read()[:-1] + b"\x00")
    before = metrics.value("falaj_registry_refusals_total", kind="package")
    with pytest.raises(FalajError, match="altered"):
        here.registry.promote("arrivals", "1", POLICY, "omar")
    assert metrics.value("falaj_registry_refusals_total", kind="package") == before + 1
    assert here.registry.versions("arrivals")[0].aliases == ()


def test_a_promotion_whose_process_died_is_finished_by_the_same_command(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.registered()
    for person in ("omar", "mariam"):
        here.registry.approve("arrivals", "1", person)

    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Tracking, "point", die)
        with pytest.raises(KeyboardInterrupt):
            here.registry.promote("arrivals", "1", POLICY, "omar")
    assert here.actions()[-1] == "promotion.decided"
    here.registry.promote("arrivals", "1", POLICY, "omar")
    assert here.actions()[-1] == "promotion.done"
    assert here.registry.versions("arrivals")[0].aliases == ("champion",)


KILLS_BY_CALL, KILLS_BY_TIME = 14, 6


def test_a_promotion_killed_anywhere_leaves_one_champion_and_is_finished_by_another_try(
    here: Here, tmp_path: Path
) -> None:
    """Real processes, real SIGKILL: most of them between the decision and its end, some anywhere from the start."""
    versions = [here.registered(here.built), here.registered(make_package(here.trained, tmp_path / "b", author="noor"))]
    for version in versions:
        for person in ("omar", "mariam"):
            here.registry.approve("arrivals", version, person)
    policy = POLICY.model_copy(update={"against_champion": {}})
    (tmp_path / "policy.json").write_text(policy.model_dump_json())
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.promotion_process", str(tmp_path / "policy.json")],
        cwd=ROOT, env=environment(here.settings), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdin is not None and process.stdout is not None

    def promoted(version: str, **how: Any) -> dict[str, Any]:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(json.dumps({"version": version, **how}) + "\n")
        process.stdin.flush()
        answer: dict[str, Any] = json.loads(process.stdout.readline())
        assert answer["error"] == "", answer
        return answer

    def champion() -> str:
        return next(each.version for each in here.registry.versions("arrivals") if each.aliases == ("champion",))

    try:
        old, new = versions
        promoted(old)
        begun = time.monotonic()
        most_calls = promoted(new)["calls"]
        most_seconds = time.monotonic() - begun
        random_ = random.Random(20130101)
        plans: list[dict[str, float]] = [{"calls": random_.randrange(1, most_calls)} for _ in range(KILLS_BY_CALL)]
        plans += [{"seconds": random_.uniform(0, most_seconds)} for _ in range(KILLS_BY_TIME)]
        killed_after: set[str] = set()
        for plan in plans:
            old, new = new, old
            answer = promoted(new, **plan)
            assert answer["signal"] == signal.SIGKILL or "seconds" in plan
            with AuditLog.open(here.settings) as log:
                records = log.records()
                # A copy may wait for the next append; nothing else may be wrong.
                assert all("has no copy on S3" in problem for problem in log.verify())
            now = champion()
            assert now in (old, new)
            if records[-1].version == new:
                killed_after.add(f"{records[-1].action}, {'new' if now == new else 'old'} champion")
            else:
                assert now == old  # nothing was decided, so nothing may have moved
            promoted(new)
            assert champion() == new
            with AuditLog.open(here.settings) as log:
                assert log.verify() == ()
                last = log.records()[-1]
            assert (last.action, last.version, last.details["before"]) == ("promotion.done", new, old)
        assert killed_after >= {"promotion.decided, old champion", "promotion.decided, new champion"}
    finally:
        process.stdin.close()
        process.wait(60)
        process.stdout.close()


def test_promoting_the_champion_again_changes_nothing(here: Here) -> None:
    here.registered()
    for person in ("omar", "mariam"):
        here.registry.approve("arrivals", "1", person)
    first = here.registry.promote("arrivals", "1", POLICY, "omar")
    again = here.registry.promote("arrivals", "1", POLICY, "mariam")
    assert again.record == first.record
    assert here.actions()[-1:] == ["promotion.done"] and here.actions().count("promotion.done") == 1


def test_an_incomplete_card_keeps_its_gate_closed(here: Here, tmp_path: Path) -> None:
    package = make_package(here.trained, tmp_path / "package", card=card(intended_use=""), skew=None)
    version = here.registered(package)
    closed = {verdict.gate for verdict in here.registry.judge("arrivals", version, POLICY).report.closed}
    assert closed == {"card", "skew", "approvals"}


def test_training_is_tracked_in_mlflow_with_its_artifacts_on_s3(here: Here, aws: Aws, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    (tmp_path / "report.json").write_text("{}")
    with Tracking(here.settings).run("arrivals", "first") as tracker:
        tracker.log_parameters({"kind": "boosted_trees", "nested": {"rounds": 40}})
        tracker.log_metrics({"loss": 0.5, "nothing": float("nan")}, 1)
        tracker.log_artifact(tmp_path / "report.json")
    uri = here.settings.mlflow_tracking_uri
    found = MlflowClient(tracking_uri=uri, registry_uri=uri).get_run(tracker.run_id)
    assert found.info.status == "FINISHED"
    assert found.data.params == {"kind": "boosted_trees", "nested.rounds": "40"}
    assert found.data.metrics == {"loss": 0.5}
    bucket, _, prefix = found.info.artifact_uri.removeprefix("s3://").partition("/")
    assert aws.client("s3").get_object(Bucket=bucket, Key=f"{prefix}/report.json")["Body"].read() == b"{}"


def test_the_train_command_tracks_each_model_in_a_run_of_its_own(
    here: Here, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from mlflow import MlflowClient

    (tmp_path / "training.yaml").write_text(yaml.safe_dump(made_up_configuration()))
    data = made_up_set(tmp_path_factory.mktemp("tracked") / "set")
    done = CliRunner().invoke(
        cli,
        [
            "train", "run", "--config", str(tmp_path / "training.yaml"), "--data", str(data),
            "--out", str(tmp_path / "first"), "--trainer", "boosted_trees", "--experiment", "arrivals",
        ],
    )  # fmt: skip
    assert done.exit_code == 0, (done.output, done.exception)
    uri = here.settings.mlflow_tracking_uri
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    experiment = client.get_experiment_by_name(f"{here.settings.tenant}/arrivals")
    runs = {found.info.run_name: found for found in client.search_runs([experiment.experiment_id])}
    assert sorted(runs) == ["boosted_trees-first", "logistic_regression-first"]
    for found in runs.values():
        assert found.info.status == "FINISHED" and 0.5 < found.data.metrics["test_auc"] < 1


def test_who_acts_is_declared_on_one_machine_only(here: Here) -> None:
    assert whoami(here.settings, " omar ") == "omar"
    with pytest.raises(RequestError, match="--as"):
        whoami(here.settings, "")
    with pytest.raises(RequestError, match="AWS says"):
        whoami(Settings(aws_endpoint_url=""), "omar")


@pytest.mark.parametrize("version", ["7", "@champion", "x", ""])
def test_a_version_that_is_not_there_is_refused(here: Here, version: str) -> None:
    here.registered()
    with pytest.raises(RequestError, match="no such version"):
        here.registry.verify("arrivals", version)


@pytest.mark.parametrize("scheme", ["postgresql", "http"])
def test_mlflow_away_is_said_at_once_and_without_a_password(here: Here, scheme: str) -> None:
    away = here.settings.model_copy(update={"mlflow_tracking_uri": f"{scheme}://user:secret@127.0.0.1:9/none"})
    with pytest.raises(RegistryAwayError, match="MLflow") as caught:
        Registry(away).versions("arrivals")
    assert "secret" not in str(caught.value) and "\n" not in str(caught.value)
