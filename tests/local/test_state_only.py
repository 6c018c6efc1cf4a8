"""The table of what the emulated account cannot hold.  Guards: types that are emulated without anybody being told."""

from __future__ import annotations

import importlib
import pkgutil

import pytest

from falaj.local.aws import services
from falaj.local.aws.handler import Handler, handler_for
from falaj.local.aws.schema import resource_type
from falaj.local.aws.state_only import INPUTS_IN_STATE, STATE_ONLY


def all_handlers() -> list[Handler]:
    """Every handler, through the registry that the provider uses."""
    names = [module.name for module in pkgutil.iter_modules(services.__path__)]
    modules = [importlib.import_module(f"{services.__name__}.{name}") for name in names]
    listed = [handler for module in modules for handler in getattr(module, "HANDLERS", ())]
    found = [handler_for(handler.type) for handler in listed]
    assert None not in found
    return [handler for handler in found if handler is not None]


def test_table_lists_exactly_the_types_that_live_in_the_state() -> None:
    assert {handler.type for handler in all_handlers() if handler.emulated} == set(STATE_ONLY)


def test_every_reason_names_what_is_missing() -> None:
    assert all(reason.strip() for reason in STATE_ONLY.values())
    assert all(reason.strip() for _, reason in INPUTS_IN_STATE.values())


@pytest.mark.parametrize("type", sorted(INPUTS_IN_STATE))
def test_inputs_kept_in_the_state_belong_to_a_real_type(type: str) -> None:
    handler = handler_for(type)
    assert handler is not None
    assert not handler.emulated
    assert INPUTS_IN_STATE[type][0] <= resource_type(type).inputs.keys()


@pytest.mark.parametrize("handler", all_handlers(), ids=lambda handler: handler.type)
def test_declarations_name_inputs_that_exist(handler: Handler) -> None:
    """A misspelled path would silently compare nothing or force no replacement."""
    inputs = resource_type(handler.type).inputs.keys()
    declared = {path.split(".")[0] for path in handler.force_new | handler.json_inputs | handler.unordered}
    declared |= set(handler.defaults)
    if handler.auto_name is not None:
        declared.add(handler.auto_name.property)
    assert declared <= inputs
