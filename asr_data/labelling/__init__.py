"""Faults that people mark: the journal that they are appended to, and how far several people agree."""

from asr_data.labelling.agreement import agreements, gold_spans
from asr_data.labelling.journal import Entry, LabelJournal, Mark, last_done, read_entries

__all__ = ["Entry", "Mark", "LabelJournal", "read_entries", "last_done", "gold_spans", "agreements"]
