"""The Kubernetes objects of the platform as plain data: pure functions from a blueprint to manifests.

A manifest is a dict as ``kubectl apply`` would take it.  Two readers need the same ones and may not know each other:
``components`` declares them as typed Pulumi resources, ``falaj rehearse`` gives them to a real scheduler.  A value that
only a deployment knows (an ARN, a host name) is passed in and put in its place, never looked into, so that it may as
well be a Pulumi output.
"""
