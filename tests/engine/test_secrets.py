import hashlib
import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falaj.engine import secrets
from falaj.engine.errors import PassphraseError, StateError, UnsupportedError

# Written by the CLI (v3.250.0) with the passphrase "falaj".
CLI_STATE = "v1:ukTcDZtcFv0=:v1:pkdlM9XG/RSfr1TZ:5veFUgcfClxTAdiPiJMPK7cXNRVOng=="
CLI_CIPHERTEXT = "v1:INLVgTwvFvdNyBFy:x4XvTkrMlWuWNLHinR3Pty+r6rLEsDI="


@pytest.fixture(scope="module")
def crypter() -> secrets.PassphraseCrypter:
    return secrets.PassphraseCrypter("falaj", CLI_STATE)


def test_what_the_cli_encrypted_is_decrypted(crypter: secrets.PassphraseCrypter) -> None:
    crypter.verify()
    assert crypter.decrypt(CLI_CIPHERTEXT) == "hunter2"


@given(text=st.text(st.characters(codec="utf-8")))
def test_texts_survive_encryption_and_no_ciphertext_repeats(crypter: secrets.PassphraseCrypter, text: str) -> None:
    first, second = crypter.encrypt(text), crypter.encrypt(text)
    assert crypter.decrypt(first) == crypter.decrypt(second) == text
    assert first != second


def test_a_new_state_opens_with_its_passphrase_only() -> None:
    state = secrets.new_state("")
    secrets.PassphraseCrypter("", state).verify()
    with pytest.raises(PassphraseError, match="PULUMI_CONFIG_PASSPHRASE"):
        secrets.PassphraseCrypter("another", state).verify()


def test_new_states_differ_in_their_salt() -> None:
    assert secrets.new_state("falaj").split(":")[1] != secrets.new_state("falaj").split(":")[1]


def test_a_changed_ciphertext_is_noticed(crypter: secrets.PassphraseCrypter) -> None:
    flipped = CLI_CIPHERTEXT[:-3] + ("A" if CLI_CIPHERTEXT[-3] != "A" else "B") + CLI_CIPHERTEXT[-2:]
    with pytest.raises(PassphraseError):
        crypter.decrypt(flipped)


@pytest.mark.parametrize("text", ["", "plain", "v2:AAAA:AAAA"])
def test_a_text_that_is_no_ciphertext_is_named_as_such(crypter: secrets.PassphraseCrypter, text: str) -> None:
    with pytest.raises(StateError, match="only v1 is known"):
        crypter.decrypt(text)


def test_the_key_is_derived_once_per_process(monkeypatch: pytest.MonkeyPatch) -> None:
    derived = []
    original = hashlib.pbkdf2_hmac

    def counted(name: str, password: bytes, *args: int) -> bytes:
        derived.append(threading.current_thread())
        return original(name, password, *args)

    monkeypatch.setattr(hashlib, "pbkdf2_hmac", counted)
    state = secrets.new_state("once")
    for _ in range(3):
        secrets.PassphraseCrypter("once", state).verify()
    assert len(derived) == 1
    assert derived[0] is not threading.main_thread()


@pytest.mark.parametrize("state", ["", "v1", "v1:salt", "v2:AAAA:v1:AAAA:AAAA", "v1:not base64!:v1:AAAA:AAAA"])
def test_a_malformed_salt_is_refused(state: str) -> None:
    with pytest.raises(StateError, match="malformed"):
        secrets.PassphraseCrypter("falaj", state)


def test_the_passphrase_comes_from_the_variable_even_when_it_is_empty(tmp_path: Path) -> None:
    file = tmp_path / "passphrase"
    file.write_text("  from the file\n")
    named = {"PULUMI_CONFIG_PASSPHRASE_FILE": str(file)}
    assert secrets.passphrase_from({"PULUMI_CONFIG_PASSPHRASE": ""} | named) == ""
    assert secrets.passphrase_from(named) == "from the file"
    assert secrets.passphrase_from({}) is None


def test_an_unreadable_passphrase_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(PassphraseError, match=r"PULUMI_CONFIG_PASSPHRASE_FILE=.*absent"):
        secrets.passphrase_from({"PULUMI_CONFIG_PASSPHRASE_FILE": str(tmp_path / "absent")})


def test_a_missing_passphrase_says_what_to_set() -> None:
    assert secrets.required("", "dev") == ""
    with pytest.raises(PassphraseError, match=r"'dev'.*PULUMI_CONFIG_PASSPHRASE_FILE"):
        secrets.required(None, "dev")


def test_only_passphrase_states_are_opened() -> None:
    assert secrets.provider_state(None) is None
    assert secrets.provider_state(secrets.provider_object(CLI_STATE)) == CLI_STATE
    with pytest.raises(UnsupportedError, match="'cloud'"):
        secrets.provider_state({"type": "cloud", "state": {}})
    with pytest.raises(StateError, match="no salt"):
        secrets.provider_state({"type": "passphrase", "state": {}})


def test_without_a_provider_there_are_no_secrets() -> None:
    with pytest.raises(PassphraseError, match="PULUMI_CONFIG_PASSPHRASE"):
        secrets.NoSecrets().encrypt("x")
    with pytest.raises(StateError, match="restore a backup"):
        secrets.NoSecrets().decrypt("v1:x:y")


def test_errors_do_not_tell_the_passphrase() -> None:
    passphrase = os.urandom(8).hex()
    with pytest.raises(PassphraseError) as caught:
        secrets.PassphraseCrypter(passphrase, CLI_STATE).verify()
    assert passphrase not in str(caught.value)
