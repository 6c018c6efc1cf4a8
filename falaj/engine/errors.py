"""Errors that end a command.  Each text is one line a user can act on.

EngineError                      exit code 1
├── ConfigError                  Pulumi.yaml, Pulumi.<stack>.yaml or a configuration value
├── PassphraseError              missing or wrong passphrase
├── StateError                   a state file that is corrupt, newer, or breaks its own rules
├── LockError                    another update holds the stack
├── UnsupportedError             something that only the official CLI can do
└── DeploymentError              the deployment ran and failed; details went out as events
"""


class EngineError(Exception):
    """Base of all errors that the engine raises on purpose."""


class ConfigError(EngineError):
    """Project or stack settings are unusable."""


class PassphraseError(EngineError):
    """The passphrase is missing or does not open the stack's secrets."""


class StateError(EngineError):
    """The state cannot be read, or writing it would break its integrity rules."""


class LockError(EngineError):
    """Another deployment holds the lock of the stack."""


class UnsupportedError(EngineError):
    """A request that the embedded engine refuses before anything is touched."""


class DeploymentError(EngineError):
    """A deployment ended with at least one failed step; the events say which."""
