"""Models in memory: loaded on demand, shared by askers, evicted by budget, never by path."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from freehold.chat.tools import Tool
from freehold.config import Settings, resolve_settings
from freehold.engine.sampler import Sampling
from freehold.errors import (
    BadRequest,
    BadSetting,
    DeadlineExceeded,
    ModelLoading,
    PromptTooLong,
    QueueFull,
    Truncated,
    UnknownModel,
    WrongTask,
)
from freehold.server.answering import Answer
from freehold.server.ask import Ask, Collected
from freehold.server.context import Asker
from freehold.server.residents import Residents
from tests.loading.small import Dims, small

DIMS = Dims(kind="Q8_0", D=64, H=2, G=1, A=32, F=64)
KV_BYTES = 1 << 20
ASKER = Asker(request_id="req")
ASK = Ask(model="one", prompt="Hello there", max_tokens=12)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {name: small(DIMS).write(folder / f"{name}.gguf") for name in ("one", "two", "three")}


def settings_for(home: Path, **changes: object) -> Settings:
    settings = resolve_settings({"home": home}, environment={})
    return replace(settings, kv_memory=KV_BYTES, threads=1, **changes)  # type: ignore[arg-type]


def with_residents(
    files: dict[str, Path],
    home: Path,
    body: Callable[[Residents], Awaitable[None]],
    **changes: object,
) -> None:
    async def run() -> None:
        refs = [str(path) for path in files.values()]
        residents = Residents(settings=settings_for(home, **changes), refs=refs)
        try:
            await asyncio.wait_for(body(residents), 30)
        finally:
            await residents.close()

    asyncio.run(run())


async def answered(residents: Residents, ask: Ask) -> Collected:
    resident = await residents.chat(ask.model)
    return await (await resident.answer(ask, ASKER)).collect()


def test_models_named_at_the_start_are_ready_after_it(
    files: dict[str, Path], tmp_path: Path
) -> None:
    async def body(residents: Residents) -> None:
        assert (residents.ready, residents.loaded()) == (False, [])
        await residents.start()
        assert residents.ready is True
        assert [model.card.id for model in residents.loaded()] == list(files)
        assert all(card.loaded for card in residents.cards())

    with_residents(files, tmp_path, body)


def test_a_model_is_loaded_once_for_many_who_ask(files: dict[str, Path], tmp_path: Path) -> None:
    async def body(residents: Residents) -> None:
        found = await asyncio.gather(*(residents.chat("one") for _ in range(8)))
        assert len(set(map(id, found))) == 1
        (model,) = residents.loaded()
        assert model.pid is not None
        assert model.card.quantization == "Q8_0"

    with_residents(files, tmp_path, body)


def test_an_answer_has_its_text_and_its_cost(files: dict[str, Path], tmp_path: Path) -> None:
    async def body(residents: Residents) -> None:
        one = await answered(residents, ASK)
        assert one.usage.prompt_tokens == len((await residents.chat("one")).prompt(ASK))
        assert one.usage.completion_tokens == 12
        assert one.choices[0].finish_reason == "length"
        assert (await answered(residents, ASK)).choices == one.choices
        several = await answered(
            residents, replace(ASK, n=3, sampling=Sampling(temperature=1.5, seed=1))
        )
        assert len({choice.text for choice in several.choices}) == 3
        assert several.usage.completion_tokens == 36

    with_residents(files, tmp_path, body)


def test_a_stop_text_ends_the_answer_and_is_not_in_it(
    files: dict[str, Path], tmp_path: Path
) -> None:
    async def body(residents: Residents) -> None:
        whole = (await answered(residents, ASK)).choices[0].text
        stop = whole[4:7]
        choice = (await answered(residents, replace(ASK, stop=("never", stop)))).choices[0]
        assert choice.text == whole[: whole.index(stop)]
        assert (choice.finish_reason, choice.stop_sequence) == ("stop", stop)

    with_residents(files, tmp_path, body)


def test_logprobs_come_with_texts_and_bytes(files: dict[str, Path], tmp_path: Path) -> None:
    async def body(residents: Residents) -> None:
        one = await answered(residents, replace(ASK, logprobs=2, prompt_logprobs=0))
        notes = one.choices[0].logprobs
        assert len(notes) == 12
        assert all(len(note.top) == 2 and note.logprob <= 0 for note in notes)
        assert notes[0].top[0].token == notes[0].token  # greedy
        assert one.prompt_logprobs is not None
        assert one.prompt_logprobs[0] is None
        assert len(one.prompt_logprobs) == one.usage.prompt_tokens

    with_residents(files, tmp_path, body)


def test_the_model_unused_longest_gives_way(files: dict[str, Path], tmp_path: Path) -> None:
    size = files["one"].stat().st_size + KV_BYTES

    async def body(residents: Residents) -> None:
        await answered(residents, ASK)
        await answered(residents, replace(ASK, model="two"))
        await answered(residents, ASK)
        before = {model.card.id: model.pid for model in residents.loaded()}
        await answered(residents, replace(ASK, model="three"))
        assert {model.card.id for model in residents.loaded()} == {"one", "three"}
        gone = before["two"]
        assert gone is not None
        with pytest.raises(ProcessLookupError):
            os.kill(gone, 0)

    with_residents(files, tmp_path, body, model_memory=2 * size + size // 2)


def test_a_model_in_use_is_not_evicted(files: dict[str, Path], tmp_path: Path) -> None:
    size = files["one"].stat().st_size + KV_BYTES

    async def body(residents: Residents) -> None:
        resident = await residents.chat("one")
        answer = await resident.answer(replace(ASK, max_tokens=200), ASKER)
        with pytest.raises(ModelLoading) as caught:
            await residents.chat("two")
        assert caught.value.retry_after_s
        await answer.aclose()
        await residents.chat("two")

    with_residents(files, tmp_path, body, model_memory=size + size // 2)


def test_an_unloaded_model_fails_its_answers_and_can_be_asked_again(
    files: dict[str, Path], tmp_path: Path
) -> None:
    async def body(residents: Residents) -> None:
        await answered(residents, ASK)
        await residents.unload("one")
        assert not residents.loaded()
        await residents.unload("one")
        assert (await answered(residents, ASK)).usage.completion_tokens == 12

    with_residents(files, tmp_path, body)


def test_a_request_names_a_card_and_never_a_path(files: dict[str, Path], tmp_path: Path) -> None:
    async def body(residents: Residents) -> None:
        for name in (str(files["one"]), "../one", "", "x" * 100_000, "ONE"):
            with pytest.raises(UnknownModel) as caught:
                await residents.chat(name)
            assert len(str(caught.value)) < 1000
        with pytest.raises(WrongTask):
            await residents.embedder("one")

    with_residents(files, tmp_path, body)


def test_what_cannot_be_done_is_refused_before_the_first_event(
    files: dict[str, Path], tmp_path: Path
) -> None:
    async def body(residents: Residents) -> None:
        resident = await residents.chat("one")
        for wrong, error in (
            (replace(ASK, max_tokens=5000), PromptTooLong),
            (replace(ASK, prompt="a " * 2000), PromptTooLong),
            (replace(ASK, n=0), BadRequest),
            (replace(ASK, n=1000), BadRequest),
            (replace(ASK, logprobs=1000), BadRequest),
            (replace(ASK, stop_token_ids=(1 << 20,)), BadRequest),
            (replace(ASK, sampling=Sampling(logit_bias=((1 << 20, 1.0),))), BadRequest),
            (replace(ASK, stop=("x",) * 65), BadRequest),
            (replace(ASK, stop=("x" * 1001,)), BadRequest),
            (replace(ASK, tools=(Tool(name="t"),) * 513), BadRequest),
            (replace(ASK, prompt=None, messages=({"role": "user"},) * 20_000), BadRequest),
        ):
            with pytest.raises(error):
                await resident.answer(wrong, ASKER)
        assert resident.open_answers == 0

    with_residents(files, tmp_path, body)


def test_an_answer_that_finds_no_room_holds_its_model_no_longer(
    files: dict[str, Path], tmp_path: Path
) -> None:
    async def body(residents: Residents) -> None:
        resident = await residents.chat("one")
        long = replace(ASK, max_tokens=200)
        begun = await asyncio.gather(
            *(resident.answer(long, ASKER) for _ in range(20)), return_exceptions=True
        )
        answers = [answer for answer in begun if isinstance(answer, Answer)]
        refused = [error for error in begun if isinstance(error, QueueFull)]
        assert len(answers) + len(refused) == 20
        assert refused
        assert resident.open_answers == len(answers)
        for answer in answers:
            await answer.aclose()
        assert resident.open_answers == 0

    with_residents(files, tmp_path, body, max_running=1, max_waiting=1)


def test_two_files_of_one_name_are_refused(files: dict[str, Path], tmp_path: Path) -> None:
    other = tmp_path / "one.gguf"
    other.write_bytes(files["one"].read_bytes())
    with pytest.raises(BadSetting, match="'one'"):
        Residents(settings=settings_for(tmp_path), refs=[str(files["one"]), str(other)])


def test_a_damaged_file_is_refused_at_the_start(tmp_path: Path, files: dict[str, Path]) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(files["one"].read_bytes()[:3000])
    with pytest.raises(Truncated):
        Residents(settings=settings_for(tmp_path), refs=[str(cut)])


def test_an_answer_ends_when_its_time_is_over(files: dict[str, Path], tmp_path: Path) -> None:
    async def body(residents: Residents) -> None:
        with pytest.raises(DeadlineExceeded, match=r"0\.001 s"):
            await answered(residents, ASK)

    with_residents(files, tmp_path, body, request_s=0.001)


def test_no_limit_of_time_is_no_end(files: dict[str, Path], tmp_path: Path) -> None:
    async def body(residents: Residents) -> None:
        assert (await answered(residents, ASK)).usage.completion_tokens > 0

    with_residents(files, tmp_path, body, request_s=0.0)
