"""Fine-tune a token reward model (paper, appendix A). Importing this does not import torch."""

from asr_data.training.config import TrainingConfig

__all__ = ["TrainingConfig"]
