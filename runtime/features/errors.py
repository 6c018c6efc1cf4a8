"""What the feature store refuses or cannot do.

FalajError
├── InputError
│   ├── DeclarationError       a view without owner, purpose, PII flag or lineage tags; a project that cannot be loaded
│   ├── UnknownFeatureError    a view, a version of it, a feature or a service that was never declared
│   ├── RequestError           an online request out of bounds or out of shape
│   └── LeakageError           a feature value that was not yet known at prediction time
├── SnapshotError              feature files that are missing or not what their manifest says
├── OnlineStoreError           the online store is away, or holds nothing for this project
├── MaterialisationError       a generation that could not be built, or lost its lease; the live one still serves
└── SkewError                  training and serving disagree by more than the threshold
"""

from __future__ import annotations

from runtime.errors import FalajError, InputError


class DeclarationError(InputError):
    """A feature project that is refused as it is declared."""


class UnknownFeatureError(InputError):
    """A reference to a feature, a view, a version or a service that nobody declared."""


class RequestError(InputError):
    """An online request that is refused before the store is asked."""


class LeakageError(InputError):
    """A training row would see a value from after its prediction time."""


class SnapshotError(FalajError):
    """The stored feature files cannot be used."""


class OnlineStoreError(FalajError):
    """The online store cannot be read or written."""


class UnknownGenerationError(OnlineStoreError):
    """The online store holds no such generation: it was never made, or has been cleaned up."""


class OnlineStoreAwayError(OnlineStoreError, ConnectionError):
    """The online store does not answer.  A ConnectionError too, which callers that wait for services know."""


class MaterialisationError(FalajError):
    """A new generation was not put live.  The one before it still serves."""


class SkewError(FalajError):
    """The skew between training and serving is over the threshold: the release stops here."""
