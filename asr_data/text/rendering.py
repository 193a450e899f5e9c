"""A prompt and a completion of messages as the model reads them, with all that the assistant wrote in its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from asr_data.errors import RowRejected
from asr_data.text.template import Rendered, apply_template, render_contents, template_arguments
from asr_data.text.tokenizer import Tokenizer
from asr_data.text.turns import needs_turns, render_turns
from asr_data.types import Message


def render_messages(
    tokenizer: Tokenizer, prompt: Sequence[Message], completion: Sequence[Message], template_kwargs: Mapping[str, Any]
) -> Rendered:
    """Render prompt and completion and find each text of the completion.

    Raises:
        RowRejected: ``template_error``, or ``template_alters_text`` where the rendering holds a text neither as it is
            nor trimmed.
    """
    arguments = template_arguments(template_kwargs)
    text = apply_template(tokenizer, [*prompt, *completion], arguments, generate=False)
    if needs_turns(tokenizer, prompt, completion, arguments, text):
        return render_turns(tokenizer, prompt, completion, arguments, text)
    try:
        return render_contents(tokenizer, prompt, completion, arguments, text)
    except RowRejected:
        if not any("</think>" in str(message.get("content")) for message in completion):
            raise
        return render_turns(tokenizer, prompt, completion, arguments, text)  # the template takes reasoning apart
