"""The queue of trainings, on commands of the shell."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from ferplus_keras import queue as queue_module
from ferplus_keras.errors import InputError
from ferplus_keras.files import replacing, require_writable
from ferplus_keras.queue import Job, Queue, lock_log, read_error, train_words
from ferplus_keras.run import CONFIG, FINAL, RECORD, STATE, Run

SHARING = ("TF_FORCE_GPU_ALLOW_GROWTH", "XLA_PYTHON_CLIENT_PREALLOCATE")
SHARE = "XLA_PYTHON_CLIENT_MEM_FRACTION"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(queue_module, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(queue_module, "GRACE_SECONDS", 0.5)


@pytest.fixture
def job(tmp_path):
    """Return a function that makes a job of a shell command and notes how it ended."""

    def make(name, command, following=None, **options):
        def finish(code, stopped):
            make.ended[name] = code, stopped
            return following

        log = following.log if following else lock_log(tmp_path / f"{name}.log")
        return Job(["sh", "-c", command], log, finish, **options)

    make.ended = {}
    return make


def printed(log):
    """Return what a command printed; the line before shows the command."""
    return log.read_text().partition("\n$ ")[2].partition("\n")[2]


def taking(*jobs):
    waiting = [*jobs]
    return lambda: waiting.pop(0) if waiting else None


def test_no_more_than_so_many_at_a_time_and_what_follows_comes_after(job, tmp_path):
    count = f"echo +1 >> {tmp_path}/n; sleep 0.1; echo -1 >> {tmp_path}/n"
    chain = job("first", count, job("then", count))
    Queue(2).run(taking(*(job(str(i), count) for i in range(5)), chain))
    level, most = 0, 0
    for line in (tmp_path / "n").read_text().split():
        level += int(line)
        most = max(most, level)
    assert most == 2
    assert job.ended == dict.fromkeys(["0", "1", "2", "3", "4", "first", "then"], (0, False))


@pytest.mark.parametrize("parallel", [1, 4])
def test_jobs_that_share_a_gpu_leave_memory_to_each_other(job, tmp_path, monkeypatch, parallel):
    for name in (*SHARING, SHARE):
        monkeypatch.delenv(name, raising=False)
    program = f"{sys.executable} -c 'import json, os; print(json.dumps(dict(os.environ)))'"
    Queue(parallel).run(taking(job("shown", program)))
    seen = json.loads(printed(tmp_path / "shown.log"))
    assert [seen.get(name) for name in SHARING] == (
        [None, None] if parallel == 1 else ["true", "false"]
    )
    assert seen.get(SHARE) == (None if parallel == 1 else "0.225")
    monkeypatch.setenv(SHARE, "0.4")
    Queue(parallel).run(taking(job("own", program)))
    assert json.loads(printed(tmp_path / "own.log"))[SHARE] == "0.4"


def test_time_limit_stops_trainings_first_and_starts_nothing_more(job):
    began = time.monotonic()
    resumable = job("training", "sleep 60")
    last = job("evaluation", "sleep 60", resumable=False)
    Queue(2, time_limit=1).run(taking(resumable, last, job("third", "true")))
    assert time.monotonic() - began < 30
    assert job.ended == {"training": (-15, True), "evaluation": (-15, True)}


def test_nothing_follows_a_job_that_was_stopped(job, tmp_path):
    chain = job("first", "sleep 60", job("then", "true"))
    Queue(1, time_limit=1).run(taking(chain))
    assert job.ended == {"first": (-15, True)}
    assert printed(tmp_path / "then.log") == ""  # their log: neither failed


@pytest.mark.skipif(
    len(getattr(os, "sched_getaffinity", lambda _: ())(0)) < 2, reason="needs two cores to choose"
)
def test_jobs_side_by_side_have_their_own_cores(job, tmp_path):
    program = "import os, time; time.sleep(0.5); print(sorted(os.sched_getaffinity(0)))"
    Queue(2).run(taking(*(job(str(i), f"exec {sys.executable} -c '{program}'") for i in range(2))))
    one, two = (set(json.loads(printed(tmp_path / f"{i}.log"))) for i in range(2))
    assert one
    assert two
    assert one | two == os.sched_getaffinity(0)
    assert not one & two


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="needs a choice of cores")
def test_more_jobs_than_cores_share_them(job, monkeypatch):
    one = min(os.sched_getaffinity(0))
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {one})
    Queue(2).run(taking(job("a", "sleep 0.1"), job("b", "sleep 0.1")))
    assert job.ended == {"a": (0, False), "b": (0, False)}


def test_one_that_does_not_leave_is_killed(job):
    stubborn = job("stubborn", "trap '' TERM; while true; do sleep 0.1; done")
    Queue(1, time_limit=1).run(taking(stubborn))
    assert job.ended == {"stubborn": (-9, True)}


def test_ctrl_c_in_a_terminal_reaches_no_job_by_itself(job, tmp_path):
    program = "import os; print(os.getsid(0) == os.getpid())"
    Queue().run(taking(job("a", f"exec {sys.executable} -c '{program}'")))
    assert printed(tmp_path / "a.log") == "True\n"


def test_an_error_of_the_client_stops_the_jobs_too(job):
    jobs = [job("long", "sleep 60")]

    def take():
        if jobs:
            return jobs.pop()
        raise InputError("no more")

    with pytest.raises(InputError, match="no more"):
        Queue(2).run(take)
    assert job.ended == {"long": (-15, True)}


def test_a_signal_is_in_the_log(job, tmp_path):
    Queue().run(
        taking(job("a", "printf 50; kill -9 $$"), job("b", "echo error: x; echo y; exit 1"))
    )
    assert job.ended == {"a": (-9, False), "b": (1, False)}
    assert read_error(tmp_path / "a.log") == "ended by signal 9 (out of memory?)"
    assert read_error(tmp_path / "b.log") == "x"
    assert read_error(tmp_path / "none.log") == "no message"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("error: before it was resumed\nerror: after\n", "after"),
        ("Traceback (most recent call last):\nKeyError: 'x'\n\n", "KeyError: 'x'"),
        (" 1 %\r99 %\rerror: disk full\n", "disk full"),
        (
            "\n$ train\nerror: before it was resumed\n\n$ train --resume\nKeyError: 'x'\n",
            "KeyError: 'x'",
        ),
        ("\n$ train\nerror: before it was resumed\n\n$ train --resume\n", "no message"),
    ],
)
def test_the_last_error_of_a_log_is_told(text, said, tmp_path):
    (tmp_path / "a.log").write_text(text)
    assert read_error(tmp_path / "a.log") == said


def test_a_log_is_locked_until_its_command_is_gone(tmp_path):
    log = lock_log(tmp_path / "a.log")
    assert lock_log(tmp_path / "a.log") is None
    child = subprocess.Popen(["sleep", "60"], stdout=log)
    os.close(log)
    assert lock_log(tmp_path / "a.log") is None
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert lock_log(tmp_path / "a.log") is not None


def test_a_run_begins_begins_anew_or_resumes(tmp_path):
    run = Run(tmp_path / "one")
    run.folder.mkdir()
    own = ["--name", "one", "--checkpoints_dir", str(tmp_path)]
    settings = {"init_lr": 0.1, "data_dir": "D", "weights": None, "teacher": ("T",)}
    kept = ["--data_dir", "D", "--teacher", "T"]  # which a resumed run may find elsewhere
    assert train_words(run, settings) == ["--init_lr", "0.1", *kept, *own]
    (run / CONFIG).touch()
    assert train_words(run, settings)[-2:] == ["--overwrite", "True"]
    (run / STATE).touch()
    assert train_words(run, settings) == [*kept, *own, "--resume", "True"]
    (run / FINAL).touch()
    (run / RECORD).write_text("{}")  # stopped after its last epoch: train.py completes it
    assert train_words(run, settings)[-2:] == ["--resume", "True"]


def test_threads_may_write_the_same_place_at_once(tmp_path):
    failures = []

    def write():
        try:
            for _ in range(200):
                require_writable(tmp_path, "--place")
                with replacing(tmp_path / "one.txt") as temporary:
                    temporary.write_text("whole")
        except InputError as error:
            failures.append(error)

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert [path.name for path in tmp_path.iterdir()] == ["one.txt"]
