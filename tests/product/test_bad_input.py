"""Bad input gets one clear line, a documented exit code, and leaves everything as it was."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Callable

import pytest

from tests.support.product import Product


def settings(product: Product, old: str, new: str) -> None:
    path = product.root / "stacks" / "config" / "Pulumi.local.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def refused(product: Product) -> str:
    """Runs `up`, expects a failure that touched nothing, and returns everything it said."""
    done = product.falaj("up", "--engine", "embedded", "--yes")
    assert done.returncode in (1, 2), done.stdout
    states = list((product.root / ".falaj").rglob("stacks/*/*.json"))
    for path in states:
        types = {r["type"] for r in json.loads(path.read_text())["checkpoint"]["latest"].get("resources") or []}
        assert not {t for t in types if t.startswith("aws:")}, "something was half-applied"
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({"network": {"cidr": "10.40.0.0/28"}}, ["cidr"]),
        ({"network": {"cidrr": "10.40.0.0/16"}}, ["cidrr"]),
        ({"network": {"zone_count": "many"}}, ["zone_count"]),
        ({"region": "eu-west-1"}, ["eu-west-1", "me-central-1"]),
        ({"data": {"stored_gib": -1}}, ["stored_gib", "-1"]),
    ],
    ids=["cidr-too-small", "unknown-key", "wrong-type", "region-outside-the-uae", "negative-volume"],
)
def test_a_bad_override_is_refused_by_name(product: Product, overrides: dict[str, object], expected: list[str]) -> None:
    lines = "".join(f"    {key}: {json.dumps(value)}\n" for key, value in overrides.items())
    settings(product, "  falaj:overrides:\n", f"  falaj:overrides:\n{lines}")
    said = refused(product)
    for word in expected:
        assert word in said
    assert "Traceback" not in said


def test_an_unknown_blueprint_lists_the_known_ones(product: Product) -> None:
    settings(product, "falaj:blueprint: smb", "falaj:blueprint: smbb")
    said = refused(product)
    assert "smbb" in said
    assert "enterprise" in said
    assert "Traceback" not in said


def test_a_wrong_passphrase_says_which_variable_to_set(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = product.environment

    def with_wrong_passphrase() -> dict[str, str]:
        return {**environment(), "PULUMI_CONFIG_PASSPHRASE": "not-the-one"}

    monkeypatch.setattr(product, "environment", with_wrong_passphrase)
    assert "PULUMI_CONFIG_PASSPHRASE" in refused(product)


def test_another_stack_is_refused_with_what_to_install(product: Product) -> None:
    done = product.falaj("up", "-s", "prod", "--yes")
    assert done.returncode == 1
    assert "install the Pulumi CLI" in done.stderr


def test_a_taken_port_is_named(product: Product) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", product.port))
        other.listen()
        said = refused(product)
    assert str(product.port) in said


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda text: text[: len(text) // 2], "state"),
        (lambda text: text.replace('"version":3', '"version":9', 1), "9"),
    ],
    ids=["corrupt", "newer"],
)
def test_an_unreadable_state_is_left_alone(product: Product, damage: Callable[[str], str], expected: str) -> None:
    product.deploy("refresh")  # of nothing: makes the stack, and its state file
    path = product.root / ".falaj" / "state" / ".pulumi" / "stacks" / "falaj" / "local.json"
    broken = damage(path.read_text())
    path.write_text(broken)
    done = product.falaj("up", "--engine", "embedded", "--yes")
    assert done.returncode == 1
    assert expected in done.stderr
    assert path.read_text() == broken


def test_without_yes_nobody_is_asked_where_nobody_can_answer(product: Product) -> None:
    done = product.falaj("up", "--engine", "embedded")
    assert done.returncode == 2
    assert "--yes" in done.stderr


def test_help_of_every_command_shows_an_example(product: Product) -> None:
    for command in ("up", "preview", "refresh", "destroy", "outputs", "cancel", "doctor"):
        done: subprocess.CompletedProcess[str] = product.falaj(command, "--help")
        assert done.returncode == 0
        assert "falaj " in done.stdout.split("Example")[1]


def test_a_mistyped_command_suggests_the_right_one(product: Product) -> None:
    done = product.falaj("previw")
    assert done.returncode == 2
    assert "did you mean `preview`" in done.stderr
