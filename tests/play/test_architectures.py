"""A real model's whole way, on tiny random ones of the paper's architectures: play, SFT, SEPO, adapters."""

import numpy as np
import pytest
import tiny_models
import torch
from peft import PeftModel
from trainers import configuration
from transformers import AutoModelForCausalLM

from sepo_lib import games
from sepo_lib.chat import templates
from sepo_lib.measure import evaluation
from sepo_lib.play import models, rollouts
from sepo_lib.play.engines import GenerateEngine, prefix_cache
from sepo_lib.play.policy import load_policy
from sepo_lib.pretrained import adapters
from sepo_lib.training import demonstrations, sepo, sft

KUHN = games.get("kuhn")
LORA = {"rank": 4, "alpha": 8, "dropout": 0.0}
CHAT = [{"role": "system", "content": "Rules."}, {"role": "user", "content": "State."}]


@pytest.fixture(scope="module", params=tiny_models.MODELS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def base(kind, tmp_path_factory):
    return tiny_models.make(kind, tmp_path_factory.mktemp(kind))


def load(folder):
    return load_policy(str(folder), "float32", 0.8, 6)


@pytest.fixture(scope="module")
def loaded(base):
    return load(base)


def logits(model):
    ids = torch.arange(40, 60, device=model.device)[None]
    with torch.no_grad():
        return model.eval()(input_ids=ids).logits


def test_prompts_are_closed_to_thinking_and_answers_end_with_the_turn(kind, loaded):
    model, tokenizer, policy = loaded
    ((prompt, ids),) = policy.encode([CHAT])
    expected = {
        "qwen": "<|im_start|>system\nRules.<|im_end|>\n<|im_start|>user\nState.<|im_end|>\n"
        "<|im_start|>assistant\n<think>\n\n</think>\n\n",
        "gemma": "<bos><|turn>system\nRules.<turn|>\n<|turn>user\nState.<turn|>\n<|turn>model\n",
    }[kind.split("-")[0]]
    assert prompt == expected == tokenizer.decode(ids)
    turn = tokenizer.convert_tokens_to_ids("<|im_end|>" if "qwen" in kind else "<turn|>")
    assert templates.end_of_answer(tokenizer) == turn
    assert {turn, tokenizer.eos_token_id} <= set(templates.end_ids(model, tokenizer))


def test_lora_adapts_the_language_model_and_nothing_else(kind, loaded):
    targets = adapters.lora(loaded[0], **LORA).target_modules
    assert not any(word in name for name in targets for word in ("vision", "visual", "audio"))
    layers = {name.rsplit(".", 2)[0] for name in targets}
    assert len(layers) == (4 if "qwen" in kind else 6)
    last = [name.rsplit(".", 1)[-1] for name in targets]
    if "qwen" in kind:
        assert last.count("in_proj_qkv") == last.count("out_proj") == 3 and last.count("q_proj") == 1
    else:
        assert last.count("q_proj") == 6 and last.count("k_proj") == 4  # two layers share theirs


def test_a_batch_samples_what_each_prompt_samples_alone_and_its_log_probabilities(loaded):
    model, _, policy = loaded
    engine = policy.engine
    assert isinstance(engine, GenerateEngine) and not prefix_cache.attends_to_everything(model)
    rng = np.random.default_rng(1)
    prompts = [rng.integers(40, 1200, size=n).tolist() for n in (30, 9, 17, 30)]
    uniforms_BL = rng.random((4, 6))
    together = engine.sample(prompts, uniforms_BL, 0.8)
    in_parts = GenerateEngine(model, engine.end_ids, at_once=3).sample(prompts, uniforms_BL, 0.8)
    scores = engine.score(prompts, [sample.ids for sample in together], 0.8)
    for number, (prompt, sample) in enumerate(zip(prompts, together, strict=True)):
        alone = engine.sample([prompt], uniforms_BL[number : number + 1], 0.8)[0]
        assert sample.ids == alone.ids == in_parts[number].ids
        with torch.no_grad():
            out = model(torch.tensor([prompt + sample.ids], device=model.device)).logits[
                0, len(prompt) - 1 : -1
            ]
        expected = torch.log_softmax(out / 0.8, dim=-1)[range(len(sample.ids)), sample.ids]
        np.testing.assert_allclose(sample.logps, expected.cpu().numpy(), atol=1e-4)
        assert scores[number] == pytest.approx(float(expected.sum()), abs=1e-4)


def test_sft_then_sepo_then_evaluation_and_adapters_that_peft_alone_loads(base, tmp_path):
    model, tokenizer, _ = load(base)
    examples = demonstrations.build("kuhn", 16, seed=3).select_columns(["prompt", "completion"])
    rows = sft.train(
        model,
        tokenizer,
        examples,
        tmp_path / "sft",
        sft.SFTSettings(epochs=1, batch=4, learning_rate=1e-2, max_length=512, seed=1, steps=2, lora=LORA),
        lambda step, metrics: None,
    )
    assert [row["step"] for row in rows] == [1, 2] and np.isfinite([row["loss"] for row in rows]).all()
    plain = AutoModelForCausalLM.from_pretrained(base)
    before = logits(plain)
    merged = logits(models.load(str(tmp_path / "sft" / "model"))[0])
    assert (merged - before).abs().max() > 1e-4
    adapted = PeftModel.from_pretrained(plain, tmp_path / "sft" / "adapter")
    assert torch.allclose(logits(adapted), merged, atol=1e-4)

    model, tokenizer, policy = load(tmp_path / "sft" / "model")
    evaluated = []

    def evaluate(step):
        model.eval()
        keys = {"seed": 1, "step": step}
        tables = evaluation.evaluate(
            policy, KUHN, "paper", 1, 1, evaluation.kuhn_strategy.Reading(2, 0.9, 60), keys
        )
        evaluated.append(float(tables["evaluation"]["payoff"].iloc[0]))
        model.train()

    config = configuration(
        game=KUHN,
        steps=2,
        learning_rate=1e-2,
        max_new_tokens=6,
        checkpoint_every=2,
        micro_batches=2,
        lora=LORA,
    )
    log = sepo.train(
        model, tokenizer, policy.engine, tmp_path / "sepo", config, lambda step, metrics: None, evaluate
    )
    assert [row["step"] for row in log] == [1, 2] and log[1]["kl"] > 0
    assert all(row["grad_norm"] > 0 and np.isfinite(row["loss"]) for row in log)
    assert np.isfinite(evaluated).all() and len(evaluated) == 1
    trained = logits(model)
    start = AutoModelForCausalLM.from_pretrained(tmp_path / "sft" / "model")
    assert torch.allclose(logits(start), merged, atol=1e-4) and (trained - merged).abs().max() > 1e-4
    adapted = PeftModel.from_pretrained(start, tmp_path / "sepo" / "model")
    assert torch.allclose(logits(adapted), trained, atol=1e-4)


def test_the_examples_of_sft_begin_with_the_prompts_of_play(kind, loaded, tmp_path, monkeypatch):
    """What SFT trains on is, token for token, the prompt that play shows and then the answer and its end."""
    model, tokenizer, policy = loaded
    examples = demonstrations.build("kuhn", 4, seed=3).select_columns(["prompt", "completion"])
    seen = {}

    class Stop(Exception):
        pass

    def train(self, resume_from_checkpoint):
        seen["rows"] = list(self.train_dataset)
        raise Stop

    monkeypatch.setattr(sft.SFTTrainer, "train", train)
    with pytest.raises(Stop):
        sft.train(
            model,
            tokenizer,
            examples,
            tmp_path,
            sft.SFTSettings(epochs=1, batch=2, learning_rate=1e-3, max_length=512, seed=1),
            lambda step, metrics: None,
        )
    for example, row in zip(examples, seen["rows"], strict=True):
        ((_, prompt_ids),) = policy.encode([example["prompt"]])
        assert row["input_ids"][: len(prompt_ids)] == prompt_ids
        trained = [i for i, label in zip(row["input_ids"], row["labels"], strict=True) if label != -100]
        text, end = example["completion"][0]["content"], templates.end_of_answer(tokenizer)
        assert trained[-1] == end and tokenizer.decode(trained[:-1]) == text
        assert row["input_ids"][len(prompt_ids) :] == trained
        assert KUHN.parse(text, ("PASS", "BET", "CALL", "FOLD")) is not None


def test_an_answer_that_does_not_parse_is_decoded_under_constraint(loaded):
    _, _, policy = loaded
    plan = rollouts.plan(KUHN, "paper", {"exploiter": 1}, seed=1)
    for episode in rollouts.play(policy, plan):
        for decision in episode.decisions:
            assert not decision.parsed and decision.action in ("PASS", "BET", "CALL", "FOLD")
