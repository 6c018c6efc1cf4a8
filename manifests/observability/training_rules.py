"""Whether training gets on, whether its checkpoints can be trusted, and whether GPUs that are paid for work."""

from __future__ import annotations

import math
from typing import Final

from blueprints.schema import Blueprint
from manifests.observability.rule import Alert, Record, by_tenant

MISSED_CHECKPOINTS: Final = 3
INTERRUPTIONS_PER_HOUR: Final = 5
IDLE_UTILISATION_PERCENT: Final = 10
FULL_MEMORY_RATIO: Final = 0.97


def training_rules(blueprint: Blueprint) -> tuple[Alert | Record, ...]:
    """Stalls against the blueprint's checkpoint interval, bad checkpoints, failed jobs, and spot that does not last."""
    minutes = max(15, math.ceil(MISSED_CHECKPOINTS * blueprint.training.checkpoint_interval_minutes))
    saved = f"increase(falaj_training_checkpoints_total[{minutes}m])"
    return (
        Alert(
            "TrainingStalled",
            # The pod must have been there for the whole window, or every job would alert as it starts.
            by_tenant(
                f"sum by (namespace, pod) ({saved}) == 0 and on (namespace, pod) "
                f"falaj_training_checkpoints_total offset {minutes}m"
            ),
            "warning",
            "{{ $labels.pod }} has saved nothing for " + f"{minutes} minutes",
            "It hangs, or its data does not come; a spot interruption now costs all the work since.",
        ),
        Alert(
            "CheckpointsFailing",
            by_tenant("sum by (namespace, pod) (increase(falaj_training_checkpoint_failures_total[30m])) > 0"),
            "warning",
            "{{ $labels.pod }} cannot write its checkpoints",
            "The bucket, its key or the role refuses, or the network is away.",
        ),
        Alert(
            "CheckpointDamaged",
            by_tenant("sum by (namespace, pod) (increase(falaj_training_checkpoints_refused_total[1h])) > 0"),
            "critical",
            "{{ $labels.pod }} found a damaged checkpoint",
            "Its digest is not the one that was written: somebody changed it, or storage failed.",
        ),
        Alert(
            "TrainingDiverged",
            # NaN is the one value that differs from itself.
            by_tenant("falaj_training_loss != falaj_training_loss"),
            "warning",
            "The loss of {{ $labels.pod }} is not a number any more",
            "Every further hour of it is wasted.",
            hold_minutes=5,
        ),
        Alert(
            "JobFailed",
            by_tenant(
                'sum by (namespace, job_name) (kube_job_status_failed{namespace=~"tenant-.+|falaj-platform"}) > 0'
            ),
            "warning",
            "Job {{ $labels.namespace }}/{{ $labels.job_name }} failed",
            "{{ $value }} of its pods ended with an error.",
        ),
        Alert(
            "SpotInterruptionsFrequent",
            'sum(increase(karpenter_interruption_received_messages_total{message_type="spot_interrupted"}[1h])) '
            f"> {INTERRUPTIONS_PER_HOUR}",
            "warning",
            "{{ $value | humanize }} spot nodes were taken back within an hour",
            "Work that restarts this often may never end; on-demand pools take over where their weight allows.",
        ),
    )


def gpu_rules() -> tuple[Alert | Record, ...]:
    """GPUs that are held and do nothing, that have no memory left, and that report faults."""
    return (
        Alert(
            "GpuIdle",
            by_tenant(
                'avg by (namespace, pod) (avg_over_time(DCGM_FI_DEV_GPU_UTIL{pod!=""}[1h])) '
                f"< {IDLE_UTILISATION_PERCENT}"
            ),
            "warning",
            "{{ $labels.pod }} holds GPUs and uses {{ $value | humanize }} % of them",
            "An hour's average; the GPUs are billed and nobody else gets them.",
            hold_minutes=60,
        ),
        Alert(
            "GpuMemoryFull",
            by_tenant(
                'max by (namespace, pod) (DCGM_FI_DEV_FB_USED{pod!=""} / '
                f'(DCGM_FI_DEV_FB_USED{{pod!=""}} + DCGM_FI_DEV_FB_FREE{{pod!=""}})) > {FULL_MEMORY_RATIO}'
            ),
            "warning",
            "{{ $labels.pod }} uses {{ $value | humanizePercentage }} of its GPU's memory",
            "The next larger batch or longer request ends it.",
            hold_minutes=15,
        ),
        Alert(
            "GpuFault",
            by_tenant("max by (Hostname, gpu, namespace, pod) (DCGM_FI_DEV_XID_ERRORS) > 0"),
            "warning",
            "GPU {{ $labels.gpu }} of {{ $labels.Hostname }} reports XID {{ $value }}",
            "Jobs on this node may fail or compute wrongly.",
        ),
    )
