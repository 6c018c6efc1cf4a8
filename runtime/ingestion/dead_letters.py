"""Where refused records of streams go: an SQS queue, each with its reason and its place in the stream.

At least once: a consumer that is killed between sending and its commit sends again.  ``shard`` and ``position`` tell
repeats apart.  A record too large for a message lies in the lake under ``dead-letters/``; its message says where.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import msgspec

from runtime.ingestion.errors import StreamError
from runtime.ingestion.ports import Record

if TYPE_CHECKING:
    from runtime.settings import Settings

MAX_INLINE_BYTES: Final = 128 * 1024
"""SQS takes 256 KiB a message and a batch; base64 adds a third."""
_KEPT: Final = "dead-letters/"
_MESSAGES_PER_CALL: Final = 10
_BYTES_PER_CALL: Final = 240 * 1024


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A refused record and why.  ``reasons`` never hold its values."""

    record: Record
    reasons: tuple[str, ...]


class DeadLetterQueue:
    """The queue of the settings.  Without one every refused record stops the consumer: nothing is dropped."""

    def __init__(self, settings: Settings, stream: str) -> None:
        self._settings = settings
        self._stream = stream

    def send(self, letters: Sequence[DeadLetter]) -> None:
        """Returns when the queue holds all ``letters``.  Raises StreamError, botocore's errors."""
        if not letters:
            return
        if not self._settings.dead_letter_queue_url:
            first = letters[0]
            raise StreamError(
                f"{self._stream}, {first.record.shard} at {first.record.position}: {'; '.join(first.reasons)}; "
                "FALAJ_DEAD_LETTER_QUEUE_URL must be set for it to be put aside"
            )
        from runtime.aws import client

        sqs = client(self._settings, "sqs")
        for batch in _batches([self._message(letter) for letter in letters]):
            entries = [{"Id": str(number), "MessageBody": body} for number, body in enumerate(batch)]
            failed = sqs.send_message_batch(QueueUrl=self._settings.dead_letter_queue_url, Entries=entries).get(
                "Failed"
            )
            if failed:
                raise OSError(f"the dead-letter queue did not take {len(failed)} messages: {failed[0].get('Code')}")

    def _message(self, letter: DeadLetter) -> str:
        record = letter.record
        message: dict[str, Any] = {
            "stream": self._stream,
            "shard": record.shard,
            "position": record.position,
            "arrived_at": record.arrived_at.isoformat(),
            "reasons": list(letter.reasons),
        }
        if len(record.value) <= MAX_INLINE_BYTES:
            message["value_base64"] = base64.b64encode(record.value).decode()
        else:
            message["value_uri"] = self._keep(record)
        return json.dumps(message)

    def _keep(self, record: Record) -> str:
        from runtime.aws import client

        key = f"{_KEPT}{self._stream.replace('/', '-')}/{record.shard}/{record.position}"
        client(self._settings, "s3").put_object(Bucket=self._settings.lake_bucket, Key=key, Body=record.value)
        return f"s3://{self._settings.lake_bucket}/{key}"


class _Message(msgspec.Struct):
    stream: str
    shard: str
    position: str
    arrived_at: str
    reasons: list[str]
    value_base64: str = ""
    value_uri: str = ""


def receive(settings: Settings, limit: int, take: Callable[[dict[str, Any]], None]) -> tuple[int, int]:
    """Hands up to ``limit`` dead letters to ``take`` and deletes each once it returned.

    Gives back how many, and how many messages are no dead letters: those stay on the queue, for whoever sent them.
    """
    from runtime.aws import client

    settings.require("dead_letter_queue_url")
    sqs, taken, foreign = client(settings, "sqs"), 0, 0
    while taken + foreign < limit:
        answer = sqs.receive_message(
            QueueUrl=settings.dead_letter_queue_url,
            MaxNumberOfMessages=min(_MESSAGES_PER_CALL, limit - taken - foreign),
        )
        messages = answer.get("Messages", [])
        if not messages:
            break
        for message in messages:
            try:
                letter = msgspec.json.decode(message["Body"], type=_Message)
            except (msgspec.DecodeError, msgspec.ValidationError, RecursionError):
                foreign += 1
                continue
            take(msgspec.structs.asdict(letter))
            sqs.delete_message(QueueUrl=settings.dead_letter_queue_url, ReceiptHandle=message["ReceiptHandle"])
            taken += 1
    return taken, foreign


def value_of(settings: Settings, message: dict[str, Any]) -> bytes:
    """The record of a dead letter.  Raises StreamError where it is not to be had; the letter then stays."""
    from botocore.exceptions import ClientError

    from runtime.aws import client

    where = f"dead letter {message['shard']} {message['position']}"
    if not (uri := message["value_uri"]):
        try:
            return base64.b64decode(message["value_base64"], validate=True)
        except ValueError as error:
            raise StreamError(f"{where}: its record is damaged ({error}); --discard takes it off the queue") from None
    kept = f"s3://{settings.lake_bucket}/{_KEPT}"
    if not uri.startswith(kept):
        raise StreamError(f"{where}: its record is said to be elsewhere than in {kept}; --discard takes it off")
    key = uri.removeprefix(f"s3://{settings.lake_bucket}/")
    try:
        value: bytes = client(settings, "s3").get_object(Bucket=settings.lake_bucket, Key=key)["Body"].read()
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise
        raise StreamError(f"{where}: {uri}: {error.response['Error']['Code']}; --discard takes it off") from None
    return value


def _batches(messages: list[str]) -> Iterator[list[str]]:
    """As many messages together as a call may carry."""
    batch: list[str] = []
    size = 0
    for message in messages:
        if batch and (size + len(message) > _BYTES_PER_CALL or len(batch) == _MESSAGES_PER_CALL):
            yield batch
            batch, size = [], 0
        batch.append(message)
        size += len(message)
    if batch:
        yield batch
