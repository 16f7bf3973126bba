"""How fast the stages are beside their peers, as ratios within one run."""
