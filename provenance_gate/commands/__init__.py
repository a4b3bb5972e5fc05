"""The commands. To add one: a file here, a line below, a test file."""

from __future__ import annotations

import click

from provenance_gate.commands.audit import audit
from provenance_gate.commands.check import check
from provenance_gate.commands.compare import compare
from provenance_gate.commands.fingerprint import fingerprint
from provenance_gate.commands.policy import policy_group
from provenance_gate.commands.registry import registry_group
from provenance_gate.commands.scan import scan

COMMANDS: tuple[click.Command, ...] = (check, compare, scan, audit, fingerprint, policy_group, registry_group)
