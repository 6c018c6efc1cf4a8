"""What the registry refuses or cannot do.

FalajError
├── InputError
│   ├── PackageError        a package that is not whole, or holds what a package may not hold
│   ├── SignatureError      unsigned, signed by a key nobody trusts, or altered after it was signed
│   └── RequestError        a model, version, alias or file that does not exist or is not allowed
├── GatesFailed             promotion is refused; the report says by which gates
├── AuditError              the record does not add up, or cannot be written
├── EnvelopeError           the tenant's key does not open or close the package
└── RegistryAwayError       S3, KMS, PostgreSQL or MLflow does not answer; nothing was changed
"""

from __future__ import annotations

from runtime.errors import FalajError, InputError


class PackageError(InputError):
    """A package that is refused."""


class SignatureError(InputError):
    """A package whose signature is missing, not trusted, or not of these bytes."""


class RequestError(InputError):
    """A request for something that is not there."""


class GatesFailed(FalajError):
    """At least one promotion gate is closed."""


class AuditError(FalajError):
    """The audit record cannot be written, or was tampered with."""


class EnvelopeError(FalajError):
    """Encryption or decryption under the tenant's key is refused."""


class RegistryAwayError(FalajError):
    """A service that the registry needs does not answer."""
