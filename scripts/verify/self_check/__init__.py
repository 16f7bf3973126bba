"""Prove that the proofs can fail: break copies of the channel, see whether it is noticed."""
