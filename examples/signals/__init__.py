"""The bench of signals: what each source of rewards finds on labelled data, beside its controls."""
