"""TRL's GRPOTrainer plays games by tool calls (`environment_factory`) and takes a step of training."""

import json

import outside_play
import pages
import pytest
import tiny_models
import torch
from datasets import Dataset
from transformers import Qwen3Config, Qwen3ForCausalLM, set_seed
from trl import GRPOConfig, GRPOTrainer

from sepo_lib import games
from sepo_lib.environments import session, trl_env

#: What the scripted model writes instead of an action, by game.
NONSENSE = {"split": "eleven"}


@pytest.fixture(scope="module")
def tokenizer():
    made = tiny_models.tokenizer_of("qwen")
    made.chat_template = (tiny_models.TEMPLATES / "qwen3.jinja").read_text(encoding="utf-8")
    return made


@pytest.fixture
def model(tokenizer):
    set_seed(3)
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "head_dim": 8}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 8192}
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    return Qwen3ForCausalLM(Qwen3Config(vocab_size=len(tokenizer), **shape, **heads, **ends))


def scripted(tokenizer, trainer):
    """`generate` of a model that writes nonsense once in the games of NONSENSE.

    In the first rollout of a group it plays by `choose`, in the second the first legal action.
    """
    refused = set()

    def answer(environment, second):
        now = environment.session
        if now.over:
            return "Done."
        action = now.view.legal[0] if second else outside_play.choose(now.game, now.view)
        said = now.game.spell(action)
        if now.game.name in NONSENSE and environment not in refused:
            refused.add(environment)
            said = NONSENSE[now.game.name]
        call = json.dumps({"name": "play", "arguments": {"action": said}})
        return f"<tool_call>\n{call}\n</tool_call>"

    def generate(input_ids, **_):
        prompts = tokenizer.batch_decode(input_ids)
        # the rows that go on are those whose last message is the situation of an episode
        waiting = dict(enumerate(trainer().environments))
        texts = []
        for prompt in prompts:
            last = prompt.rsplit("<|im_start|>user", 1)[1]
            at = next(n for n, e in waiting.items() if e.session.situation in last)
            texts.append(answer(waiting.pop(at), at % 2) + "<|im_end|>")
        ids = tokenizer(texts, add_special_tokens=False)["input_ids"]
        longest = max(map(len, ids))
        padded = [one + [tokenizer.pad_token_id] * (longest - len(one)) for one in ids]
        return torch.cat([input_ids, torch.tensor(padded)], dim=1)

    return generate


def options(folder, **changed):
    return GRPOConfig(
        output_dir=str(folder),
        **{"max_steps": 1, "num_generations": 2, "learning_rate": 0.01, "report_to": "none", "use_cpu": True},
        **{
            "logging_steps": 1,
            "save_strategy": "no",
            "max_completion_length": 4000,
            "shuffle_dataset": False,
        },
        chat_template_kwargs={"enable_thinking": False},
        **changed,
    )


def test_a_step_of_grpo_on_whole_episodes_has_the_rewards_of_the_kit(tokenizer, model, tmp_path):
    chosen = [setup for game in ("kuhn", "split", "deal") for setup in session.setups(game, {"train": 1})[:1]]
    trainer = None
    model.generate = scripted(tokenizer, lambda: trainer)
    before = model.lm_head.weight.detach().clone()
    trainer = GRPOTrainer(
        model=model,
        processing_class=tokenizer,
        train_dataset=Dataset.from_list(trl_env.rows(chosen)),
        environment_factory=trl_env.GameTools,
        args=options(tmp_path, per_device_train_batch_size=6),
    )
    trainer.train()
    own = [outside_play.played(setup.game, {"train": 1})[0] for setup in chosen]
    rewards = [e.session.total for e in trainer.environments]
    assert rewards[::2] == [outside_play.points(episode) for episode in own] != rewards[1::2]
    records = [e.session.episode() for e in trainer.environments[::2]]
    assert [one.rounds for one in records] == [one.rounds for one in own]
    assert [one.collusion_T for one in records] == [one.collusion_T for one in own]
    logged = trainer.state.log_history[0]
    assert logged["rewards/GameTools/mean"] == pytest.approx(sum(rewards) / 6)
    played = sum(len(e.session.episode().decisions) for e in trainer.environments)
    assert logged["tools/failure_frequency"] == pytest.approx(
        2 / (played + 2)
    )  # in the two rollouts of split
    assert not torch.equal(before, model.lm_head.weight)


def test_the_model_reads_a_refused_action_and_plays_on():
    tools = trl_env.GameTools()
    row = trl_env.rows(session.setups("ipd", {"train": 1}))[0]
    assert row["prompt"][0]["content"].startswith(games.get("ipd").rules())
    assert tools.reset(**row).startswith("Round 1 of 8.")
    with pytest.raises(ValueError, match=r"'PASS' is no legal action. Round 1 of 8."):
        tools.play("PASS")
    assert tools.play("cooperate").startswith("Round 2 of 8.")


def test_a_model_that_stops_loses_the_rest():
    tools = trl_env.GameTools()
    tools.reset(**trl_env.rows(session.setups("ipd", {"train": 1}))[0])  # tit-for-tat
    tools.play("COOPERATE")
    assert tools.get_reward() == tools.get_reward() == 3 - 7 * games.get("ipd").max_payoff
    with pytest.raises(ValueError, match="This episode is over"):
        tools.play("COOPERATE")


def test_rows_that_the_kit_did_not_make_are_an_error():
    with pytest.raises(ValueError, match=r"no column 'opponent'; make its rows with `trl_env.rows`"):
        trl_env.GameTools().reset(prompt=[], game="ipd", pools="paper", pool="train")


def test_the_lines_of_the_page_train(tokenizer, model, tmp_path, monkeypatch):
    """With a random model, which calls no tool: every round is forfeited, and the loss is 0."""
    text = (pages.REPOSITORY / "docs" / "environments.md").read_text(encoding="utf-8")
    (code,) = pages.fenced(pages.section(text, "TRL"), "python")
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    small = {
        "max_steps=100": "max_steps=1, use_cpu=True",
        "max_completion_length=1024": "max_completion_length=8",
    }
    for found, put in {'"Qwen/Qwen3-0.6B"': repr(str(tmp_path / "model")), **small}.items():
        assert found in code
        code = code.replace(found, put)
    here = {}
    exec(code, here)
    worst = -8 * games.get("ipd").max_payoff
    assert here["trainer"].state.log_history[0]["rewards/GameTools/mean"] == worst
