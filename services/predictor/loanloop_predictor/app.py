"""Composition root of the predictor: `python -m loanloop_predictor.app`."""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, replace
from functools import partial

import structlog
import uvloop
from loanloop_common.events import Topic
from loanloop_common.instances import Heartbeat
from loanloop_common.kafka import BatchConsumer
from loanloop_common.lifecycle import Foundation, Part, run_service
from loanloop_common.loan_codec import LoanCodec
from loanloop_common.outbox import OutboxRelay
from loanloop_common.partitions import partitions_ahead
from loanloop_common.polling import Poller
from loanloop_common.removed_records import alerting
from loanloop_common.sampled_lines import FollowedLines
from loanloop_common.telemetry import observe, set_gauge, watch_gauge

from loanloop_predictor.api import (
    Access,
    Admission,
    Api,
    Decide,
    RestServer,
    TimeLimit,
    TlsFiles,
    TokenRules,
    Tokens,
    make_api,
)
from loanloop_predictor.config import PredictorOptions, PredictorSettings
from loanloop_predictor.domain.access import RateLimit
from loanloop_predictor.domain.access_keys import caller_of
from loanloop_predictor.domain.incoming import IncomingLoan
from loanloop_predictor.domain.plain_requests import PlainRequests
from loanloop_predictor.handlers import DeploymentHandler, LoanHandler, LoanStream
from loanloop_predictor.serving.champions import Champions, Swap
from loanloop_predictor.serving.counted import begin_counting
from loanloop_predictor.serving.decider import Answer, Decider, ScoredRequests
from loanloop_predictor.serving.shared_batches import SharedBatches
from loanloop_predictor.serving.told import tell_decided
from loanloop_predictor.store.availability import DatabaseAway
from loanloop_predictor.store.decisions import DecisionStore
from loanloop_predictor.store.issuer_keys import fetch_issuer_keys
from loanloop_predictor.store.keys_file import LOOK_EVERY_S, KeysFile
from loanloop_predictor.store.models import ModelStore
from loanloop_predictor.store.refusals import RefusalStore

log = structlog.get_logger()

SERVICE = "predictor"
LOOK_AT_ISSUER_EVERY_S = 300.0
FIRST_LOOK_WITHIN_S = 10.0  # REST answers behind it: a replica that starts shall not say that it has no model yet
GATHER_EVENTS_S = 0.25  # of REST, while more come: they are stored and answered already


def report_swap(heartbeat: Heartbeat, swap: Swap) -> None:
    heartbeat.update(version=swap.version, deployment_seq=swap.deployment_seq, detail={"last_swap": asdict(swap)})
    set_gauge("loanloop_served_deployment_seq", swap.deployment_seq)
    begin_counting(swap.version)


def database_state(live: Poller) -> str:
    """A look at what is live fails for other reasons as well, such as no memory for a model."""
    return "away" if isinstance(live.error, DatabaseAway) else "ok"


def make_consumers(
    base: Foundation[PredictorSettings], champions: Champions, decider: Decider, followed: FollowedLines
) -> tuple[BatchConsumer, ...]:
    deployed = BatchConsumer(
        base.broker,
        Topic.MODEL_DEPLOYED,
        group=None,
        broadcast=True,
        handle=DeploymentHandler(champions).apply_deployments,
        name="deployments",
    )
    loans = BatchConsumer(
        base.broker,
        Topic.LOAN_RECEIVED,
        group=SERVICE,
        handle=LoanHandler(decider, base.broker, RefusalStore(base.pool), followed).decide_loans,
        name="loans",
        max_records=base.settings.predictor.batch_records,
    )
    return deployed, loans


def deciding_together(decider: Decider, relay: OutboxRelay, followed: FollowedLines, *, max_items: int) -> Decide:
    async def record(scored: ScoredRequests) -> Sequence[Answer]:
        answers = await decider.record_requested(scored)
        relay.wake()
        tell_decided(followed, scored.incoming, answers)
        return answers

    async def score(incoming: Sequence[IncomingLoan]) -> Callable[[], Awaitable[Sequence[Answer]]]:
        observe("loanloop_rest_batch_loans", len(incoming))
        return partial(record, await decider.score_requested(incoming))

    return SharedBatches(score, max_items=max_items).submit


def make_access(options: PredictorOptions) -> tuple[Access | None, Sequence[Part]]:
    """None: everybody is let in. Raises KeysInvalid."""
    if not options.asks_for_keys:
        if not options.is_on_loopback:
            log.warning("rest_lets_in_everybody", host=options.host, because="LOANLOOP_PREDICTOR__OPEN_BEHIND_PROXY")
        return None, []
    rate = RateLimit(per_s=options.requests_per_s, burst=options.requests_burst)
    access = Access(rate, is_metrics_open=options.is_on_loopback or options.metrics_open)
    parts: list[Part] = []
    if options.keys_file:
        known = KeysFile(options.keys_file)
        access = replace(access, by_key=lambda key: caller_of(key, known.keys, time.time()))
        parts.append(watched_keys(known))
    if options.oidc_issuer and options.oidc_audience and options.oidc_jwks:
        rules = TokenRules(
            options.oidc_issuer, options.oidc_audience, options.oidc_roles_claim, options.oidc_role_prefix
        )
        tokens = Tokens(rules, partial(fetch_issuer_keys, options.oidc_jwks))
        access = replace(access, by_token=tokens.caller)
        parts.append(Poller(tokens.look, every_s=LOOK_AT_ISSUER_EVERY_S, name="issuer", cancel_on_stop=True))
    return access, parts


def watched_keys(known: KeysFile) -> Poller:
    def tell() -> None:
        log.info("keys_known", n_keys=len(known.keys))

    async def look() -> None:
        if known.look():
            tell()

    tell()
    return Poller(look, every_s=LOOK_EVERY_S, name="keys")


def make_live(champions: Champions, *, every_s: float) -> Poller:
    return Poller(champions.reconcile, every_s=every_s, name="live_version", first_within_s=FIRST_LOOK_WITHIN_S)


def make_routes(
    base: Foundation[PredictorSettings], champions: Champions, decide: Decide, *, loans: BatchConsumer, live: Poller
) -> Api:
    options = base.settings.predictor
    codec = LoanCodec(base.portfolio)
    admission = Admission(max_requests=options.max_requests, max_bytes=options.max_batch_bytes_at_once)
    watch_gauge("loanloop_http_requests_in_progress", lambda: admission.n_admitted)
    return Api(
        codec=codec,
        plain=PlainRequests(codec),
        champions=champions,
        decide=decide,
        stream_state=lambda: loans.state,
        database_state=lambda: database_state(live),
        reconcile_state=lambda: live.state,
        admission=admission,
        max_batch_loans=options.max_batch_loans,
        max_body_bytes=options.max_body_bytes,
        max_loan_bytes=options.max_loan_bytes,
        body_within=TimeLimit(options.body_within_s),
    )


def make_server(options: PredictorOptions, api: Api, access: Access | None) -> RestServer:
    tls = TlsFiles(options.tls_cert, options.tls_key) if options.tls_cert and options.tls_key else None
    return RestServer(
        make_api(api, access),
        host=options.host,
        port=options.port,
        head_within_s=options.body_within_s,
        drain_s=options.drain_requests_s,
        tls=tls,
    )


async def build(base: Foundation[PredictorSettings]) -> Sequence[Part]:
    options = base.settings.predictor
    access, watching_access = make_access(options)
    base.broker.on_removed = alerting(base.pool, service=SERVICE)
    relay = OutboxRelay(base.pool, base.broker, service=SERVICE, gather_s=GATHER_EVENTS_S)
    champions = Champions(
        ModelStore(base.pool), base.portfolio, threads=options.threads, on_swap=partial(report_swap, base.heartbeat)
    )
    decider = Decider(LoanCodec(base.portfolio), champions, DecisionStore(base.pool))
    partitions = await partitions_ahead(base.pool)
    followed = FollowedLines(per_s=base.settings.log_followed_per_s)
    deployed, loans = make_consumers(base, champions, decider, followed)
    live = make_live(champions, every_s=options.reconcile_every_s)
    decide = deciding_together(decider, relay, followed, max_items=options.batch_records)
    server = make_server(options, make_routes(base, champions, decide, loans=loans, live=live), access)
    base.heartbeat.update(url=server.url)
    # Subscribe first, then read what is live: a deployment in between is seen by one of the two.
    return [relay, partitions, deployed, live, LoanStream(loans, champions.available), *watching_access, server]


if __name__ == "__main__":
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    sys.exit(run_service(SERVICE, PredictorSettings, build, has_rest=True))
