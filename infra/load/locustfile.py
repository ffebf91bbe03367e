"""People at the web chat of a deployed stack: each opens a conversation, asks, and waits for the answer as the page does.

A person's session is `POST session`, a message `POST messages`, and the answer comes by `GET messages?after=…&wait=2`.
What is reported besides these three is `time to answer`: from before the message is posted to the answer's arrival. An
answer that does not come within --patience seconds, that comes twice, or that stands at another place than its message
says, is a failure. Questions are those of a pack's test.yaml.

The web chat takes 60 new sessions a minute from one address, and 40 messages and 120 polls a minute from one session; who
is told 429 waits as long as the answer says, and so does a poll that brings no answer. So let people come at one a second, or start Locust on several machines (--master and
--worker). The waiting times below keep a person under the second limit.

Usage:
  python3 -m venv target/venv/load
  target/venv/load/bin/pip install --require-hashes --requirement infra/load/requirements.txt

  # A local stack (`make up` prints the address): 20 people, one more each second, for two minutes, no web page.
  target/venv/load/bin/locust --locustfile infra/load/locustfile.py --headless \\
      --host http://…:4566 --users 20 --spawn-rate 1 --run-time 2m

  # A deployed stack: the host of the output WebchatUrl; with the figures and their percentiles as files.
  target/venv/load/bin/locust --locustfile infra/load/locustfile.py --headless --csv target/bench/webchat \\
      --host https://….lambda-url.eu-west-1.on.aws --users 200 --spawn-rate 1 --run-time 15m

  # With Locust's own page at http://localhost:8089.
  target/venv/load/bin/locust --locustfile infra/load/locustfile.py --host https://…

Options of this file, besides Locust's own (`locust --help`):
  --bot NAME        the bot of the page; main by default
  --questions FILE  where questions are taken from; infra/packs/shop/test.yaml by default
  --think SECONDS   how long a person reads an answer before the next question, in the mean; 8 by default
  --patience SECONDS  how long an answer is waited for; 30 by default
"""

from __future__ import annotations

import random
import re
import time
import uuid
from pathlib import Path
from urllib.parse import urlsplit

from gevent import sleep
from locust import FastHttpUser, events, task

# The longest that the API holds a request back.
WAIT = 2
# One message every 1.5 s is what a session may write; nobody types faster.
FASTEST = 1.6

questions: list[str] = []


@events.init_command_line_parser.add_listener
def options(parser) -> None:
    parser.add_argument("--bot", default="main", help="the bot of the page")
    parser.add_argument("--questions", default="infra/packs/shop/test.yaml", help="where questions are taken from")
    parser.add_argument("--think", type=float, default=8, help="seconds between an answer and the next question, in the mean")
    parser.add_argument("--patience", type=float, default=30, help="seconds that an answer is waited for")


@events.init.add_listener
def read_questions(environment, **_) -> None:
    text = Path(environment.parsed_options.questions).read_text(encoding="utf-8")
    # A question stands on a line of its own: {intent: …, language: …, text: "…"}.
    questions.extend(re.findall(r'text: "((?:[^"\\]|\\.)+)"', text))
    if not questions:
        raise SystemExit(f"{environment.parsed_options.questions} has no questions")


class Person(FastHttpUser):
    """One conversation."""

    connection_timeout = 10
    network_timeout = WAIT + 10

    def __init__(self, environment) -> None:
        url = urlsplit(self.host or "")
        self.common: dict[str, str] = {}
        if (url.hostname or "").endswith(".localhost"):
            # Names below localhost are this machine (RFC 6761, 6.3), which not every resolver knows.
            self.common["Host"] = url.netloc
            self.host = f"{url.scheme}://127.0.0.1:{url.port or 80}"
        super().__init__(environment)

    def wait_time(self) -> float:
        think = self.environment.parsed_options.think
        return max(FASTEST, random.expovariate(1 / think) if think > 0 else 0)

    def on_start(self) -> None:
        self.base = f"/webchat/{self.environment.parsed_options.bot}"
        self.seen = 0
        while True:
            with self.client.post(
                f"{self.base}/session", headers=self.common, name="session", catch_response=True
            ) as answer:
                if answer.status_code == 201:
                    self.headers = self.common | {"Authorization": f"Bearer {answer.json()['token']}"}
                    return
                if answer.status_code == 429:
                    # Not a fault: this address has opened many.
                    answer.success()
                    pause = float(answer.headers.get("Retry-After") or 1)
                else:
                    answer.failure(f"{answer.status_code}")
                    pause = 5
            sleep(pause)

    @task
    def ask(self) -> None:
        began = time.perf_counter()
        # With the same id it would be the same message, so a client may post it again after any failure.
        message = {"id": str(uuid.uuid4()), "text": random.choice(questions)}
        with self.client.post(
            f"{self.base}/messages", json=message, headers=self.headers, name="message", catch_response=True
        ) as answer:
            if answer.status_code != 202:
                answer.failure(f"{answer.status_code}")
                return
            place = answer.json()["seq"] + 1
        self.hear(place, began)

    def hear(self, place: int, began: float) -> None:
        """Polls until the answer stands at its place."""
        patience = self.environment.parsed_options.patience
        fault = f"no answer within {patience:g} s"
        while time.perf_counter() - began < patience:
            url = f"{self.base}/messages?after={self.seen}&wait={WAIT}"
            with self.client.get(url, headers=self.headers, name="poll", catch_response=True) as answer:
                if answer.status_code != 200:
                    answer.failure(f"{answer.status_code}")
                    sleep(1)
                    continue
                found = answer.json()
                messages = found["messages"]
            places = [message["seq"] for message in messages]
            if places != sorted(set(places)) or (places and places[0] <= self.seen):
                fault = "an entry came twice or out of order"
                break
            # As the page: after the bot's last place, so that the function sees the question that has no answer yet.
            self.seen = max([self.seen, *(message["seq"] for message in messages if message["from"] == "bot")])
            if place in places:
                fault = None
                break
            sleep(found.get("retry_after_ms", 0) / 1000)
        self.environment.events.request.fire(
            request_type="CHAT",
            name="time to answer",
            response_time=(time.perf_counter() - began) * 1000,
            response_length=0,
            exception=fault and AssertionError(fault),
            context={},
        )
