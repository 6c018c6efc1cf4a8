"""How the stack reaches Kubernetes: the cluster that it makes itself or, beside the emulated account, a local one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as kubernetes

from components.cluster import Cluster
from stacks.account import Account
from stacks.settings import StackSettings

RENDER_DIRECTORY = ".falaj/local/manifests"
"""Where objects are rendered beside the emulated account when no cluster runs; from the project's folder."""
USER = "deployer"


@dataclass(frozen=True)
class Kubernetes:
    """The explicit provider for Kubernetes objects."""

    provider: kubernetes.Provider
    account: Account

    @property
    def options(self) -> pulumi.ResourceOptions:
        """Options for a component that declares Kubernetes objects, and perhaps resources of the account too."""
        return pulumi.ResourceOptions(providers=[self.account.provider, self.provider])


def open_kubernetes(
    settings: StackSettings, account: Account, cluster: Cluster, ready: Sequence[pulumi.Resource]
) -> Kubernetes:
    """Declare the provider.  ``ready``: what must stand before the first pod can run (system nodes, add-ons)."""
    options = pulumi.ResourceOptions(depends_on=list(ready))
    if settings.aws_endpoint_url:
        provider = _local_provider(settings, options)
    else:
        provider = kubernetes.Provider(
            "kubernetes",
            kubeconfig=_kubeconfig(account, cluster),
            # A new certificate or endpoint is still the same cluster: nothing may be replaced for it.
            cluster_identifier=cluster.cluster_arn,
            enable_server_side_apply=True,
            opts=options,
        )
    return Kubernetes(provider, account)


def _local_provider(settings: StackSettings, options: pulumi.ResourceOptions) -> kubernetes.Provider:
    if not settings.kubeconfig:
        # Named even though it is the local provider's own default: the official plugin would otherwise take whatever
        # cluster the user's kubeconfig points at.
        return kubernetes.Provider(
            "kubernetes", render_yaml_to_directory=f"{RENDER_DIRECTORY}/{settings.stack}", opts=options
        )
    return kubernetes.Provider(
        "kubernetes",
        kubeconfig=settings.kubeconfig,
        enable_server_side_apply=True,
        # The control plane may have been taken down, or brought back with its data, since the last deployment.
        delete_unreachable=True,
        upsert_existing_objects=True,
        opts=options,
    )


def _kubeconfig(account: Account, cluster: Cluster) -> pulumi.Output[str]:
    """A kubeconfig without a credential: each request's token is made by the AWS CLI from the deployer's own role."""
    region, name = account.environment.region, cluster.cluster_name
    arguments = ["--region", region, "eks", "get-token", "--cluster-name", name, "--output", "json"]

    def write(endpoint: str, authority: str) -> str:
        return json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": name,
                "clusters": [{"name": name, "cluster": {"server": endpoint, "certificate-authority-data": authority}}],
                "contexts": [{"name": name, "context": {"cluster": name, "user": USER}}],
                "users": [
                    {
                        "name": USER,
                        "user": {
                            "exec": {
                                "apiVersion": "client.authentication.k8s.io/v1beta1",
                                "command": "aws",
                                "args": arguments,
                                "interactiveMode": "Never",
                            }
                        },
                    }
                ],
            },
            sort_keys=True,
        )

    return pulumi.Output.all(cluster.endpoint, cluster.certificate_authority).apply(lambda known: write(*known))
