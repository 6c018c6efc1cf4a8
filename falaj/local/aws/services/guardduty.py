"""Amazon GuardDuty: the detector of a region and its protection features."""

from __future__ import annotations

import threading
from typing import Any, Final

from falaj.engine.values import Properties
from falaj.local.aws.clients import Aws
from falaj.local.aws.handler import AutoName, Handler, Outputs, Update
from falaj.local.aws.shapes import request

_FEATURES_LOCK: Final = threading.Lock()
"""moto replaces the whole list of features with the one that an update names, so changes must not overlap."""


class Detector(Handler):
    type = "aws:guardduty/detector:Detector"
    defaults = {"enable": True}

    def create(self, aws: Aws, inputs: Properties) -> tuple[str, Outputs]:
        parameters = request(inputs, {"findingPublishingFrequency": "FindingPublishingFrequency"})
        if data_sources := inputs.get("datasources"):
            parameters["DataSources"] = _data_sources(data_sources)
        id = aws.client("guardduty").create_detector(
            Enable=inputs["enable"], Tags=inputs.get("tagsAll") or {}, **parameters
        )["DetectorId"]
        return id, {"accountId": aws.account_id, "arn": aws.arn("guardduty", f"detector/{id}")}

    def read(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> Outputs | None:
        detector = _described(aws, id)
        if detector is None:
            return None
        return {
            "accountId": aws.account_id,
            "arn": aws.arn("guardduty", f"detector/{id}"),
            "enable": detector["Status"] == "ENABLED",
            "findingPublishingFrequency": detector["FindingPublishingFrequency"],
        }

    def update(self, aws: Aws, id: str, update: Update) -> Outputs:
        parameters: dict[str, Any] = {"Enable": update.new["enable"]}
        if update.has("findingPublishingFrequency"):
            parameters["FindingPublishingFrequency"] = update.new.get("findingPublishingFrequency") or "SIX_HOURS"
        if update.has("datasources") and update.new.get("datasources"):
            parameters["DataSources"] = _data_sources(update.new["datasources"])
        aws.client("guardduty").update_detector(DetectorId=id, **parameters)
        return {}

    def delete(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> None:
        if _described(aws, id) is not None:
            aws.client("guardduty").delete_detector(DetectorId=id)


class DetectorFeature(Handler):
    type = "aws:guardduty/detectorFeature:DetectorFeature"
    auto_name = AutoName()
    force_new = frozenset({"detectorId", "name"})
    unordered = frozenset({"additionalConfigurations"})

    def create(self, aws: Aws, inputs: Properties) -> tuple[str, Outputs]:
        self._set(aws, inputs["detectorId"], inputs)
        return f"{inputs['detectorId']}/{inputs['name']}", {}

    def read(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> Outputs | None:
        detector_id, _, name = id.partition("/")
        detector = _described(aws, detector_id)
        for feature in (detector or {}).get("Features", []):
            if feature["Name"] == name and feature["Status"] == "ENABLED":
                return {
                    "detectorId": detector_id,
                    "name": name,
                    "status": feature["Status"],
                    "additionalConfigurations": [
                        {"name": item["Name"], "status": item["Status"]}
                        for item in feature.get("AdditionalConfiguration") or ()
                    ],
                }
        if detector is not None and inputs.get("status") == "DISABLED":
            return {"detectorId": detector_id, "name": name, "status": "DISABLED"}
        return None

    def update(self, aws: Aws, id: str, update: Update) -> Outputs:
        self._set(aws, update.new["detectorId"], update.new)
        return {}

    def delete(self, aws: Aws, id: str, inputs: Properties, outputs: Properties) -> None:
        """Switches the feature off.  (The real provider only forgets it; an emulated account must end up clean.)"""
        if _described(aws, inputs["detectorId"]) is not None:
            self._set(aws, inputs["detectorId"], {"name": inputs["name"], "status": "DISABLED"})

    @staticmethod
    def _set(aws: Aws, detector_id: str, inputs: Properties) -> None:
        guardduty = aws.client("guardduty")
        feature: dict[str, Any] = {"Name": inputs["name"], "Status": inputs["status"]}
        if additional := inputs.get("additionalConfigurations"):
            feature["AdditionalConfiguration"] = [
                {"Name": item["name"], "Status": item["status"]} for item in additional
            ]
        with _FEATURES_LOCK:
            there = guardduty.get_detector(DetectorId=detector_id).get("Features", [])
            kept = [
                {key: value for key, value in item.items() if key in ("Name", "Status", "AdditionalConfiguration")}
                for item in there
                if item["Name"] != inputs["name"]
            ]
            guardduty.update_detector(DetectorId=detector_id, Features=[*kept, feature])


def _described(aws: Aws, detector_id: str) -> Any:
    """The detector, or None: GuardDuty answers a missing one with BadRequestException, like any other wrong input."""
    guardduty = aws.client("guardduty")
    if detector_id not in guardduty.list_detectors()["DetectorIds"]:
        return None
    return guardduty.get_detector(DetectorId=detector_id)


def _data_sources(sources: Properties) -> dict[str, Any]:
    parameters: dict[str, Any] = {}
    if s3_logs := sources.get("s3Logs"):
        parameters["S3Logs"] = {"Enable": s3_logs["enable"]}
    if kubernetes := sources.get("kubernetes"):
        parameters["Kubernetes"] = {"AuditLogs": {"Enable": kubernetes["auditLogs"]["enable"]}}
    if malware := sources.get("malwareProtection"):
        volumes = malware["scanEc2InstanceWithFindings"]["ebsVolumes"]["enable"]
        parameters["MalwareProtection"] = {"ScanEc2InstanceWithFindings": {"EbsVolumes": volumes}}
    return parameters


HANDLERS = (Detector, DetectorFeature)
