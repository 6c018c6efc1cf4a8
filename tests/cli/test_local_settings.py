"""The settings that `falaj local env` prints for the runtime."""

from __future__ import annotations

from falaj.cli.local_settings import from_servers, from_stack

OUTPUTS = {
    "bucketNames": {"lake": "the-lake", "feature": "the-features", "model": "the-models", "audit": "the-audit"},
    "keyArns": {"model": "arn:aws:kms:me-central-1:123456789012:key/1"},
    "streamEngine": "kinesis",
    "streamEndpoint": "falaj-local-events",
    "onlineStoreEngine": "dynamodb",
    "onlineStoreEndpoint": "falaj-local-features",
}


def test_a_deployed_stack_gives_its_buckets_stream_and_store() -> None:
    assert from_stack(OUTPUTS, "http://127.0.0.1:4599/123456789012/dead") == {
        "FALAJ_LAKE_BUCKET": "the-lake",
        "FALAJ_FEATURE_BUCKET": "the-features",
        "FALAJ_MODEL_BUCKET": "the-models",
        "FALAJ_KMS_KEY_ARN": "arn:aws:kms:me-central-1:123456789012:key/1",
        "FALAJ_DEAD_LETTER_QUEUE_URL": "http://127.0.0.1:4599/123456789012/dead",
        "FALAJ_STREAM_ENGINE": "kinesis",
        "FALAJ_STREAM_ENDPOINT": "falaj-local-events",
        "FALAJ_ONLINE_STORE_ENGINE": "dynamodb",
        "FALAJ_ONLINE_STORE_ENDPOINT": "falaj-local-features",
    }


def test_a_stack_that_is_not_deployed_gives_nothing() -> None:
    assert from_stack({}, None) == {}


def test_brokers_and_caches_of_the_cloud_are_not_named_where_nothing_stands_in_for_them() -> None:
    cloud = {"streamEngine": "msk", "streamEndpoint": "b-1:9098", "onlineStoreEngine": "valkey"}
    assert from_stack({**cloud, "onlineStoreEndpoint": "x.cache"}, None) == {}


def test_servers_that_run_give_their_addresses_and_others_nothing() -> None:
    assert from_servers({"valkey": 4679}) == {
        "FALAJ_ONLINE_STORE_ENGINE": "valkey",
        "FALAJ_ONLINE_STORE_ENDPOINT": "127.0.0.1:4679",
    }
    names = from_servers({"postgresql": 4632, "kafka": 4692})
    assert names["FALAJ_CATALOG_URI"] == "postgresql://falaj@127.0.0.1:4632/falaj"
    assert names["FALAJ_MLFLOW_TRACKING_URI"] == "postgresql://falaj@127.0.0.1:4632/mlflow"
    assert names["FALAJ_STREAM_ENDPOINT"] == "127.0.0.1:4692/events"
