"""verifiers evaluates a model on the games; docs/environments.md says how to run this test.

`test_session.py` shows that a `Session` plays the episodes of the kit.
"""

import json
import os
import shlex
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import outside_play
import pages
import pytest

from sepo_lib.environments.session import Session, setups

pytest.importorskip(
    "verifiers", reason="needs an environment with the extra verifiers (docs/environments.md)"
)

PAGE = pages.section((pages.REPOSITORY / "docs" / "environments.md").read_text(encoding="utf-8"), "verifiers")
BROKEN = None  # where the model's server fails


def play(setup, said):
    """The session of a player who leaves after a demand of 8 and whose server fails after one of 6.

    Adds each situation and the answer to it to `said`. Returns None if the server fails.
    """
    session = Session(setup)
    while not session.over:
        met, situation = session.view.theirs[-1:], session.situation
        said[situation] = f"I think.\n{outside_play.choose(session.game, session.view)}"
        said[situation] = {(8,): "I give up.", (6,): BROKEN}.get(met, said[situation])
        if said[situation] is BROKEN:
            return None
        session.answer(said[situation])
    return session


@pytest.fixture
def server():
    """A server with OpenAI's interface: a table of answers, and its address."""
    said = {}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            text = said[asked["messages"][-1]["content"]]
            known = {"id": "1", "object": "chat.completion.chunk", "created": 0, "model": asked["model"]}
            delta = {"role": "assistant", "content": text}
            usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
            events = [
                {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]},
                {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
                {"choices": [], "usage": usage},
            ]
            lines = [json.dumps(known | event) for event in events] + ["[DONE]"]
            body = "".join(f"data: {line}\n\n" for line in lines).encode()
            self.send_response(400 if text is BROKEN else 200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    yield said, f"http://127.0.0.1:{http.server_port}/v1"
    http.shutdown()


def test_an_evaluation_has_the_rewards_of_the_kit(server, tmp_path):
    said, address = server
    (module,), (command,) = pages.fenced(PAGE, "python"), pages.fenced(PAGE, "bash")
    (tmp_path / "sepo_games.py").write_text(module, encoding="utf-8")
    words = shlex.split(command.replace("\\\n", " "))[1:]  # without PYTHONPATH=.
    words[words.index("ipd")] = "split"
    words[words.index('{"train": 4, "exploiter": 4}')] = '{"train": 1}'
    words[words.index("http://127.0.0.1:8000/v1")] = address
    expected = {setup.opponent: play(setup, said) for setup in setups("split", {"train": 1})}
    assert {name: session and session.forfeited for name, session in expected.items()} == {
        "fair": 0,
        "balanced": None,
        "conceding": None,
        "hardball": 3,
    }
    done = subprocess.run(
        [Path(sys.executable).with_name(words[0]), *words[1:], "--no-rich", "--output-dir", "out"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{pages.REPOSITORY}"},
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (file,) = tmp_path.glob("out/*/traces.jsonl")
    traces = [one for line in file.read_text().splitlines() for one in json.loads(line)["traces"]]
    assert {trace["task"]["data"]["opponent"] for trace in traces} == set(expected)
    for trace in traces:
        session = expected[trace["task"]["data"]["opponent"]]
        if session is None:
            assert not trace["ok"] and trace["rewards"] == trace["metrics"] == {}
        else:
            assert trace["rewards"]["payoff"]["score"] == session.total
            assert trace["metrics"] == pytest.approx(session.measures())
