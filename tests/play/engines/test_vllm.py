"""The engine vllm with TRL 1.16's own `VLLMGeneration`, and a stand-in for vLLM's `LLM`.

This tests what the kit and TRL say to vLLM, not vLLM: it is not installed here and needs a GPU. The stand-in
notes what it is given. It refuses to answer while it sleeps, or with weights other than the model's present
ones.
"""

import os
from importlib.metadata import version
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import torch
from peft import PeftModel, get_peft_model
from trainers import configuration
from transformers import GenerationConfig

from sepo_lib.chat import templates
from sepo_lib.config import profiles
from sepo_lib.play import engines, models
from sepo_lib.play.engines import Sample, vllm
from sepo_lib.play.policy import load_policy
from sepo_lib.pretrained import adapters
from sepo_lib.training import sepo

LORA = {"rank": 4, "alpha": 8, "dropout": 0.0}


class LLM:
    """The stand-in. `expect` is the engine whose model's weights it should have when it answers."""

    made: ClassVar[list["LLM"]] = []
    expect = None

    def __init__(self, **options):
        self.options, self.weights, self.asleep, self.log = options, {}, set(), []
        self.llm_engine = SimpleNamespace(
            model_executor=SimpleNamespace(
                driver_worker=SimpleNamespace(model_runner=SimpleNamespace(model=self))
            )
        )
        LLM.made.append(self)

    def load_weights(self, pairs):
        assert "weights" not in self.asleep
        self.weights |= {name: weight.clone() for name, weight in pairs}

    def reset_prefix_cache(self):
        self.log.append("sync")

    def sleep(self, level):
        self.asleep, self.weights = {"weights", "kv_cache"}, {}
        self.log.append("sleep")

    def wake_up(self, tags):
        self.asleep -= set(tags)

    @staticmethod
    def answer(number, sampling):
        """The ids of the answer to a prompt."""
        return [sampling.seed % 7, 1]

    def generate(self, requests, sampling_params, use_tqdm):
        self.requests, self.sampling = requests, sampling_params
        assert not self.asleep
        present = merged(LLM.expect.model)
        assert self.weights.keys() == present.keys()
        assert all(torch.equal(self.weights[name], weight) for name, weight in present.items())
        self.log.append("generate")
        written = [self.answer(number, sampling) for number, sampling in enumerate(sampling_params)]
        ranked = {0: SimpleNamespace(rank=1, logprob=-0.5)}
        return [
            SimpleNamespace(outputs=[SimpleNamespace(token_ids=tuple(ids), logprobs=[ranked] * len(ids))])
            for ids in written
        ]


def merged(model):
    """The weights by their names in the model without its adapter, with the adapter in them."""
    if not isinstance(model, PeftModel):
        return dict(model.named_parameters())
    found = {}
    for name, weight in model.named_parameters():
        if "lora_" not in name:
            module = (
                model.get_submodule(name.removesuffix(".base_layer.weight")) if "base_layer" in name else None
            )
            change = module.get_delta_weight("default") if module else 0.0
            plain = name.removeprefix("base_model.model.").replace(".base_layer", "")
            found[plain] = (weight.data.float() + change).to(weight.dtype)
    return found


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    """vLLM as it seems to be installed; the one that runs ends with the test."""
    for module in (vllm, vllm.vllm_generation):
        monkeypatch.setattr(module, "is_vllm_available", lambda: True)
    monkeypatch.setattr(vllm.vllm_generation, "LLM", LLM, raising=False)
    monkeypatch.setattr(vllm.vllm_generation, "SamplingParams", SimpleNamespace, raising=False)
    monkeypatch.setattr(LLM, "made", [])
    monkeypatch.setattr(vllm, "_running", [])


@pytest.fixture
def nano():
    return models.load("nano")


def engine_of(model, tokenizer, **options):
    LLM.expect = engines.make(model, tokenizer, "vllm", options)
    return LLM.expect


def test_the_interface_is_that_of_the_pinned_version():
    assert version("trl") == "1.16.0"


def test_every_prompt_has_a_seed_and_every_other_parameter_is_neutral(nano, monkeypatch):
    model, tokenizer = nano
    poisoned = GenerationConfig(no_repeat_ngram_size=1, top_k=1, repetition_penalty=2.0, eos_token_id=7)
    monkeypatch.setattr(model, "generation_config", poisoned)
    before = dict(os.environ)
    engine = engine_of(model, tokenizer, memory=0.25)
    end = engine.end_ids[0]
    monkeypatch.setattr(LLM, "answer", lambda self, number, sampling: [sampling.seed, (end, 5)[number]])
    drawn = np.array([[0.5, 0.1], [0.25, 0.1]])
    assert engine.sample([[2], [3]], drawn, 0.8) == [
        Sample([2**52, end], [-0.5, -0.5], True),
        Sample([2**51, 5], [-0.5, -0.5], False),
    ]
    (llm,) = LLM.made
    assert llm.requests == [{"prompt_token_ids": [2]}, {"prompt_token_ids": [3]}]
    # These are all sampling parameters that are set; vLLM keeps neutral defaults for the others. From the
    # model's generation_config it would take the ids to stop at, but `ignore_eos` prevents that.
    given = {
        "temperature": 0.8,
        "max_tokens": 2,
        "stop_token_ids": engine.end_ids,
        "ignore_eos": True,
        "logprobs": 0,
    }
    assert vars(llm.sampling[0]) == {**given, "seed": 2**52}
    told = {"gpu_memory_utilization": 0.25, "enable_sleep_mode": False, "max_model_len": min(4096, 1024)}
    assert told.items() <= llm.options.items()
    assert dict(os.environ) == before  # TRL's variables would start the next trainer as one of several


def test_the_settings_of_a_run_reach_the_engine():
    settings = profiles.load("paper", engine="vllm", vllm_memory=0.4, vllm_sleep=True)
    assert profiles.sampling(settings)["vllm"] == {"memory": 0.4, "sleep": True}
    assert "vllm" not in profiles.sampling(profiles.load("paper"))
    _, _, policy = load_policy("nano", "float32", 0.8, 4, "vllm", vllm={"memory": 0.4, "sleep": True})
    assert (policy.engine.memory, policy.engine.sleep) == (0.4, True)


@pytest.mark.parametrize(("lora", "sleep"), [(None, False), (LORA, True)])
def test_every_answer_is_sampled_with_the_weights_after_the_last_step(
    lora, sleep, nano, tmp_path, monkeypatch
):
    """Two steps of SEPO, each with an evaluation."""
    model, tokenizer = nano
    engine = engine_of(model, tokenizer, sleep=sleep)
    end = templates.end_of_answer(tokenizer)
    words = [
        [*tokenizer(word, add_special_tokens=False)["input_ids"], end] for word in ("COOPERATE", "DEFECT")
    ]
    monkeypatch.setattr(LLM, "answer", lambda self, number, sampling: words[sampling.seed % 2])
    seen, counters = [], []

    def evaluate(step):
        engine.sample([[2, 3]], np.array([[0.5, 0.5]]), 0.8)
        seen.append({name: weight.clone() for name, weight in LLM.made[0].weights.items()})
        counters.append([parameter._version for parameter in engine.model.parameters()])

    config = configuration(steps=2, lora=lora, learning_rate=1e-2)
    sepo.train(model, tokenizer, engine, tmp_path, config, lambda step, metrics: None, evaluate)
    (llm,) = LLM.made
    changed = [name for name in seen[0] if not torch.equal(seen[0][name], seen[1][name])]
    assert changed and counters[0] == counters[1]  # the fused optimizer moves no counter of torch
    assert llm.log.count("sync") == 1 + 2  # at the start and after each step, however much was sampled
    assert llm.log.count("sleep") == (3 if sleep else 0)  # TRL puts it to sleep at the start


def test_an_adapter_is_merged_into_copies(nano):
    """TRL merges it into the weights; in bfloat16 they are then no longer what they were."""
    model, tokenizer = nano
    model = model.bfloat16()
    model = get_peft_model(model, adapters.lora(model, **LORA))
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    engine = engine_of(model, tokenizer)
    engine.sample([[2]], np.array([[0.5]]), 0.8)
    assert all(torch.equal(weight, before[name]) for name, weight in model.named_parameters())


def test_engines_share_one_vllm_and_each_samples_with_its_own_weights(nano):
    """The models of cross-play, and jobs that run one after the other in a process."""
    first = engine_of(*nano)
    other, tokenizer = models.load("nano")
    with torch.no_grad():
        other.get_input_embeddings().weight += 1
    second = engines.make(other, tokenizer, "vllm")
    for engine in (first, second, second, first):
        LLM.expect = engine
        engine.sample([[2]], np.array([[0.5]]), 0.8)
    assert [llm.log.count("sync") for llm in LLM.made] == [3]
    engine_of(other, tokenizer, memory=0.5).sample([[2]], np.array([[0.5]]), 0.8)
    assert len(LLM.made) == 2  # another share of the memory needs another one


def test_a_change_of_weights_that_is_reported_is_taken(nano):
    model, _ = nano
    engine = engine_of(*nano)
    engine.sample([[2]], np.array([[0.5]]), 0.8)
    model.get_input_embeddings().weight.data += 1  # moves no counter
    engine.weights_changed()
    engine.sample([[2]], np.array([[0.5]]), 0.8)
