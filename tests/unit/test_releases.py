"""Whose bulk work is released next: tenants take turns, then parents by deadline and weight, within their limits."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import inf
from uuid import UUID

import pytest

from infra.postgres.queries.dispatch import NO_PARENT, Running, Share
from producers.dispatcher import LEAST_S, STANDBY_S
from producers.releases import Limits, Releases
from producers.windows import WIDEST, Window

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
A, B, C = UUID(int=1), UUID(int=2), UUID(int=3)
WINDOW = 12


def share(tenant: str, parent: UUID = NO_PARENT, **changes: object) -> Share:
    """Plenty of work at one stage; `changes` replace fields."""
    plenty = Share("noop", "run", "", tenant, parent, "", False, 1, None, None, 0, 10_000, 0)
    return replace(plenty, **changes)  # type: ignore[arg-type]


def released(shares: list[Share], *, rounds: int = 1, releases: Releases | None = None) -> Counter[tuple[str, UUID]]:
    """What each share gets while workers claim all at once."""
    releases = releases or Releases(WINDOW)
    found: Counter[tuple[str, UUID]] = Counter()
    for _ in range(rounds):
        for one, jobs in releases.next(shares, NOW):
            found[one.tenant, one.parent] += jobs
    return found


def test_tenants_take_turns_however_many_parents_one_has() -> None:
    many = [share("a", UUID(int=n)) for n in range(1, 9)]
    found = released([*many, share("b", B)], rounds=4)
    of_b = found["b", B]
    assert abs(sum(found.values()) - 2 * of_b) <= 1
    assert max(found[one.tenant, one.parent] for one in many) - min(found[one.tenant, one.parent] for one in many) <= 1


def test_a_tenant_gains_nothing_by_many_small_parents_that_end_between_two_rounds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("producers.windows.WIDEST", WINDOW)
    releases = Releases(WINDOW)
    found = Counter[str]()
    for n in range(0, 300, 10):
        small = [share("a", UUID(int=n + m), held=3) for m in range(1, 11)]
        for one, jobs in releases.next([*small, share("b", B)], NOW):
            found[one.tenant] += jobs
    assert abs(found["a"] - found["b"]) <= WINDOW


def test_parents_of_a_tenant_take_turns_by_weight() -> None:
    found = released([share("t", A, weight=3), share("t", B, weight=1)], rounds=5)
    assert abs(found["t", A] - 3 * found["t", B]) <= 3


def test_a_weight_takes_nothing_from_other_tenants() -> None:
    found = released([share("a", A, weight=100), share("b", B)], rounds=4)
    assert abs(found["a", A] - found["b", B]) <= 1


def test_whoever_comes_new_is_not_given_the_turns_that_others_had_before() -> None:
    releases = Releases(WINDOW)
    released([share("a", A)], rounds=50, releases=releases)
    found = released([share("a", A), share("b", B)], rounds=2, releases=releases)
    assert abs(found["a", A] - found["b", B]) <= 1


@pytest.mark.parametrize("away", [{"paused": True}, {"at_once": 5, "running": 5}, {"held": 0}])
def test_whoever_had_no_turns_for_a_while_saves_none_up(away: dict[str, object]) -> None:
    releases = Releases(WINDOW)
    released([share("a", A), share("b", B)], rounds=3, releases=releases)
    alone = released([share("a", A), share("b", B, **away)], rounds=20, releases=releases)
    assert set(alone) == {("a", A)}
    found = released([share("a", A), share("b", B)], rounds=2, releases=releases)
    assert abs(found["a", A] - found["b", B]) <= 1


def test_with_more_tenants_than_room_everyone_has_a_turn_in_time() -> None:
    shares = [share(f"t{n:03}") for n in range(100)]
    found = released(shares, rounds=30)
    assert len(found) == 100
    assert max(found.values()) - min(found.values()) <= 1


def test_a_near_deadline_goes_first_within_its_tenant_and_the_nearest_before_all() -> None:
    shares = [
        share("t", A, deadline=NOW + timedelta(days=1)),
        share("t", B, deadline=NOW + timedelta(minutes=9), held=4),
        share("t", C, deadline=NOW - timedelta(minutes=1), held=2),
        share("u"),
    ]
    found = released(shares)
    assert found == {("u", NO_PARENT): 6, ("t", C): 2, ("t", B): 4}


def test_who_was_preferred_for_its_deadline_does_not_pay_for_it_later() -> None:
    releases = Releases(WINDOW)
    near = share("t", A, deadline=NOW + timedelta(minutes=1))
    released([near, share("t", B)], rounds=3, releases=releases)
    found = released([share("t", A), share("t", B)], rounds=2, releases=releases)
    assert abs(found["t", A] - found["t", B]) <= 1


def test_a_paused_parent_gets_nothing_and_its_room_goes_to_others() -> None:
    assert released([share("t", A, paused=True), share("t", B)]) == {("t", B): WINDOW}


def test_a_limit_counts_what_is_summoned_and_what_runs_at_all_stages() -> None:
    first = share("t", A, at_once=10, running=3, summoned=2)
    later = replace(first, stage="later", summoned=1)
    assert sum(released([first, later]).values()) == 4
    assert not released([replace(first, running=9), replace(later, running=9)])


def test_limits_of_tenants_and_models_hold_for_all_their_parents_and_topics() -> None:
    releases = Releases(WINDOW, Limits(tenant=6, model=4))
    shares = [share("a", A, summoned=1), share("a", B, stage="later"), share("b", C, model="m"), share("c", model="m")]
    found = Counter[str]()
    for one, jobs in releases.next(shares, NOW, [Running("a", "", "", 2), Running("d", "m", "", 1)]):
        found[one.tenant] += jobs
    assert found["a"] == 3
    assert found["b"] + found["c"] == 3


def test_of_a_tenants_jobs_with_one_key_one_is_on_its_way() -> None:
    shares = [share("a", key="k"), share("a", key="l", stage="later"), share("a", key="m"), share("b", key="m")]
    found = Releases(WINDOW).next(shares, NOW, [Running("a", "", "m", 1)])
    assert [(one.tenant, one.key, jobs) for one, jobs in found] == [("a", "k", 1), ("b", "m", 1), ("a", "l", 1)]
    assert not Releases(WINDOW).next([replace(shares[0], summoned=1), share("a", key="k", stage="later")], NOW)


def test_what_a_limited_parent_may_not_have_goes_to_others() -> None:
    assert released([share("t", A, at_once=2), share("u", B)]) == {("t", A): 2, ("u", B): WINDOW - 2}


def test_no_more_is_summoned_than_the_window_holds() -> None:
    releases = Releases(WINDOW)
    assert released([share("t", A, summoned=5)], releases=releases) == {("t", A): WINDOW - 5}
    assert not released([share("t", A, summoned=WINDOW)], releases=releases)


def test_each_topic_has_its_own_window() -> None:
    found = Releases(WINDOW).next([share("t", A), share("t", A, stage="later"), share("t", A, model="m")], NOW)
    assert [jobs for _, jobs in found] == [WINDOW] * 3


def test_no_share_gets_more_than_it_has() -> None:
    assert released([share("t", A, held=3), share("t", B, held=2)]) == {("t", A): 3, ("t", B): 2}


def test_a_window_grows_while_workers_empty_it_between_rounds_and_shrinks_while_they_do_not() -> None:
    window = Window(10)
    sizes = []
    for _ in range(20):
        room = window.room(0, 0.0)
        window.filled(room, room)
        sizes.append(window.size)
    assert sizes[:4] == [10, 20, 40, 80]
    assert window.size == WIDEST
    for _ in range(100):
        room = window.room(window.size, 0.0)
        window.filled(room, 0)
    assert window.size == 10


def test_the_next_round_comes_when_workers_have_claimed_a_quarter_of_what_is_summoned() -> None:
    window = Window(16)
    assert window.filled(window.room(0, 0.0), 16) == 0.0  # their pace is not known yet
    assert window.filled(window.room(8, 1.0), 8) == 16 / 4 / 8
    assert window.filled(window.room(12, 3.0), 4) == 16 / 4 / 2
    assert window.filled(window.room(16, 4.0), 0) == inf


@pytest.mark.parametrize("per_s", [1, 60, 200, 1_000, 5_000, 15_000])
def test_workers_of_any_pace_never_wait_for_a_round_once_the_window_has_grown(per_s: int) -> None:
    window = Window(32)
    now, summoned, left = 0.0, 0.0, []
    for _ in range(200):
        room = window.room(int(summoned), now)
        pause = min(max(window.filled(room, room), LEAST_S), STANDBY_S)
        now, summoned = now + pause, max(0.0, summoned + room - per_s * pause)
        left.append(summoned)
    assert min(left[100:]) > 0


def test_a_limit_that_holds_work_back_makes_no_rounds_come_soon() -> None:
    releases = Releases(WINDOW)
    assert releases.next([share("t", A, at_once=2)], NOW)
    assert not releases.next([share("t", A, at_once=2, running=2)], NOW + timedelta(seconds=1))
    assert releases.needed_in_s == inf


def test_a_window_that_was_not_filled_for_lack_of_work_does_not_grow() -> None:
    window = Window(10)
    for _ in range(5):
        window.filled(window.room(0, 0.0), 3)
    assert window.size == 10
