"""`python -m loanloop.runtime`, run by `make setup`: find Java and fetch Kafka's jars ahead of the first start."""

import sys

from loanloop.runtime.java import find_java
from loanloop.runtime.kafka_jars import kafka_jars
from loanloop.runtime.problems import CannotRun
from loanloop.runtime.settings import RuntimeSettings


def main() -> int:
    settings = RuntimeSettings()
    try:
        java = find_java(settings.java_home)
        jars = kafka_jars(settings, lambda line: print(line, flush=True))
    except CannotRun as problem:
        print(f"Error: {problem}", file=sys.stderr)
        return 1
    print(f"Java: {java}; Kafka: {jars}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
