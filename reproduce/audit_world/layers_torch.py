"""Layers and functions of PyTorch packages."""

from audit_world.cases import Case

CASES: list[Case] = []
