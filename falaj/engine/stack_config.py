"""The configuration of a stack as its public face shows it: values, secrets, and the passphrase that opens them."""

from __future__ import annotations

from collections.abc import Mapping

from falaj.engine.errors import ConfigError
from falaj.engine.project import Configuration, Project, configuration
from falaj.engine.secrets import Crypter, NoSecrets, PassphraseCrypter
from falaj.engine.stack_outputs import MASK
from falaj.engine.stack_settings import StackSettings


class StackConfig:
    """Reads ``Pulumi.<stack>.yaml`` anew at every question, since an editor may have changed it.

    Methods may raise ConfigError for an unusable file and PassphraseError for secrets that do not open.
    """

    def __init__(
        self, project: Project, stack: str, passphrase: str | None, overrides: Mapping[str, str] | None = None
    ) -> None:
        """Starts the derivation of the key: it takes a quarter of a second in another thread.

        ``overrides``: values by full key that stand over those of the file and are never written to it.
        """
        self._project, self._stack, self._passphrase = project, stack, passphrase
        self._overrides = dict(overrides or {})
        self._crypter(self._settings())

    def _settings(self) -> StackSettings:
        return StackSettings(self._project, self._stack)

    def _crypter(self, settings: StackSettings) -> Crypter:
        if settings.encryption_salt is None or self._passphrase is None:
            return NoSecrets()
        return PassphraseCrypter(self._passphrase, settings.encryption_salt)

    def check_passphrase(self) -> None:
        """Raises PassphraseError for a wrong one, also where nothing is secret yet: later would be too late."""
        crypter = self._crypter(self._settings())
        if isinstance(crypter, PassphraseCrypter):
            crypter.verify()

    @property
    def encryption_salt(self) -> str | None:
        return self._settings().encryption_salt

    def adopt_salt(self, state: str) -> None:
        """Keeps the salt of a new stack, unless there is one already."""
        settings = self._settings()
        if settings.encryption_salt is None:
            settings.set_encryption_salt(state)

    def load(self) -> Configuration:
        """What a program gets, defaults of the project included.  Raises ConfigError for a missing or wrong value."""
        settings = self._settings()
        given = {**settings.config, **self._overrides}
        return configuration(self._project, self._stack, given, self._crypter(settings).decrypt)

    def readable(self) -> Configuration:
        """As ``load``, but where some value is missing or wrong, the plain texts that there are."""
        try:
            return self.load()
        except ConfigError:
            texts = {key: value for key, value in self._settings().config.items() if isinstance(value, str)}
            return Configuration({**texts, **self._overrides})

    def value(self, key: str) -> str | None:
        return self.readable().values.get(self._project.key(key))

    def values(self, show_secrets: bool) -> dict[str, str]:
        """By full key; secrets are masked unless asked for."""
        found = self.readable()
        return {
            key: MASK if key in found.secret_keys and not show_secrets else text for key, text in found.values.items()
        }

    def set(self, key: str, value: str) -> None:
        self._settings().set(key, value)

    def set_secret(self, key: str, value: str) -> None:
        """Raises PassphraseError when the stack has no passphrase to encrypt with."""
        settings = self._settings()
        settings.set(key, {"secure": self._crypter(settings).encrypt(value)})

    def remove(self, key: str) -> bool:
        """Whether the key was there."""
        return self._settings().remove(key)
