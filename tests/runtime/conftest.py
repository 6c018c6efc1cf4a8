"""The real servers that tests of the runtime share."""

from tests.support.runtime_servers import (  # noqa: F401
    aws,
    kafka_server,
    kafka_settings,
    postgres_dsn,
    postgres_server,
    server_directory,
    settings,
    valkey_endpoint,
    valkey_server,
)
