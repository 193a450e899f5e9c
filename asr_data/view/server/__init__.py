"""The page that ``asr-annotate view`` serves: rows to look at, settings to choose, faults to label."""
