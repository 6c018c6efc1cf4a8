"""IAM Access Analyzer, in the state only."""

from __future__ import annotations

from falaj.engine.values import Properties
from falaj.local.aws.clients import Aws
from falaj.local.aws.handler import Outputs, StateOnly


class Analyzer(StateOnly):
    type = "aws:accessanalyzer/analyzer:Analyzer"
    defaults = {"type": "ACCOUNT"}
    force_new = frozenset({"analyzerName", "configuration", "type"})

    def identify(self, aws: Aws, inputs: Properties, unique: str) -> tuple[str, Outputs]:
        name = inputs["analyzerName"]
        return name, {"arn": aws.arn("access-analyzer", f"analyzer/{name}")}


HANDLERS = (Analyzer,)
