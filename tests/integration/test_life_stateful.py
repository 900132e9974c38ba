"""Whatever happens to jobs, in any order and at once: the tables agree with the model, and every job ends.

`--hypothesis-profile=long` searches for longer, in a different place each time, and shrinks what it finds.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Sequence
from datetime import timedelta
from itertools import chain, combinations, pairwise, permutations, product
from typing import Any, Final, TypeVar
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from infra.postgres.database import Database
from infra.settings import PostgresSettings
from producers.rescue import SELDOM, Rescuer
from schemas.lifecycle import LIVE, MOVES, TERMINAL, JobState, may_move
from tests.integration import life_acts as acts
from tests.integration.house import RESCUE
from tests.integration.jobs import Jobs, new_job
from tests.integration.life_acts import OUTCOMES, STEPS, Act, Answer, move
from tests.integration.life_model import IDS, NOBODY, Life, Summons, Try, World
from tests.integration.life_tables import Tables, differences

T = TypeVar("T")
S = JobState
Moves = Counter[tuple[S, S]]

LONG: Final = settings.get_current_profile_name() == "long"
# A failure is reported at once, as it was found: shrinking takes minutes, for which only a long search has time.
SHORT: Final = settings(max_examples=64, stateful_step_count=40, derandomize=True, phases=[Phase.generate])
PROFILE: Final = settings(
    settings.default if LONG else SHORT, deadline=None, print_blob=True, suppress_health_check=list(HealthCheck)
)

# A job becomes silent only when the model lets time pass.
PATIENT: Final = RESCUE.model_copy(update={"unclaimed": timedelta(minutes=1)})
TENANTS: Final = ("a", "b")
WORKERS: Final = ("first", "second")
HOOK: Final = (
    '{"url": "https://h.example", "origin": "https://h.example",'
    ' "events": ["job.succeeded", "job.failed", "job.cancelled"]}'
)
RACERS: Final = (
    *["claim", "finish", "finish", "finish", "fan_out", "fan_out", "cancel", "cancel"],
    *["rescue", "heartbeat", "progress", "resume", "submit", "release", "pause"],
)

# Two concurrent statements may come out either way, so nothing is drawn from the state: a drawn number picks from it.
PICK: Final = st.integers(0, 2**16)
PICKS: Final = st.lists(PICK, min_size=1, max_size=3)
TENANT: Final = st.sampled_from(TENANTS)
WORKER: Final = st.sampled_from(WORKERS)
OUTCOME: Final = st.sampled_from(OUTCOMES)


def pick(choices: Sequence[T], number: int) -> T:
    return choices[number % len(choices)]


def subsets(ids: Sequence[UUID]) -> Iterable[IDS]:
    return map(frozenset, chain.from_iterable(combinations(ids, n) for n in range(len(ids) + 1)))


def states(told: list[str]) -> list[S]:
    """A history without events that change no state."""
    return [S.QUEUED, *(S(one) for one in told if one not in ("stage", "progress", "paused", "resumed"))]


def ends(ended: Iterable[tuple[Try, str]]) -> acts.Finish:
    """What one worker records at once: the end of each of its tries, each once."""
    moves = {one[:2]: (one.worker, move(one, outcome)) for one, outcome in ended}
    return acts.Finish(tuple(move for _, move in moves.values()), next(iter(moves.values()))[0])


class Lives(RuleBasedStateMachine):
    """A few jobs of two tenants and everything that can happen to them; `seen` counts the moves that happened."""

    def __init__(self, run: Callable[[Coroutine[Any, Any, Any]], Any], jobs: Jobs, seen: Moves) -> None:
        super().__init__()
        self.run = run
        self.seen = seen
        self.tables = Tables(jobs)
        self.world = World()
        self.rescuer = Rescuer(jobs.database, PATIENT, lambda: None)
        self.sweeps = 0
        self.kafka: list[Summons] = []
        self.tries: list[Try] = []
        self.unwoken: set[UUID] = set()
        self.before: dict[UUID, dict[str, Any]] = {}
        self.sound = True
        self.ids = 0
        run(self.tables.clear())

    # What can be picked: what matters now is picked more often than what is over.

    def jobs(self) -> list[UUID]:
        """Submits new ones when none is live."""
        if not self.world.live():
            self.step(self._submission(TENANTS[0], 2, None))
        live = self.world.live()
        between = [job.id for job in live if job.state is S.RETRY_WAIT]
        return between * 6 + [job.id for job in live] * 3 + list(self.world.jobs)

    def some_tries(self) -> list[Try]:
        """All jobs are claimed first when no worker holds any."""
        if not self.holding():
            self.jobs()
            self.relay(limit=100, dies=False)
            self.step(acts.Claim(tuple(self.kafka), WORKERS[0]))
        forged = [one._replace(worker=WORKERS[one.worker == WORKERS[0]]) for one in self.holding()]
        outrun = [one for one in self.tries if self.world.jobs[one.job].leased and one not in self.holding()]
        return self.holding() * 8 + forged * 2 + outrun * 4 + self.tries

    def summons(self) -> list[Summons]:
        if not any(self._is_fresh(one) for one in self.kafka):
            self.relay(limit=100, dies=False)
        fresh = [one for one in self.kafka if self._is_fresh(one)]
        forged = [one._replace(stage="another") for one in fresh] + [one._replace(epoch=one.epoch + 1) for one in fresh]
        return fresh * 8 + forged + self.kafka

    def holding(self) -> list[Try]:
        return [one for one in self.tries if self.world.jobs[one.job].held_by(one[:2], one.worker)]

    def _is_fresh(self, one: Summons) -> bool:
        job = self.world.jobs[one.job]
        return job.state is S.QUEUED and (job.epoch, job.stage) == one[1:]

    def _family(self, id: UUID) -> list[Life]:
        job = self.world.jobs[id]
        top = job if job.parent is None else self.world.jobs[job.parent]
        return [one for one in (top, *self.world.children(top.id)) if one.live] or [job]

    def _new_ids(self, count: int) -> tuple[UUID, ...]:
        self.ids += count
        return tuple(UUID(int=n + 1) for n in range(self.ids - count, self.ids))

    def _submission(
        self, tenant: str, count: int, key: str | None, max_attempts: int = 2, expires: bool = True, hooked: bool = True
    ) -> acts.Submit:
        changes = {"tenant": tenant, "idempotency_key": key, "fingerprint": b"f", "max_attempts": max_attempts}
        changes |= {"expires_in_s": 3600.0 if expires else None, "webhook": HOOK if hooked else None}
        return acts.Submit(tuple(new_job(id=id, **changes) for id in self._new_ids(count)))

    # What happens

    def step(self, act: Act, *, wake: bool = True) -> None:
        """Do an act, compare the answers, and continue as its caller would."""
        self.sound = False
        answer = self.run(act.do(self.tables.jobs))
        assert answer == act.predict(self.world)
        self._go_on(act, answer, wake=wake)

    def _go_on(self, act: Act, answer: Answer, *, wake: bool = True) -> None:
        said, parents = answer
        if isinstance(act, acts.Claim):
            assert not {one[:2] for one in said} & {one[:2] for one in self.tries}
            self.tries += sorted(said)
        if not wake:
            self.unwoken |= parents
        elif parents:
            self.step(acts.Resume(tuple(sorted(parents))))

    @rule(
        tenant=TENANT,
        count=st.integers(1, 2),
        key=st.sampled_from([None, "k", "l"]),
        max_attempts=st.integers(1, 3),
        expires=st.booleans(),
        hooked=st.booleans(),
    )
    def submit(self, tenant: str, count: int, key: str | None, max_attempts: int, expires: bool, hooked: bool) -> None:
        if len(self.world.live()) < 10:
            self.step(self._submission(tenant, count, key, max_attempts, expires, hooked))

    @rule(limit=st.integers(1, 20), dies=st.booleans())
    def relay(self, limit: int, dies: bool) -> None:
        """Publish messages; a relay that dies before its commit has published them all the same."""
        self.sound = False
        taken = self.run(self.tables.relay(limit, dies=dies))
        assert len(taken) == min(limit, self.world.outbox.total())
        assert not Counter(taken) - self.world.outbox
        self.kafka += taken
        if not dies:
            self.world.outbox -= Counter(taken)

    @rule()
    def lose_every_message(self) -> None:
        """The broker forgets its messages, and whoever starts it again reports that."""
        self.sound = False
        self.kafka.clear()
        self.run(self.rescuer.summon_all())
        self.world.summon_all()

    @rule(numbers=PICKS, twice=st.booleans(), worker=WORKER)
    def deliver(self, numbers: list[int], twice: bool, worker: str) -> None:
        if summons := self.summons():
            self.step(acts.Claim(tuple(pick(summons, number) for number in numbers) * (1 + twice), worker))

    @rule(numbers=PICKS)
    def heartbeat(self, numbers: list[int]) -> None:
        if tries := self.some_tries():
            held = list(dict.fromkeys(pick(tries, number) for number in numbers))
            self.step(acts.Heartbeat(tuple(one[:2] for one in held), held[0].worker))

    @rule(number=PICK, done=st.integers(0, 9))
    def progress(self, number: int, done: int) -> None:
        if tries := self.some_tries():
            self.step(acts.Progress(pick(tries, number), done))

    @rule(ended=st.lists(st.tuples(PICK, OUTCOME), min_size=1, max_size=3), wake=st.booleans())
    def finish(self, ended: list[tuple[int, str]], wake: bool) -> None:
        if tries := self.some_tries():
            self.step(ends((pick(tries, number), outcome) for number, outcome in ended), wake=wake)

    @rule(number=PICK, count=st.integers(0, 3), wake=st.booleans())
    def fan_out(self, number: int, count: int, wake: bool) -> None:
        if (tries := self.some_tries()) and len(self.world.live()) < 16:
            self.step(acts.FanOut(pick(tries, number), self._new_ids(count)), wake=wake)

    @rule()
    def release(self) -> None:
        self.step(acts.Release())

    @rule(number=PICK, tenant=TENANT, go_on=st.booleans())
    def pause(self, number: int, tenant: str, go_on: bool) -> None:
        self.step(acts.Pause(pick(self.jobs(), number), tenant, go_on))

    @rule(number=PICK, tenant=TENANT, wake=st.booleans())
    def cancel(self, number: int, tenant: str, wake: bool) -> None:
        self.step(acts.Cancel(pick(self.jobs(), number), tenant), wake=wake)

    @rule(numbers=PICKS)
    def time_passes(self, numbers: list[int]) -> None:
        self.jobs()
        if timers := self.world.timers():  # a parent that nobody woke waits without any timer
            self._pass_time([pick(timers, number) for number in numbers])

    def _pass_time(self, timers: list[tuple[UUID, str]]) -> None:
        self.sound = False
        self.run(self.tables.pass_time(timers))
        for id, what in timers:
            self.world.jobs[id].let(what)

    @rule(another=st.sampled_from([False, False, False, True]))
    def sweep(self, another: bool) -> None:
        """A round of the rescuer; with `another`, one that has just become the leader."""
        self.sound = False
        if another:
            self.rescuer, self.sweeps = Rescuer(self.tables.jobs.database, PATIENT, lambda: None), 0
        self.run(self.rescuer.sweep())
        self.world.sweep(thorough=self.sweeps % SELDOM == 0)
        self.sweeps += 1
        self._hold_back()

    def _hold_back(self) -> None:
        self.run(self.tables.hold_back([job.id for job in self.world.live() if not job.due]))

    @rule(number=PICK)
    def owners_look(self, number: int) -> None:
        """A tenant sees all of its own jobs, and nothing of another's."""
        job = self.world.jobs[pick(self.jobs(), number)]
        for tenant in TENANTS:
            mine = job.tenant == tenant
            roots = [one for one in self.world.jobs.values() if one.tenant == tenant and one.parent is None]
            assert self.run(self.tables.seen_by(tenant, job)) == {
                "jobs": sorted((one.id for one in roots), reverse=True),
                "children": sorted((one.id for one in self.world.children(job.id)), reverse=True) if mine else [],
                "it": mine,
                "key": None if job.key is None else self.world.find_idempotent(tenant, job.key),
            }

    # What happens at once

    @rule(
        number=PICK,
        drawn=st.lists(st.tuples(st.sampled_from(RACERS), PICK, OUTCOME, WORKER), min_size=2, max_size=3),
        behind=st.booleans(),
    )
    def race(self, number: int, drawn: list[tuple[str, int, str, str]], behind: bool) -> None:
        """Several concurrent acts on one family of jobs have the result of some order of them."""
        family = self._family(pick(self.jobs(), number))
        racing = [self._act(family, *one) for one in drawn]
        self.sound = False
        answers = self.run(self.tables.at_once(racing, behind=behind))
        found = self.run(self.tables.look())
        worlds = list(self._orders(racing, answers))
        assert worlds, f"no order of {racing} explains {answers}"
        self.world = next((world for world in worlds if world.shown() == found), worlds[0])
        wrong = differences(found, self.world.shown())
        assert not wrong
        for act, answer in zip(racing, answers, strict=True):
            self._go_on(act, answer)
        self._hold_back()

    def _act(self, family: list[Life], what: str, number: int, outcome: str, worker: str) -> Act:
        job = pick(family, number)
        tries = [one for one in self.holding() if self.world.jobs[one.job] in family] or self.tries[-1:]
        match what:
            case "claim":
                return acts.Claim((Summons(job.id, job.epoch, job.stage),), worker)
            case "finish" if tries:
                return ends((pick(tries, which), outcome) for which in (number, number // 97))
            case "fan_out" if tries:
                return acts.FanOut(pick(tries, number), self._new_ids(number % 3))
            case "heartbeat" if tries:
                return acts.Heartbeat((pick(tries, number)[:2],), pick(tries, number).worker)
            case "progress" if tries:
                return acts.Progress(pick(tries, number), number % 10)
            case "rescue":
                return acts.Rescue(pick(STEPS, number))
            case "release":
                return acts.Release()
            case "pause":
                return acts.Pause(family[0].id, family[0].tenant, go_on=number % 3 == 0)
            case "resume":
                return acts.Resume((family[0].id,))
            case "cancel":
                return acts.Cancel(job.id, job.tenant)
        return self._submission(TENANTS[0], 1, pick(["k", "l", "m"], number))

    def _orders(self, racing: Sequence[Act], answers: Sequence[Answer]) -> Iterable[World]:
        """The worlds in which these acts, one after the other, give these answers."""
        skips = [subsets(self._moved_by(act)) if act.skips else [NOBODY] for act in racing]
        for skipped, order in product(product(*skips), permutations(range(len(racing)))):
            world = self.world.copy()
            if all(racing[n].predict(world, skipped[n]) == answers[n] for n in order):
                yield world

    def _moved_by(self, act: Act) -> list[UUID]:
        world = self.world.copy()
        act.predict(world)
        return [id for id, job in self.world.jobs.items() if job != world.jobs[id]]

    # What holds after every step, and in the end

    @invariant()
    def the_book_is_kept(self) -> None:
        found = self.run(self.tables.look())
        wrong = differences(found, self.world.shown())
        assert not wrong
        rows = found["jobs"]
        keys = [(row["tenant"], row["key"]) for row in rows.values() if row["key"] is not None]
        assert len(keys) == len(set(keys))
        for id, row in rows.items():
            before = self.before.get(id, row)
            assert row["epoch"] >= before["epoch"]
            assert before["state"] in LIVE or row == before
            assert 0 <= row["attempt"] <= row["max_attempts"]
            assert row["leased"] == (row["state"] == "running" and not row["waiting"]) == (row["worker"] is not None)
            assert row["finished"] == (row["state"] in TERMINAL)
            history = states(row["told"])
            assert history[-1] == row["state"]
            assert all(may_move(old, new) for old, new in pairwise(history))
            summons = Summons(id, row["epoch"], row["stage"])
            assert row["state"] != "queued" or row["held"] or summons in found["outbox"] or summons in self.kafka
            children = any(one["parent"] == id and one["state"] in LIVE for one in rows.values())
            assert not row["waiting"] or children or id in self.unwoken
            assert not children or row["waiting"] or row["state"] == "cancelled"
        self.before = rows
        self.sound = True

    def teardown(self) -> None:
        """When time passes, rescuers rescue and workers work, every job ends, once."""
        if not self.sound:
            return
        for _ in range(30):
            if not self.world.live():
                break
            self._pass_time([one for one in self.world.timers() if one[1] != "expired"])
            self.sweep(another=True)
            for paused in [job for job in self.world.live() if job.paused]:
                self.step(acts.Pause(paused.id, paused.tenant, go_on=True))
            self.step(acts.Release())
            self.relay(limit=1000, dies=False)
            self.step(acts.Claim(tuple(self.kafka), WORKERS[0]))
            if held := [one for one in self.holding() if one.worker == WORKERS[0]]:
                self.step(ends((one, "done") for one in held))
            self.the_book_is_kept()
        assert not self.world.live()
        assert self.run(self.tables.whole_history()) == {id: job.told for id, job in self.world.jobs.items()}
        for job in self.world.jobs.values():
            assert sum(state in TERMINAL for state in job.told) == 1, job
            self.seen.update(pairwise(states(job.told)))


@pytest.mark.timeout(7200 if LONG else 180)
def test_every_life_is_legal_and_every_legal_move_happens(postgres: PostgresSettings) -> None:
    seen = Moves()
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        database = Database(postgres, application="lives")
        runner.run(database.open())
        try:
            run_state_machine_as_test(lambda: Lives(runner.run, Jobs(database), seen), settings=PROFILE)
        finally:
            runner.run(database.close())
    legal = {(old, new) for old, ways in MOVES.items() for new in ways}
    assert set(seen) <= legal
    # What is drawn depends on the loaded modules, so the rarest move may be missing: expiry while a job waits for its
    # next try (`tests/integration/test_rescue.py` tests that one by itself).
    assert legal - set(seen) <= {(S.RETRY_WAIT, S.FAILED)}
