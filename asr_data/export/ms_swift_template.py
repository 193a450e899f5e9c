"""A template for ms-swift that adds nothing to a message's tokens, for ``asr-annotate export --to ms-swift-sft``.

A file of its own, copied beside the data: it imports nothing of asr-data.
"""

from swift.template import TemplateMeta, register_template

register_template(TemplateMeta("asr-tokens", prefix=[], prompt=["{{QUERY}}"], chat_sep=None, suffix=[]), exist_ok=True)
