"""A campaign of deaths and troubles at random, for as long as it is told to: ``make faults``.

What a trial is, and the account of it, are those of :mod:`trials` and :mod:`night_trials`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from network_lab import NetworkLab
from night_trials import NightTrial
from receivers import WebServer, web_server
from trials import (
    CONTROLLER,
    FULL,
    JOB,
    RESUME,
    TELLING,
    Account,
    Trial,
    clocked,
    run_into_full_pipe,
    when_held,
)

from farm.failpoints import WRITES


class Campaign:
    """Trials at random, each told as it ends."""

    def __init__(
        self, lab: NetworkLab, chance: random.Random, hooks: Mapping[str, WebServer]
    ) -> None:
        self._lab = lab
        self._chance = chance
        self._hooks = hooks
        self._kinds: dict[str, Callable[[], Account]] = {
            "kill the controller": self._kill_controller,
            "kill workers and keepers": self._kill_jobs,
            "kill at any moment": self._kill_any_moment,
            "kill who resumes": self._kill_resumer,
            "full disk": self._full_disk,
            "coordinator restarts": lambda: self._held(self._lab.restart_coordinator),
            "exporter vanishes": lambda: self._held(self._lab.restart_exporter),
            "the machine loses power": lambda: self._held(self._lab.lose_power),
            "the clock jumps": self._clock,
            "a full pipe, then closed": self._pipe,
            "Ctrl-C, and twice": self._interrupt,
            "kill a night at any moment": self._kill_night,
            "kill who tells of a night": self._kill_telling,
        }

    def go_on(self, seconds: float, tell: Callable[[str], None]) -> dict[str, list[Account]]:
        """Run trials until the time is over; return the accounts by kind."""
        until = time.monotonic() + seconds
        found: dict[str, list[Account]] = {name: [] for name in self._kinds}
        while time.monotonic() < until:
            name = min(found, key=lambda kind: (len(found[kind]), self._chance.random()))
            account = self._kinds[name]()
            found[name].append(account)
            tell(f"{name}: {account.injected}: {account}")
        return found

    def _trial(self, injected: str, boards: int = 2) -> Trial:
        names = list(self._lab.boards)[:-1]
        return Trial(self._lab, self._chance.sample(names, boards), injected)

    def _kill_controller(self) -> Account:
        point = self._chance.choice(CONTROLLER)
        turn = self._chance.randrange(1, 40) if point == "controller.heard" else 1
        trial = self._trial(f"{point}#{turn}=kill")
        trial.run(failpoints=trial.account.injected)
        return trial.settle()

    def _kill_jobs(self) -> Account:
        names = list(self._lab.boards)[:-1]
        words = [f"{name}:{self._chance.choice(JOB)}=kill" for name in names]
        trial = self._trial(",".join(words), len(names))
        trial.run(failpoints=trial.account.injected)
        return trial.settle()

    def _kill_any_moment(self) -> Account:
        seconds = round(self._chance.uniform(0.2, 9.0), 2)
        trial = self._trial(f"SIGKILL after {seconds} s")
        trial.run(during=self._strike(seconds))
        return trial.settle()

    def _strike(self, seconds: float) -> Callable[[Any], None]:
        """Return what kills some of the farm's processes after so long."""

        def strike(process: Any) -> None:
            time.sleep(seconds)
            victims = self._lab.processes()
            for pid in self._chance.sample(victims, self._chance.randint(0, len(victims))):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

        return strike

    def _kill_night(self) -> Account:
        """Kill some at a moment, some of those who finish it at another, and have it finished."""
        moments = [
            round(self._chance.uniform(0.2, 20.0), 2),
            round(self._chance.uniform(0.2, 9.0), 2),
        ]
        trial = NightTrial(self._lab, f"SIGKILL after {moments[0]} s, {moments[1]} s", self._hooks)
        trial.night(during=self._strike(moments[0]))
        trial.run("resume", during=self._strike(moments[1]))
        return trial.settle()

    def _kill_telling(self) -> Account:
        first, second = (
            f"{self._chance.choice(TELLING)}#{self._chance.randint(1, len(self._hooks))}=kill"
            for _ in range(2)
        )
        trial = NightTrial(self._lab, f"{first} then {second}", self._hooks)
        trial.night(failpoints=first)
        trial.run("resume", failpoints=second)
        return trial.settle()

    def _kill_resumer(self) -> Account:
        first = f"controller.heard#{self._chance.randrange(1, 30)}=kill"
        second = (
            f"{self._chance.choice((*RESUME, *CONTROLLER[3:], 'journal.job_resumed.after'))}=kill"
        )
        trial = self._trial(f"{first} then {second}")
        trial.run(failpoints=first)
        trial.run("resume", failpoints=second)
        return trial.settle()

    def _full_disk(self) -> Account:
        names = list(self._lab.boards)[:-1]
        words = [f"{name}:{self._chance.choice(FULL)}=enospc" for name in names]
        words += [
            f"{self._chance.choice(sorted(WRITES - set(FULL)))}=enospc"
        ] * self._chance.choice((0, 0, 1))
        trial = self._trial(",".join(words), len(names))
        trial.run(failpoints=trial.account.injected)
        return trial.settle()

    def _held(self, act: Callable[[], None], said: str = "", **more: str) -> Account:
        trial, word, file = self._at_some_point(said)
        trial.run(failpoints=word, during=when_held(file, act), **more)
        return trial.settle()

    def _at_some_point(self, said: str = "") -> tuple[Trial, str, Path]:
        """Return a trial, the failpoint that holds a process of it, and the file that it makes."""
        point = self._chance.choice(JOB)
        trial = self._trial(f"{said}at {point}")
        file = self._lab.folder / "held"
        return trial, f"{trial.boards[0]}:{point}#1=hold:{file}", file

    def _clock(self) -> Account:
        days = self._chance.choice((-365, -7, 7, 365))
        clock = self._lab.folder / "clock"
        clock.write_text("0")
        jump = f"{days} days "
        return self._held(lambda: clock.write_text(str(days * 86400)), jump, **clocked(clock))

    def _pipe(self) -> Account:
        trial, word, file = self._at_some_point()
        run_into_full_pipe(trial, word, file)
        return trial.settle()

    def _interrupt(self) -> Account:
        trial = self._trial("")
        seconds, twice = round(self._chance.uniform(1.0, 8.0), 2), self._chance.random() < 0.5
        trial.account.injected = f"after {seconds} s{', twice' if twice else ''}"

        def strike(process: Any) -> None:
            time.sleep(seconds)
            for _ in range(1 + twice):
                process.send_signal(signal.SIGINT)
                time.sleep(0.3)

        trial.run(during=strike)
        return trial.settle()


def main() -> int:
    """Run the campaign for SECONDS (first argument) from SEED (second); print what it cost."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.SystemRandom().randrange(2**31)
    logging.getLogger("paramiko").setLevel(logging.CRITICAL)
    print(f"SEED={seed} SECONDS={seconds:g}", flush=True)
    with tempfile.TemporaryDirectory(prefix="farm-faults-") as folder:
        lab = NetworkLab(Path(folder), 4)
        try:
            with web_server() as ann, web_server() as bob:
                campaign = Campaign(lab, random.Random(seed), {"ann": ann, "bob": bob})
                found = campaign.go_on(seconds, lambda line: print(line, flush=True))
        finally:
            lab.close()
    head = ("injected", "trials", "kills", "results", "lost", "doubled", "held")
    print("{:26} {:>7} {:>7} {:>8} {:>5} {:>8} {:>5}".format(*head))
    total = Account("total")
    trials = 0
    for name, accounts in found.items():
        trials += len(accounts)
        row = [sum(getattr(one, what) for one in accounts) for what in ("killed", "results")]
        row += [sum(len(getattr(one, w)) for one in accounts) for w in ("lost", "doubled", "held")]
        print("{:26} {:7} {:7} {:8} {:5} {:8} {:5}".format(name, len(accounts), *row))
        for one in accounts:
            total.lost += one.lost
            total.doubled += one.doubled
            total.held += one.held
    print(f"{trials} trials: {'nothing lost' if total.clean else total}")
    return 0 if total.clean else 1


if __name__ == "__main__":
    sys.exit(main())
