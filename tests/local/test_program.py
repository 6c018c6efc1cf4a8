"""The whole platform on a real server, no engine between: what the program declares can be made, settles and goes.

Guards: inputs that the types do not have, a resource that drifts by itself, something that outlives its deletion.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from falaj.engine.provider import Changes
from falaj.local.aws.clients import Aws
from falaj.local.aws.handler import handler_for
from falaj.local.aws.inventory import count
from falaj.local.aws.provider import MARK
from stacks.platform_program import declare_platform
from tests.support.aws_lifecycle import Resource, provider
from tests.support.moto_server import REGION, running_account
from tests.support.recorder import Registered, record


class _Deployment(Mapping[str, Callable[[Registered], dict[str, Any]]]):
    """Answers every AWS resource of a recorded program with one that really exists; remembers them in order."""

    def __init__(self, endpoint_url: str) -> None:
        self._provider = provider(endpoint_url)
        self.made: list[tuple[Resource, dict[str, Any]]] = []

    def __getitem__(self, type: str) -> Callable[[Registered], dict[str, Any]]:
        if not type.startswith("aws:"):
            raise KeyError(type)
        return self._create

    def __iter__(self) -> Any:
        return iter(())

    def __len__(self) -> int:
        return 1  # never empty: an empty mapping would count as none

    def _create(self, registered: Registered) -> dict[str, Any]:
        resource = Resource(self._provider, registered.type, registered.name).create(registered.inputs)
        self.made.append((resource, registered.inputs))
        return {**resource.outputs, "id": resource.id}


@pytest.mark.slow
@pytest.mark.parametrize("blueprint", ["smb", "enterprise"])
def test_platform_can_be_made_settles_and_goes(blueprint: str, tmp_path: Path) -> None:
    with running_account(tmp_path) as endpoint_url:
        deployment = _Deployment(endpoint_url)
        # As in the stack `local`: what protects data from deletion is off, for everything is to go at the end.
        unprotected = json.dumps({"cluster.deletion_protection": False})
        config = {
            "falaj:blueprint": blueprint,
            "falaj:protectDataStores": "false",
            "falaj:overrides": unprotected,
        }
        record(declare_platform, stack="dev", config=config, answers=deployment)
        assert len(deployment.made) > 100

        unhandled = sorted({resource.type for resource, _ in deployment.made if handler_for(resource.type) is None})
        assert not unhandled, f"no handler for {', '.join(unhandled)}; add one, or a StateOnly one"
        real = [resource for resource, _ in deployment.made if MARK not in resource.outputs]
        assert len(real) > 0.8 * len(deployment.made)

        drifted = {}
        for resource, inputs in deployment.made:
            assert resource.refresh(), f"{resource.type} {resource.name} cannot be read"
            difference = resource.diff(inputs)
            if difference.changes is not Changes.NONE:
                drifted[f"{resource.type} {resource.name}"] = list(difference.detailed or ())
        assert not drifted

        for resource, _ in reversed(deployment.made):
            resource.delete()
        assert count(Aws(endpoint_url, REGION)) == {}
