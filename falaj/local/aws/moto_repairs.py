"""Deletions that moto 5.2.5 leaves half done, completed in the process that runs it.

Without them a stack with fixed names could be deployed to one emulated account only once.  A test deletes and makes
again what is repaired here; when a newer moto passes it without the repair, the repair goes.
"""

from __future__ import annotations

import functools
from typing import Any


def complete_deletions() -> None:
    """Changes moto's classes; to be called once, before the first request."""
    from moto.backup.models import BackupBackend
    from moto.elasticache.models import ElastiCacheBackend

    # The plan stays, marked as deleted, and its name taken.
    delete_plan = BackupBackend.delete_backup_plan

    @functools.wraps(delete_plan)
    def delete_backup_plan(self: Any, backup_plan_id: str) -> Any:
        answer = delete_plan(self, backup_plan_id)
        del self.plans[backup_plan_id]
        return answer

    # The group stays in the state "deleting", and its id taken.
    delete_group = ElastiCacheBackend.delete_replication_group

    @functools.wraps(delete_group)
    def delete_replication_group(self: Any, replication_group_id: str, *args: Any, **kwargs: Any) -> Any:
        group = delete_group(self, replication_group_id, *args, **kwargs)
        del self.replication_groups[replication_group_id]
        return group

    BackupBackend.delete_backup_plan = delete_backup_plan
    ElastiCacheBackend.delete_replication_group = delete_replication_group
