from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.aws_lifecycle import Account, provider
from tests.support.moto_server import running_account


@pytest.fixture(scope="session")
def endpoint_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_account(tmp_path_factory.mktemp("aws")) as url:
        yield url


@pytest.fixture(scope="session")
def account(endpoint_url: str) -> Account:
    return Account(endpoint_url, provider(endpoint_url))


@pytest.fixture(scope="session")
def moto_server(endpoint_url: str) -> str:
    """The same account by the name that tests use which drive it with a client alone."""
    return endpoint_url
