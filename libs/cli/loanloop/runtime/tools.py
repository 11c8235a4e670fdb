"""Kafka's and PostgreSQL's own command-line tools as small scripts in the data folder, addressed to its servers."""

import shlex
from pathlib import Path

from loanloop.runtime.infrastructure import EmbeddedInfrastructure
from loanloop.runtime.ports import HOST
from loanloop.runtime.postgres import DATABASE, USER
from loanloop.runtime.postgres_account import package_folder

KAFKA_TOOLS = {
    "kafka-console-producer": "org.apache.kafka.tools.ConsoleProducer",
    "kafka-console-consumer": "org.apache.kafka.tools.consumer.ConsoleConsumer",
    "kafka-topics": "org.apache.kafka.tools.TopicCommand",
    "kafka-consumer-groups": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
}
LOG_CONFIG = Path(__file__).with_name("kafka-tools-log4j2.xml")


def write_tools(infrastructure: EmbeddedInfrastructure) -> Path:
    """The folder with the scripts; none of them holds a password."""
    folder = infrastructure.directory.path / "bin"
    folder.mkdir(exist_ok=True)
    for name, main_class in KAFKA_TOOLS.items():
        _write_script(folder / name, _kafka_tool(infrastructure, main_class))
    _write_script(folder / "psql", _psql(infrastructure))
    return folder


def _kafka_tool(infrastructure: EmbeddedInfrastructure, main_class: str) -> str:
    command = [str(infrastructure.java), "-Xmx256m", f"-Dlog4j2.configurationFile={LOG_CONFIG}"]
    command += ["-cp", f"{infrastructure.jars}/*", main_class, "--bootstrap-server", infrastructure.kafka_bootstrap]
    return f'exec {shlex.join(command)} "$@"'


def _psql(infrastructure: EmbeddedInfrastructure) -> str:
    program = package_folder() / "pginstall" / "bin" / "psql"
    command = [str(program), "-h", HOST, "-p", str(infrastructure.ports.postgres), "-U", USER, DATABASE]
    password = shlex.quote(str(infrastructure.postgres.password_file))
    return f'PGPASSWORD="$(cat {password})" exec {shlex.join(command)} "$@"'


def _write_script(path: Path, line: str) -> None:
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)
