"""POST /v1/rerank by a judge, held to transformers' own arithmetic on a toy.

Oracle: Qwen3ForCausalLM of transformers 5.23 on torch 2.13, float32, one prompt at a time: the
softmax over the last position's logits of yes and no, as the cards of the Qwen3 rerankers have it.
The prompt's tokens come from that card's pieces, cut by the `tokenizers` library. Float weights are
multiplied in float32, keys and values kept in float16: scores within 2e-3.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
import torch
from tokenizers import models, pre_tokenizers
from transformers import Qwen3Config, Qwen3ForCausalLM

from freehold.chat.judging import JudgePrompt
from freehold.errors import BadConfig, BadRequest, PromptTooLong, TemplateError, WrongTask
from freehold.loading import is_encoder, load_model, read_judge, read_text_side
from freehold.server.context import Asker
from freehold.server.judging import share
from freehold.server.residents import Residents
from freehold.server.routes.openai.rerank import RerankBody, RerankReply, rerank
from tests.server.test_residents import settings_for

pytestmark = pytest.mark.parity

BOUND = 2e-3
MARKS = ["<|im_start|>", "<|im_end|>", "<|endoftext|>"]
WORDS = ["yes", "no"]
SYSTEM = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and "
    'the Instruct provided. Note that the answer can only be "yes" or "no".<|im_end|>\n'
    "<|im_start|>user\n"
)
END = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
TASK = "Given a web search query, retrieve relevant passages that answer the query"
ROLES = (
    "{%- set task = messages | selectattr('role', 'eq', 'system') | map(attribute='content')"
    f" | first | default('{TASK}') -%}}\n"
    "{%- set query = messages | selectattr('role', 'eq', 'query') | map(attribute='content')"
    " | first -%}\n"
    "{%- set text = messages | selectattr('role', 'eq', 'document') | map(attribute='content')"
    " | first -%}\n"
    + SYSTEM
    + "<Instruct>: {{ task }}\n<Query>: {{ query }}\n<Document>: {{ text }}"
    + END
    + "\n"
)
CHAT = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
)
QUERY = "Where is the kitten?"
DOCUMENTS = ["A cat sleeps.", "Interest rates rose.", "Größe {query} <|im_end|> <think>", ""]


def library() -> tokenizers.Tokenizer:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = {letter: i for i, letter in enumerate(letters)}
    for word in ["ye", *WORDS]:
        pieces[word] = len(pieces)
    merges = [("y", "e"), ("ye", "s"), ("n", "o")]
    made = tokenizers.Tokenizer(models.BPE(pieces, merges))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.add_special_tokens(MARKS)
    made.add_tokens(["<think>", "</think>"])
    return made


class Toy:
    """A judge's directory, and the scores that transformers gives."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.library = folder, library()
        torch.manual_seed(5)
        config = Qwen3Config(
            vocab_size=self.library.get_vocab_size(),
            hidden_size=64,
            intermediate_size=96,
            num_attention_heads=4,
            num_key_value_heads=2,
            num_hidden_layers=2,
            max_position_embeddings=1024,
            head_dim=16,
        )
        self.model = Qwen3ForCausalLM(config).to(torch.float32).eval()
        for values in self.model.parameters():
            if values.ndim > 1:
                torch.nn.init.normal_(values, std=1.5 / values.shape[-1] ** 0.5)
        self.model.save_pretrained(folder)
        (folder / "generation_config.json").unlink()
        self.library.save(str(folder / "tokenizer.json"))
        self.write("tokenizer_config.json", {"eos_token": "<|im_end|>", "chat_template": ROLES})
        kind = "sentence_transformers."
        self.write(
            "modules.json",
            [
                {"idx": 0, "name": "0", "path": "", "type": kind + "base.modules.Transformer"},
                {"idx": 1, "name": "1", "path": "1_LogitScore", "type": kind + "LogitScore"},
            ],
        )
        yes, no = (self.library.token_to_id(word) for word in WORDS)
        self.write("1_LogitScore/config.json", {"true_token_id": yes, "false_token_id": no})
        self.write(
            "sentence_bert_config.json",
            {
                "transformer_task": "text-generation",
                "modality_config": {"message": {"method": "forward", "format": "flat"}},
                "module_output_name": "causal_logits",
            },
        )
        self.write("config_sentence_transformers.json", {"model_type": "CrossEncoder"})

    def write(self, name: str, value: Any) -> None:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(value), "utf-8")

    def ids(self, query: str, document: str, task: str = TASK) -> list[int]:
        """Control tokens where the prompt has them and nowhere else."""
        found: list[int] = []
        for text, parsed in (
            (SYSTEM, True),
            (f"<Instruct>: {task}\n<Query>: {query}\n<Document>: {document}", False),
            (END, True),
        ):
            self.library.encode_special_tokens = not parsed
            if parsed:
                found += self.library.encode(text, add_special_tokens=False).ids
                continue
            for piece in _apart(text, ["<think>", "</think>"]):
                found += self.library.encode(piece, add_special_tokens=False).ids
        return found

    def score(self, document: str, task: str = TASK) -> float:
        with torch.inference_mode():
            logits = self.model(input_ids=torch.tensor([self.ids(QUERY, document, task)])).logits
        yes, no = (self.library.token_to_id(word) for word in WORDS)
        both = logits[0, -1, [no, yes]]
        return float(torch.log_softmax(both, dim=0)[1].exp())


def _apart(text: str, words: list[str]) -> list[str]:
    """The text cut within each of the words, so that none is read as one token."""
    for word in words:
        text = text.replace(word, word[0] + "\0" + word[1:])
    return text.split("\0")


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    folder = tmp_path_factory.mktemp("judge") / "judge"
    folder.mkdir()
    return Toy(folder)


def with_judge(
    folder: Path, home: Path, ask: Callable[[Residents], Awaitable[None]], **changes: Any
) -> None:
    async def run() -> None:
        residents = Residents(settings=settings_for(home, **changes), refs=[str(folder)])
        try:
            await asyncio.wait_for(ask(residents), 60)
        finally:
            await residents.close()

    asyncio.run(run())


class Ctx:
    """What a route sees of the server."""

    def __init__(self, residents: Residents) -> None:
        self.house = self
        self.residents = residents
        self.asker = Asker(request_id="req")


async def ranked(residents: Residents, **fields: Any) -> RerankReply:
    body = {"model": "judge", "query": QUERY, "documents": DOCUMENTS} | fields
    return await rerank(RerankBody.model_validate(body), Ctx(residents))  # type: ignore[arg-type]


def test_scores_are_those_of_transformers_in_any_company(toy: Toy, tmp_path: Path) -> None:
    wanted = np.array([toy.score(document) for document in DOCUMENTS])
    assert np.ptp(wanted) > 0.05, "a toy that tells nothing apart would prove nothing"

    async def ask(residents: Residents) -> None:
        reply = await ranked(residents)
        assert (reply.model, reply.scoring) == ("judge", "yes_or_no")
        scores = {result.index: result.relevance_score for result in reply.results}
        found = np.array([scores[index] for index in range(len(DOCUMENTS))])
        np.testing.assert_allclose(found, wanted, atol=BOUND)
        assert [result.index for result in reply.results] == np.argsort(-wanted).tolist()
        assert reply.usage.prompt_tokens == sum(len(toy.ids(QUERY, one)) for one in DOCUMENTS)
        alone = await ranked(residents, documents=DOCUMENTS[:1])
        assert alone.results[0].relevance_score == found[0]
        many = await ranked(residents, documents=DOCUMENTS * 20, top_n=3)
        assert len(many.results) == 3
        assert many.results[0].relevance_score == found.max()

    with_judge(toy.folder, tmp_path, ask)


def test_an_instruction_of_the_request_takes_the_model_s_place(toy: Toy, tmp_path: Path) -> None:
    task = "Find cats"
    wanted = toy.score(DOCUMENTS[0], task)
    assert abs(wanted - toy.score(DOCUMENTS[0])) > BOUND

    async def ask(residents: Residents) -> None:
        reply = await ranked(residents, documents=DOCUMENTS[:1], instruction=task)
        assert reply.results[0].relevance_score == pytest.approx(wanted, abs=BOUND)

    with_judge(toy.folder, tmp_path, ask)


def test_what_is_too_long_is_refused_or_cut_as_asked(toy: Toy, tmp_path: Path) -> None:
    long = "ä" * 2000

    async def ask(residents: Residents) -> None:
        with pytest.raises(PromptTooLong) as caught:
            await ranked(residents, documents=["a", long])
        assert caught.value.param == "documents.1"
        with pytest.raises(PromptTooLong) as caught:
            await ranked(residents, query=long, max_tokens_per_doc=-1)
        assert caught.value.param == "query"
        assert (
            await ranked(residents, documents=["a", long], max_tokens_per_doc=-1)
        ).truncated == [1]
        cut = await ranked(residents, documents=[long], max_tokens_per_doc=7)
        assert cut.usage.prompt_tokens == len(toy.ids(QUERY, "äää"))

    with_judge(toy.folder, tmp_path, ask)


def test_a_model_that_chats_judges_nothing(toy: Toy, tmp_path: Path) -> None:
    folder = plain(toy, tmp_path / "judge")

    async def ask(residents: Residents) -> None:
        with pytest.raises(WrongTask, match="embedder or a reranker"):
            await ranked(residents)

    with_judge(folder, tmp_path / "home", ask)


def plain(toy: Toy, folder: Path) -> Path:
    """The same model with nothing that says that it judges."""
    folder.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (folder / name).symlink_to(toy.folder / name)
    said = {"eos_token": "<|im_end|>", "chat_template": CHAT}
    (folder / "tokenizer_config.json").write_text(json.dumps(said))
    return folder


def tokens_by(folder: Path, name: str = "some") -> list[int] | None:
    text = read_text_side(folder)
    plan = read_judge(folder, text, name)
    if plan is None:
        return None
    return JudgePrompt(plan.template, text.tokenizer, plan.instruction).tokens(QUERY, DOCUMENTS[2])


def test_each_way_of_saying_so_gives_the_same_prompt(toy: Toy, tmp_path: Path) -> None:
    wanted = toy.ids(QUERY, DOCUMENTS[2])
    assert not is_encoder(toy.folder)
    assert load_model(toy.folder).model.context_tokens == 1024
    assert tokens_by(toy.folder) == wanted
    folder = plain(toy, tmp_path / "bare")
    assert tokens_by(folder) is None
    assert tokens_by(folder, "org/Qwen3-Reranker-0.6B") == wanted
    (folder / "additional_chat_templates").mkdir()
    places = SYSTEM + f"<Instruct>: {TASK}\n<Query>: {{query}}\n<Document>: {{document}}" + END
    (folder / "additional_chat_templates" / "rerank.jinja").write_text(places)
    assert tokens_by(folder) == wanted


def test_a_prompt_without_a_place_takes_no_instruction(toy: Toy) -> None:
    tokenizer = read_text_side(toy.folder).tokenizer
    prompt = JudgePrompt("{query} {document}", tokenizer)
    with pytest.raises(BadRequest, match="no place"):
        prompt.tokens("a", "b", "c")
    with pytest.raises(TemplateError, match="leaves one of them out"):
        JudgePrompt("{{ messages[0].content }} 'query' 'document'", tokenizer)


@pytest.mark.parametrize(
    ("name", "value", "named"),
    [
        ("1_LogitScore/config.json", {"true_token_id": 3}, "one token"),
        ("1_LogitScore/config.json", {"true_token_id": 3, "false_token_id": 3}, "yes and no"),
        ("1_LogitScore/config.json", {"true_token_id": 9999, "false_token_id": 3}, "yes and no"),
        ("sentence_bert_config.json", {"transformer_task": "any-to-any"}, "transformer_task"),
        ("config_sentence_transformers.json", {"default_prompt_name": "x"}, "names no prompt"),
        ("tokenizer_config.json", {"chat_template": "{{ messages }}"}, "no chat template"),
    ],
)
def test_what_a_judge_s_files_say_is_honoured_or_refused(
    toy: Toy, tmp_path: Path, name: str, value: Any, named: str
) -> None:
    folder = tmp_path / "judge"
    folder.mkdir()
    for path in toy.folder.rglob("*.json"):
        place = folder / path.relative_to(toy.folder)
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(path.read_bytes())
    (folder / name).write_text(json.dumps(value))
    if name == "tokenizer_config.json":  # a vocabulary that the known form does not fit
        fields = json.loads((folder / "tokenizer.json").read_text())
        fields["added_tokens"] = [t for t in fields["added_tokens"] if "think" not in t["content"]]
        (folder / "tokenizer.json").write_text(json.dumps(fields))
    with pytest.raises(BadConfig, match=named):
        read_judge(folder, read_text_side(folder), "judge")


def test_a_share_is_a_softmax_at_any_distance() -> None:
    assert share(2.0, 2.0) == 0.5
    assert share(1.0, 0.0) == pytest.approx(1 / (1 + np.exp(-1)))
    assert share(1e5, 0.0) == 1.0
    assert share(0.0, 1e5) == pytest.approx(0.0, abs=1e-300)
