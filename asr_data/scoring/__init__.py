"""Reward models: rows in, rewards over the bytes of each response out. Importing this does not import torch."""

from asr_data.scoring.protocol import Scored, Scorer, ScorerInfo

__all__ = ["Scored", "Scorer", "ScorerInfo"]
