"""provenance_gate."""
