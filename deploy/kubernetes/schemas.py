"""Checks rendered resources against schemas: `schemas.py [--own FOLDER] [--crds FOLDER]... < rendered.yaml`.

FOLDER of `--own`: Kubernetes' JSON schemas, a file for each kind; of `--crds`: definitions of custom resources as their
operators publish them. Prints what was checked and what was not; exit code 1 where something fits no schema.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft4Validator
from jsonschema.protocols import Validator
from jsonschema.validators import validator_for
from referencing import Registry, Resource

Schema = dict[str, Any]
_DEFINITIONS = "_definitions.json"


def strict(schema: Schema) -> Schema:
    """A definition's schema as an API server judges by it: a field that it does not name is a mistake."""
    made = {key: _strict_part(key, value) for key, value in schema.items()}
    if schema.get("x-kubernetes-int-or-string"):
        made.pop("type", None)
        made["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    if schema.get("nullable") and "type" in made:
        made["type"] = [made["type"], "null"]
    names_its_fields = "properties" in schema and "additionalProperties" not in schema
    if names_its_fields and not schema.get("x-kubernetes-preserve-unknown-fields"):
        made["additionalProperties"] = False
    return made


def _strict_part(key: str, value: Any) -> Any:
    if key == "properties":
        return {name: strict(one) for name, one in value.items()}
    if key in ("items", "additionalProperties") and isinstance(value, dict):
        return strict(value)
    return value


def of_definition(definition: Mapping[str, Any]) -> Iterator[tuple[tuple[str, str], Schema]]:
    spec = definition["spec"]
    for version in spec["versions"]:
        schema = strict(version["schema"]["openAPIV3Schema"])
        schema["properties"] |= {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {}}
        yield (f"{spec['group']}/{version['name']}", spec["names"]["kind"]), schema


def read_definitions(folders: Sequence[Path]) -> dict[tuple[str, str], Schema]:
    found: dict[tuple[str, str], Schema] = {}
    for path in (path for folder in folders for path in sorted(folder.glob("*.yaml"))):
        found |= of_definition(yaml.load(path.read_text(), yaml.CSafeLoader))
    return found


@dataclass
class Checked:
    n_fitting: Counter[str] = field(default_factory=Counter)
    n_without_schema: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


class Schemas:
    def __init__(self, own: Path | None, definitions: Mapping[tuple[str, str], Schema]) -> None:
        self._own = own
        self._definitions = definitions
        shared = [Resource.from_contents(json.loads((own / _DEFINITIONS).read_text()))] if own else []
        self._registry: Registry[Any] = Registry().with_resources([(one.id() or "", one) for one in shared])

    def check(self, resources: Sequence[Mapping[str, Any]]) -> Checked:
        checked = Checked()
        for resource in resources:
            kind = f"{resource['kind']} ({resource['apiVersion']})"
            validator = self._validator_of(resource["apiVersion"], resource["kind"])
            if validator is None:
                checked.n_without_schema[kind] += 1
                continue
            name = resource["metadata"]["name"]
            wrong = [
                f"{kind} {name}, {'.'.join(map(str, error.path)) or 'as a whole'}: {error.message}"
                for error in validator.iter_errors(resource)
            ]
            checked.wrong += wrong
            checked.n_fitting[kind] += not wrong
        return checked

    def _validator_of(self, api_version: str, kind: str) -> Validator | None:
        schema = self._definitions.get((api_version, kind)) or self._own_schema(api_version, kind)
        if schema is None:
            return None
        # A definition of a custom resource is of OpenAPI 3.0, whose keywords mean what Draft 4's do.
        return validator_for(schema, default=Draft4Validator)(schema, registry=self._registry)

    def _own_schema(self, api_version: str, kind: str) -> Schema | None:
        group, _, version = api_version.rpartition("/")
        parts = (kind.lower(), group.removesuffix(".k8s.io"), version)
        path = self._own / f"{'-'.join(filter(None, parts))}.json" if self._own else None
        return json.loads(path.read_text()) if path and path.is_file() else None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--own", type=Path)
    parser.add_argument("--crds", type=Path, action="append", default=[])
    given = parser.parse_args()
    resources = [each for each in yaml.load_all(sys.stdin, yaml.CSafeLoader) if each]
    checked = Schemas(given.own, read_definitions(given.crds)).check(resources)
    n_fitting = checked.n_fitting.total()
    print(f"{n_fitting} of {len(resources)} resources fit the schemas of {len(checked.n_fitting)} kinds")
    for kind, n in sorted(checked.n_without_schema.items()):
        print(f"not checked, no schema: {n} of {kind}")
    for line in checked.wrong:
        print(f"wrong: {line}")
    return bool(checked.wrong)


if __name__ == "__main__":
    sys.exit(main())
