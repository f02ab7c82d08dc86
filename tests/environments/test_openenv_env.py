"""A client plays the games on an OpenEnv server of this machine; docs/environments.md says how to run this.

`test_session.py` shows that a `Session` plays the episodes of the kit.
"""

import socket
import threading
import time

import outside_play
import pages
import pytest

from sepo_lib import games
from sepo_lib.environments.session import Session, setups

pytest.importorskip("openenv", reason="needs an environment with the extra openenv (docs/environments.md)")


@pytest.fixture(scope="module")
def address():
    import uvicorn

    from sepo_lib.environments import openenv_env

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = uvicorn.Server(
        uvicorn.Config(openenv_env.app(), host="127.0.0.1", port=port, log_level="warning")
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until = time.monotonic() + 60
    while not server.started and time.monotonic() < until:
        time.sleep(0.1)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(10)


@pytest.fixture
def client(address):
    from openenv.core import GenericEnvClient

    with GenericEnvClient(base_url=address).sync() as connected:
        yield connected


@pytest.mark.parametrize("game", games.GAMES)
def test_a_client_gets_the_rewards_of_the_kit(client, game):
    for setup in setups(game, {"train": 1, "exploiter": 1}, seed=4):
        session = Session(setup)
        result = client.reset(**vars(setup))
        while not session.over:
            assert result.observation["situation"] == session.situation and not result.done
            answer = f"I think.\n{session.game.spell(outside_play.choose(session.game, session.view))}"
            reward = session.answer(answer)
            result = client.step({"text": answer})
            assert result.reward == reward
        assert result.done and result.metadata == session.info()


def test_an_answer_without_an_action_ends_the_episode_and_a_wrong_setup_is_an_error(client):
    client.reset(game="ipd", opponent="grim")
    result = client.step({"text": "I do not know."})
    assert result.done and result.reward == -24 and result.metadata["forfeited"] == 8
    with pytest.raises(RuntimeError, match="train pool of ipd has no opponent 'me'; choose from"):
        client.reset(game="ipd", opponent="me")


def test_the_lines_of_the_page_play(address, capsys):
    text = (pages.REPOSITORY / "docs" / "environments.md").read_text(encoding="utf-8")
    (code,) = pages.fenced(pages.section(text, "OpenEnv"), "python")
    assert "http://127.0.0.1:8000" in code
    exec(code.replace("http://127.0.0.1:8000", address), {})
    assert capsys.readouterr().out == "1.0 The game is over after 8 rounds. Your points: 8.\n"
