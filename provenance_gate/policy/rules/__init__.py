"""All rules. A new one is a file here, a line in `RULES` and a test file.

Numbers are never reused: PG1xx license, PG2xx lineage, PG3xx integrity, PG4xx metadata, PG9xx the gate itself
(`policy.evaluate`).
"""

from __future__ import annotations

from provenance_gate.policy.interface import Rule
from provenance_gate.policy.rules.attested import Attested
from provenance_gate.policy.rules.consistent_claims import ConsistentClaims
from provenance_gate.policy.rules.consistent_formats import ConsistentFormats
from provenance_gate.policy.rules.declared_base import DeclaredBase
from provenance_gate.policy.rules.format import FileFormat
from provenance_gate.policy.rules.license import License
from provenance_gate.policy.rules.license_conflict import LicenseConflict
from provenance_gate.policy.rules.license_obligations import LicenseObligations
from provenance_gate.policy.rules.origin import Origin
from provenance_gate.policy.rules.signed import Signed
from provenance_gate.policy.rules.tells import Tells
from provenance_gate.policy.rules.undisclosed_base import UndisclosedBase

RULES: tuple[Rule, ...] = (
    License(),
    LicenseConflict(),
    LicenseObligations(),
    DeclaredBase(),
    UndisclosedBase(),
    Origin(),
    Tells(),
    FileFormat(),
    ConsistentFormats(),
    Signed(),
    Attested(),
    ConsistentClaims(),
)
