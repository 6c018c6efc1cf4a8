"""A real Kubernetes control plane as local processes on loopback.

``ControlPlane`` (control_plane.py) is the way in: ``up``, ``down``, ``status``, ``client``.
"""
