"""Names and tags of everything the platform creates.

Pure.  A logical name (the one in the URN) is written where the resource is declared and is frozen: renaming replaces
the resource.  A physical name is set only where another document must spell it before the resource exists (buckets, log
groups, key aliases, the trail); everything else is auto-named by the provider so that it can be replaced without a gap.

    NamingError(ValueError)   a name or tag that AWS would refuse, found before anything is registered
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from blueprints.schema import Blueprint, DataClass, DataDomain

BUCKET_NAME_LIMIT = 63
"""Characters of a bucket name (S3 user guide, general purpose bucket naming rules)."""
TAG_KEY_LIMIT = 128
TAG_VALUE_LIMIT = 256
"""Characters of a tag key and value (AWS general reference, tag naming limits)."""

BACKUP_TAG = "backup-plan"
"""Tag by which the backup plan finds what to copy; its value names the plan's rule (``daily``)."""

_BUCKET_NAME = re.compile(r"^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$")
_PURPOSE = re.compile(r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$")
_ACCOUNT_ID = re.compile(r"^\d{12}$")
_TAG_TEXT = re.compile(r"^[\w\s+\-=.:/@]*$", re.UNICODE)
_DIGEST_CHARACTERS = 8


class NamingError(ValueError):
    """A name or tag that AWS would refuse; the text says what was given and what is allowed."""


@dataclass(frozen=True)
class Environment:
    """Where a platform is deployed and whose it is: what every name and tag is derived from.

    ``stack`` is the Pulumi stack (``local``, ``dev``...); ``account_id`` the 12-digit AWS account; ``owner`` a mail
    address or team; ``legal_profiles`` the bodies of law that attach to the data (``onshore_private``, ``cbuae``...).
    Raises NamingError for an account id or stack name that could not appear in a bucket name.
    """

    project: str
    stack: str
    account_id: str
    region: str
    owner: str
    cost_centre: str
    legal_profiles: tuple[str, ...] = ()
    partition: str = "aws"
    extra_tags: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not _ACCOUNT_ID.match(self.account_id):
            raise NamingError(f'account id "{self.account_id}": must be 12 digits')
        for part, text in (("project", self.project), ("stack", self.stack)):
            if not _PURPOSE.match(text):
                raise NamingError(
                    f'{part} name "{text}": use lower-case letters, digits and single hyphens, starting with a letter; '
                    "it becomes part of bucket names"
                )
        check_tags(self.default_tags())

    @classmethod
    def of(
        cls, blueprint: Blueprint, *, project: str, stack: str, account_id: str, partition: str = "aws"
    ) -> Environment:
        """Return the environment of ``blueprint`` deployed as ``stack`` into ``account_id``."""
        return cls(
            project=project,
            stack=stack,
            account_id=account_id,
            region=blueprint.region,
            owner=blueprint.owner,
            cost_centre=blueprint.cost_centre,
            legal_profiles=tuple(sorted(profile.value for profile in blueprint.legal_profiles)),
            partition=partition,
        )

    @property
    def prefix(self) -> str:
        """``<project>-<stack>``: the start of every physical name."""
        return f"{self.project}-{self.stack}"

    @property
    def catalogue_prefix(self) -> str:
        """``<project>_<stack>__``: the start of the platform's databases in the account's data catalogue.

        Athena takes no hyphens in a name; the two underscores keep the stacks ``dev`` and ``dev-two`` apart.
        """
        return f"{self.prefix.replace('-', '_')}__"

    @property
    def log_prefix(self) -> str:
        """Start of every CloudWatch log group's name; key policies admit log groups by it."""
        return f"/{self.project}/{self.stack}"

    def physical_name(self, purpose: str, *, limit: int = 64) -> str:
        """Return ``<project>-<stack>-<purpose>``, cut to ``limit`` characters with a digest if it is longer.

        Two different long purposes never get the same name: the digest is of the whole name.  Raises NamingError if
        ``purpose`` is not lower-case words joined by hyphens.
        """
        _check_purpose(purpose)
        return _fit(f"{self.prefix}-{purpose}", limit)

    def bucket_name(self, purpose: str) -> str:
        """Return the globally unique bucket name ``<project>-<stack>-<purpose>-<account>``, at most 63 characters.

        The account id keeps two accounts that run the same stack from claiming one name in S3's single name space.
        """
        _check_purpose(purpose)
        suffix = f"-{self.account_id}"
        name = _fit(f"{self.prefix}-{purpose}", BUCKET_NAME_LIMIT - len(suffix)) + suffix
        if not _BUCKET_NAME.match(name):
            raise NamingError(f'bucket name "{name}": 3 to 63 lower-case letters, digits and hyphens')
        return name

    def log_group_name(self, purpose: str) -> str:
        """Return the log group name ``/<project>/<stack>/<purpose>``."""
        _check_purpose(purpose)
        return f"{self.log_prefix}/{purpose}"

    def arn(self, service: str, resource: str, *, regional: bool = True, owned: bool = True) -> str:
        """Return an ARN in this environment's partition, region and account.

        ``regional=False`` leaves the region out (IAM, S3, Budgets), ``owned=False`` the account (S3, AWS-owned ARNs).
        """
        region = self.region if regional else ""
        account = self.account_id if owned else ""
        return f"arn:{self.partition}:{service}:{region}:{account}:{resource}"

    def bucket_arn(self, purpose: str) -> str:
        """Return the ARN of the bucket that ``bucket_name(purpose)`` names."""
        return self.arn("s3", self.bucket_name(purpose), regional=False, owned=False)

    def default_tags(self) -> dict[str, str]:
        """Return the tags that the provider puts on everything: owner, cost centre, lineage, data class, law.

        ``data-class`` starts at ``internal``; a data store states its own through ``data_tags``.
        """
        tags = {
            "project": self.project,
            "environment": self.stack,
            "owner": self.owner,
            "cost-centre": self.cost_centre,
            "lineage": f"{self.project}/{self.stack}",
            "data-class": DataClass.INTERNAL.value,
            "managed-by": "pulumi",
            "residency": "AE",
            **self.extra_tags,
        }
        if self.legal_profiles:
            tags["legal-profiles"] = ":".join(self.legal_profiles)
        return tags

    def data_tags(self, domain: DataDomain, *, backup: bool = False) -> dict[str, str]:
        """Return the tags of a store that holds ``domain``'s data, on top of the provider's default tags.

        They restate owner, so that the store explains itself to a reader of its tags alone.  ``backup`` puts the store
        on the daily backup plan.
        """
        tags = {
            "data-domain": domain.name,
            "data-class": domain.data_class.value,
            "personal-data": "yes" if domain.data_class in (DataClass.PERSONAL, DataClass.RESTRICTED) else "no",
            "retention-days": str(domain.retention_days),
            "owner": self.owner,
            "lineage": f"{self.project}/{self.stack}/{domain.name}",
        }
        if backup:
            tags[BACKUP_TAG] = "daily"
        check_tags(tags)
        return tags


def check_tags(tags: Mapping[str, str]) -> None:
    """Raise NamingError for a tag that AWS would refuse: reserved prefix, length, characters, an empty key."""
    for key, value in tags.items():
        if not key or len(key) > TAG_KEY_LIMIT:
            raise NamingError(f'tag key "{key}": 1 to {TAG_KEY_LIMIT} characters')
        if key.lower().startswith("aws:"):
            raise NamingError(f'tag key "{key}": the prefix aws: is reserved; choose another')
        if len(value) > TAG_VALUE_LIMIT:
            raise NamingError(f'tag "{key}": value of {len(value)} characters, limit {TAG_VALUE_LIMIT}; shorten it')
        for text in (key, value):
            if not _TAG_TEXT.match(text):
                raise NamingError(
                    f'tag "{key}"="{value}": only letters, digits, spaces and + - = . _ : / @ are allowed'
                )


def _check_purpose(purpose: str) -> None:
    if not _PURPOSE.match(purpose):
        raise NamingError(f'purpose "{purpose}": use lower-case words of letters and digits joined by hyphens')


def _fit(name: str, limit: int) -> str:
    if len(name) <= limit:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:_DIGEST_CHARACTERS]
    return f"{name[: limit - _DIGEST_CHARACTERS - 1].rstrip('-')}-{digest}"
