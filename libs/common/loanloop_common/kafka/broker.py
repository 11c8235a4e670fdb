"""The connection to Kafka: FastStream's broker with every default that could lose data stated."""

import asyncio
import contextlib
import logging
import ssl
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    ConsumerStoppedError,
    KafkaConnectionError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
)
from faststream.kafka import KafkaBroker
from faststream.kafka.security import parse_security
from faststream.middlewares import AckPolicy
from faststream.security import BaseSecurity, SASLPlaintext, SASLScram256, SASLScram512

from loanloop_common.errors import Unavailable, in_one_line
from loanloop_common.kafka.fetched import Room, every_batch_read, size_of
from loanloop_common.kafka.refused import why_refused
from loanloop_common.kafka.removed import OnRemoved, RemovedRecords, log_removed
from loanloop_common.settings import KafkaSettings, SettingsInvalid

log = structlog.get_logger()

MAX_BATCH_BYTES = 256 * 1024
METADATA_MAX_AGE_MS = 30_000
WAIT_FOR_RECORDS_MS = 500
# Of one byte that the broker may take; JSON is some ten times as large as what it is compressed to.
MAX_UNPACKED_BYTES_PER_BYTE = 32
BYTES_AT_ONCE = 64 * 1024 * 1024
RECORDS_AT_ONCE = 64  # after so many it is looked whether they are as many bytes: by so many more it may be
_SASL = {"PLAIN": SASLPlaintext, "SCRAM-SHA-256": SASLScram256, "SCRAM-SHA-512": SASLScram512}


class ObservedConsumer(AIOKafkaConsumer):  # type: ignore[misc]  # aiokafka is untyped
    """Says when fetching fails: FastStream logs such an error and asks the same, perhaps dead, consumer again.

    At the end of aiokafka's task that fetches nobody looks, and nothing comes any more. The end of the one that
    coordinates comes out of the next call as a CancelledError, with which FastStream ends its loop in silence
    (aiokafka 0.14, FastStream 0.7).

    After an error nothing more is handed over: what aiokafka had taken from other partitions by then is lost with it,
    their positions have moved on, and what follows would be committed behind the gap.

    With `auto_offset_reset="none"` it begins where the log starts, and tells what was removed before the group read it:
    aiokafka's own reset would pass over it in silence.

    What is handed over at once has a limit in bytes as well: a few hundred of them can be made to unpack to a megabyte.
    """

    def __init__(self, *topics: str, on_removed: OnRemoved, room: Room, **options: Any) -> None:
        super().__init__(*topics, **options)
        self.fetching_failed = asyncio.Event()
        self._on_removed = on_removed
        self._room = room
        self._postponed: tuple[KafkaError, Any] | None = None  # with the assignment that it is of

    async def start(self) -> None:
        with every_batch_read(self._room):
            await super().start()

    async def getmany(self, *partitions: Any, timeout_ms: int = 0, max_records: int | None = None) -> Any:
        if self.fetching_failed.is_set():
            raise ConsumerStoppedError  # FastStream's loop ends with it, and is not begun again
        try:
            # Where nothing has come in its time, the framework sleeps for as long again, and so does what comes then.
            wait_ms = max(timeout_ms, WAIT_FOR_RECORDS_MS)
            if self._fetcher.error_future.done():
                raise KafkaError("the task that fetches has ended")
            return await self._taken(partitions, wait_ms, max_records or sys.maxsize)
        except ConsumerStoppedError:
            raise
        except NoOffsetForPartitionError as first_time:
            await self._go_to_start(first_time.args[0], unread_from=None)
            return {}
        except OffsetOutOfRangeError as out_of_range:
            for partition, unread_from in out_of_range.args[0].items():
                await self._go_to_start(partition, unread_from=unread_from)
            return {}
        except BaseException:
            self.fetching_failed.set()
            raise

    async def _taken(self, partitions: tuple[Any, ...], wait_ms: int, n_left: int) -> dict[TopicPartition, list[Any]]:
        """Some at a time, until they are enough or large. But for the first of them it waits for nothing."""
        if postponed := self._postponed:
            self._postponed = None
            error, assignment = postponed
            if assignment.active:
                raise error
        taken: dict[TopicPartition, list[Any]] = {}
        n_bytes = 0
        while n_left and n_bytes < BYTES_AT_ONCE:
            try:
                some = await super().getmany(
                    *partitions, timeout_ms=0 if taken else wait_ms, max_records=min(n_left, RECORDS_AT_ONCE)
                )
            except KafkaError as error:
                if not taken:
                    raise
                # Their positions have moved on: what is taken is handed over first.
                self._postponed = error, self._subscription.subscription.assignment
                break
            if not some:
                break
            for partition, records in some.items():
                taken.setdefault(partition, []).extend(records)
                n_left -= len(records)
                n_bytes += sum(map(size_of, records))
        return taken

    async def _go_to_start(self, partition: TopicPartition, *, unread_from: int | None) -> None:
        try:
            start = (await self.beginning_offsets([partition]))[partition]
            if start > (unread_from or 0):
                await self._on_removed(
                    RemovedRecords(self._group_id, partition.topic, partition.partition, unread_from, start)
                )
            elif unread_from is not None and start < unread_from:
                log.warning(
                    "topic_shorter_than_read",
                    topic=partition.topic,
                    partition=partition.partition,
                    read_to=unread_from,
                    start=start,
                )
        except BaseException:
            self.fetching_failed.set()
            raise
        if partition in self.assignment():
            self.seek(partition, start)


class Broker(KafkaBroker):
    """`await broker.connect()` connects; the consumers start themselves, so `start()` is not called."""

    def __init__(self, settings: KafkaSettings, *, service: str, **options: Any) -> None:
        super().__init__(settings.bootstrap_servers.split(","), **options)
        self.settings = settings
        self.service = service
        self.on_removed: OnRemoved = log_removed
        self._renewing = asyncio.Lock()

    async def _connect(self) -> Callable[..., AIOKafkaConsumer]:
        """Raises Unavailable when no server answers."""
        # Asked first by a client that is closed again: the framework loses, unclosed, a producer that can't start.
        async with admin_client(self.settings):
            pass
        builder = await super()._connect()
        observed: Callable[..., AIOKafkaConsumer] = partial(
            ObservedConsumer,
            on_removed=self._report_removed,
            room=Room(
                record_bytes=self.settings.max_message_bytes,
                batch_bytes=MAX_UNPACKED_BYTES_PER_BYTE * self.settings.max_message_bytes,
            ),
            **builder.keywords,  # type: ignore[attr-defined]  # FastStream builds a partial
        )
        self.config.broker_config.builder = observed
        return observed

    async def _report_removed(self, removed: RemovedRecords) -> None:
        await self.on_removed(removed)

    @property
    def producer(self) -> AIOKafkaProducer:
        # The framework offers no way to its producer, and its own batches spread no keys over partitions.
        return self.config.broker_config.producer._producer.producer  # type: ignore[attr-defined]

    async def renew_producer(self, failed: AIOKafkaProducer) -> None:
        """A fresh producer in place of one that can't go on.

        An idempotent aiokafka producer numbers a batch before it is sent, so one that the broker refuses leaves a
        gap, and each later batch of that partition fails with OutOfOrderSequenceNumber (aiokafka 0.14).
        Raises Unavailable, and leaves the failed one in its place, when no server answers.
        """
        async with self._renewing:
            if failed is not self.producer:
                return
            config, fresh = self.config.broker_config, AIOKafkaProducer(**self._connection_kwargs)
            try:
                await config.producer.connect(fresh, serializer=config.fd_config._serializer)
            except KafkaError as away:
                await bounded(fresh.stop(), within_s=2, what="producer")
                raise Unavailable(f"Kafka does not answer: {away!r}") from away
            log.warning("kafka_producer_renewed")
        await bounded(failed.stop(), within_s=2, what="producer")


def make_broker(settings: KafkaSettings, *, service: str) -> Broker:
    """Producer: every in-sync replica acknowledges, no duplicates from its own retries. Consumers: explicit commits."""
    return Broker(
        settings,
        service=service,
        client_id=f"loanloop-{service}",
        # A topic that was made anew is found at the next look: after five minutes, unless said otherwise.
        metadata_max_age_ms=METADATA_MAX_AGE_MS,
        acks="all",
        enable_idempotence=True,
        compression_type="zstd",  # five times as fast as aiokafka's lz4, whose level is fixed, and smaller
        max_batch_size=min(MAX_BATCH_BYTES, settings.max_message_bytes),
        max_request_size=settings.max_message_bytes,
        ack_policy=AckPolicy.MANUAL,
        graceful_timeout=settings.finish_batch_within_s,
        apply_types=False,
        security=make_security(settings),
        logger=logging.getLogger("loanloop.faststream"),
        log_level=logging.DEBUG,
    )


@asynccontextmanager
async def admin_client(settings: KafkaSettings) -> AsyncIterator[AIOKafkaAdminClient]:
    """Raises Unavailable, naming address and cause, when Kafka does not answer, AccessRefused when it turns us away."""
    security = parse_security(make_security(settings))
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap_servers.split(","), **security)
    try:
        await admin.start()
        yield admin
    except KafkaConnectionError as cause:
        raise await why_refused(settings, security) from cause
    except (KafkaError, OSError) as cause:
        raise Unavailable(f"Kafka at {settings.bootstrap_servers} does not answer: {in_one_line(cause)}") from cause
    finally:
        await bounded(admin.close(), within_s=5, what="admin client")


def connection_options(settings: KafkaSettings) -> dict[str, Any]:
    """aiokafka's names for where the broker is and how to log in, for a client of its own."""
    return {
        "bootstrap_servers": settings.bootstrap_servers.split(","),
        **parse_security(make_security(settings)),
    }


async def stop_broker(broker: Broker, *, within_s: float = 10) -> None:
    """Stop it, bounded: an idempotent producer never gives up, so without a server its flush would not end."""
    await bounded(broker.stop(), within_s=within_s, what="broker")


def make_security(settings: KafkaSettings) -> BaseSecurity:
    uses_tls = settings.security_protocol.endswith("SSL")
    context = _tls_context(settings) if uses_tls else None
    if settings.sasl_mechanism is None or not settings.security_protocol.startswith("SASL"):
        return BaseSecurity(ssl_context=context, use_ssl=uses_tls)
    password = settings.sasl_password.get_secret_value() if settings.sasl_password else ""
    return _SASL[settings.sasl_mechanism](
        username=settings.sasl_username or "", password=password, ssl_context=context, use_ssl=uses_tls
    )


def _tls_context(settings: KafkaSettings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.ssl_cafile)
        context.check_hostname = settings.ssl_check_hostname
        if settings.ssl_certfile:
            context.load_cert_chain(settings.ssl_certfile, settings.ssl_keyfile, password=lambda: "")
    except OSError as cause:  # of ssl's errors as well
        raise SettingsInvalid(
            f"LOANLOOP_KAFKA__SSL_CAFILE, __SSL_CERTFILE or __SSL_KEYFILE is no PEM file that can be used: {cause}."
        ) from cause
    return context


async def bounded(stopping: Any, *, within_s: float, what: str) -> None:
    task = asyncio.ensure_future(stopping)
    done, _ = await asyncio.wait({task}, timeout=within_s)
    if not done:
        task.cancel()
        log.warning("kafka_stop_timed_out", what=what, after_s=within_s)
        return
    # aiokafka can answer a stop with CancelledError when the server is gone.
    with contextlib.suppress(asyncio.CancelledError):
        if error := task.exception():
            log.warning("kafka_stop_failed", what=what, error=repr(error))
