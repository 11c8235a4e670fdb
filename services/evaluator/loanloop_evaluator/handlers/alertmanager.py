"""Tells Alertmanager of the alerts: all that are not over, at each look, because it forgets them when it restarts."""

import asyncio
import json
import urllib.error
import urllib.request
from typing import Any

from loanloop_common.errors import Unavailable, in_one_line

from loanloop_evaluator.domain.firing import firing
from loanloop_evaluator.store.raised_alerts import RaisedAlertStore

ANSWERS_WITHIN_S = 10


class AlertmanagerRelay:
    """Stateless: the rows of `alerts` are the truth, and a post that comes twice changes nothing."""

    def __init__(self, store: RaisedAlertStore, *, url: str, portfolio: str) -> None:
        self._store = store
        self._url = url.rstrip("/")
        self._portfolio = portfolio

    async def look(self) -> None:
        """Raises Unavailable where Alertmanager does not take them; the next look posts them again."""
        raised = await self._store.fetch_raised()
        if not raised:
            return
        now = await self._store.fetch_now()
        alerts = [firing(alert, preset=self._portfolio, now=now) for alert in raised]
        await asyncio.to_thread(self._post, alerts)

    def _post(self, alerts: list[dict[str, Any]]) -> None:
        request = urllib.request.Request(  # noqa: S310 - the settings take http and https alone
            f"{self._url}/api/v2/alerts",
            data=json.dumps(alerts).encode(),
            headers={"Content-Type": "application/json"},
            method="POST",
        )
        try:
            with urllib.request.urlopen(request, timeout=ANSWERS_WITHIN_S):  # noqa: S310
                pass
        except urllib.error.HTTPError as refused:
            said = " ".join(refused.read(500).decode(errors="replace").split())
            raise Unavailable(self._sentence(f"refuses them with {refused.code}: {said}")) from refused
        except (OSError, urllib.error.URLError) as error:
            raise Unavailable(self._sentence(f"does not answer: {in_one_line(error)}")) from error

    def _sentence(self, what: str) -> str:
        return (
            f"Alertmanager at {self._url} (LOANLOOP_ALERTMANAGER_URL) {what}; the alerts are posted again until it "
            "takes them"
        )
