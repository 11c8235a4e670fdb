"""A single-node Apache Kafka (KRaft) as a child process: configuration, format, start, ready check, its ends."""

import asyncio
import base64
import contextlib
import secrets
import shutil
from pathlib import Path
from uuid import uuid4

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError

from loanloop.runtime.children import Child, Children, Command
from loanloop.runtime.data_directory import write_private
from loanloop.runtime.logs import new_log, why_ended
from loanloop.runtime.ports import HOST
from loanloop.runtime.problems import CannotRun

READY_WITHIN_S = 90
HEAP = ("-Xms128m", "-Xmx384m", "-XX:+UseSerialGC")
LOG_CONFIG = Path(__file__).with_name("kafka-log4j2.xml")
SETTINGS = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "auto.create.topics.enable": "false",
    # One node: nothing to replicate to, and fewer internal partitions start and stop faster.
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "4",
    # A killed broker may register again only after its old session has run out (9 s by default).
    "broker.session.timeout.ms": "4000",
    "broker.heartbeat.interval.ms": "500",
    "group.initial.rebalance.delay.ms": "0",
    # Events are facts and keep: a producer's own, old timestamp must not delete them.
    "log.message.timestamp.type": "LogAppendTime",
    "log.retention.ms": "-1",
    "offsets.retention.minutes": "525600",
}


class EmbeddedKafka:
    """One broker on one data folder; `start` continues where it was."""

    def __init__(
        self, children: Children, folder: Path, logs: Path, *, java: Path, jars: Path, port: int, controller_port: int
    ) -> None:
        self._children = children
        self._folder = folder
        self._log = logs / "kafka.log"
        self._log_start = 0
        self._java = java
        self._jars = jars
        self.port = port
        self._controller_port = controller_port
        self.child: Child | None = None

    @property
    def bootstrap(self) -> str:
        return f"{HOST}:{self.port}"

    async def start(self) -> Child:
        """Returns when the broker answers with itself as a member of the cluster. Raises CannotRun."""
        self._folder.mkdir(exist_ok=True)
        self._log_start = new_log(self._log)
        if not (self._folder / "data" / "meta.properties").exists():
            await self._format()
        self._write_properties("server.properties", data="data")
        self.child = await self._children.start(self._command("kafka.Kafka", "server.properties"))
        await self._ready(self.child)
        return self.child

    def running(self) -> Child:
        if self.child is None:
            raise CannotRun("It was not started.")
        return self.child

    async def kill(self) -> None:
        """kill -9; what was acknowledged is on disk."""
        if self.child:
            await self._children.kill(self.child)

    async def stop(self) -> None:
        if self.child:
            await self._children.stop(self.child, within_s=20)

    def _command(self, main_class: str, *arguments: str) -> Command:
        options = (*HEAP, f"-Dlog4j2.configurationFile={LOG_CONFIG}", "-Djava.awt.headless=true")
        return Command(
            argv=[str(self._java), *options, "-cp", f"{self._jars}/*", main_class, *arguments],
            log=self._log,
            cwd=self._folder,
            env={"LC_ALL": "C.UTF-8"},  # else Java finds no path that has other letters than ASCII
        )

    def _write_properties(self, name: str, *, data: str) -> None:
        """Paths are relative to the folder: the file is Latin-1, and its `log.dirs` a list with commas."""
        listener, controller = f"{HOST}:{self.port}", f"{HOST}:{self._controller_port}"
        settings = SETTINGS | {
            "listeners": f"PLAINTEXT://{listener},CONTROLLER://{controller}",
            "advertised.listeners": f"PLAINTEXT://{listener}",
            "controller.quorum.voters": f"1@{controller}",
            "log.dirs": data,
        }
        write_private(self._folder / name, "".join(f"{name}={value}\n" for name, value in settings.items()))

    async def _format(self) -> None:
        """Formats beside the final folder, then renames: a data folder is whole or not there."""
        for draft in self._folder.glob("new-*"):
            await asyncio.to_thread(shutil.rmtree, draft)
        draft = self._folder / f"new-{secrets.token_hex(4)}"
        self._write_properties("format.properties", data=draft.name)
        cluster_id = base64.urlsafe_b64encode(uuid4().bytes).decode().rstrip("=")
        child = await self._children.start(
            self._command(
                "kafka.tools.StorageTool", "format", f"--cluster-id={cluster_id}", "--config", "format.properties"
            )
        )
        if await child.wait() != 0:
            raise CannotRun(f"Kafka could not format its data folder ({self._reason()}); see {self._log}.")
        draft.rename(self._folder / "data")
        (self._folder / "format.properties").unlink()

    async def _ready(self, child: Child) -> None:
        for _ in range(READY_WITHIN_S * 10):
            if not child.is_running:
                raise CannotRun(f"Kafka ended at its start ({self._reason()}); see {self._log}.")
            if await answers(HOST, self.port):
                return
            await asyncio.sleep(0.1)
        raise CannotRun(f"Kafka was not ready after {READY_WITHIN_S} s; see {self._log}.")

    def _reason(self) -> str:
        return why_ended(self._log, self._log_start)


async def answers(host: str, port: int) -> bool:
    """Whether a broker answers there, with itself as a member of the cluster."""
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError:  # not listening yet; aiokafka would log this as an error
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    client = AIOKafkaClient(bootstrap_servers=f"{host}:{port}")
    try:
        await client.bootstrap()
        return bool(client.cluster.brokers())
    except KafkaError:
        return False
    finally:
        await client.close()
