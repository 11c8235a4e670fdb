"""MLServer's Kafka runtime with the ONNX file: `python mlserver_kafka.py PORT WORKERS BOOTSTRAP INPUT OUTPUT`.

The runtime, its adaptive batching and WORKERS are those of mlserver_rest.py. The server alone reads, without a
group, from the end of the topic.
"""

import os
import sys
from pathlib import Path

from mlserver_rest import prepare


def main() -> None:
    port, workers, bootstrap, source, target = sys.argv[1:]
    prepare(
        http_port=int(port),
        grpc_port=int(port) + 1,
        metrics_port=int(port) + 2,
        parallel_workers=int(workers),
        kafka_enabled=True,
        kafka_servers=bootstrap,
        kafka_topic_input=source,
        kafka_topic_output=target,
    )
    server = Path(sys.executable).with_name("mlserver")
    os.execv(server, [str(server), "start", "."])


if __name__ == "__main__":
    main()
