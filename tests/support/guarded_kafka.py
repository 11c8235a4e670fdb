"""A Kafka whose users are those of deploy/kubernetes, each of whom may do what stands there."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.admin import CreateAclsRequest
from loanloop.runtime.children import Children, Command
from loanloop.runtime.data_directory import write_private
from loanloop.runtime.java import find_java
from loanloop.runtime.kafka_jars import kafka_jars
from loanloop.runtime.ports import ANY_FREE, assign_ports
from loanloop.runtime.settings import RuntimeSettings

from tests.support.kubernetes import named
from tests.support.secured_servers import PASSWORD, SecuredKafka, make_certificates

# Kafka's own numbers of ResourceType, PatternType, AclOperation and AclPermissionType.
KINDS = {"topic": 2, "group": 3}
PATTERNS = {"literal": 3, "prefix": 4}
OPERATIONS = {"Read": 3, "Write": 4, "Describe": 8}
ALLOW = 3


class GuardedKafka(SecuredKafka):
    """By SASL_SSL one may do what one is allowed to; without, everything, as a test does."""

    def _write_properties(self, name: str, *, data: str) -> None:
        super()._write_properties(name, data=data)
        path = self._folder / name
        guarded = "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n"
        write_private(path, path.read_text() + guarded + "super.users=User:ANONYMOUS\n")

    def _command(self, main_class: str, *arguments: str) -> Command:
        command = super()._command(main_class, *arguments)
        if "format" not in arguments:
            return command
        users = [("--add-scram", f"SCRAM-SHA-512=[name={user},password={PASSWORD}]") for user in named("KafkaUser")]
        return replace(command, argv=[*command.argv, *(part for user in users for part in user)])


@asynccontextmanager
async def guarded_kafka(folder: Path) -> AsyncIterator[GuardedKafka]:
    settings, ports = RuntimeSettings(), assign_ports(ANY_FREE, None)
    java = find_java(settings.java_home)
    jars = kafka_jars(settings, lambda _line: None)
    children = await Children.supervised()
    kafka = GuardedKafka(
        children,
        folder / "kafka",
        folder,
        java=java,
        jars=jars,
        port=ports.kafka,
        controller_port=ports.kafka_controller,
    )
    kafka.secured_port, kafka.certificates = ports.rest, make_certificates(folder)
    try:
        await kafka.start()
        await _grant(kafka.bootstrap)
        yield kafka
    finally:
        await kafka.stop()
        await children.close()


async def _grant(bootstrap: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        for user, described in named("KafkaUser").items():
            for acl in described["spec"]["authorization"]["acls"]:
                on = acl["resource"]
                for operation in acl["operations"]:
                    answer = await admin._send_request(
                        CreateAclsRequest(
                            KINDS[on["type"]],
                            on["name"],
                            PATTERNS[on["patternType"]],
                            f"User:{user}",
                            "*",
                            OPERATIONS[operation],
                            ALLOW,
                        )
                    )
                    assert [code for code, _ in answer.creation_responses] == [0], answer
    finally:
        await admin.close()
