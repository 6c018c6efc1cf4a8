"""What the emulated account cannot hold, and why: the one place that says where the local AWS departs from AWS.

Checked against moto 5.2.5, by calling each API on a running server.
"""

from __future__ import annotations

from typing import Final

STATE_ONLY: Final[dict[str, str]] = {
    "aws:eks/addon:Addon": "no CreateAddon",
    "aws:eks/accessEntry:AccessEntry": "no CreateAccessEntry",
    "aws:eks/accessPolicyAssociation:AccessPolicyAssociation": "no AssociateAccessPolicy",
    "aws:eks/podIdentityAssociation:PodIdentityAssociation": "no CreatePodIdentityAssociation",
    "aws:elasticache/subnetGroup:SubnetGroup": "no DeleteCacheSubnetGroup: a deleted group would stay readable",
    "aws:elasticache/parameterGroup:ParameterGroup": "no CreateCacheParameterGroup",
    "aws:elasticache/userGroup:UserGroup": "no CreateUserGroup",
    "aws:msk/configuration:Configuration": "no CreateConfiguration",
    "aws:ecr/pullThroughCacheRule:PullThroughCacheRule": "no CreatePullThroughCacheRule",
    "aws:ecr/repositoryCreationTemplate:RepositoryCreationTemplate": "no CreateRepositoryCreationTemplate",
    "aws:securityhub/standardsSubscription:StandardsSubscription": "no BatchEnableStandards",
    "aws:accessanalyzer/analyzer:Analyzer": "no Access Analyzer at all",
    "aws:backup/selection:Selection": "no CreateBackupSelection",
    "aws:networkfirewall/ruleGroup:RuleGroup": "no CreateRuleGroup",
    "aws:networkfirewall/firewallPolicy:FirewallPolicy": "no CreateFirewallPolicy",
    "aws:networkfirewall/firewall:Firewall": "no DeleteFirewall: a deleted firewall would stay readable",
    "aws:networkfirewall/loggingConfiguration:LoggingConfiguration": "belongs to a firewall, which is in the state",
}
"""Type token -> what moto lacks.  Each of these has a ``StateOnly`` handler and no other type has (a test holds it)."""

INPUTS_IN_STATE: Final[dict[str, tuple[frozenset[str], str]]] = {
    "aws:eks/cluster:Cluster": (
        frozenset(
            {
                "accessConfig",
                "bootstrapSelfManagedAddons",
                "computeConfig",
                "deletionProtection",
                "storageConfig",
                "upgradePolicy",
                "version",
                "zonalShiftConfig",
            }
        ),
        "not stored; UpdateClusterVersion is missing, so the account shows the version of the creation",
    ),
    "aws:eks/nodeGroup:NodeGroup": (
        frozenset({"launchTemplate", "releaseVersion", "tags", "version"}),
        "no UpdateNodegroupVersion and no tagging of node groups: the account shows those of the creation",
    ),
    "aws:elasticache/replicationGroup:ReplicationGroup": (
        frozenset({"engineVersion", "maintenanceWindow", "parameterGroupName", "securityGroupIds", "subnetGroupName"}),
        "taken by CreateReplicationGroup, but told by no answer",
    ),
    "aws:elasticache/user:User": (
        frozenset({"authenticationMode", "noPasswordRequired", "passwords"}),
        "taken by CreateUser; passwords are never told",
    ),
    "aws:msk/cluster:Cluster": (
        frozenset(
            {
                "brokerNodeGroupInfo",
                "clientAuthentication",
                "configurationInfo",
                "encryptionInfo",
                "enhancedMonitoring",
                "kafkaVersion",
                "loggingInfo",
                "numberOfBrokerNodes",
                "openMonitoring",
                "storageMode",
            }
        ),
        "no Update* call of MSK: the account shows those of the creation",
    ),
    "aws:backup/plan:Plan": (
        frozenset({"advancedBackupSettings", "rules"}),
        "no UpdateBackupPlan: the account shows those of the creation",
    ),
    "aws:rds/instance:Instance": (
        frozenset({"performanceInsightsEnabled", "performanceInsightsKmsKeyId", "performanceInsightsRetentionPeriod"}),
        "Performance Insights is not stored",
    ),
    "aws:rds/clusterInstance:ClusterInstance": (
        frozenset(
            {
                "dbSubnetGroupName",
                "performanceInsightsEnabled",
                "performanceInsightsKmsKeyId",
                "performanceInsightsRetentionPeriod",
                "promotionTier",
            }
        ),
        "Performance Insights is not stored; the promotion tier stays that of the creation",
    ),
    "aws:cfg/recorder:Recorder": (frozenset({"recordingMode"}), "the recording mode is not stored"),
    "aws:sqs/queue:Queue": (frozenset({"redriveAllowPolicy"}), "no RedriveAllowPolicy attribute"),
    "aws:sns/topicSubscription:TopicSubscription": (
        frozenset({"confirmationTimeoutInMinutes", "endpointAutoConfirms"}),
        "they steer the provider's wait for a confirmation, and here every subscription is confirmed at once",
    ),
    "aws:cloudwatch/logGroup:LogGroup": (
        frozenset({"deletionProtectionEnabled", "kmsKeyId"}),
        "no AssociateKmsKey: the account shows the key of the creation",
    ),
    "aws:cloudwatch/eventBus:EventBus": (
        frozenset({"deadLetterConfig", "description", "kmsKeyIdentifier", "logConfig"}),
        "no UpdateEventBus: the account shows those of the creation",
    ),
    "aws:guardduty/detector:Detector": (frozenset({"tags"}), "no TagResource for detectors"),
    "aws:securityhub/account:Account": (
        frozenset({"autoEnableControls", "controlFindingGenerator", "enableDefaultStandards"}),
        "no UpdateSecurityHubConfiguration: DescribeHub always answers the defaults",
    ),
    "aws:budgets/budget:Budget": (frozenset({"tags"}), "no tagging of budgets"),
}
"""Type token -> (inputs that the state alone can tell after an update, what moto lacks).  ``read`` leaves them out."""
