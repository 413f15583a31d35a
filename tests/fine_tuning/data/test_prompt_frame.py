"""The text around the request: found in any file, stored, and put around new requests."""

import pytest
from helpers import DIAGRAM, ROOT, SFT_HEADER, cpu_seconds, rows_of
from hypothesis import given
from hypothesis import strategies as st

from create_dataset.create_dataset import INSTRUCTION
from fine_tuning.data.prompt_frame import FRAME_FILE, PromptFrame, captions, frame_of, stored_frame
from fine_tuning.run.options import Options
from fine_tuning.run.workspace import Workspace

OURS = PromptFrame("", f"\n\n{INSTRUCTION}")
REQUESTS = [f"a net with {k} inputs and {k % 3 + 1} outputs" for k in range(3, 23)]


def around(template: str, requests=REQUESTS) -> list[str]:
    return [template.replace("@", request) for request in requests]


@pytest.mark.parametrize("name", ["sft_dataset_llm.csv", "orpo_dataset_llm.csv"])
def test_the_frame_of_the_committed_csvs_is_the_instruction_at_the_end(name):
    prompts = [row["input_data"] for row in rows_of(ROOT / "create_dataset" / name)]
    assert frame_of(prompts) == OURS
    for prompt in prompts:
        request = OURS.request_of(prompt)
        assert request == prompt.removesuffix(f"\n\n{INSTRUCTION}") and OURS.prompt_of(request) == prompt


@pytest.mark.parametrize(
    ("template", "beginning", "end"),
    [
        ("Answer with lists.\n\n@\n\nLeave room.", "Answer with lists.\n\n", "\n\nLeave room."),
        ("Answer with lists.\r\n\r\n@\r\n\r\nLeave room.\r\n", "Answer with lists.\r\n\r\n", "\r\n\r\nLeave room.\r\n"),
        ("### Instruction:\nDraw.\n\n### Input:\n@\n\n### Response:\n", "### Instruction:\nDraw.\n\n### Input:\n",
         "\n\n### Response:\n"),
        ("Draw this: @. Answer in text.", "Draw this: ", " Answer in text."),
        ("Request:@", "Request:", ""),
        ('Draw this: "@". Answer in text.', 'Draw this: "', '". Answer in text.'),
        ("<request>@</request>", "<request>", "</request>"),
        ('{"task": "draw", "request": "@"}', '{"task": "draw", "request": "', '"}'),
        ("**Request:** @\n**Format:** lists", "**Request:** ", "\n**Format:** lists"),
        ("(Request: “@”)", "(Request: “", "”)"),
        ("[INST] @ [/INST]", "[INST] ", " [/INST]"),
        ("User: @ Assistant:", "User: ", " Assistant:"),
        ("Tasks.\n\n- @", "Tasks.\n\n- ", ""),
        ("请画一个图。@。请用一行表示每个形状。", "请画一个图。", "请用一行表示每个形状。"),
        ("ارسم المخطط التالي: @. أجب بنص.", "ارسم المخطط التالي: ", " أجب بنص."),
        (" @ \n", " ", " \n"),
    ],
)  # fmt: skip
def test_a_frame_ends_and_begins_where_a_request_can_stand(template, beginning, end):
    prompts = around(template)
    frame = frame_of(prompts)
    assert frame == PromptFrame(beginning, end)
    assert [frame.prompt_of(frame.request_of(prompt)).strip() for prompt in prompts] == [p.strip() for p in prompts]


@pytest.mark.parametrize(
    ("template", "requests"),
    [
        ("Draw @", REQUESTS),
        ("Draw a network with @ inputs and one output", [str(k) for k in range(20)]),
        ("Draw a network with @.5 layers", [str(k) for k in range(20)]),
        ("Draw a ratio of 3:@", [str(k) for k in range(20)]),
        ("Draw figure No. @ of the book", [str(k) for k in range(20)]),
        ("See http://example.org/@", [str(k) for k in range(20)]),
        ("@", [f'"A{k}" -> "B"' for k in range(20)]),
        ("请画一个有@个输入的网络", [str(k) for k in range(20)]),
    ],
)
def test_words_that_requests_share_are_not_a_frame(template, requests):
    prompts = around(template, requests)
    assert frame_of(prompts) == PromptFrame()
    assert frame_of(prompts).request_of(prompts[0]) == prompts[0]


def test_quotation_marks_inside_requests_are_not_a_frame():
    assert frame_of(around("Draw: @", [f'"A{k}" -> "B"' for k in range(20)])) == PromptFrame("Draw: ", "")


@pytest.mark.parametrize("prompts", [[], ["Draw.\n\na net\n\nThanks."], ["Draw.\na net"] * 9, ["a\n", "a"]])
def test_fewer_than_two_different_prompts_have_no_frame(prompts):
    assert frame_of(prompts) == PromptFrame()


def test_one_prompt_in_ten_may_lack_the_frame_and_is_a_request_as_a_whole():
    framed = around("Do this.\n\n@\n\nThanks.", REQUESTS[:18])
    others = ["Something else", "Without a frame"]
    frame = frame_of([*others, *framed])
    assert frame == PromptFrame("Do this.\n\n", "\n\nThanks.")
    assert [frame.request_of(prompt) for prompt in others] == others
    assert frame_of([*others, *framed[:17]]) == PromptFrame()


def test_beginning_and_end_never_overlap():
    prompts = ["A.\n" * k + "A." for k in range(1, 9)]
    frame = frame_of(prompts)
    assert all(len(frame.beginning) + len(frame.end) < len(prompt) for prompt in prompts if frame.fits(prompt))
    assert all(frame.request_of(prompt) for prompt in prompts)


@pytest.mark.parametrize(
    "given_request",
    ["a net", "Do this.\n\na net", "a net\n\nThanks a lot.", "Do this.\n\na net\n\nThanks a lot.",
     " Do this. a net\r\nThanks  a lot.\n"],
)  # fmt: skip
def test_a_frame_that_the_request_already_has_is_not_added_again(given_request):
    assert PromptFrame("Do this.\n\n", "\n\nThanks a lot.").prompt_of(given_request) == (
        "Do this.\n\na net\n\nThanks a lot."
    )


def test_a_quotation_mark_at_the_end_of_a_request_is_kept():
    assert PromptFrame('Draw: "', '"').prompt_of('the box "A"') == 'Draw: "the box "A""'


@given(st.text(), st.text(), st.lists(st.text(), max_size=12))
def test_no_prompt_makes_it_fail_and_every_request_is_found_in_its_prompt(beginning, end, requests):
    prompts = [f"{beginning}{request}{end}" for request in requests]
    frame = frame_of(prompts)
    assert PromptFrame.from_json(frame.to_json()) == frame
    for prompt in prompts:
        assert frame.request_of(prompt) in prompt
        assert bool(frame.request_of(prompt)) == bool(prompt.strip())
        assert frame.prompt_of(prompt).startswith(frame.beginning)


def test_a_long_frame_and_many_rows_take_seconds():
    begin = cpu_seconds()
    frame = frame_of(around(f"{'Be brief. ' * 1_000}\n@\n{'Be exact. ' * 1_000}"))
    assert (len(frame.beginning), len(frame.end)) == (10_001, 10_001)
    assert frame_of(f"{k * 7919 % 100_003} shapes\n\n{INSTRUCTION}" for k in range(100_000)) == OURS
    assert cpu_seconds() - begin < 20


def test_captions_use_the_stored_frame_or_else_that_of_the_file():
    caption = captions(OURS, around("Please.\n\n@"))
    assert [caption(f"a box\n\n{INSTRUCTION}"), caption("Please.\n\na box"), caption("a box")] == ["a box"] * 3


@pytest.fixture
def options(tmp_path):
    (tmp_path / "create_dataset").mkdir()
    (tmp_path / "models" / "sft").mkdir(parents=True)
    return Options("embedded", workspace=Workspace(tmp_path))


def test_the_stored_frame_is_used_without_a_note(options):
    frame = PromptFrame("Draw «this».\n\n", "\n\n请.")
    (options.workspace.sft_model / FRAME_FILE).write_text(frame.to_json())
    assert stored_frame(options.workspace.sft_model, options) == (frame, "")


@pytest.mark.parametrize("damage", [None, "", "[]", '{"beginning": 3, "end": ""}', '{"end": ""}', "{" * 100_000])
def test_without_a_stored_frame_that_of_the_csv_is_used_and_a_note_says_so(options, damage):
    if damage is not None:
        (options.workspace.sft_model / FRAME_FILE).write_text(damage)
    rows = "".join(f'"Please.\n\nbox {k}",{DIAGRAM}\n' for k in range(3))
    options.workspace.sft_csv.write_text(SFT_HEADER + rows)
    frame, note = stored_frame(options.workspace.sft_model, options)
    assert frame == PromptFrame("Please.\n\n", "")
    assert note.startswith(str(options.workspace.sft_model / FRAME_FILE)) and str(options.workspace.sft_csv) in note


def test_without_a_readable_csv_prompts_are_made_as_in_the_committed_ones(options):
    frame, note = stored_frame(options.workspace.sft_model, options)
    assert frame == OURS and note.endswith("Prompts are made as in the committed CSVs")
