"""Kafka, PostgreSQL and the scaling of deploy/kubernetes, beside what the code does with them."""

import re
from urllib.parse import parse_qs, urlsplit

import pytest
from loanloop_common.asyncapi import CHANNELS, READ_BY
from loanloop_common.kafka.topics import described_topics
from loanloop_common.settings import PostgresSettings

from deploy.kubernetes.schemas import Schemas, of_definition
from tests.support.kubernetes import PODS, ROOT, SERVICES, SETTINGS, Resource, environment_of, named

PARTITIONS, REPLICATION = (int(SETTINGS[f"LOANLOOP_KAFKA__{name}"]) for name in ("PARTITIONS", "REPLICATION"))
each_service = pytest.mark.parametrize("service", SERVICES)


def rights_of(user: str) -> set[tuple[str, str, str]]:
    acls = named("KafkaUser")[user]["spec"]["authorization"]["acls"]
    return {(one["resource"]["type"], one["resource"]["name"], do) for one in acls for do in one["operations"]}


def test_every_topic_is_there_and_kept_as_the_code_keeps_it() -> None:
    made = {
        name: (one["spec"]["partitions"], one["spec"]["replicas"], one["spec"]["config"])
        for name, one in named("KafkaTopic").items()
    }
    assert made == {
        topic.name: (topic.num_partitions, topic.replication_factor, topic.topic_configs)
        for topic in described_topics(PARTITIONS, REPLICATION)
    }


@each_service
def test_a_service_may_read_what_it_reads_in_its_own_group_and_no_more(service: str) -> None:
    rights = rights_of(service)
    reads = {str(topic) for topic, channel in CHANNELS.items() if service in channel.readers}
    assert {name for kind, name, do in rights if (kind, do) == ("topic", "Read")} == reads
    assert {right for right in rights if right[0] == "group"} == {("group", service, "Read")}


def test_commands_read_no_event_and_restore_alone_sets_the_groups() -> None:
    topics = {("topic", str(topic), "Read") for topics in READ_BY.values() for topic in topics}
    described = {("topic", name, "Describe") for name in ("loan.", "model.", "alert.")}
    assert rights_of("restorer") == topics | described | {("group", group, "Read") for group in READ_BY}
    sent = {("topic", topic, "Write") for topic in ("loan.received", "loan.outcome")}
    assert rights_of("operator") == sent | described | {("group", group, "Describe") for group in READ_BY}
    assert environment_of("restore")["LOANLOOP_KAFKA__SASL_USERNAME"] == "restorer"


def test_nobody_may_create_a_topic_or_act_on_the_cluster() -> None:
    for user in named("KafkaUser"):
        assert not {(kind, do) for kind, _, do in rights_of(user)} & {
            ("topic", "Create"),
            ("topic", "All"),
            ("topic", "Alter"),
        }
        assert "cluster" not in {kind for kind, _, _ in rights_of(user)}


@pytest.mark.parametrize("pod", sorted(PODS))
def test_a_pod_logs_in_as_a_user_that_is_made_with_a_password_that_is_made(pod: str) -> None:
    environment, cluster = environment_of(pod), named("Cluster")["postgres"]["spec"]
    prefix = named("Kafka")["kafka"]["spec"]["entityOperator"]["userOperator"]["secretPrefix"]
    if user := environment.get("LOANLOOP_KAFKA__SASL_USERNAME"):
        assert user in named("KafkaUser")
        assert environment["LOANLOOP_KAFKA__SASL_PASSWORD"] == f"secret {prefix}{user}"
    passwords = {one["name"]: one["passwordSecret"]["name"] for one in cluster["managed"]["roles"] if one["login"]}
    passwords[cluster["bootstrap"]["initdb"]["owner"]] = "postgres-app"
    for name in ("LOANLOOP_POSTGRES__DSN", "LOANLOOP_POSTGRES__READ_ONLY_DSN"):
        if dsn := environment.get(name):
            parts = urlsplit(dsn)
            assert environment["PGPASSWORD"] == f"secret {passwords[str(parts.username)]}"
            assert parts.hostname == ("postgres-ro" if "READ_ONLY" in name else "postgres-rw")
            assert parts.path == f"/{cluster['bootstrap']['initdb']['database']}"
            assert parse_qs(parts.query)["sslmode"] == ["verify-full"]


def test_kafka_is_where_the_services_look_for_it() -> None:
    (listener,) = named("Kafka")["kafka"]["spec"]["kafka"]["listeners"]
    assert SETTINGS["LOANLOOP_KAFKA__BOOTSTRAP_SERVERS"] == f"kafka-kafka-bootstrap:{listener['port']}"
    assert (listener["tls"], listener["authentication"]["type"]) == (True, "scram-sha-512")
    pools = {pool["spec"]["roles"][0]: pool["spec"]["replicas"] for pool in named("KafkaNodePool").values()}
    config = named("Kafka")["kafka"]["spec"]["kafka"]["config"]
    assert pools["broker"] >= REPLICATION > config["min.insync.replicas"] > 1


def test_no_node_has_two_of_kafka() -> None:
    for name, pool in named("KafkaNodePool").items():
        (spread,) = pool["spec"]["template"]["pod"]["topologySpreadConstraints"]
        assert spread["labelSelector"]["matchLabels"] == pool["metadata"]["labels"] | {"strimzi.io/pool-name": name}
        assert (spread["topologyKey"], spread["whenUnsatisfiable"]) == ("kubernetes.io/hostname", "DoNotSchedule")
        assert (spread["maxSkew"], spread["minDomains"]) == (1, pool["spec"]["replicas"])


def test_what_is_kept_for_a_replica_that_is_away_leaves_room_to_write() -> None:
    cluster = named("Cluster")["postgres"]["spec"]
    parameters = cluster["postgresql"]["parameters"]
    kept, most = (int(parameters[name].removesuffix("GB")) for name in ("max_slot_wal_keep_size", "max_wal_size"))
    assert kept + most < int(cluster["walStorage"]["size"].removesuffix("Gi"))


def test_an_event_is_lost_neither_to_its_age_nor_to_a_failover() -> None:
    config = named("Kafka")["kafka"]["spec"]["kafka"]["config"]
    assert (config["log.retention.ms"], config["log.message.timestamp.type"]) == (-1, "LogAppendTime")
    synchronous = named("Cluster")["postgres"]["spec"]["postgresql"]["synchronous"]
    assert synchronous == {"method": "any", "number": 1, "dataDurability": "required", "failoverQuorum": True}


def test_roles_of_the_database_are_those_of_the_migration_and_each_service_has_its_own() -> None:
    migration = next((ROOT / "migrations").glob("0013*.sql")).read_text()
    granted = set(re.findall(r"'(loanloop_\w+)'", migration.split("LOOP")[0]))
    roles = {one["name"]: one for one in named("Cluster")["postgres"]["spec"]["managed"]["roles"]}
    assert {name for name, role in roles.items() if not role["login"]} == granted
    assert urlsplit(environment_of("backup")["LOANLOOP_POSTGRES__DSN"]).username == "backup"
    for name in (*SERVICES, "operator", "backup"):
        assert roles[name]["inRoles"] == [f"loanloop_{name}"]


@pytest.mark.parametrize("scaled", sorted(named("ScaledObject")))
def test_replicas_follow_the_lag_of_what_the_service_reads_and_each_has_a_partition(scaled: str) -> None:
    spec: Resource = named("ScaledObject")[scaled]["spec"]
    topics = {trigger["metadata"]["topic"] for trigger in spec["triggers"]}
    assert topics == set(READ_BY[scaled])
    assert {trigger["metadata"]["consumerGroup"] for trigger in spec["triggers"]} == {scaled}
    fewest = min(named("KafkaTopic")[topic]["spec"]["partitions"] for topic in topics)
    assert spec["scaleTargetRef"]["name"] == scaled
    assert 1 < spec["minReplicaCount"] <= spec["maxReplicaCount"] <= fewest
    rights = rights_of("scaler")
    assert {("topic", topic, "Describe") for topic in topics} | {("group", scaled, "Describe")} <= rights


def test_the_database_takes_the_connections_of_all_replicas_at_their_most() -> None:
    most = {name: one["spec"]["maxReplicaCount"] for name, one in named("ScaledObject").items()}
    n_replicas = sum(most.get(name, one["spec"]["replicas"]) for name, one in named("Deployment").items())
    surge = len(named("Deployment"))  # one more of each while it is replaced
    parameters = named("Cluster")["postgres"]["spec"]["postgresql"]["parameters"]
    assert int(parameters["max_connections"]) > (n_replicas + surge) * PostgresSettings().pool_size


@pytest.mark.parametrize("reader", ["trainer", "evaluator", "operator"])
def test_what_reads_much_reads_from_a_replica(reader: str) -> None:
    assert "LOANLOOP_POSTGRES__READ_ONLY_DSN" in environment_of(reader)


DEFINITION = {
    "spec": {
        "group": "of.example",
        "names": {"kind": "Thing"},
        "versions": [
            {
                "name": "v1",
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {
                                "type": "object",
                                "required": ["size"],
                                "properties": {
                                    "size": {"x-kubernetes-int-or-string": True},
                                    "free": {
                                        "type": "object",
                                        "x-kubernetes-preserve-unknown-fields": True,
                                        "properties": {},
                                    },
                                    "many": {
                                        "type": "array",
                                        "items": {
                                            "type": "object",
                                            "properties": {"a": {"type": "string", "nullable": True}},
                                        },
                                    },
                                },
                            }
                        },
                    }
                },
            }
        ],
    }
}


@pytest.mark.parametrize(
    ("spec", "wrong"),
    [
        ({"size": 1, "free": {"anything": 1}, "many": [{"a": None}]}, ""),
        ({"size": "1Gi"}, ""),
        ({}, "'size' is a required property"),
        ({"size": 1, "sise": 2}, "'sise' was unexpected"),
        ({"size": 1, "many": [{"b": 1}]}, "'b' was unexpected"),
        ({"size": []}, "is not valid under any"),
    ],
)
def test_a_resource_is_held_against_its_definition(spec: Resource, wrong: str) -> None:
    thing = {"apiVersion": "of.example/v1", "kind": "Thing", "metadata": {"name": "one", "labels": {}}, "spec": spec}
    checked = Schemas(None, dict(of_definition(DEFINITION))).check([thing, {**thing, "kind": "Other"}])
    assert wrong in "".join(checked.wrong)
    assert (bool(checked.wrong), checked.n_fitting.total()) == (bool(wrong), not wrong)
    assert checked.n_without_schema == {"Other (of.example/v1)": 1}
