"""Push finished output directories to the Hugging Face Hub, in a single commit."""

from __future__ import annotations

from asr_data.hub.failures import HubError
from asr_data.hub.push import PushReport, push

__all__ = ["push", "PushReport", "HubError"]
