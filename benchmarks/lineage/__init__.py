"""An open lineage benchmark: small models trained from scratch, derived in every common way, and compared by the gate."""
