"""From a record to the one shape that later stages know, or to the reason why not."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from asr_data.errors import InputError, RowRejected
from asr_data.pairs import MOST_PAIRS, pair_count, pair_places, pairs_made
from asr_data.rows import labelled
from asr_data.rows.answers import Answers, best_first
from asr_data.rows.best_and_worst import by_preference, by_ranks, by_scores, verdict_numbers
from asr_data.rows.class_labels import verdict_of
from asr_data.rows.columns import column_value
from asr_data.rows.json_messages import notation
from asr_data.rows.known_columns import LABEL_ROLES, Role
from asr_data.rows.labels import parse_labels
from asr_data.rows.layouts import Layout
from asr_data.rows.messages import has_text, parse_messages, without_nulls
from asr_data.rows.prompts import Sides, extract_prompt, last_message, separate, with_system
from asr_data.rows.transcripts import parse_transcript, parse_transcript_prompt
from asr_data.rows.turn_lists import interleaved
from asr_data.rows.winners import by_two_scores, by_winner
from asr_data.types import Completion, Label, Message, RejectedRow, Row, Side, Text

_TWO_RESPONSES: Final[tuple[Role, Role]] = ("response1", "response2")
_TWO_SCORES: Final[tuple[Role, Role]] = ("score1", "score2")


def normalise(index: int, record: Mapping[str, Any], layout: Layout, pair: int | None = None) -> Row:
    """One row in the common shape.

    Args:
        index: position in the input.
        record: the input columns.
        layout: which column is what.
        pair: of a row with several answers, the number of the pair (:mod:`asr_data.pairs`): ``asr_pair`` where the
            row was annotated. None: the best and the worst answer.

    Raises:
        RowRejected: ``missing_column``, ``wrong_type``, ``invalid_json``, ``invalid_unicode``, ``nul_byte``,
            ``empty_prompt``, ``empty_response``, ``identical_sides``, ``prompt_mismatch``, ``no_preference``,
            ``small_gap``, ``label_mismatch`` or ``last_turn_not_assistant``.
        InputError: the row has no such pair; or the layout makes several of a row, and ``pair`` does not say which.
    """
    if layout.pairs.several and pair is None:
        raise InputError(
            f"row {index} can be several pairs ({layout.pairs.rule}), and there is no asr_pair that says which"
        )
    answers = _answers(record, layout)
    if pair is not None and (answers is None or pair < 0 or pair_places(pair)[1] >= len(answers.order)):
        there = "one" if answers is None else len(answers.order)
        raise InputError(f"row {index} has no pair {pair}: it has {there} answers")
    return _row(index, record, layout, answers, pair)


def stored_pair(record: Mapping[str, Any], layout: Layout) -> int | None:
    """Which pair a row is that was annotated with several pairs and is read as an input again; None for others."""
    pair = None if layout.numbers_role is None else record.get("asr_pair")
    return pair if isinstance(pair, int) and not isinstance(pair, bool) else None


def normalise_all(index: int, record: Mapping[str, Any], layout: Layout) -> list[Row | RejectedRow]:
    """A row as all pairs that the layout makes of it, by number; each as a row, or as what is wrong with it.

    What is wrong with all of them in the same way is wrong with the row, and is said once. A layout that makes one pair
    of a row gives one entry.
    """
    try:
        if not layout.pairs.several:
            return [normalise(index, record, layout, stored_pair(record, layout))]
        answers = _answers(record, layout)
        if answers is None:
            raise InputError(f"rows of layout {layout.kind} are one pair each, not several ({layout.pairs.rule})")
        count = pair_count(layout.pairs.rule, len(answers.order))
        if count > MOST_PAIRS:
            raise RowRejected(
                "too_many_pairs",
                f"{len(answers.order)} answers make {count:,} pairs ({layout.pairs.rule}); at most {MOST_PAIRS:,} are "
                "made of a row",
            )
    except RowRejected as rejected:
        return [RejectedRow(index, rejected.code, rejected.message)]
    found: list[Row | RejectedRow] = []
    for pair in pairs_made(layout.pairs.rule, len(answers.order)):
        try:
            found.append(_row(index, record, layout, answers, pair))
        except RowRejected as rejected:
            found.append(RejectedRow(index, rejected.code, rejected.message, pair))
    reasons = {(one.code, one.message) if isinstance(one, RejectedRow) else None for one in found}
    if len(reasons) == 1 and (reason := reasons.pop()) is not None:
        return [RejectedRow(index, *reason)]
    return found


def _row(index: int, record: Mapping[str, Any], layout: Layout, answers: Answers | None, pair: int | None) -> Row:
    """The row; of several answers, a pair of them, or the best and the worst."""
    if layout.format is not None:
        prompt, completions = labelled.read(layout.format, record)
        _check_texts(prompt, {completion.side: completion.content for completion in completions})
        return Row(index, record, prompt, completions)
    picked: Sides | None = None
    better = worse = 0
    if answers is not None:
        better, worse = (0, len(answers.order) - 1) if pair is None else pair_places(pair)
        answers.require_gap(better, worse, layout.pairs.min_gap)
        picked = _pair(answers.texts, (answers.order[better], answers.order[worse]))
    prompt, sides = _prompt_and_sides(record, layout, picked)
    prompt, sides = with_system(prompt, sides, _optional_text(record, layout, "system"))
    _check_texts(prompt, sides)
    verdict = {"chosen": True, "rejected": False, "completion": _label(record, layout)}
    completions = tuple(
        Completion(side, content, verdict[side], _labels(record, layout, side, content))
        for side, content in sides.items()
    )
    above, between, below = ((), (), ()) if answers is None else answers.beside(better, worse, prompt)
    return Row(index, record, prompt, completions, _template_kwargs(record, layout), above, between, below, pair)


def _prompt_and_sides(record: Mapping[str, Any], layout: Layout, picked: Sides | None) -> tuple[Text, Sides]:
    """Prompt and responses; ``picked``: those that were picked among several."""
    if "messages" in layout.columns:
        conversation = _text(record, layout, "messages")
        if isinstance(conversation, str):
            raise RowRejected("wrong_type", f"column {layout.columns['messages']!r} is a text, not messages")
        return last_message(conversation)
    sides = _responses(record, layout) if picked is None else picked
    if "instruction" in layout.columns:
        return separate(_instruction(record, layout), sides)
    if "prompt" in layout.columns:
        return _separate(record, layout, sides)
    return extract_prompt(sides)


def _separate(record: Mapping[str, Any], layout: Layout, sides: Sides) -> tuple[Text, Sides]:
    """Prompt and completions; a prompt that is a text becomes what the layout says it is."""
    prompt = _text(record, layout, "prompt")
    if layout.prompt_form == "plain" or not isinstance(prompt, str) or not prompt.strip():
        return separate(prompt, sides)
    if layout.prompt_form == "turns":
        return extract_prompt({side: _interleaved(prompt, text, layout) for side, text in sides.items()})
    if layout.prompt_form == "user":
        return separate([_message_of("user", prompt)], sides)
    turns = parse_transcript_prompt(prompt, layout.columns["prompt"])
    # As in transcripts, the space after "Assistant:" is the marker's; here it may stand at the answer's beginning.
    answers = {side: text.removeprefix(" ") if isinstance(text, str) else text for side, text in sides.items()}
    return separate(turns, {**answers})


def _interleaved(prompt: str, answers: Text, layout: Layout) -> list[Message]:
    if not isinstance(answers, str):
        raise RowRejected("wrong_type", "a response is messages where a list of turns is needed")
    return interleaved(prompt, answers, (layout.columns["prompt"], "responses"))


# --- reading columns -------------------------------------------------------------------------------------


def _value(record: Mapping[str, Any], layout: Layout, role: Role) -> tuple[str, Any]:
    column = layout.columns[role]
    value = column_value(record, column)
    if value is None:
        raise RowRejected("missing_column", f"column {column!r} ({role}) is absent or null")
    return column, value


def _text(record: Mapping[str, Any], layout: Layout, role: Role) -> Text:
    """A text or messages."""
    column, value = _value(record, layout, role)
    if isinstance(value, str) and column in layout.json_columns:
        value = _parsed(value, column)
        if value is None:
            raise RowRejected("missing_column", f"column {column!r} ({role}) is empty")
        return parse_messages(value, column)
    if isinstance(value, str) and notation(value) != "text":
        raise RowRejected("wrong_type", f"column {column!r} holds messages as JSON here, and texts in the first rows")
    return value if isinstance(value, str) else parse_messages(value, column)


def _optional_text(record: Mapping[str, Any], layout: Layout, role: Role) -> str:
    """A text, or "" where there is no such column or nothing in it."""
    value = column_value(record, layout.columns[role]) if role in layout.columns else None
    if value is not None and not isinstance(value, str):
        raise RowRejected("wrong_type", f"column {layout.columns[role]!r} ({role}) is not a text")
    return value or ""


def _responses(record: Mapping[str, Any], layout: Layout) -> Sides:
    if layout.kind in ("two_responses", "two_responses_winner", "two_responses_scored"):
        return _pair([_text(record, layout, role) for role in _TWO_RESPONSES], _of_two(record, layout))
    if layout.kind == "ordered_completions":
        return _ordered_pair(record, layout)
    if layout.kind == "transcripts":
        return {side: _transcript(record, layout, side) for side in layout.sides}
    return {side: _text(record, layout, side) for side in layout.sides}


def _of_two(record: Mapping[str, Any], layout: Layout) -> tuple[int, int]:
    """Chosen and rejected of two responses."""
    if layout.kind == "two_responses":
        column, preference = _value(record, layout, "preference")
        return by_preference(preference, column)
    if layout.kind == "two_responses_winner":
        column, winner = _value(record, layout, "winner")
        return by_winner(winner, layout.winners, column)
    (first_column, first), (second_column, second) = (_value(record, layout, role) for role in _TWO_SCORES)
    return by_two_scores(first, second, (first_column, second_column))


def _pair(responses: Sequence[Text], chosen_and_rejected: tuple[int, int]) -> Sides:
    chosen, rejected = chosen_and_rejected
    return {"chosen": responses[chosen], "rejected": responses[rejected]}


def _several(record: Mapping[str, Any], layout: Layout) -> tuple[str, list[Text]]:
    column, value = _value(record, layout, "completions")
    if not isinstance(value, list) or any(item is None for item in value):
        raise RowRejected("wrong_type", f"column {column!r} is not a list of completions, or holds a null")
    return column, [item if isinstance(item, str) else parse_messages(item, column) for item in value]


def _answers(record: Mapping[str, Any], layout: Layout) -> Answers | None:
    """The answers of a row that has several with scores, ranks or verdicts; None for other layouts."""
    role = layout.numbers_role
    if role is None:
        return None
    _, responses = _several(record, layout)
    column, numbers = _value(record, layout, role)
    if role == "verdicts":
        numbers = verdict_numbers(numbers, column)
    best, worst = (by_ranks if role == "ranks" else by_scores)(numbers, len(responses), column)
    return Answers(responses, numbers, best_first(numbers, best, worst, lowest_is_best=role == "ranks"), column)


def _ordered_pair(record: Mapping[str, Any], layout: Layout) -> Sides:
    column, responses = _several(record, layout)
    if len(responses) != 2:
        raise RowRejected("wrong_type", f"column {column!r} holds {len(responses)} completions; two are needed")
    return _pair(responses, (0, 1))


def _transcript(record: Mapping[str, Any], layout: Layout, side: Side) -> Text:
    column, value = _value(record, layout, side)
    if not isinstance(value, str):
        raise RowRejected("wrong_type", f"column {column!r} is not a text")
    _check_nonempty_response(value, column)
    return parse_transcript(value, column)


def _instruction(record: Mapping[str, Any], layout: Layout) -> list[Message]:
    """Earlier turns, and a user message of instruction and input with a line break between, as in LLaMA-Factory."""
    column, value = _value(record, layout, "instruction")
    if not isinstance(value, str):
        raise RowRejected("wrong_type", f"column {column!r} is not a text")
    content = "\n".join(filter(None, [value, _optional_text(record, layout, "input")]))
    if not content.strip():
        raise RowRejected("empty_prompt", "instruction and input are empty or nothing but white space")
    return [*_history(record, layout), {"role": "user", "content": content}]


def _history(record: Mapping[str, Any], layout: Layout) -> list[Message]:
    column = layout.columns.get("history")
    turns = (column_value(record, column) if column else None) or []
    if not isinstance(turns, list) or not all(_is_turn(turn) for turn in turns):
        raise RowRejected("wrong_type", f"column {column!r} is not a list of pairs of texts")
    return [message for turn in turns for message in map(_message_of, ("user", "assistant"), turn)]


def _is_turn(turn: Any) -> bool:
    return isinstance(turn, list) and len(turn) == 2 and all(isinstance(text, str) for text in turn)


def _message_of(role: str, content: str) -> Message:
    return {"role": role, "content": content}


def _label(record: Mapping[str, Any], layout: Layout) -> bool:
    if layout.kind != "unpaired":
        return True
    column, value = _value(record, layout, "label")
    return verdict_of(value, layout.verdicts, column)


def _labels(record: Mapping[str, Any], layout: Layout, side: Side, content: Text) -> tuple[Label, ...] | None:
    role = LABEL_ROLES[side]
    if role not in layout.columns:
        return None
    column = layout.columns[role]
    return parse_labels(column_value(record, column), layout.label_units[role], content, column)


def _template_kwargs(record: Mapping[str, Any], layout: Layout) -> dict[str, Any]:
    """What the chat template gets beside the messages: ``tools`` and the entries of the kwargs column."""
    arguments: dict[str, Any] = {}
    for column in filter(None, (layout.template_kwargs_column, layout.tools_column)):
        value = _parsed(column_value(record, column), column)
        if value is None:
            continue
        if column == layout.tools_column:
            arguments["tools"] = value
        elif isinstance(value, dict):
            arguments.update(value)
        else:
            raise RowRejected("wrong_type", f"column {column!r} is {type(value).__name__}, not an object")
    return arguments


def _parsed(value: Any, column: str) -> Any:
    """A structured column's value; such columns are often stored as JSON text, and as empty text where null."""
    if isinstance(value, str):
        try:
            return json.loads(value) if value.strip() else None
        except (ValueError, RecursionError) as error:
            raise RowRejected("invalid_json", f"column {column!r} is not valid JSON: {error}") from error
    return without_nulls(value)


# --- checks ----------------------------------------------------------------------------------------------


def _check_texts(prompt: Text, sides: Sides) -> None:
    for place, content in [("prompt", prompt), *sides.items()]:
        _check_characters(content, place)
    if not has_text(prompt):
        raise RowRejected("empty_prompt", "the prompt is empty or nothing but white space")
    for side, content in sides.items():
        if not isinstance(content, str) and content[-1]["role"] != "assistant":
            role = content[-1]["role"]
            raise RowRejected("last_turn_not_assistant", f"{side} ends with a turn by {role}, not by the assistant")
        _check_nonempty_response(content, side)
    if len(sides) == 2 and sides["chosen"] == sides["rejected"]:
        raise RowRejected("identical_sides", "chosen and rejected are the same")


def _check_nonempty_response(content: Text, place: str) -> None:
    written = content
    if not isinstance(content, str):
        written = [message for message in content if message["role"] == "assistant"]
    if not has_text(written):
        raise RowRejected("empty_response", f"{place} is empty or nothing but white space")


def _check_characters(content: Text, place: str) -> None:
    for text in _strings(content):
        if "\0" in text:
            raise RowRejected("nul_byte", f"{place} holds a NUL character at position {text.index(chr(0))}")
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise RowRejected("invalid_unicode", f"{place} holds a lone surrogate: {error}") from error


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _strings(item)
