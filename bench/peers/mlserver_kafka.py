"""MLServer's Kafka runtime with the ONNX file: `python mlserver_kafka.py PORT BOOTSTRAP INPUT OUTPUT`.

The runtime and its adaptive batching are those of mlserver_rest.py. It reads without a group from the end of the topic.
"""

import os
import sys
from pathlib import Path

from mlserver_rest import prepare


def main() -> None:
    port, bootstrap, source, target = sys.argv[1:]
    prepare(
        http_port=int(port),
        grpc_port=int(port) + 1,
        metrics_port=int(port) + 2,
        kafka_enabled=True,
        kafka_servers=bootstrap,
        kafka_topic_input=source,
        kafka_topic_output=target,
    )
    server = Path(sys.executable).with_name("mlserver")
    os.execv(server, [str(server), "start", "."])


if __name__ == "__main__":
    main()
