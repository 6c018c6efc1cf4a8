"""Importing the provider SDKs on demand gives the very classes that importing whole packages gives."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest

PACKAGES = (
    "pulumi_aws.ec2",
    "pulumi_aws.s3",
    "pulumi_aws.iam",
    "pulumi_kubernetes.core.v1",
    "pulumi_kubernetes.helm.v3",
)
_NAMES = """
import importlib, inspect, json, pulumi, sys
found = {}
for package in sys.argv[1:]:
    module = importlib.import_module(package)
    found[package] = {
        name: value.__module__
        for name in dir(module)
        if inspect.isclass(value := getattr(module, name))
        and (issubclass(value, pulumi.Resource) or name.endswith("Args"))
    }
print(json.dumps(found))
"""
_ON_DEMAND = """
import importlib, json, sys
from stacks.sdk_imports import import_on_demand
import_on_demand()
asked = json.load(sys.stdin)
print(json.dumps({
    package: {
        "modules": {name: getattr(importlib.import_module(package), name).__module__ for name in names},
        "whole": any(m.startswith(package + ".get_") for m in sys.modules),
    }
    for package, names in asked.items()
}))
"""


def _answer(program: str, *arguments: str, stdin: str = "") -> Any:
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def classes() -> dict[str, dict[str, str]]:
    """Package -> its resource and argument classes -> the module that defines each, of packages imported whole."""
    answer: dict[str, dict[str, str]] = _answer(_NAMES, *PACKAGES)
    return answer


def _asked(names: dict[str, Sequence[str]]) -> Any:
    return _answer(_ON_DEMAND, stdin=json.dumps(names))


def test_every_class_is_the_one_of_the_whole_package(classes: dict[str, dict[str, str]]) -> None:
    answers = _asked({package: sorted(modules) for package, modules in classes.items()})
    assert {package: answer["modules"] for package, answer in answers.items()} == classes


def test_a_declared_resource_does_not_load_its_package() -> None:
    answers = _asked({"pulumi_aws.ec2": ["Vpc", "VpcArgs", "FlowLog"], "pulumi_aws.s3": ["Bucket"]})
    assert not any(answer["whole"] for answer in answers.values())


def test_a_name_that_is_no_resource_is_found_in_the_whole_package() -> None:
    answer = _asked({"pulumi_aws.ec2": ["Vpc", "get_ami", "GetAmiResult", "Vpc"]})["pulumi_aws.ec2"]
    assert answer == {
        "modules": {
            "Vpc": "pulumi_aws.ec2.vpc",
            "get_ami": "pulumi_aws.ec2.get_ami",
            "GetAmiResult": "pulumi_aws.ec2.get_ami",
        },
        "whole": True,
    }


def test_a_name_that_the_package_does_not_have_is_an_attribute_error() -> None:
    assert _after_import_on_demand("import pulumi_aws.ec2 as ec2\nprint(json.dumps(hasattr(ec2, 'Nothing')))") is False


def test_importing_everything_from_a_package_gives_everything() -> None:
    body = "from pulumi_aws.kms import *\nprint(json.dumps([Key.__name__, get_key.__name__]))"
    assert _after_import_on_demand(body) == ["Key", "get_key"]


def _after_import_on_demand(body: str) -> Any:
    return _answer(f"import json\nfrom stacks.sdk_imports import import_on_demand\nimport_on_demand()\n{body}")
