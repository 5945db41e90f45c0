"""Verdicts for real models and six kinds of users, against a table written from the licences.

The table was written by reading the clauses, not the package's data. A cell is the outcome and,
after a colon, what decides it; WORDS are the licence's own words that must be quoted for it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from freehold.library.known import known_model, known_models
from freehold.library.terms import Profile, Verdict, assess, licence_named
from freehold.library.terms.subject import NOT_CONFIRMED, sees

# One person at home in the United States, no business.
INDIVIDUAL = Profile(
    commercial=False,
    monthly_users=0,
    annual_revenue_usd=0,
    hosts_for_others=False,
    sells_work_assistant=False,
    regions=("US",),
    trains_on_outputs=False,
)
# Twelve people who sell software.
SMALL = Profile(
    commercial=True,
    monthly_users=20_000,
    annual_revenue_usd=3_000_000,
    hosts_for_others=False,
    sells_work_assistant=False,
    regions=("US",),
    trains_on_outputs=False,
)
# A consumer product: 200 million users a month, $100 million a month.
GIANT = Profile(
    commercial=True,
    monthly_users=200_000_000,
    annual_revenue_usd=1_200_000_000,
    hosts_for_others=False,
    sells_work_assistant=False,
    regions=("US",),
    trains_on_outputs=False,
)
# Offers models to others by the token, $50 million a year.
HOST = Profile(
    commercial=True,
    monthly_users=5_000_000,
    annual_revenue_usd=50_000_000,
    hosts_for_others=True,
    sells_work_assistant=False,
    regions=("US",),
    trains_on_outputs=False,
)
# Sells an assistant for programmers from Berlin, $30 million a year.
EUROPEAN = Profile(
    commercial=True,
    monthly_users=1_000_000,
    annual_revenue_usd=30_000_000,
    hosts_for_others=False,
    sells_work_assistant=True,
    regions=("DE",),
    trains_on_outputs=False,
)
# A university in Zurich that distils small models from large ones.
INSTITUTE = Profile(
    commercial=False,
    monthly_users=1_000,
    annual_revenue_usd=80_000_000,
    hosts_for_others=False,
    sells_work_assistant=False,
    regions=("CH",),
    trains_on_outputs=True,
)
PROFILES = (INDIVIDUAL, SMALL, GIANT, HOST, EUROPEAN, INSTITUTE)
NAMES = ("individual", "small", "giant", "host", "european", "institute")

FREE = "allow:grant allow:grant allow:grant allow:grant allow:grant allow:grant"
AGREED = "accept:agreement " * 6
# No model may be trained on the outputs.
LLAMA_EARLY = "accept:agreement " * 5 + "deny:output-training"
# A trained model's name begins with Llama.
LLAMA_LATE = "accept:agreement " * 5 + "accept:output-training"
LLAMA_SEES = (
    "accept:agreement accept:agreement accept:agreement accept:agreement "
    "deny:region accept:output-training"
)
# Research or play, no business.
RESEARCH = (
    "accept:agreement deny:non-commercial deny:non-commercial deny:non-commercial "
    "deny:non-commercial accept:agreement"
)
QWEN_72B = (
    "accept:agreement accept:agreement deny:monthly-users accept:agreement "
    "accept:agreement accept:output-training"
)
QWEN_1_5 = (
    "accept:agreement accept:agreement deny:monthly-users accept:agreement "
    "accept:agreement deny:output-training"
)
QWEN_COMMUNITY = "allow:grant allow:grant accept:naming deny:hosting deny:hosting allow:grant"
# $50 million does not exceed $50 million.
QWEN_MAX = "allow:grant allow:grant accept:naming allow:grant allow:grant allow:grant"
# $100 million a month exceeds $20 million a month; $50 million a year does not.
MISTRAL_CAP = "allow:grant allow:grant deny:revenue allow:grant allow:grant allow:grant"
KIMI_K2 = "allow:grant allow:grant accept:naming allow:grant allow:grant allow:grant"
KIMI_K3 = "allow:grant allow:grant accept:naming deny:hosting allow:grant allow:grant"
MINIMAX = "accept:use-policy accept:naming deny:revenue deny:revenue deny:revenue accept:use-policy"
HUNYUAN = (
    "accept:agreement accept:agreement accept:agreement accept:agreement "
    "deny:region accept:agreement"
)
UNREAD = "accept:unknown " * 6

# hub reference, licence, whether it sees, verdicts in the order of PROFILES
TABLE = """
HuggingFaceTB/SmolLM2-135M-Instruct          apache-2.0             no   FREE
HuggingFaceTB/SmolLM3-3B                     apache-2.0             no   FREE
mistralai/Mistral-7B-Instruct-v0.3           apache-2.0             no   FREE
mistralai/Mixtral-8x7B-Instruct-v0.1         apache-2.0             no   FREE
mistralai/Ministral-3-8B-Instruct-2512       apache-2.0             yes  FREE
mistralai/Mistral-Small-4-119B-2603          apache-2.0             yes  FREE
mistralai/Mistral-Large-3-675B-Instruct-2512 apache-2.0             yes  FREE
Qwen/Qwen2.5-7B-Instruct                     apache-2.0             no   FREE
Qwen/Qwen3-0.6B                              apache-2.0             no   FREE
Qwen/Qwen3-30B-A3B                           apache-2.0             no   FREE
Qwen/Qwen3-Coder-480B-A35B-Instruct          apache-2.0             no   FREE
Qwen/Qwen3.8-27B                             apache-2.0             yes  FREE
google/gemma-4-31b-it                        apache-2.0             yes  FREE
openai/gpt-oss-20b                           apache-2.0             no   FREE
allenai/Olmo-3-7B-Instruct                   apache-2.0             no   FREE
swiss-ai/Apertus-8B-Instruct-2509            apache-2.0             no   FREE
EleutherAI/pythia-1.4b                       apache-2.0             no   FREE
meta-models/Muse-Glimmer-30B                 apache-2.0             yes  FREE
deepseek-ai/DeepSeek-V3-0324                 mit                    no   FREE
deepseek-ai/DeepSeek-R1-0528                 mit                    no   FREE
deepseek-ai/DeepSeek-V3.2                    mit                    no   FREE
deepseek-ai/DeepSeek-V4-Pro                  mit                    no   FREE
microsoft/phi-4                              mit                    no   FREE
zai-org/GLM-4.7                              mit                    no   FREE
zai-org/GLM-5.3                              glm-5                  no   FREE
meta-llama/Llama-2-7b-chat-hf                llama2                 no   LLAMA_EARLY
meta-llama/Meta-Llama-3-8B-Instruct          llama3                 no   LLAMA_EARLY
meta-llama/Llama-3.1-8B-Instruct             llama3.1               no   LLAMA_LATE
meta-llama/Llama-3.1-405B-Instruct           llama3.1               no   LLAMA_LATE
meta-llama/Llama-3.2-1B-Instruct             llama3.2               no   LLAMA_LATE
meta-llama/Llama-3.2-11B-Vision-Instruct     llama3.2               yes  LLAMA_SEES
meta-llama/Llama-3.3-70B-Instruct            llama3.3               no   LLAMA_LATE
meta-llama/Llama-4-Scout-17B-16E-Instruct    llama4                 yes  LLAMA_SEES
meta-llama/Llama-4-Maverick-17B-128E-Instruct llama4                yes  LLAMA_SEES
google/gemma-2-9b-it                         gemma                  no   AGREED
google/gemma-3-1b-it                         gemma                  no   AGREED
google/gemma-3-27b-it                        gemma                  yes  AGREED
deepseek-ai/DeepSeek-V2-Lite-Chat            deepseek               no   AGREED
deepseek-ai/DeepSeek-V3                      deepseek               no   AGREED
mistralai/Ministral-8B-Instruct-2410         mrl                    no   RESEARCH
mistralai/Mistral-Large-Instruct-2411        mrl                    no   RESEARCH
mistralai/Codestral-22B-v0.1                 mnpl                   no   RESEARCH
Qwen/Qwen2.5-3B-Instruct                     qwen-research          no   RESEARCH
CohereLabs/c4ai-command-r7b-12-2024          cc-by-nc-4.0           no   RESEARCH
Qwen/Qwen2.5-72B-Instruct                    qwen                   no   QWEN_72B
Qwen/Qwen1.5-7B-Chat                         tongyi-qianwen         no   QWEN_1_5
Qwen/Qwen3.8-Flash-Next                      qwen-community-1.0     yes  QWEN_COMMUNITY
Qwen/Qwen3.8-2.4T-A95B                       qwen3.8-max            no   QWEN_MAX
mistralai/Mistral-Medium-3.5-128B            mistral-modified-mit   yes  MISTRAL_CAP
mistralai/Devstral-2-123B-Instruct-2512      mistral-modified-mit   no   MISTRAL_CAP
moonshotai/Kimi-K2-Instruct                  kimi-k2                no   KIMI_K2
moonshotai/Kimi-K2.5                         kimi-k2                yes  KIMI_K2
moonshotai/Kimi-K3                           kimi-k3                yes  KIMI_K3
MiniMaxAI/MiniMax-M3                         minimax-m3             no   MINIMAX
tencent/Hunyuan-MT-7B                        tencent-hunyuan-community no HUNYUAN
meta-models/Muse-Spark-Open-816B-A42B        unknown                no   UNREAD
mistralai/Mistral-Large-4-1T-A52B            unknown                no   UNREAD
"""

WORDS = {
    ("apache-2.0", "grant"): "perpetual, worldwide, non-exclusive, no-charge, royalty-free",
    ("mit", "grant"): "to deal in the Software without restriction",
    ("llama2", "output-training"): "to improve any other large language model",
    ("llama3", "output-training"): "to improve any other large language model",
    ("llama3.1", "output-training"): "include “Llama” at the beginning",
    ("llama3.2", "output-training"): "include “Llama” at the beginning",
    ("llama3.3", "output-training"): "include “Llama” at the beginning",
    ("llama4", "output-training"): "include “Llama” at the beginning",
    ("llama3.2", "region"): "a company with a principal place of business in, the European Union",
    ("llama4", "region"): "a company with a principal place of business in, the European Union",
    ("llama2", "agreement"): "you agree to be bound by this Agreement",
    ("llama3", "agreement"): "you agree to be bound by this Agreement",
    ("llama3.1", "agreement"): "you agree to be bound by this Agreement",
    ("llama3.2", "agreement"): "you agree to be bound by this Agreement",
    ("llama3.3", "agreement"): "you agree to be bound by this Agreement",
    ("llama4", "agreement"): "you agree to be bound by this Agreement",
    ("gemma", "agreement"): "By using, reproducing, modifying, distributing",
    ("deepseek", "agreement"): "You and DeepSeek agree as follows",
    ("mrl", "non-commercial"): "commercial activities or business operations",
    ("mrl", "agreement"): "You agree to be bound by this Agreement",
    ("mnpl", "non-commercial"): "in the course of a commercial activity",
    ("mnpl", "agreement"): "You agree to be bound by this Agreement",
    ("qwen-research", "non-commercial"): "If you are commercially using the Materials",
    ("qwen-research", "agreement"): "recognized and accepted the content of this Agreement",
    ("cc-by-nc-4.0", "non-commercial"): "commercial advantage or monetary compensation",
    ("cc-by-nc-4.0", "agreement"): "You accept and agree to be bound",
    ("tongyi-qianwen", "monthly-users"): "more than 100 million monthly active users",
    ("tongyi-qianwen", "output-training"): "to improve any other large language model",
    ("tongyi-qianwen", "agreement"): "recognized and accepted the content of this Agreement",
    ("qwen", "output-training"): "'Built with Qwen' or 'Improved using Qwen'",
    ("qwen-community-1.0", "hosting"): "a Model as a Service or AI Work Assistant business",
    ("qwen-community-1.0", "naming"): "prominently displayed on the user interface",
    ("mistral-modified-mit", "revenue"): "global consolidated monthly revenue",
    ("mistral-modified-mit", "grant"): "sell copies of the Model",
    ("kimi-k2", "naming"): "more than 20 million US dollars",
    ("kimi-k2", "grant"): "Permission is hereby granted, free of charge",
    ("kimi-k3", "hosting"): "exceeds 20 million US dollars",
    ("minimax-m3", "revenue"): "prior written authorization",
    ("minimax-m3", "naming"): "Built with MiniMax M3",
    ("minimax-m3", "use-policy"): "military purpose",
    ("tencent-hunyuan-community", "region"): "DOES NOT APPLY IN THE EUROPEAN UNION",
    ("tencent-hunyuan-community", "agreement"): "recognized and accepted the content",
}
# Nobody among us read these words: the verdict must say that it rests on a summary.
SUMMARISED = {
    ("qwen", "agreement"),
    ("qwen", "monthly-users"),
    ("qwen-community-1.0", "grant"),
    ("qwen3.8-max", "grant"),
    ("qwen3.8-max", "naming"),
    ("kimi-k3", "grant"),
    ("kimi-k3", "naming"),
    ("glm-5", "grant"),
}


def rows() -> list[tuple[str, str, bool, list[str]]]:
    found = []
    for line in TABLE.strip().splitlines():
        hub, licence, sees_images, cells = line.split()
        found.append((hub, licence, sees_images == "yes", globals()[cells].split()))
    return found


def verdict(licence: str, profile: Profile, sees_images: bool) -> Verdict:
    found = licence_named(licence)
    assert (found is None) == (licence == NOT_CONFIRMED), licence
    return assess(() if found is None else (found,), profile, multimodal=sees_images)


def test_the_table_has_enough_rows_and_columns() -> None:
    assert len({hub for hub, *_ in rows()}) == len(rows()) >= 40
    assert len(PROFILES) == 6
    assert all(len(cells) == len(PROFILES) for *_, cells in rows())


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_verdict_and_the_words_it_quotes(row: tuple[str, str, bool, list[str]]) -> None:
    _, licence, sees_images, cells = row
    for name, profile, cell in zip(NAMES, PROFILES, cells, strict=True):
        outcome, _, topic = cell.partition(":")
        found = verdict(licence, profile, sees_images)
        assert found.outcome == outcome, (name, found)
        assert not found.open_questions, name
        deciding = [reason for reason in found.deciding if reason.topic == topic]
        assert deciding, (name, topic, found.deciding)
        if topic == "unknown":
            assert found.unknown
        elif (licence, topic) in SUMMARISED:
            assert deciding[0].quote is None
            assert deciding[0].says
        else:
            assert WORDS[licence, topic] in (deciding[0].quote or ""), name


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_the_catalogue_of_open_models_agrees_on_the_licence(
    row: tuple[str, str, bool, list[str]],
) -> None:
    hub, licence, sees_images, _ = row
    model = known_model(hub)
    if model is not None:
        assert model.licence == licence
        if licence == "llama3.2":  # the one licence that asks
            assert sees(model) == sees_images


def test_every_licence_of_the_catalogue_is_one_we_have_data_for() -> None:
    ids = {model.licence for model in known_models()} - {NOT_CONFIRMED}
    assert [name for name in sorted(ids) if licence_named(name) is None] == []


ONE_MORE = [
    ("llama2", "monthly_users", 700_000_000, "accept", "deny"),
    ("llama3", "monthly_users", 700_000_000, "accept", "deny"),
    ("llama3.1", "monthly_users", 700_000_000, "accept", "deny"),
    ("llama3.2", "monthly_users", 700_000_000, "accept", "deny"),
    ("llama3.3", "monthly_users", 700_000_000, "accept", "deny"),
    ("llama4", "monthly_users", 700_000_000, "accept", "deny"),
    ("qwen", "monthly_users", 100_000_000, "accept", "deny"),
    ("tongyi-qianwen", "monthly_users", 100_000_000, "accept", "deny"),
    ("kimi-k2", "monthly_users", 100_000_000, "allow", "accept"),
    ("kimi-k2", "annual_revenue_usd", 240_000_000, "allow", "accept"),
    ("mistral-modified-mit", "annual_revenue_usd", 240_000_000, "allow", "deny"),
    ("minimax-m3", "annual_revenue_usd", 20_000_000, "accept", "deny"),
]


@pytest.mark.parametrize(("licence", "answer", "limit", "at_it", "above_it"), ONE_MORE)
def test_a_limit_is_passed_by_one_more_and_not_before(
    licence: str, answer: str, limit: int, at_it: str, above_it: str
) -> None:
    for amount, outcome in ((limit, at_it), (limit + 1, above_it)):
        changed: dict[str, Any] = {answer: amount}
        profile = replace(SMALL, **changed)
        assert verdict(licence, profile, sees_images=False).outcome == outcome


@pytest.mark.parametrize(
    ("licence", "limit"),
    [("kimi-k3", 20_000_000), ("qwen3.8-max", 50_000_000), ("glm-5", 10_000_000_000)],
)
def test_a_host_is_stopped_by_its_revenue_and_others_are_not(licence: str, limit: int) -> None:
    rich = replace(HOST, annual_revenue_usd=limit + 1)
    assert verdict(licence, rich, sees_images=False).outcome == "deny"
    assert verdict(licence, replace(rich, annual_revenue_usd=limit), False).outcome != "deny"
    assert verdict(licence, replace(rich, hosts_for_others=False), False).outcome != "deny"
