"""The base of every platform component: one type token, children of its own, checked outputs.

A component is a unit that a reader recognises in the resource tree (``falaj:network:Network``).  Its children take
``parent=self`` and the options that the component chooses; what the caller passed to the component (aliases, import
ids, ``depends_on``, its own parent) stays with the component.  Merging the caller's options into the children, as is
often done, would hand the caller's parent to each of them and pull them out of the component.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import pulumi

_TYPE_TOKEN = re.compile(r"^falaj:[a-z][a-z0-9-]*:[A-Z][A-Za-z0-9]*$")


class ComponentSpecError(ValueError):
    """A component was given a spec it cannot build; raised before the component registers anything.

    ``where`` is the spec's path (``network.cidr``), ``problem`` says what was given, what is allowed and what to do.
    """

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(f"{where}: {problem}")
        self.where = where


class PlatformComponent(pulumi.ComponentResource):
    """Parent of the resources of one part of the platform.

    A subclass checks its spec first, calls ``super().__init__`` with its frozen type token, registers children with
    ``opts=self.child_opts()``, assigns every attribute that its class body annotates, and ends with
    ``self.register_declared_outputs()``.

    ``protect``: data stores inside refuse to be deleted or replaced until unprotected by name.  It covers only the
    children that pass ``protect=self.protect_data``, not the rules and policies around them, which must stay
    changeable.
    """

    def __init__(
        self,
        type_token: str,
        name: str,
        opts: pulumi.ResourceOptions | None = None,
        *,
        protect: bool = False,
    ) -> None:
        if not _TYPE_TOKEN.match(type_token):
            raise ComponentSpecError("type token", f"{type_token!r} must look like falaj:<area>:<Name>")
        super().__init__(type_token, name, None, opts)
        self._protect_data = protect

    @property
    def protect_data(self) -> bool:
        """Whether the data stores inside this component are protected."""
        return self._protect_data

    def child_opts(
        self,
        *,
        protect: bool | None = None,
        depends_on: Sequence[pulumi.Resource] | None = None,
        ignore_changes: Sequence[str] | None = None,
        replace_on_changes: Sequence[str] | None = None,
        delete_before_replace: bool | None = None,
        deleted_with: pulumi.Resource | None = None,
        aliases: Sequence[str | pulumi.Alias] | None = None,
        additional_secret_outputs: Sequence[str] | None = None,
        parent: pulumi.Resource | None = None,
    ) -> pulumi.ResourceOptions:
        """Options for a child of this component, or of ``parent``, itself one of its children.

        Providers reach the children through the parent; ``None`` leaves an option at Pulumi's default.
        """
        return pulumi.ResourceOptions(
            parent=parent or self,
            protect=protect,
            depends_on=list(depends_on) if depends_on else None,
            ignore_changes=list(ignore_changes) if ignore_changes else None,
            replace_on_changes=list(replace_on_changes) if replace_on_changes else None,
            delete_before_replace=delete_before_replace,
            deleted_with=deleted_with,
            aliases=list(aliases) if aliases else None,
            additional_secret_outputs=list(additional_secret_outputs) if additional_secret_outputs else None,
        )

    def register_declared_outputs(self) -> None:
        """Register every attribute annotated in the subclass's body as an output, and mark the component complete.

        Raises ``AttributeError`` naming the attribute that was declared but never assigned: a missing output would
        otherwise surface only in a stack that reads it.
        """
        outputs: dict[str, object] = {}
        for declared_in in reversed(type(self).__mro__):
            if not issubclass(declared_in, PlatformComponent):
                continue
            for attribute in vars(declared_in).get("__annotations__", {}):
                if attribute.startswith("_"):
                    continue
                if not hasattr(self, attribute):
                    raise AttributeError(f"{type(self).__name__}.{attribute}: declared output was never assigned")
                outputs[attribute] = getattr(self, attribute)
        self.register_outputs(outputs)
