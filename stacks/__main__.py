"""The Pulumi program: settings -> blueprint -> layers -> outputs.  Run by an engine, official or embedded."""

from stacks.platform_program import declare_platform

declare_platform()
