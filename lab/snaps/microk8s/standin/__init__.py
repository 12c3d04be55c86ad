"""A stand-in for MicroK8s: its commands, outputs and exit codes in front of a small state machine.

Plain Python of the standard library, run by the node's own interpreter. docs/microk8s.md says command by
command what it copies, and where it cannot.
"""
