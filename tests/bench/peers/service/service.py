"""The peer `service`: a chatbot as one process, the architecture that Hoopoe stands in for.

uvicorn takes a platform's webhooks, each is verified, put into a queue in memory and acknowledged; worker threads take
from the queue, read the conversation's session in Redis, encode, decide, write the session and send the reply. The
README says how to start it.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import secrets
import sys
import threading
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import redis
import urllib3
import uvicorn
from fastapi import FastAPI, Request, Response

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bot import Answer, Bot  # noqa: E402

log = logging.getLogger("service")

ROOT = Path(__file__).resolve().parents[4]
# What is not taken from the queue by then is refused, and the platform sends it again.
QUEUED = 10_000
MAX_BODY = 64 * 1024
# How long a handled update is known, for platforms that repeat themselves.
SEEN_SECONDS = 24 * 3600
TURNS = 8
TEXT_ONLY = "text_only"


@dataclass(frozen=True, slots=True)
class Job:
    """One message."""

    update: int
    chat: int
    text: str | None


class Settings:
    """The environment variables, read once."""

    def __init__(self) -> None:
        read = os.environ.get
        self.port = int(read("PORT", "8000"))
        self.secret_token = read("SECRET_TOKEN", "").encode()
        self.bot_token = read("BOT_TOKEN", "1:token")
        self.telegram = read("TELEGRAM_API", "https://api.telegram.org").rstrip("/")
        self.redis = read("REDIS_URL", "redis://127.0.0.1:6379/0")
        self.workers = int(read("WORKERS", "2"))
        self.batch = int(read("BATCH", "1"))
        self.threads = int(read("MODEL_THREADS", "1"))
        self.session_seconds = int(read("SESSION_TTL_SECONDS", "1800"))
        self.model = Path(read("MODEL", str(ROOT / "target/model/current")))
        self.data = Path(read("DATA", str(ROOT / "target/bench/peers")))
        if not self.secret_token:
            raise SystemExit("SECRET_TOKEN is not set; it is what Telegram sends with each update")


class Worker:
    """Answers messages. Each thread has its own; they share the bot and the connections."""

    def __init__(self, settings: Settings, bot: Bot) -> None:
        self.bot = bot
        self.settings = settings
        self.sessions = redis.Redis.from_url(settings.redis, socket_timeout=5)
        self.http = urllib3.PoolManager(maxsize=settings.workers, retries=urllib3.Retry(2, backoff_factor=0.2))
        self.url = f"{settings.telegram}/bot{settings.bot_token}/sendMessage"

    def handle(self, jobs: list[Job]) -> None:
        """Answers messages that came together: one trip to Redis before, one run of the model, one trip after."""
        reads = self.sessions.pipeline(transaction=False)
        for job in jobs:
            reads.set(f"seen:{job.update}", 1, nx=True, ex=SEEN_SECONDS)
            reads.get(f"session:{job.chat}")
        found = reads.execute()
        new = [(job, found[2 * nth + 1]) for nth, job in enumerate(jobs) if found[2 * nth]]
        questions = [job.text for job, _ in new if job.text is not None]
        answers = iter(self.bot.answer(questions) if questions else ())
        writes = self.sessions.pipeline(transaction=False)
        replies = []
        # Two messages of one conversation in a batch: the second goes on from the first.
        sessions: dict[int, dict] = {}
        for job, stored in new:
            session = sessions.get(job.chat) or (json.loads(stored) if stored else {"turns": []})
            sessions[job.chat] = session
            language = session.get("language", self.bot.default)
            answer = next(answers) if job.text is not None else Answer(self._text_only(language), [], language, None)
            session["language"] = answer.language
            turn = {"question": job.text, "answer": answer.text, "suggestions": answer.suggestions}
            session["turns"] = [*session["turns"], turn][-TURNS:]
            replies.append((job, answer))
        for chat, session in sessions.items():
            state = json.dumps(session, ensure_ascii=False)
            writes.set(f"session:{chat}", state, ex=self.settings.session_seconds)
        writes.execute()
        for job, answer in replies:
            self._send(job, answer)

    def _send(self, job: Job, answer: Answer) -> None:
        message = {"chat_id": job.chat, "text": answer.text}
        if answer.suggestions:
            keyboard = [[{"text": title}] for title in answer.suggestions]
            message["reply_markup"] = {"keyboard": keyboard, "resize_keyboard": True, "one_time_keyboard": True}
        body = json.dumps(message, ensure_ascii=False).encode()
        response = self.http.request("POST", self.url, body=body, headers={"Content-Type": "application/json"}, timeout=10)
        if response.status != 200:
            log.error("update %d: Telegram answers %d", job.update, response.status)

    def _text_only(self, language: str) -> str:
        return self.bot.texts[TEXT_ONLY].get(language) or self.bot.texts[TEXT_ONLY][self.bot.default]


class Workers:
    """The queues and their threads. A conversation belongs to one of them, so that its replies keep their order."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.bot = Bot(settings.model, settings.data, settings.threads)
        self.queues: list[queue.Queue[Job]] = [queue.Queue(QUEUED) for _ in range(settings.workers)]

    def start(self) -> None:
        worker = Worker(self.settings, self.bot)
        for jobs in self.queues:
            threading.Thread(target=self._work, args=(jobs, worker), daemon=True).start()

    def put(self, job: Job) -> bool:
        """Whether there was room."""
        try:
            self.queues[job.chat % len(self.queues)].put_nowait(job)
        except queue.Full:
            return False
        return True

    def _work(self, jobs: queue.Queue[Job], worker: Worker) -> None:
        while True:
            batch = [jobs.get()]
            while len(batch) < self.settings.batch:
                try:
                    batch.append(jobs.get_nowait())
                except queue.Empty:
                    break
            try:
                worker.handle(batch)
            except Exception:
                log.exception("%d messages were lost", len(batch))


def application(settings: Settings) -> FastAPI:
    """The HTTP side."""
    workers = Workers(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI):
        workers.start()
        yield

    app = FastAPI(lifespan=lifespan, openapi_url=None)

    @app.get("/health")
    async def health() -> Response:
        return Response("ok")

    @app.post("/telegram/{bot}")
    async def telegram(bot: str, request: Request) -> Response:
        given = request.headers.get("x-telegram-bot-api-secret-token", "").encode()
        if not secrets.compare_digest(given, settings.secret_token):
            return Response(status_code=401)
        body = await request.body()
        if len(body) > MAX_BODY:
            return Response(status_code=413)
        try:
            update = json.loads(body)
            message = update.get("message")
            if message is None or message["chat"]["type"] != "private" or message["from"]["is_bot"]:
                return Response()
            job = Job(update["update_id"], message["chat"]["id"], message.get("text"))
        except (ValueError, KeyError, TypeError, AttributeError):
            return Response(status_code=400)
        return Response() if workers.put(job) else Response(status_code=503)

    return app


def main() -> None:
    logging.basicConfig(level=logging.INFO)
    settings = Settings()
    uvicorn.run(
        application(settings),
        host="127.0.0.1",
        port=settings.port,
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )


def drive() -> None:
    """For the benchmark: the worker alone. Reads lists of questions, a line each, and handles each as one batch."""
    settings = Settings()
    worker = Worker(settings, Bot(settings.model, settings.data, settings.threads))
    print("ready", flush=True)
    update = time.time_ns()
    for line in sys.stdin:
        jobs = []
        for text in json.loads(line):
            update += 1
            jobs.append(Job(update, update, text))
        began, used = time.perf_counter(), time.process_time()
        worker.handle(jobs)
        print(json.dumps([time.perf_counter() - began, time.process_time() - used]), flush=True)


if __name__ == "__main__":
    drive() if sys.argv[1:] == ["worker"] else main()
