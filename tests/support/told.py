"""Whoever Alertmanager tells: a webhook and a mail server that keep what they are told."""

import json
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email import message_from_bytes
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from loanloop.runtime.ports import HOST

from tests.support.monitoring import free_port


class Webhook:
    def __init__(self) -> None:
        self.alerts: list[dict[str, Any]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.alerts += body["alerts"]
                self.send_response(200)
                self.end_headers()

            def log_message(self, *arguments: object) -> None: ...

        self._server = ThreadingHTTPServer((HOST, 0), Handler)

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self._server.server_address[1]}/alerts"

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._server.shutdown()
            self._server.server_close()

    def told(self, status: str) -> list[str]:
        """The ids of the alerts that it was told of, each as often as it was."""
        return [alert["labels"]["alert_id"] for alert in self.alerts if alert["status"] == status]


class Mailbox:
    def __init__(self) -> None:
        self.mails: list[Message] = []
        self._controller = Controller(self, hostname=HOST, port=free_port())

    @property
    def smarthost(self) -> str:
        return f"{self._controller.hostname}:{self._controller.port}"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        content = envelope.content
        assert isinstance(content, bytes)
        self.mails.append(message_from_bytes(content))
        return "250 OK"

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        self._controller.start()
        try:
            yield
        finally:
            self._controller.stop()
