"""Signatures over packages, in the Sigstore bundle format of OpenSSF model-signing, by keys of our own.

What is signed is the SHA-256 of every file of the package.  Verification hashes bytes and parses none of them; only the
signature itself, which is bounded JSON, is read before its key is known to be trusted.

A key is ``file:PATH`` (PEM, P-256, P-384 or P-521; FALAJ_SIGNING_KEY) or ``kms:ARN`` (ECC_NIST_P256, for
SIGN_VERIFY).  Trusted keys (FALAJ_TRUSTED_KEYS) are a directory of public keys in PEM, where an attacker who can write
to the bucket must not be able to write, or keys of KMS, whose public halves KMS hands out: ``kms:ARN,kms:ARN``.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from runtime.registry.content import check_file
from runtime.registry.errors import RegistryAwayError, RequestError, SignatureError
from runtime.training.digests import canonical_json, sha256_file

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

    from runtime.settings import Settings

MOST_SIGNATURE_BYTES: Final = 1 << 20
MOST_KEY_BYTES: Final = 16 << 10
MOST_KEYS: Final = 100
_MOST_KMS_MESSAGE_BYTES: Final = 4096
"""Of a message that KMS hashes itself (API reference of Sign, MessageType RAW)."""
_PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
_BUNDLE_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
_KMS_KEY: Final = re.compile(r"^arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]{1,64}$")
_CURVES: Final = {"secp256r1": "SHA256", "secp384r1": "SHA384", "secp521r1": "SHA512"}


class Signer(Protocol):
    """A private key, wherever it is."""

    public_key_pem: bytes

    def sign(self, message: bytes) -> bytes:
        """ECDSA in DER over the digest that belongs to the curve."""


class LocalSigner:
    """A private key in a PEM file without a password.  Raises RequestError if it is not one of a curve we sign with."""

    def __init__(self, path: Path) -> None:
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        try:
            key = load_pem_private_key(path.read_bytes()[:MOST_KEY_BYTES], None)
        except OSError as error:
            raise RequestError(
                f"signing key {path}: cannot be read ({error.strerror}); `registry key` makes one"
            ) from None
        except (ValueError, TypeError):
            raise RequestError(f"signing key {path}: not a private key in PEM without password") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name not in _CURVES:
            raise RequestError(f"signing key {path}: must be an elliptic-curve key (P-256, P-384 or P-521)")
        self._key = key
        self.public_key_pem = _pem(key.public_key())

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message, _ecdsa(self._key.public_key()))


class KmsSigner:
    """A key of KMS (ECC_NIST_P256): the private half never leaves it."""

    def __init__(self, settings: Settings, arn: str) -> None:
        self._settings, self._arn = settings, arn
        self._key = _kms_public_key(settings, arn, "signing key")
        self.public_key_pem = _pem(self._key)

    def sign(self, message: bytes) -> bytes:
        from cryptography.exceptions import InvalidSignature

        # Short messages as they are: emulated accounts know no other type.
        raw = len(message) <= _MOST_KMS_MESSAGE_BYTES
        answer = _ask_kms(
            self._settings,
            "sign",
            "signing key",
            self._arn,
            Message=message if raw else hashlib.sha256(message).digest(),
            MessageType="RAW" if raw else "DIGEST",
            SigningAlgorithm="ECDSA_SHA_256",
        )
        signature: bytes = answer["Signature"]
        try:
            self._key.verify(signature, message, _ecdsa(self._key))
        except InvalidSignature:
            raise RequestError(
                f"signing key {self._arn}: KMS answered a signature that its public key does not verify"
            ) from None
        return signature


@dataclass(frozen=True)
class TrustedKey:
    """A public key by which packages may be signed; ``name`` is its file's, ``key_id`` the SHA-256 of its PEM."""

    name: str
    key_id: str
    public_key: ec.EllipticCurvePublicKey


@dataclass(frozen=True)
class Verified:
    """Whose signature was found good, over what."""

    key_name: str
    key_id: str
    files: dict[str, str]
    """SHA-256 of every file."""


def open_signer(settings: Settings) -> Signer:
    """The key of FALAJ_SIGNING_KEY.  Raises RequestError."""
    settings.require("signing_key")
    scheme, _, rest = settings.signing_key.partition(":")
    if scheme == "file" and rest:
        return LocalSigner(Path(rest))
    if scheme == "kms" and rest:
        return KmsSigner(settings, rest)
    raise RequestError("FALAJ_SIGNING_KEY: give file:PATH of a private key in PEM, or kms:ARN")


def load_trusted_keys(settings: Settings) -> tuple[TrustedKey, ...]:
    """The public keys of FALAJ_TRUSTED_KEYS: ``*.pem`` of a directory, or keys of KMS.

    Raises RequestError if there is none or one is no such key, RegistryAwayError when KMS does not answer.
    """
    settings.require("trusted_keys")
    if settings.trusted_keys.startswith("kms:"):
        given = [each.strip() for each in settings.trusted_keys.split(",")]
        return tuple(_trusted_key_of_kms(settings, each) for each in dict.fromkeys(given[:MOST_KEYS]))
    directory = Path(settings.trusted_keys)
    paths = sorted(directory.glob("*.pem"))[:MOST_KEYS]
    if not paths:
        raise RequestError(
            f"FALAJ_TRUSTED_KEYS: {directory} holds no *.pem file; without a trusted key nothing is opened"
        )
    return tuple(trusted_key(path.stem, path.read_bytes()[:MOST_KEY_BYTES]) for path in paths)


def trusted_key(name: str, pem: bytes) -> TrustedKey:
    """Raises RequestError if the bytes are not a public key of a curve that is verified here."""
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(pem)
    except ValueError:
        raise RequestError(f"trusted key {name}: not a public key in PEM") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in _CURVES:
        raise RequestError(f"trusted key {name}: must be an elliptic-curve key (P-256, P-384 or P-521)")
    return TrustedKey(name, hashlib.sha256(_pem(key)).hexdigest(), key)


def _trusted_key_of_kms(settings: Settings, given: str) -> TrustedKey:
    arn = given.removeprefix("kms:")
    # An alias would trust whoever may point it to a key of their own.
    if not given.startswith("kms:") or not _KMS_KEY.match(arn):
        raise RequestError(
            f"FALAJ_TRUSTED_KEYS: {given[:200]!r}: give kms:ARN of a key, not of an alias; commas between several"
        )
    return trusted_key(arn.rpartition("/")[2], _pem(_kms_public_key(settings, arn, "trusted key")))


def generate_key(path: Path) -> bytes:
    """Writes a new P-256 private key, readable by its owner only; returns the public key in PEM.

    Raises RequestError if the file exists: a key that was replaced by mistake cannot be had back.
    """
    import os

    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = ec.generate_private_key(ec.SECP256R1())
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise RequestError(f"{path}: exists; choose another name, or remove it yourself") from None
    with os.fdopen(descriptor, "wb") as file:
        file.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return _pem(key.public_key())


def sign(directory: Path, name: str, signer: Signer) -> bytes:
    """The signature of all files in a directory, as a Sigstore bundle in JSON."""
    payload = _statement(directory, name)
    bundle = {
        "mediaType": _BUNDLE_TYPE,
        "verificationMaterial": {
            "publicKey": {"hint": hashlib.sha256(signer.public_key_pem).hexdigest()},
            "tlogEntries": [],
        },
        "dsseEnvelope": {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": _PAYLOAD_TYPE,
            "signatures": [{"sig": base64.b64encode(signer.sign(pre_authentication(payload))).decode(), "keyid": ""}],
        },
    }
    return json.dumps(bundle, sort_keys=True).encode() + b"\n"


def verify(directory: Path, signature: bytes | None, trusted: tuple[TrustedKey, ...]) -> Verified:
    """Checks that every file of ``directory``, and no other, was signed by a trusted key.  Raises SignatureError."""
    if not signature:
        raise SignatureError("the package is not signed; refused")
    key, payload = _authentic(signature, trusted)
    signed = _resources(payload)
    found: dict[str, str] = {}
    for path in sorted(directory.rglob("*")):
        if path.is_dir() and not path.is_symlink():
            continue
        name = path.relative_to(directory).as_posix()
        if name not in signed:
            raise SignatureError(f"{name} is not covered by the signature; the package was added to, refused")
        check_file(directory, name)
        found[name] = sha256_file(path)
        if found[name] != signed[name]:
            raise SignatureError(f"{name} was altered after it was signed; refused")
    if lacking := sorted(set(signed) - set(found)):
        raise SignatureError(f"{lacking[0]} was signed and is missing; refused")
    return Verified(key.name, key.key_id, found)


def pre_authentication(payload: bytes) -> bytes:
    """What is signed for a payload (PAE of DSSE, https://github.com/secure-systems-lab/dsse/blob/v1.0.0/protocol.md)."""
    return b"DSSEv1 %d %s %d %s" % (len(_PAYLOAD_TYPE), _PAYLOAD_TYPE.encode(), len(payload), payload)


def _statement(directory: Path, name: str) -> bytes:
    """The in-toto statement that model-signing makes of a directory."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from google.protobuf import json_format
        from model_signing import hashing
        from model_signing._signing.signing import Payload

    # Nothing is left out, files of git included: what is not signed must not be in a package.
    configuration = hashing.Config().set_ignored_paths(  # type: ignore[no-untyped-call]
        paths=[], ignore_git_paths=False
    )
    payload = Payload(configuration.hash(directory.absolute()))
    payload.statement.pb.subject[0].name = name
    return canonical_json(json_format.MessageToDict(payload.statement.pb))


def _authentic(signature: bytes, trusted: tuple[TrustedKey, ...]) -> tuple[TrustedKey, bytes]:
    """The trusted key that made the signature, and the payload it signed."""
    from cryptography.exceptions import InvalidSignature

    if len(signature) > MOST_SIGNATURE_BYTES:
        raise SignatureError(f"the signature is larger than {MOST_SIGNATURE_BYTES} bytes; refused")
    try:
        bundle = json.loads(signature)
        envelope, hint = bundle["dsseEnvelope"], str(bundle["verificationMaterial"]["publicKey"]["hint"])
        payload = base64.b64decode(envelope["payload"], validate=True)
        signed = base64.b64decode(envelope["signatures"][0]["sig"], validate=True)
        right_types = (bundle["mediaType"], envelope["payloadType"]) == (_BUNDLE_TYPE, _PAYLOAD_TYPE)
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        raise SignatureError("the signature is not a Sigstore bundle with a DSSE envelope; refused") from None
    if not right_types:
        raise SignatureError("the signature is of another format than model-signing writes; refused")
    for key in trusted:
        if key.key_id == hint:
            break
    else:
        known = ", ".join(key.name for key in trusted) or "none"
        raise SignatureError(f"signed with key {hint[:12]}, which is not trusted (trusted: {known}); refused")
    try:
        key.public_key.verify(signed, pre_authentication(payload), _ecdsa(key.public_key))
    except InvalidSignature:
        raise SignatureError(f"the signature is not by key {key.name}, as it claims; refused") from None
    return key, payload


def _resources(payload: bytes) -> dict[str, str]:
    """Digests by file name, of a payload whose signature was found good."""
    try:
        statement = json.loads(payload)
        predicate = statement["predicate"]
        resources = {str(each["name"]): str(each["digest"]) for each in predicate["resources"]}
        algorithms = {each["algorithm"] for each in predicate["resources"]}
        sound = (
            statement["predicateType"] == "https://model_signing/signature/v1.0"
            and predicate["serialization"]["method"] == "files"
            and algorithms == {"sha256"}
            and len(resources) == len(predicate["resources"])
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        raise SignatureError("what was signed is not a list of files; refused") from None
    if not sound:
        raise SignatureError("what was signed is not a list of files with SHA-256; sign with `registry sign`") from None
    return resources


def _kms_public_key(settings: Settings, arn: str, what: str) -> ec.EllipticCurvePublicKey:
    """Raises RequestError if the key of KMS is not one that signs packages."""
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    answer = _ask_kms(settings, "get_public_key", what, arn)
    try:
        key = load_der_public_key(answer["PublicKey"])
    except (ValueError, TypeError):
        key = None
    usage = answer.get("KeyUsage", "SIGN_VERIFY")
    if not isinstance(key, ec.EllipticCurvePublicKey) or (key.curve.name, usage) != ("secp256r1", "SIGN_VERIFY"):
        raise RequestError(f"{what} {arn}: must be of spec ECC_NIST_P256 and usage SIGN_VERIFY")
    return key


def _ask_kms(settings: Settings, method: str, what: str, arn: str, **arguments: Any) -> Any:
    from botocore.exceptions import BotoCoreError, ClientError

    from runtime import aws

    try:
        return getattr(aws.client(settings, "kms"), method)(KeyId=arn, **arguments)
    except ClientError as error:
        code = error.response["Error"]["Code"]
        raise RequestError(f"{what} {arn}: KMS refuses {method} ({code}); check the ARN and the role") from None
    except BotoCoreError as error:
        done = "nothing was signed" if method == "sign" else "nothing was signed or opened"
        raise RegistryAwayError(f"KMS did not answer ({type(error).__name__}); {done}") from None


def _pem(public_key: Any) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    pem: bytes = public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pem


def _ecdsa(public_key: ec.EllipticCurvePublicKey) -> ec.ECDSA:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.ECDSA(getattr(hashes, _CURVES[public_key.curve.name])())
