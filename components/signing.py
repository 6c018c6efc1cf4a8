"""The key that signs model packages: what a package must be signed by before anything of it is opened.

A key of its own and not a domain's: whoever may encrypt a package must not thereby be able to sign one.  Its private
half never leaves KMS; the public half is what serving and the registry trust.
"""

from __future__ import annotations

import pulumi
from pulumi_aws import kms

from blueprints.schema import DataDomain
from components.base import PlatformComponent
from components.encryption import DELETION_WINDOW_DAYS
from components.key_policies import signing_key_policy
from components.naming import Environment
from components.workloads import RELEASER

KEY_SPEC = "ECC_NIST_P256"
"""The one that the registry signs with.  KMS rotates no asymmetric key: a new one is a new key, trusted beside the old
until no package that serves was signed by the old."""


class PackageSigning(PlatformComponent):
    """The signing key of the platform's model registry.

    Children: a key and an alias.  ``domain``: the one whose data is signed, that of models.
    """

    key_arn: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        domain: DataDomain,
        *,
        environment: Environment,
        protect: bool = True,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        policy = signing_key_policy(environment, role_name=environment.physical_name(RELEASER))
        super().__init__("falaj:signing:PackageSigning", name, opts, protect=protect)
        key = kms.Key(
            name,
            description=f"{environment.prefix}: signatures of model packages",
            key_usage="SIGN_VERIFY",
            customer_master_key_spec=KEY_SPEC,
            deletion_window_in_days=DELETION_WINDOW_DAYS,
            multi_region=False,
            policy=policy,
            tags=environment.data_tags(domain),
            opts=self.child_opts(protect=self.protect_data),
        )
        kms.Alias(
            name,
            name=f"alias/{environment.project}/{environment.stack}/package-signing",
            target_key_id=key.key_id,
            opts=self.child_opts(),
        )
        self.key_arn = key.arn
        self.register_declared_outputs()
