"""What the pages share: scripts, styles, templates, and the policy under which they run."""

from asr_data.view.client.assets import content_policy, environment, own_file, script, style

__all__ = ["content_policy", "environment", "own_file", "script", "style"]
