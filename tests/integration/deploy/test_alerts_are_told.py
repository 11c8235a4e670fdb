"""From a row of `alerts` to a webhook and a mailbox, through a real Alertmanager with the file that is deployed."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from loanloop_common.alerts import Alert, raise_alert
from loanloop_common.errors import Unavailable
from loanloop_common.postgres import Pool
from loanloop_evaluator.domain.firing import RaisedAlert, firing
from loanloop_evaluator.handlers.alertmanager import AlertmanagerRelay
from loanloop_evaluator.store.raised_alerts import RaisedAlertStore

from tests.integration.evaluator.world import SLOT, World, day
from tests.support.eventually import eventually
from tests.support.infrastructure import Backend
from tests.support.monitoring import free_port, running
from tests.support.told import Mailbox, Webhook

MESSAGE = "7 % of the loans were rejected: income – ungültig"
RECEIVERS = Path(__file__).parents[3] / "deploy" / "alertmanager" / "receivers.yml"


@dataclass
class Told:
    folder: Path
    webhook: Webhook
    watchdog: Webhook
    mailbox: Mailbox

    def config(self) -> str:
        """The deployed file with the lines that are its user's, and less patience."""
        text = RECEIVERS.read_text()
        for deployed, here in {
            "mail.example.com:587": self.mailbox.smarthost,
            "http://hook.example.com/alerts": self.webhook.url,
            "http://watchdog.example.com/ping": self.watchdog.url,
            "smtp_require_tls: true": "smtp_require_tls: false",
            "group_wait: 30s": "group_wait: 100ms",
            "group_interval: 5m": "group_interval: 1s",
        }.items():
            assert deployed in text
            text = text.replace(deployed, here)
        return text

    @asynccontextmanager
    async def alertmanager(self) -> AsyncIterator[str]:
        """Its URL; what it has told so far it knows from one start to the next."""
        options = ("--storage.path=data", "--cluster.listen-address=")
        async with running("alertmanager", self.folder, self.config(), *options) as url:
            yield url


def relay_to(url: str, pool: Pool) -> AlertmanagerRelay:
    return AlertmanagerRelay(RaisedAlertStore(pool), url=url, portfolio=SLOT)


@pytest.fixture
async def told(tmp_path: Path) -> AsyncIterator[Told]:
    async with AsyncExitStack() as stack:
        made = Told(tmp_path, Webhook(), Webhook(), Mailbox())
        await stack.enter_async_context(made.webhook.listening())
        await stack.enter_async_context(made.watchdog.listening())
        await stack.enter_async_context(made.mailbox.listening())
        yield made


async def raised(pool: Pool, **about: Any) -> str:
    alert = Alert(**{"kind": "data_quality", "fact": "1", "severity": "warning", "message": "bad loans"} | about)
    async with pool.acquire() as connection, connection.transaction():
        assert await raise_alert(connection, alert, service="evaluator")
        alert_id: str = await connection.fetchval(
            "SELECT alert_id::text FROM loan_data.alerts ORDER BY raised_at DESC LIMIT 1"
        )
    return alert_id


async def test_an_alert_reaches_a_webhook_and_a_mailbox_once_however_often_it_is_posted(pool: Pool, told: Told) -> None:
    alert_id = await raised(pool, message=MESSAGE)

    async with told.alertmanager() as url:
        relay = relay_to(url, pool)
        await relay.look()
        await eventually(lambda: told.webhook.told("firing") and told.mailbox.mails, within_s=20)
        for _ in range(3):
            await relay.look()
        other = await raised(pool, fact="2")
        await relay.look()
        await eventually(lambda: other in told.webhook.told("firing"), within_s=20)

    assert told.webhook.told("firing") == [alert_id, other]
    (alert, *_) = told.webhook.alerts
    assert alert["annotations"]["summary"] == MESSAGE
    assert (alert["labels"]["preset"], alert["labels"]["severity"]) == (SLOT, "warning")
    mail = told.mailbox.mails[0]
    assert (mail["To"], mail["From"]) == ("risk@example.com", "loanloop@example.com")
    assert "DataQuality" in mail["Subject"]


async def test_the_evaluator_tells_of_the_alerts_of_other_services(
    infrastructure: Backend, database: str, topics: str, pool: Pool, told: Told
) -> None:
    async with told.alertmanager() as url:
        env = {"LOANLOOP_ALERTMANAGER_URL": url, "LOANLOOP_EVALUATOR__ALERTS_EVERY_S": "0.5"}
        await infrastructure.start_service("evaluator", LOANLOOP_POSTGRES__DSN=database, LOANLOOP_PORTFOLIO=SLOT, **env)
        alert_id = await raised(pool, kind="training_failed", severity="critical", fact="run")

        await eventually(lambda: told.webhook.told("firing") == [alert_id], within_s=60)


@pytest.mark.parametrize(
    ("kind", "rule"),
    [("retraining_given_up", "LoanloopRetrainingGivenUp"), ("training_failed", "LoanloopTrainingFailed")],
)
async def test_what_the_evaluator_tells_prometheus_does_not_tell_again_but_of_others(
    told: Told, kind: str, rule: str
) -> None:
    now = datetime.now(UTC)
    alert = RaisedAlert("1", "trainer", kind, "critical", MESSAGE, now, is_state=True, resolved_at=None)
    ours = firing(alert, preset="sba", now=now)
    same, others = ({"labels": {"alertname": rule, "preset": preset}} for preset in ("sba", "other"))

    async with told.alertmanager() as url, httpx.AsyncClient(base_url=url) as client:
        (await client.post("/api/v2/alerts", json=[ours, same, others])).raise_for_status()

        async def states() -> bool:
            alerts = (await client.get("/api/v2/alerts")).json()
            found = [(each["labels"], each["status"]["state"]) for each in alerts]
            wanted = [(ours["labels"], "active"), (same["labels"], "suppressed"), (others["labels"], "active")]
            return all(each in found for each in wanted)

        await eventually(states, within_s=20)
        await eventually(lambda: len(told.webhook.alerts) == 2, within_s=20)

    assert same["labels"] not in [told_of["labels"] for told_of in told.webhook.alerts]


async def test_that_alerts_are_on_their_way_is_told_to_the_watchdog_alone(told: Told) -> None:
    watchdog, another = ({"labels": {"alertname": name}} for name in ("LoanloopWatchdog", "LoanloopDiskFull"))

    async with told.alertmanager() as url, httpx.AsyncClient(base_url=url) as client:
        (await client.post("/api/v2/alerts", json=[watchdog, another])).raise_for_status()
        await eventually(lambda: told.watchdog.alerts and told.webhook.alerts, within_s=20)

    for told_of, alert in ((told.watchdog, watchdog), (told.webhook, another)):
        assert [each["labels"] for each in told_of.alerts] == [alert["labels"]]


async def test_what_alertmanager_forgot_is_told_again_to_it_and_to_nobody_else(pool: Pool, told: Told) -> None:
    first = await raised(pool)
    async with told.alertmanager() as url:
        relay = relay_to(url, pool)
        await relay.look()
        await eventually(lambda: told.webhook.told("firing"), within_s=20)

    async with told.alertmanager() as url:
        relay = relay_to(url, pool)
        await relay.look()
        second = await raised(pool, fact="2")
        await relay.look()
        await eventually(lambda: second in told.webhook.told("firing"), within_s=20)

    # Alertmanager sends again what was not answered in its second: of the other alert, which is new, that is its right.
    assert told.webhook.told("firing").count(first) == 1


async def test_an_alert_raised_while_alertmanager_is_away_is_told_when_it_is_back(pool: Pool, told: Told) -> None:
    alert_id = await raised(pool)
    away = AlertmanagerRelay(RaisedAlertStore(pool), url=f"http://127.0.0.1:{free_port()}", portfolio=SLOT)

    with pytest.raises(
        Unavailable, match=r"LOANLOOP_ALERTMANAGER_URL\) does not answer: .+; the alerts are posted again"
    ):
        await away.look()
    async with told.alertmanager() as url:
        relay = relay_to(url, pool)
        await relay.look()
        await eventually(lambda: told.webhook.told("firing") == [alert_id], within_s=20)


async def test_retraining_that_was_given_up_is_over_with_its_breach(pool: Pool, told: Told) -> None:
    breach_id = await an_open_breach(pool)
    alert_id = await raised(pool, kind="retraining_given_up", severity="critical", details={"breach_id": breach_id})

    async with told.alertmanager() as url:
        relay = relay_to(url, pool)
        await relay.look()
        await eventually(lambda: told.webhook.told("firing") == [alert_id], within_s=20)
        await pool.execute("UPDATE loan_data.alerts SET raised_at = now() - interval '90 days'")
        assert [alert.alert_id for alert in await RaisedAlertStore(pool).fetch_raised()] == [alert_id]
        await pool.execute(
            "UPDATE loan_data.breaches SET closed_on = opened_on + 9, closed_at = now(), closed_by = 'deployment'"
        )
        await relay.look()
        await eventually(lambda: told.webhook.told("resolved") == [alert_id], within_s=20)


async def an_open_breach(pool: Pool) -> int:
    breach_id: int = await pool.fetchval(
        "INSERT INTO loan_data.breaches (version, opened_on, value, upper, n_loans) "
        "VALUES ('v1', '2008-01-01', 0.7, 0.75, 90) RETURNING breach_id"
    )
    return breach_id


async def test_alertmanager_that_takes_no_alert_says_why(pool: Pool, told: Told) -> None:
    await raised(pool)

    async with told.alertmanager() as url:
        with pytest.raises(Unavailable, match="refuses them with 404"):
            await relay_to(f"{url}/nowhere", pool).look()


async def test_what_has_ended_long_ago_is_not_told(pool: Pool) -> None:
    old_fact = await raised(pool, fact="old")
    await pool.execute("UPDATE loan_data.alerts SET raised_at = now() - interval '73 hours'")
    new_fact = await raised(pool, fact="new")

    alerts = await RaisedAlertStore(pool).fetch_raised()

    assert [alert.alert_id for alert in alerts] == [new_fact]
    assert old_fact != new_fact


async def test_a_version_that_was_refused_while_live_is_over_with_the_next_deployment(pool: Pool) -> None:
    world = World(pool)
    await world.add_model(1, train_to=day(1))
    await world.add_model(2, train_to=day(2))
    as_challenger = await raised(pool, kind="model_refused", fact="v3", details={"version": "v3"})
    while_live = await raised(pool, kind="model_refused", fact=1, details={"version": "v1", "deployment_seq": 1})
    before = {alert.alert_id: alert for alert in await RaisedAlertStore(pool).fetch_raised()}
    await world.operator().promote("v2", reason="the file of v1 is broken")

    after = {alert.alert_id: alert for alert in await RaisedAlertStore(pool).fetch_raised()}

    assert (before[while_live].is_state, before[while_live].resolved_at) == (True, None)
    assert (after[as_challenger].is_state, after[as_challenger].resolved_at) == (False, None)
    assert after[while_live].resolved_at is None  # v2 is deployment 1, the one that the alert is about
    await world.operator().promote("v1", reason="mended")
    ended = {alert.alert_id: alert for alert in await RaisedAlertStore(pool).fetch_raised()}[while_live]
    assert ended.resolved_at is not None
    assert ended.resolved_at - ended.raised_at < timedelta(minutes=5)
