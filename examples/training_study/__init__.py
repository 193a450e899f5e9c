"""Does training with masks work? DPO and rejection sampling of a small policy, with and without masks."""
