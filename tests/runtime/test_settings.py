"""Settings: read from the environment once, checked, and never shown with their secrets."""

from __future__ import annotations

import socket

import psycopg
import pytest
import valkey

from runtime import metrics
from runtime.aws import client
from runtime.settings import Settings, SettingsError, load_settings
from tests.support.moto_server import free_port


def test_settings_come_from_the_environment_with_their_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FALAJ_LAKE_BUCKET", "a-lake")
    assert load_settings().lake_bucket == "a-lake"


def test_plain_http_is_refused_to_anything_but_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FALAJ_AWS_ENDPOINT_URL", "http://10.0.0.1:80")
    with pytest.raises(SettingsError, match=r"FALAJ_AWS_ENDPOINT_URL.*use https"):
        load_settings()


def test_a_refused_setting_is_named_but_its_value_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FALAJ_METRICS_PORT", "hunter2")
    with pytest.raises(SettingsError) as raised:
        load_settings()
    assert "FALAJ_METRICS_PORT" in str(raised.value)
    assert "hunter2" not in str(raised.value)


def test_printed_settings_hold_no_connection_strings() -> None:
    shown = repr(Settings(postgres_dsn="postgresql://u:hunter2@h/d", catalog_uri="postgresql://u:hunter2@h/d"))
    assert "hunter2" not in shown


def test_every_missing_setting_is_named_at_once() -> None:
    with pytest.raises(SettingsError, match="FALAJ_LAKE_BUCKET, FALAJ_CATALOG_URI must be set"):
        Settings(lake_bucket="", catalog_uri="").require("lake_bucket", "catalog_uri")


def test_only_an_account_on_loopback_counts_as_local() -> None:
    assert Settings(aws_endpoint_url="http://127.0.0.1:4599").is_local
    assert not Settings(aws_endpoint_url="https://vpce.example").is_local
    assert not Settings(aws_endpoint_url="").is_local


def test_servers_listen_on_loopback_unless_an_address_is_given() -> None:
    assert Settings().listen_address == "127.0.0.1"
    assert Settings(listen_address="10.20.3.4").listen_address == "10.20.3.4"


@pytest.mark.parametrize("given", ["localhost", "$(FALAJ_LISTEN_ADDRESS)", "10.20.3.4:8080"])
def test_what_is_no_address_is_refused(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("FALAJ_LISTEN_ADDRESS", given)
    with pytest.raises(SettingsError, match=r"FALAJ_LISTEN_ADDRESS: .*must be an IP address of this machine"):
        load_settings()


def test_the_exporter_binds_the_address_of_the_settings_alone() -> None:
    port = free_port()
    with metrics.exporter(Settings(metrics_port=port, listen_address="127.0.0.2")):
        socket.create_connection(("127.0.0.2", port), timeout=5).close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=5)


def test_a_client_reaches_the_account_of_the_settings(settings: Settings) -> None:
    names = {bucket["Name"] for bucket in client(settings, "s3").list_buckets()["Buckets"]}
    assert settings.lake_bucket in names


def test_threads_share_one_client(settings: Settings) -> None:
    assert client(settings, "s3") is client(settings, "s3")


def test_the_fixtures_give_a_database_and_a_store_that_are_empty(postgres_dsn: str, valkey_endpoint: str) -> None:
    with psycopg.connect(postgres_dsn) as connection:
        tables = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()
    host, port = valkey_endpoint.split(":")
    with valkey.Valkey(host=host, port=int(port)) as store:
        assert (tables, store.dbsize()) == ((0,), 0)
