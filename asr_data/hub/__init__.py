"""Finished output directories onto the Hugging Face Hub: one commit that holds all of it, or none."""

from __future__ import annotations

from asr_data.hub.failures import HubError
from asr_data.hub.push import PushReport, push

__all__ = ["push", "PushReport", "HubError"]
