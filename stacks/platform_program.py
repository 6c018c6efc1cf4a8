"""The whole platform, from a stack's settings to its outputs."""

from __future__ import annotations

from blueprints import BlueprintError
from blueprints.placement import place
from components.base import ComponentSpecError
from components.naming import NamingError
from components.versions import UnsupportedVersionError
from manifests.images import ImageError
from stacks.account import open_account
from stacks.compute import build_compute
from stacks.data import build_data
from stacks.exports import export_outputs
from stacks.foundation import build_foundation
from stacks.governance import build_governance
from stacks.platform_layer import build_platform_layer
from stacks.preflight import check_platform
from stacks.settings import SettingsError, one_line, read_settings
from stacks.workloads import build_workloads


def declare_platform() -> None:
    """Declare every resource of the current stack.  Raises SettingsError, one line, for what a user can put right."""
    settings = read_settings()
    try:
        placement = place(settings.blueprint)
        check_platform(settings.blueprint, placement)
        account = open_account(settings)
        foundation = build_foundation(settings, account, placement)
        compute = build_compute(settings, account, placement, foundation)
        data = build_data(settings, account, foundation, compute)
        governance = build_governance(settings, account, foundation, data)
        identity = build_workloads(settings, account, foundation, compute, data, governance)
        layer = build_platform_layer(settings, account, placement, foundation, compute, data, governance)
    except (BlueprintError, ComponentSpecError, ImageError, NamingError, UnsupportedVersionError) as error:
        raise SettingsError(one_line(error)) from error
    export_outputs(settings, account, placement, foundation, compute, data, governance, identity, layer)
