"""Stable codes: why an input row was rejected, and what happened to one that was not."""

from __future__ import annotations

from typing import Final

REJECT_CODES: Final[dict[str, str]] = {
    "not_an_object": "the row is not an object with named columns",
    "invalid_json": "the line or the column is not valid JSON",
    "invalid_unicode": "a text holds a lone surrogate, which has no UTF-8 form",
    "nul_byte": "a text holds a NUL character, which tokenizers and templates drop or cut at",
    "missing_column": "a needed column is absent or null",
    "wrong_type": "a column does not hold a text or a list of messages",
    "empty_prompt": "the prompt is empty",
    "empty_response": "a response is empty",
    "identical_sides": "the chosen and the rejected response are the same",
    "prompt_mismatch": "the two sides do not share a prompt that can be recovered",
    "no_preference": "no response is better than another, so there is no pair",
    "small_gap": "the two answers of a pair are less apart than --min-gap asks for",
    "too_many_pairs": "the row has so many answers that --pairs makes more pairs of it than are made of a row",
    "no_labels": "no response of the row has a label",
    "no_other_answer": "the scorer compares the two answers of a pair, and the row has one",
    "label_mismatch": "the labels of a response do not fit its text",
    "last_turn_not_assistant": "a completion does not end with the assistant's turn",
    "no_context": "what the scorer's context shows is not there for any response: another answer, a filled column",
    "context_error": "the template of the scorer's context failed on the row",
    "too_long": "prompt and response do not fit in the model's context",
    "template_error": "the chat template refused the conversation",
    "template_alters_text": "the chat template changes the response text beyond trimming",
    "tokenizer_alters_text": "decoding the tokens does not give the response text back",
    "tokens_uncovered": "some bytes of the response belong to no token",
    "prompt_not_prefix": "the tokens of the prompt are not the first tokens of prompt plus response",
    "separator_in_text": "the text holds the scorer's step separator literally, so steps and separators do not match",
    "non_finite_reward": "the scorer gave a reward that is not a finite number",
    "wrong_reward_length": "the scorer's spans do not cover the response text exactly",
    "scorer_error": "the scorer failed on this row",
    "out_of_memory": "the row does not fit in memory even on its own",
    "left_out": "the row does not meet --where, or was not drawn by --sample",
    "empty_mask": "no segment of a response is kept, and such rows are dropped (--on-empty drop)",
}
"""Values of the column ``code`` of the rejects."""

NOTE_CODES: Final[dict[str, str]] = {
    "truncated": "a response was cut to the longest length allowed",
    "empty_mask_chosen": "no segment of the chosen response was kept; --on-empty decided its mask",
    "empty_mask_rejected": "no segment of the rejected response was kept; --on-empty decided its mask",
    "empty_mask_completion": "no segment of the completion was kept; --on-empty decided its mask",
    "unknown_chosen": "no reward of the chosen response is known; --unknown decided its mask",
    "unknown_rejected": "no reward of the rejected response is known; --unknown decided its mask",
    "unknown_completion": "no reward of the completion is known; --unknown decided its mask",
    "no_ref_logp": "the reference model could not read the row: it is too long for it, or its tokens do not fit",
    "prompt_merged": "a token spans the border between prompt and response",
    "text_not_in_template": "the policy's chat template leaves out a reasoning, content or call",
    "unscored_text": "the scorer did not read all of a response with reasoning or calls; that is unknown",
    "template_date": "the date that the policy's chat template was told, after a colon",
}
"""Values in the column ``asr_notes``."""
