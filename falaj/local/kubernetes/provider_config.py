"""The configuration of the ``kubernetes`` provider as the local provider reads it.

It chooses the back end: a kubeconfig means a real cluster, nothing means files in the project's own folder, and
``renderYamlToDirectory`` means files in a folder of one's choice.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from falaj.engine.provider import Changes, CheckFailure, DiffResult
from falaj.engine.values import UNKNOWN, Properties, Value
from falaj.local.kubernetes.kubeconfig import Connection, KubeconfigError, connection
from falaj.local.kubernetes.names import namespace_problem

_TEXTS: Final = ("kubeconfig", "context", "cluster", "clusterIdentifier", "namespace", "renderYamlToDirectory")
_SWITCHES: Final = (
    "deleteUnreachable",
    "enableConfigMapMutable",
    "enablePatchForce",
    "enableSecretMutable",
    "upsertExistingObjects",
)
_IGNORED: Final = frozenset(
    {
        "helmReleaseSettings",  # releases are in the state alone
        "kubeClientSettings",
        "suppressDeprecationWarnings",
        "suppressHelmHookWarnings",
        "version",
        "pluginDownloadURL",
    }
)
_OFFICIAL_ONLY: Final = ("alwaysRender", "skipUpdateUnreachable")
_CLUSTER_KEYS: Final = ("kubeconfig", "context", "cluster")


@dataclass(frozen=True, slots=True)
class Configuration:
    """``connection`` None: objects are rendered, to ``directory`` or, if that is None, to the project's own folder."""

    connection: Connection | None = None
    directory: Path | None = None
    namespace: str = ""
    delete_unreachable: bool = False
    mutable_config_maps: bool = False
    mutable_secrets: bool = False
    force: bool = False
    upsert: bool = False


def failures(inputs: Properties, root: Path, *, allow_remote: bool) -> list[CheckFailure]:
    """What is wrong with provider inputs; relative paths in them start from ``root``.

    Unknown values pass: they are judged when they are known.
    """
    found = []
    allowed = {*_TEXTS, *_SWITCHES, *_IGNORED, "enableServerSideApply"}
    for key, value in inputs.items():
        if key in _OFFICIAL_ONLY and _switch(value):
            found.append(CheckFailure(key, "only the official plugin does this; leave it out"))
        elif not key.startswith("__") and key not in allowed and key not in _OFFICIAL_ONLY:
            found.append(CheckFailure(key, f"unknown provider setting; allowed: {', '.join(sorted(allowed))}"))
        elif key in _TEXTS and value is not None and value is not UNKNOWN and not isinstance(value, str):
            found.append(CheckFailure(key, "expected a text"))
        elif key in _SWITCHES and value not in (None, True, False, "", "true", "false", UNKNOWN):
            found.append(CheckFailure(key, "expected true or false"))
    if found:
        return found
    if inputs.get("enableServerSideApply") in (False, "false"):
        found.append(
            CheckFailure("enableServerSideApply", "false is not possible: the local provider applies on the server")
        )
    namespace = inputs.get("namespace")
    if isinstance(namespace, str) and namespace and (problem := namespace_problem(namespace)):
        found.append(CheckFailure("namespace", problem))
    if inputs.get("renderYamlToDirectory"):
        for key in _CLUSTER_KEYS:
            if inputs.get(key):
                found.append(CheckFailure(key, "cannot be given together with renderYamlToDirectory"))
    elif not inputs.get("kubeconfig"):
        for key in ("context", "cluster"):
            if inputs.get(key):
                reason = "given without kubeconfig; the local provider looks for none by itself"
                found.append(CheckFailure(key, reason))
    elif not _has_unknown(inputs):
        try:
            _check_reach(_connection(inputs, root), allow_remote)
        except KubeconfigError as error:
            found.append(CheckFailure("kubeconfig", str(error)))
    return found


def parse(inputs: Properties, root: Path, *, allow_remote: bool) -> Configuration | None:
    """The configuration; None while a part of it is unknown.  Raises ValueError for what ``failures`` rejects."""
    if _has_unknown(inputs):
        return None
    rejected = failures(inputs, root, allow_remote=allow_remote)
    if rejected:
        raise ValueError(f"provider kubernetes: {rejected[0].property}: {rejected[0].reason}")
    found = _connection(inputs, root) if inputs.get("kubeconfig") else None
    directory = inputs.get("renderYamlToDirectory")
    return Configuration(
        connection=found,
        directory=root / Path(directory).expanduser() if directory else None,
        namespace=inputs.get("namespace") or (found.namespace if found else ""),
        delete_unreachable=_switch(inputs.get("deleteUnreachable")),
        mutable_config_maps=_switch(inputs.get("enableConfigMapMutable")),
        mutable_secrets=_switch(inputs.get("enableSecretMutable")),
        force=_switch(inputs.get("enablePatchForce")),
        upsert=_switch(inputs.get("upsertExistingObjects")),
    )


def compare(old: Properties, new: Properties, root: Path) -> DiffResult:
    """Another cluster or another folder is another set of objects, hence a replacement; the rest only reconfigures.

    A ``clusterIdentifier`` that is given before and after decides alone.
    """
    keys = (key for key in sorted({*old, *new}) if key != "version" and not key.startswith("__"))
    changed = [key for key in keys if old.get(key) != new.get(key) or new.get(key) is UNKNOWN]
    if not changed:
        return DiffResult(Changes.NONE)
    identifiers = old.get("clusterIdentifier"), new.get("clusterIdentifier")
    if all(identifiers):
        replaces = ["clusterIdentifier"] if identifiers[0] != identifiers[1] or UNKNOWN in identifiers else []
        return DiffResult(Changes.SOME, replaces=replaces, diffs=changed)
    replaces = [key for key in (*_CLUSTER_KEYS, "renderYamlToDirectory") if key in changed]
    if replaces and not any(new.get(key) is UNKNOWN for key in replaces) and _same_cluster(old, new, root):
        replaces = []
    return DiffResult(Changes.SOME, replaces=replaces, diffs=changed)


def _same_cluster(old: Properties, new: Properties, root: Path) -> bool:
    if not old.get("kubeconfig") or not new.get("kubeconfig"):
        return False  # between files and a cluster, or between folders
    try:
        return _connection(old, root).identity == _connection(new, root).identity
    except KubeconfigError:
        # An old kubeconfig that is gone cannot be compared; that its path changed says nothing about the cluster.
        return True


def _connection(inputs: Properties, root: Path) -> Connection:
    context, cluster = inputs.get("context") or "", inputs.get("cluster") or ""
    return connection(str(inputs["kubeconfig"]), root=root, context=context, cluster=cluster)


def _check_reach(found: Connection, allow_remote: bool) -> None:
    if not found.is_local and not allow_remote:
        raise KubeconfigError(
            f"{found.server} is not on this machine, and the local provider changes no other; unset KUBECONFIG if it "
            "comes from there, pass --allow-remote if it is what you want, or deploy with the official Pulumi CLI"
        )


def _switch(value: Value) -> bool:
    return value is True or value == "true"


def _has_unknown(inputs: Properties) -> bool:
    return any(value is UNKNOWN for value in inputs.values())
