"""Which layers can have how many bits: measured, proposed, judged."""
