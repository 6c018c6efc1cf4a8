"""Amazon S3: buckets and the settings that are resources of their own."""

from falaj.local.aws.services.s3.bucket import Bucket
from falaj.local.aws.services.s3.lifecycle import BucketLifecycleConfiguration
from falaj.local.aws.services.s3.notification import BucketNotification
from falaj.local.aws.services.s3.settings import (
    BucketLogging,
    BucketObjectLockConfiguration,
    BucketOwnershipControls,
    BucketPolicy,
    BucketPublicAccessBlock,
    BucketServerSideEncryptionConfiguration,
    BucketVersioning,
)

HANDLERS = (
    Bucket,
    BucketLifecycleConfiguration,
    BucketLogging,
    BucketNotification,
    BucketObjectLockConfiguration,
    BucketOwnershipControls,
    BucketPolicy,
    BucketPublicAccessBlock,
    BucketServerSideEncryptionConfiguration,
    BucketVersioning,
)
