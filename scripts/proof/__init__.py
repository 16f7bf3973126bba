"""What proofs have in common: levels and findings, virtual packages, seclusion, the clock."""
