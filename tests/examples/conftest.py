"""The servers of the tests of the example: shared with the runtime's."""

from tests.support.runtime_servers import (  # noqa: F401 (fixtures)
    aws,
    postgres_server,
    server_directory,
    valkey_server,
)
