"""What a stack's configuration says, read once and checked before anything is declared.

The only reader of ``pulumi.Config``.  Every key has the namespace ``falaj``; an unknown one is refused, because a
misspelt ``awsEndpointUrl`` that was ignored would send a local experiment to a real account.

Keys of ``Pulumi.<stack>.yaml`` (all but ``blueprint`` may be left out):

``falaj:blueprint``                 which blueprint: ``smb`` or ``enterprise``
``falaj:overrides``                 values laid over the blueprint, nested or dotted (``network.cidr: 10.30.0.0/16``)
``falaj:environment``               name in every physical name and tag; the stack's name if left out
``falaj:protectDataStores``         whether data stores refuse deletion; true if left out
``falaj:allowedAccountIds``         AWS accounts that may be deployed to; any if left out
``falaj:organizationId``            AWS organization (``o-...``) that VPC endpoints let through besides the account
``falaj:autoScalingRoleExists``     false in an account that never had an Auto Scaling group (first deployment only)
``falaj:configServiceRoleExists``   true in an account where AWS Config has been used before
``falaj:complianceLock``            whether backups are locked for good after three days; false if left out
``falaj:continuousIntegration``     ``{issuerUrl, subjects, audience}`` of the CI system that publishes images
``falaj:imageDigests``              ``{release: sha256:...}``: which image of each release runs; CI sets it after a push
``falaj:rollouts``                  ``{model: {version, canaryVersion, canaryWeightPercent}}``: which versions serve,
                                    and how much traffic a canary gets
``falaj:awsEndpointUrl``            loopback URL of the emulated AWS account; only in the ``local`` stack
``falaj:kubeconfig``                cluster on this machine that Kubernetes objects go to; `falaj up` sets it
                                    while `falaj cluster` runs, and without it they are rendered to files
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pulumi
from pulumi.runtime import config as runtime_config

from blueprints import Blueprint, BlueprintError, load
from blueprints.errors import suggestion
from components.identity import ContinuousIntegration
from manifests.releases.model_server import Rollout, RolloutError, read_rollouts

NAMESPACE = "falaj"
KEYS = (
    "allowedAccountIds",
    "autoScalingRoleExists",
    "awsEndpointUrl",
    "blueprint",
    "complianceLock",
    "configServiceRoleExists",
    "continuousIntegration",
    "environment",
    "imageDigests",
    "kubeconfig",
    "organizationId",
    "overrides",
    "protectDataStores",
    "rollouts",
)
LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "::1")

_ENVIRONMENT = re.compile(r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$")
_ACCOUNT_ID = re.compile(r"^\d{12}$")
_IMAGE_DIGEST = re.compile(r"^sha256:[0-9a-f]{64}$")
_ORGANIZATION_ID = re.compile(r"^o-[a-z0-9]{10,32}$")


class SettingsError(pulumi.RunError):
    """A configuration that cannot be deployed; one line: key, what was given, what is allowed, what to do."""


@dataclass(frozen=True)
class StackSettings:
    """A stack's configuration, checked."""

    stack: str
    blueprint: Blueprint
    environment: str
    protect_data_stores: bool = True
    allowed_account_ids: tuple[str, ...] = ()
    organization_id: str = ""
    auto_scaling_role_exists: bool = True
    config_service_role_exists: bool = False
    compliance_lock: bool = False
    continuous_integration: ContinuousIntegration | None = None
    image_digests: Mapping[str, str] = field(default_factory=dict)
    """Release -> ``sha256:...``; what is not in it has no image yet."""
    rollouts: Mapping[str, Rollout] = field(default_factory=dict)
    """Model -> its versions; the last released one without a canary if it is not in it."""
    aws_endpoint_url: str = ""
    """Empty for a real account."""
    kubeconfig: str = ""
    """Path of the kubeconfig of a cluster on this machine; empty unless the account is emulated."""


def read_settings() -> StackSettings:
    """Return the current stack's settings.  Raises SettingsError."""
    config = pulumi.Config(NAMESPACE)
    _refuse_unknown_keys()
    blueprint_name = config.get("blueprint")
    if not blueprint_name:
        raise SettingsError(
            f"{NAMESPACE}:blueprint: missing; set it to smb or enterprise, "
            f"e.g. pulumi config set {NAMESPACE}:blueprint smb"
        )
    try:
        blueprint = load(blueprint_name, _mapping(config, "overrides"))
    except BlueprintError as error:
        raise SettingsError(one_line(error)) from error
    stack = pulumi.get_stack()
    aws_endpoint_url = _loopback_url(config.get("awsEndpointUrl") or "")
    return StackSettings(
        stack=stack,
        blueprint=blueprint,
        environment=_environment(config.get("environment") or stack),
        protect_data_stores=_boolean(config, "protectDataStores", default=True),
        allowed_account_ids=_account_ids(config),
        organization_id=_organization(config.get("organizationId") or ""),
        auto_scaling_role_exists=_boolean(config, "autoScalingRoleExists", default=True),
        config_service_role_exists=_boolean(config, "configServiceRoleExists", default=False),
        compliance_lock=_boolean(config, "complianceLock", default=False),
        continuous_integration=_continuous_integration(_mapping(config, "continuousIntegration")),
        image_digests=_image_digests(_mapping(config, "imageDigests")),
        rollouts=_rollouts(_mapping(config, "rollouts")),
        aws_endpoint_url=aws_endpoint_url,
        kubeconfig=_kubeconfig(config.get("kubeconfig") or "", aws_endpoint_url),
    )


def one_line(error: Exception) -> str:
    """Return an error's text on one line, as Pulumi shows it beside the resource tree."""
    return "; ".join(line.strip() for line in str(error).splitlines() if line.strip())


def _refuse_unknown_keys() -> None:
    # pulumi.Config only answers for a key by name; what keys there are is known to the runtime alone.
    for key in sorted(runtime_config.CONFIG.get()):
        namespace, _, name = key.partition(":")
        if namespace == NAMESPACE and name not in KEYS:
            raise SettingsError(f"{key}: unknown key; allowed: {', '.join(KEYS)}{suggestion(name, KEYS)}")


def _mapping(config: pulumi.Config, key: str) -> dict[str, Any]:
    value = _object(config, key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise SettingsError(f"{NAMESPACE}:{key}: given {value!r}; allowed: a mapping of keys to values")
    return value


def _object(config: pulumi.Config, key: str) -> Any:
    try:
        return config.get_object(key)
    except pulumi.ConfigTypeError as error:
        raise SettingsError(f"{NAMESPACE}:{key}: given {config.get(key)!r}; allowed: a YAML mapping or list") from error


def _boolean(config: pulumi.Config, key: str, *, default: bool) -> bool:
    try:
        value = config.get_bool(key)
    except pulumi.ConfigTypeError as error:
        raise SettingsError(f"{NAMESPACE}:{key}: given {config.get(key)!r}; allowed: true, false") from error
    return default if value is None else value


def _environment(name: str) -> str:
    if not _ENVIRONMENT.match(name) or len(name) > 20:
        raise SettingsError(
            f"{NAMESPACE}:environment: given {name!r}; allowed: at most 20 lower-case letters, digits and single "
            "hyphens, starting with a letter; it becomes part of bucket and role names"
        )
    return name


def _account_ids(config: pulumi.Config) -> tuple[str, ...]:
    value = _object(config, "allowedAccountIds")
    if value is None:
        return ()
    # YAML reads 012345678901 as a number and drops its zero; only quoted ids arrive whole.
    if not isinstance(value, list) or not all(isinstance(item, str) and _ACCOUNT_ID.match(item) for item in value):
        raise SettingsError(
            f"{NAMESPACE}:allowedAccountIds: given {value!r}; allowed: a list of 12-digit ids in quotes, "
            'e.g. ["123456789012"]'
        )
    return tuple(sorted(set(value)))


def _organization(value: str) -> str:
    if value and not _ORGANIZATION_ID.match(value):
        raise SettingsError(f"{NAMESPACE}:organizationId: given {value!r}; allowed: an id such as o-a1b2c3d4e5")
    return value


def _continuous_integration(value: Mapping[str, Any]) -> ContinuousIntegration | None:
    if not value:
        return None
    where = f"{NAMESPACE}:continuousIntegration"
    allowed = ("audience", "issuerUrl", "subjects")
    for key in value:
        if key not in allowed:
            raise SettingsError(f"{where}.{key}: unknown key; allowed: {', '.join(allowed)}")
    issuer_url, subjects = value.get("issuerUrl"), value.get("subjects")
    if not isinstance(issuer_url, str) or urlsplit(issuer_url).scheme != "https":
        raise SettingsError(f"{where}.issuerUrl: given {issuer_url!r}; allowed: the https URL of the CI's OIDC issuer")
    if not isinstance(subjects, list) or not subjects or not all(isinstance(item, str) for item in subjects):
        raise SettingsError(
            f"{where}.subjects: given {subjects!r}; allowed: a list of subject claims, "
            'e.g. ["repo:my-org/platform:ref:refs/heads/main"]'
        )
    audience = value.get("audience", "sts.amazonaws.com")
    if not isinstance(audience, str) or not audience:
        raise SettingsError(f"{where}.audience: given {audience!r}; allowed: the audience that CI asks tokens for")
    return ContinuousIntegration(issuer_url=issuer_url, subjects=tuple(subjects), audience=audience)


def _image_digests(value: Mapping[str, Any]) -> dict[str, str]:
    for release, digest in value.items():
        if not isinstance(digest, str) or not _IMAGE_DIGEST.match(digest):
            raise SettingsError(
                f"{NAMESPACE}:imageDigests.{release}: given {digest!r}; allowed: sha256: and 64 hexadecimal digits, "
                "as the registry answered the push (a tag can be moved, a digest cannot)"
            )
    return dict(value)


def _rollouts(value: Mapping[str, Any]) -> dict[str, Rollout]:
    try:
        return read_rollouts(value)
    except RolloutError as error:
        raise SettingsError(f"{NAMESPACE}:rollouts.{error}") from error


def _kubeconfig(path: str, aws_endpoint_url: str) -> str:
    if path and not aws_endpoint_url:
        raise SettingsError(
            f"{NAMESPACE}:kubeconfig: given {path!r}; allowed: only beside {NAMESPACE}:awsEndpointUrl; with a real "
            "account the cluster is the one that the stack makes: remove the key"
        )
    return path


def _loopback_url(url: str) -> str:
    if not url:
        return ""
    where = f"{NAMESPACE}:awsEndpointUrl: given {url!r}"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise SettingsError(f"{where}; allowed: a loopback URL such as http://127.0.0.1:4599") from error
    if parts.scheme not in ("http", "https") or parts.hostname not in LOOPBACK_HOSTS or not port:
        raise SettingsError(
            f"{where}; allowed: http://127.0.0.1:PORT (the emulated account is on this machine only); "
            "remove the key to deploy to AWS"
        )
    if parts.path not in ("", "/") or parts.query or parts.fragment or parts.username or parts.password:
        raise SettingsError(f"{where}; allowed: scheme, loopback host and port only, e.g. http://127.0.0.1:4599")
    return url.rstrip("/")
