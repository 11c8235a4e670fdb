"""Composition root of the evaluator: `python -m loanloop_evaluator.app`."""

import sys
from collections.abc import Sequence
from functools import partial

from loanloop_common.events import Topic
from loanloop_common.kafka import BatchConsumer
from loanloop_common.lifecycle import Foundation, Part, run_service
from loanloop_common.outbox import OutboxRelay
from loanloop_common.polling import Poller
from loanloop_common.portfolio import Policy

from loanloop_evaluator.config import EvaluatorSettings
from loanloop_evaluator.domain.breach import BreachRule
from loanloop_evaluator.domain.facts import WatchedPolicy
from loanloop_evaluator.domain.gate import GateRule
from loanloop_evaluator.domain.quality import QualityRule
from loanloop_evaluator.domain.rolling import RollingRule
from loanloop_evaluator.handlers.alertmanager import AlertmanagerRelay
from loanloop_evaluator.handlers.contender import BundleScorer
from loanloop_evaluator.handlers.facts import FactsWatch
from loanloop_evaluator.handlers.judging import Judge
from loanloop_evaluator.handlers.quality import QualityWatch
from loanloop_evaluator.handlers.rolling import RollingEvaluation
from loanloop_evaluator.handlers.wakeups import WakeUps
from loanloop_evaluator.store.facts import FactStore
from loanloop_evaluator.store.gate import GateStore
from loanloop_evaluator.store.quality import QualityStore
from loanloop_evaluator.store.raised_alerts import RaisedAlertStore
from loanloop_evaluator.store.rolling import RollingStore

SERVICE = "evaluator"


def make_judge(base: Foundation[EvaluatorSettings]) -> Judge:
    portfolio, policy = base.portfolio, base.portfolio.policy
    rule = GateRule(policy.metric, policy.gate_at_least, policy.gate_min_loans, policy.confidence)
    store = GateStore(base.pool, slot=portfolio.name, rule=rule, min_outcomes=policy.min_outcomes)
    load = partial(BundleScorer, portfolio=portfolio, threads=base.settings.evaluator.threads)
    return Judge(store, rule, load)


def make_rolling(base: Foundation[EvaluatorSettings]) -> RollingEvaluation:
    slot, policy = base.portfolio.name, base.portfolio.policy
    return RollingEvaluation(
        RollingStore(base.pool, slot=slot, min_outcomes=policy.min_outcomes),
        slot,
        RollingRule(policy.metric, policy.window_days, policy.min_outcomes, policy.confidence, policy.breach_below),
        BreachRule(policy.breach_below, policy.breach_days, policy.relapse_days),
    )


def make_quality_rule(policy: Policy) -> QualityRule:
    return QualityRule(policy.max_rejected_share, policy.quality_min_loans)


def make_judging(base: Foundation[EvaluatorSettings], relay: OutboxRelay) -> Poller:
    judge = make_judge(base)

    async def look_at_challengers() -> None:
        while await judge.look():
            relay.wake()
        base.heartbeat.update(detail={"waiting": judge.waiting})

    return Poller(look_at_challengers, every_s=base.settings.evaluator.poll_s, name="judging")


def make_closing(base: Foundation[EvaluatorSettings], relay: OutboxRelay) -> Poller:
    rolling = make_rolling(base)

    async def look_at_days() -> None:
        while await rolling.look():
            relay.wake()
        relay.wake()

    return Poller(look_at_days, every_s=base.settings.evaluator.poll_s, name="rolling")


def make_watching(base: Foundation[EvaluatorSettings]) -> Poller:
    watch = QualityWatch(QualityStore(base.pool), make_quality_rule(base.portfolio.policy))
    return Poller(watch.look, every_s=base.settings.evaluator.quality_every_s, name="data_quality")


def make_facts(base: Foundation[EvaluatorSettings]) -> FactsWatch:
    slot, policy = base.portfolio.name, base.portfolio.policy
    read_only_dsn = base.settings.postgres.read_only_dsn
    store = FactStore(base.pool, read_only_dsn=read_only_dsn, slot=slot, min_outcomes=policy.min_outcomes)
    watched = WatchedPolicy(slot, policy.metric, policy.breach_below, policy.gate_at_least)
    return FactsWatch(store, watched, every_s=base.settings.evaluator.facts_every_s)


def make_telling(base: Foundation[EvaluatorSettings]) -> list[Poller]:
    """Nothing without an Alertmanager."""
    settings = base.settings
    if settings.alertmanager_url is None:
        return []
    url, portfolio = str(settings.alertmanager_url), base.portfolio.name
    relay = AlertmanagerRelay(RaisedAlertStore(base.pool), url=url, portfolio=portfolio)
    return [Poller(relay.look, every_s=settings.evaluator.alerts_every_s, name="alertmanager")]


async def build(base: Foundation[EvaluatorSettings]) -> Sequence[Part]:
    relay = OutboxRelay(base.pool, base.broker, service=SERVICE)
    judging, closing, watching = make_judging(base, relay), make_closing(base, relay), make_watching(base)
    wake_ups = WakeUps(judge=judging.wake, close_days=closing.wake)
    consumer = BatchConsumer(
        base.broker, Topic.MODEL_TRAINED, Topic.LOAN_OUTCOME, group=SERVICE, handle=wake_ups.wake, name=SERVICE
    )
    return [relay, judging, closing, watching, make_facts(base), *make_telling(base), consumer]


if __name__ == "__main__":
    sys.exit(run_service(SERVICE, EvaluatorSettings, build))
