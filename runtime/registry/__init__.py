"""The model registry: what leaves training is packaged, signed, encrypted, judged, approved by two, and recorded.

content      which files a package may hold, told by their first bytes
card         the model card: typed, complete or not, rendered as Markdown
package      a directory of files with a canonical manifest; one digest names the whole
signing      signatures over a package (model-signing), by a local key or a key of KMS; trusted keys
envelope     encryption with the tenant's key (AWS Encryption SDK)
store        packages on S3: encrypted, and visible only when whole
intervals    metrics with confidence intervals; fairness judges slices; plots draws them
gates        promotion rules as pure functions over evidence
audit        the append-only, hash-chained record of every change of stage
tracking     MLflow: runs, registered models, versions, aliases
lifecycle    the steps put together: publish, register, approve, judge, promote, verify

Nothing in here is ever unpickled: packages hold data formats only, and a byte of them is parsed after their signature
was found good, never before.
"""
