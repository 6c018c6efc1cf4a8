"""Where refused records of streams go: an SQS queue, each with its reason and its place in the stream.

At least once: a consumer that is killed between sending and its commit sends again.  ``shard`` and ``position`` tell
repeats apart.  A record too large for a message lies in the lake under ``dead-letters/``; its message says where.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from runtime.ingestion.errors import StreamError
from runtime.ingestion.ports import Record

if TYPE_CHECKING:
    from runtime.settings import Settings

MAX_INLINE_BYTES: Final = 128 * 1024
"""SQS takes 256 KiB a message and a batch; base64 adds a third."""
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

        key = f"dead-letters/{self._stream.replace('/', '-')}/{record.shard}/{record.position}"
        client(self._settings, "s3").put_object(Bucket=self._settings.lake_bucket, Key=key, Body=record.value)
        return f"s3://{self._settings.lake_bucket}/{key}"


def receive(settings: Settings, limit: int, take: Callable[[dict[str, Any]], None]) -> int:
    """Hands up to ``limit`` dead letters to ``take`` and deletes each once it returned; gives back how many."""
    from runtime.aws import client

    settings.require("dead_letter_queue_url")
    sqs, taken = client(settings, "sqs"), 0
    while taken < limit:
        answer = sqs.receive_message(
            QueueUrl=settings.dead_letter_queue_url, MaxNumberOfMessages=min(_MESSAGES_PER_CALL, limit - taken)
        )
        messages = answer.get("Messages", [])
        if not messages:
            break
        for message in messages:
            take(json.loads(message["Body"]))
            sqs.delete_message(QueueUrl=settings.dead_letter_queue_url, ReceiptHandle=message["ReceiptHandle"])
            taken += 1
    return taken


def value_of(settings: Settings, message: dict[str, Any]) -> bytes:
    """The record of a dead letter."""
    if "value_base64" in message:
        return base64.b64decode(message["value_base64"])
    from runtime.aws import client

    bucket, _, key = str(message["value_uri"]).removeprefix("s3://").partition("/")
    value: bytes = client(settings, "s3").get_object(Bucket=bucket, Key=key)["Body"].read()
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
