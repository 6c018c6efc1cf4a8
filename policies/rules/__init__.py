"""All rules, by id.  A pack picks from here; docs/rules.md lists them."""

from __future__ import annotations

from policies.rules.cost import (
    instance_types_are_offered_where_they_are_asked_for,
    nothing_stateful_is_on_spot,
    spending_has_a_ceiling,
)
from policies.rules.encryption import (
    buckets_are_encrypted_with_a_customer_key,
    buckets_refuse_clear_text,
    cluster_secrets_are_envelope_encrypted,
    databases_are_encrypted_with_a_customer_key,
    keys_rotate_and_cannot_be_lost,
)
from policies.rules.iam import policies_grant_named_actions_on_named_resources
from policies.rules.kubernetes import rights_are_named_one_by_one, services_stay_inside
from policies.rules.network import buckets_block_public_access, cluster_endpoint_is_private, nothing_is_public
from policies.rules.pods import (
    images_are_pinned_by_digest,
    pods_are_restricted,
    services_have_known_appetites_and_budgets,
)
from policies.rules.residency import (
    images_come_from_a_registry_in_the_uae,
    keys_never_leave_the_region,
    provider_region_is_in_the_uae,
    replication_stays_in_the_uae,
    resources_stay_in_the_uae,
)
from policies.rules.tenancy import namespaces_deny_by_default, tenants_have_all_that_keeps_them_apart
from policies.verdict import Rule

RULES: dict[str, Rule] = {
    rule.id: rule
    for rule in (
        provider_region_is_in_the_uae,
        resources_stay_in_the_uae,
        replication_stays_in_the_uae,
        keys_never_leave_the_region,
        images_come_from_a_registry_in_the_uae,
        buckets_are_encrypted_with_a_customer_key,
        databases_are_encrypted_with_a_customer_key,
        cluster_secrets_are_envelope_encrypted,
        keys_rotate_and_cannot_be_lost,
        buckets_refuse_clear_text,
        cluster_endpoint_is_private,
        nothing_is_public,
        buckets_block_public_access,
        services_stay_inside,
        policies_grant_named_actions_on_named_resources,
        pods_are_restricted,
        rights_are_named_one_by_one,
        namespaces_deny_by_default,
        images_are_pinned_by_digest,
        services_have_known_appetites_and_budgets,
        tenants_have_all_that_keeps_them_apart,
        nothing_stateful_is_on_spot,
        instance_types_are_offered_where_they_are_asked_for,
        spending_has_a_ceiling,
    )
}

__all__ = ["RULES"]
