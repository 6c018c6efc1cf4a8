"""A platform's life on one machine: forgotten by its account, grown, protected, killed, taken down."""

from __future__ import annotations

import json
import os
import signal
import threading

import pytest

from tests.support.product import Product, inventory


def test_up_recreates_what_a_restarted_account_forgot(product: Product) -> None:
    first = product.deploy("up")
    before = product.inventory()
    assert product.falaj("local", "stop").returncode == 0
    again = product.deploy("up")
    assert again["changes"].get("create", 0) > first["changes"]["create"] / 2
    assert product.inventory() == before
    product.deploy("up", "--expect-no-changes")


def test_growing_to_enterprise_and_going_leaves_nothing(product: Product) -> None:
    assert product.falaj("local", "start").returncode == 0
    empty = inventory(product.endpoint_url)
    product.deploy("up")
    assert product.falaj("config", "set", "blueprint", "enterprise").returncode == 0
    planned = product.deploy("preview")
    assert planned["changes"].get("create", 0) > 0
    grown = product.deploy("up")
    assert grown["result"] == "succeeded"
    assert product.client("kafka").list_clusters()["ClusterInfoList"]
    product.deploy("destroy")
    assert product.resources() == []
    assert product.inventory() == empty


def test_protected_stores_refuse_by_name_until_unprotected(product: Product) -> None:
    assert product.falaj("config", "set", "protectDataStores", "true").returncode == 0
    product.deploy("up")
    refused = product.deploy("destroy", expect=1)
    protected = {r["urn"].split("::")[-1] for r in product.resources() if r.get("protect")}
    assert protected
    errors = " ".join(line["urn"] + line["message"] for line in refused["lines"] if line["kind"] == "diagnostic")
    assert any(name in errors for name in protected)
    assert product.client("s3").list_buckets()["Buckets"]
    # The account has a protection of its own for the database: an `up` takes both off.
    assert product.falaj("config", "set", "protectDataStores", "false").returncode == 0
    product.deploy("up")
    product.deploy("destroy")
    assert product.resources() == []


@pytest.mark.xdist_group("deployed")
@pytest.mark.parametrize("after_resources", [5, 40, 90])
def test_killed_in_the_middle_it_finishes_without_a_duplicate(
    product: Product, deployed: Product, after_resources: int
) -> None:
    running = product.start("up", "--engine", "embedded", "--yes", "--json")
    assert running.stdout is not None
    watchdog = threading.Timer(120, running.kill)
    watchdog.start()
    try:
        seen = 0
        for line in running.stdout:
            seen += line.startswith('{"kind": "resource"') and '"op": "create"' in line
            if seen >= after_resources:
                break
        os.kill(running.pid, signal.SIGKILL)
    finally:
        watchdog.cancel()
        running.communicate()
    assert seen >= after_resources
    product.deploy("up")
    product.deploy("up", "--expect-no-changes")
    assert product.inventory() == deployed.inventory()


@pytest.mark.xdist_group("deployed")
def test_interrupted_once_it_saves_what_ran_and_unlocks(product: Product, deployed: Product) -> None:
    running = product.start("up", "--engine", "embedded", "--yes", "--json")
    assert running.stdout is not None
    for line in running.stdout:
        if '"op": "create"' in line:
            break
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 1, out[-2000:] + err[-2000:]
    summary = json.loads(out.splitlines()[-1])
    assert summary["result"] == "failed"
    exported = json.loads(product.falaj("state", "export").stdout)["deployment"]
    assert not exported.get("pending_operations")
    product.deploy("up")
    assert product.inventory() == deployed.inventory()
