"""What stops a training job.

FalajError
├── TrainingFailed           the job itself ended before its time; exit code 1
├── StoreUnavailableError    the checkpoint store stayed away longer than the job may wait; exit code 1
└── InputError
    ├── ConfigurationError   the configuration asks for what cannot be
    ├── DataError            the training set is not what the configuration or its manifest says
    └── ArtifactError        a checkpoint or model file is cut short, tampered with or of another run
"""

from __future__ import annotations

from runtime.errors import FalajError, InputError


class TrainingFailed(FalajError):
    """The job ended before its time."""


class StoreUnavailableError(FalajError):
    """The checkpoint store did not answer within the time allowed."""


class ConfigurationError(InputError):
    """The configuration is not allowed."""


class DataError(InputError):
    """The training set is not what was announced."""


class ArtifactError(InputError):
    """A checkpoint or model file is refused."""
