"""Manifests as Pulumi's properties and back; pure.

The inputs of a ``kubernetes:*`` resource are its manifest, but for seven keys of CRD schemas (``x-kubernetes-...``)
that the SDK spells with underscores.  Its outputs are the live object plus three keys that the official plugin needs to
take over: ``__inputs``, ``__initialApiVersion`` and ``__fieldManager``.  Source: pulumi-kubernetes, provider.go.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Final

from falaj.engine.properties import propagate_secrets, secret, unwrap_secrets
from falaj.engine.values import UNKNOWN, Properties, Secret, Value
from falaj.local.diffing import Path, parse_path
from falaj.local.kubernetes.kinds import Kind

Manifest = dict[str, Any]
"""A Kubernetes object as JSON data, keys spelled as in the API."""

INPUTS: Final = "__inputs"
INITIAL_API_VERSION: Final = "__initialApiVersion"
FIELD_MANAGER: Final = "__fieldManager"
MARK: Final = "__falaj"
"""Output of rendered objects: what stands in for the cluster, and whether a schema was at hand."""

AUTONAMED: Final = "pulumi.com/autonamed"
PATCH_FORCE: Final = "pulumi.com/patchForce"
PATCH_FIELD_MANAGER: Final = "pulumi.com/patchFieldManager"
SKIP_AWAIT: Final = "pulumi.com/skipAwait"
TIMEOUT_SECONDS: Final = "pulumi.com/timeoutSeconds"
DELETION_PROPAGATION: Final = "pulumi.com/deletionPropagationPolicy"

_DASHED: Final = {
    f"x_kubernetes_{name}": f"x-kubernetes-{name.replace('_', '-')}"
    for name in (
        "embedded_resource",
        "int_or_string",
        "list_map_keys",
        "list_type",
        "map_type",
        "preserve_unknown_fields",
        "validations",
    )
}
_UNDERSCORED: Final = {dashed: name for name, dashed in _DASHED.items()}
_READ_ONLY_METADATA: Final = (
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "managedFields",
    "resourceVersion",
    "selfLink",
    "uid",
)
_SECRET_KEYS: Final = ("data", "stringData")


@dataclass(frozen=True, slots=True)
class Identity:
    """Which object: its kind, namespace ("" for none) and name."""

    kind: Kind
    namespace: str
    name: str

    @property
    def id(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name

    def __str__(self) -> str:
        return f"{self.kind.name} {self.id}"


def normalized(kind: Kind, inputs: Properties) -> dict[str, Value]:
    """Inputs without nulls, secret marks and fields that only the server sets; apiVersion and kind filled in."""
    plain = _without_nulls(unwrap_secrets(dict(inputs)))
    assert isinstance(plain, dict)
    plain = {key: value for key, value in plain.items() if not key.startswith("__") and key != "status"}
    plain.setdefault("apiVersion", kind.api_version)
    plain.setdefault("kind", kind.name)
    metadata = plain.get("metadata")
    if isinstance(metadata, dict):
        plain["metadata"] = {key: value for key, value in metadata.items() if key not in _READ_ONLY_METADATA}
    return plain


def to_manifest(inputs: Properties) -> Manifest:
    """Normalized inputs, spelled as in the API."""
    return dict(_renamed(dict(inputs), _DASHED))


def to_properties(live: Manifest) -> dict[str, Value]:
    """A live object, spelled as in the SDK.

    The record of who manages which field is left out: it is long, and differs at every touch.
    """
    metadata = live.get("metadata", {})
    kept = {**live, "metadata": {key: value for key, value in metadata.items() if key != "managedFields"}}
    return dict(_renamed(kept, _UNDERSCORED))


def outputs(live: Manifest, inputs: Properties, field_manager: str, initial_api_version: str) -> dict[str, Value]:
    """What the state keeps of an object; ``inputs`` are the checked ones, with secret marks.

    A value is secret where the input of the same name is, and all data of a Secret is, also what the server made of its
    ``stringData``.
    """
    plain = {**to_properties(live), INPUTS: unwrap_secrets(dict(inputs))}
    marked = propagate_secrets(plain, {**inputs, INPUTS: dict(inputs)})
    marked = mark_secret_data(marked)
    marked[INPUTS] = mark_secret_data(marked[INPUTS])
    marked[INITIAL_API_VERSION] = initial_api_version
    marked[FIELD_MANAGER] = field_manager
    return marked


def mark_secret_data(properties: Properties) -> dict[str, Value]:
    """The data of a ``Secret`` becomes secret as a whole; any other object is returned as it is."""
    marked = dict(properties)
    if marked.get("kind") == "Secret" and marked.get("apiVersion") == "v1":
        for key in _SECRET_KEYS:
            if key in marked and not isinstance(marked[key], Secret):
                marked[key] = secret(marked[key])
    return marked


def identity_of(kind: Kind, manifest: Properties, namespaced: bool | None) -> Identity:
    """The object that a manifest describes; a namespaced one without a namespace is in ``default``."""
    metadata = manifest.get("metadata")
    metadata = metadata if isinstance(metadata, Mapping) else {}
    namespace = metadata.get("namespace") or ("default" if namespaced else "")
    if namespaced is False:
        namespace = ""
    return Identity(kind, str(namespace), str(metadata.get("name") or ""))


def identity_from_id(kind: Kind, id: str, namespaced: bool | None) -> Identity:
    """The object that an id names: ``<namespace>/<name>``, or ``<name>``."""
    namespace, _, name = id.rpartition("/")
    return Identity(kind, namespace or ("default" if namespaced else ""), name)


def metadata_of(properties: Properties) -> Properties:
    metadata = properties.get("metadata")
    return metadata if isinstance(metadata, Mapping) else {}


def annotation(properties: Properties, name: str) -> str:
    """The value of an annotation; empty when it is absent or not known yet."""
    annotations = metadata_of(properties).get("annotations")
    value = annotations.get(name) if isinstance(annotations, Mapping) else None
    return value if isinstance(value, str) else ""


def is_autonamed(properties: Properties) -> bool:
    return annotation(properties, AUTONAMED) == "true"


def with_metadata(properties: Properties, **changes: Value) -> dict[str, Value]:
    return {**properties, "metadata": {**metadata_of(properties), **changes}}


def autonamed(properties: Properties, name: str) -> dict[str, Value]:
    """Properties with a made-up name, and the annotation that says so."""
    annotations = metadata_of(properties).get("annotations")
    if annotations is UNKNOWN:
        return with_metadata(properties, name=name)
    return with_metadata(properties, name=name, annotations={**(annotations or {}), AUTONAMED: "true"})


def made_up_name(name: str, seed: bytes) -> str:
    """``<name>-<8 hex>``, the same for the same seed."""
    return f"{name}-{hashlib.sha256(seed + name.encode()).hexdigest()[:8]}"


def field_manager(urn: str, old_outputs: Properties, inputs: Properties) -> str:
    """The name under which the fields of an object are owned: once chosen it is kept for the object's life.

    It follows from the URN, so that an object which a killed run left behind can be told from somebody else's.
    """
    known = unwrap_secrets(old_outputs.get(FIELD_MANAGER))
    chosen = annotation(inputs, PATCH_FIELD_MANAGER) or (known if isinstance(known, str) else "")
    return chosen or f"pulumi-kubernetes-{hashlib.sha256(urn.encode()).hexdigest()[:8]}"


def observed_inputs(old_inputs: Properties, before: Properties, now: Properties) -> dict[str, Value]:
    """Old inputs, with what drifted since the object was last seen.

    ``before`` and ``now`` are live objects.  A field drifted when it changed between them and is not what the inputs
    ask for.  So what the server or a webhook spells in its own way is no drift, and comparing inputs finds exactly
    what somebody changed.
    """
    observed = {}
    for key, wanted in old_inputs.items():
        value = _observed(wanted, before.get(key, _ABSENT), now.get(key, _ABSENT))
        if value is not _ABSENT:
            observed[key] = value
    return observed


def imported_inputs(live: Properties) -> dict[str, Value]:
    """Inputs that describe a live object of which nothing was declared before."""
    inputs = {key: value for key, value in live.items() if key != "status" and not key.startswith("__")}
    metadata = {key: value for key, value in metadata_of(inputs).items() if key not in _READ_ONLY_METADATA}
    made_by_the_server = ("deployment.kubernetes.io/revision", "kubectl.kubernetes.io/last-applied-configuration")
    annotations = {k: v for k, v in metadata.pop("annotations", {}).items() if k not in made_by_the_server}
    return {**inputs, "metadata": {**metadata, **({"annotations": annotations} if annotations else {})}}


def with_values_of(live: Manifest, manifest: Manifest, paths: Sequence[str]) -> Manifest:
    """The manifest with what the live object has at the given property paths (``a.b``, ``a[*].c``).

    So a value that somebody else sets, such as the replicas of an autoscaler, is neither changed nor fought over.
    """
    made = copy.deepcopy(manifest)
    for path in paths:
        _take_over(made, live, parse_path(path))
    return made


def scrubbed(text: str, *properties: Properties) -> str:
    """The text without any value that is marked as secret, or is data of a Secret, also in base64."""
    for value in sorted({v for p in properties for v in _secret_texts(mark_secret_data(p), False)}, key=len)[::-1]:
        text = text.replace(value, "[secret]")
    return text


def same_value(left: Value, right: Value) -> bool:
    """Whether two values mean the same to the API server: quantities are compared as numbers."""
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return all(same_value(left.get(key), right.get(key)) for key in left.keys() | right.keys())
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same_value, left, right))
    if left is None or right is None:
        return (right if left is None else left) in (None, "", [], {})  # not 0 or False: absent means a default
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if left == right:
        return True
    if isinstance(left, str | int | float) and isinstance(right, str | int | float):
        amount = quantity(left)
        return amount is not None and amount == quantity(right)
    return False


_QUANTITY: Final = re.compile(r"([+-]?\d+(?:\.\d+)?)(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?\Z")
_SUFFIXES: Final = {
    "": (1, 1),
    "m": (1, 1000),
    **{suffix: (1000**power, 1) for power, suffix in enumerate(["k", "M", "G", "T", "P", "E"], 1)},
    **{suffix: (1024**power, 1) for power, suffix in enumerate(["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"], 1)},
}


def quantity(value: str | int | float) -> Any:
    """An amount such as ``1500m`` or ``2Gi`` as an exact fraction; None for any other text."""
    from fractions import Fraction

    match = _QUANTITY.match(str(value))
    if match is None or len(match[1]) > 40:
        return None
    times, over = _SUFFIXES[match[2] or ""]
    return Fraction(match[1]) * times / over


# -- parts -------------------------------------------------------------------------------------------------------------

_ABSENT: Final = object()


def _observed(wanted: Value, before: Value, now: Value) -> Value:
    if isinstance(wanted, Mapping) and isinstance(now, Mapping):
        seen_before = before if isinstance(before, Mapping) else {}
        return observed_inputs(wanted, seen_before, now)
    if isinstance(wanted, list) and isinstance(now, list) and not same_value(before, now):
        seen = before if isinstance(before, list) and len(before) == len(now) else []
        pairs = zip_longest(wanted[: len(now)], seen, now, fillvalue=_ABSENT)
        return [item if asked is _ABSENT else _observed(asked, old, item) for asked, old, item in pairs]
    if now is _ABSENT:
        # The server drops what means nothing (an empty list) and what it cannot show (stringData): no drift.
        return wanted if before is _ABSENT else _ABSENT
    if before is not _ABSENT and same_value(before, now):
        return wanted
    return wanted if same_value(wanted, now) else now


def _take_over(node: Value, live: Value, path: Path) -> None:
    segment, *rest = path
    if isinstance(node, dict):
        keys: list[Any] = list(node) if segment == "*" else [segment]
    elif isinstance(node, list):
        keys = list(range(len(node))) if segment == "*" else [segment]
    else:
        return
    for key in keys:
        if not _holds(node, key):
            continue
        if not _holds(live, key):
            if isinstance(node, dict) and not rest:
                del node[key]
        elif rest:
            _take_over(node[key], live[key], tuple(rest))
        else:
            node[key] = live[key]


def _holds(node: Value, key: str | int) -> bool:
    if isinstance(node, dict):
        return key in node
    return isinstance(node, list) and isinstance(key, int) and key < len(node)


def _without_nulls(value: Value) -> Value:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value


def _renamed(value: Value, names: Mapping[str, str]) -> Value:
    if isinstance(value, dict):
        return {names.get(key, key): _renamed(item, names) for key, item in value.items()}
    if isinstance(value, list):
        return [_renamed(item, names) for item in value]
    return value


def _secret_texts(value: Value, inside: bool) -> Iterator[str]:
    """Texts of 4 characters or more inside secret marks; shorter ones would eat the words around them."""
    if isinstance(value, Secret):
        yield from _secret_texts(value.value, True)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _secret_texts(item, inside)
    elif isinstance(value, list):
        for item in value:
            yield from _secret_texts(item, inside)
    elif inside and isinstance(value, str) and len(value) >= 4:
        yield value
        yield base64.b64encode(value.encode()).decode()


def same_spelling(old: Properties, new: Properties) -> dict[str, Value]:
    """Old values, spelled as the new ones where both mean the same (``1000m`` and ``1``)."""
    return {key: _respelled(value, new.get(key)) for key, value in old.items()}


def _respelled(old: Value, new: Value) -> Value:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return same_spelling(old, new)
    if isinstance(old, list) and isinstance(new, list):
        return [_respelled(item, new[index] if index < len(new) else None) for index, item in enumerate(old)]
    return new if new is not None and same_value(old, new) else old
