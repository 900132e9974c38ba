"""The losses that trials of a search tell, in Postgres."""

from consumers.stages.ports import Evaluation, SeenTrial
from infra.postgres.trials import PostgresTrials
from schemas.lifecycle import JobState
from tests.integration.jobs import Jobs


async def test_a_trial_sees_what_all_trials_of_its_search_measured(jobs: Jobs) -> None:
    trials = PostgresTrials(jobs.database, SeenTrial, Evaluation)
    root, [first, second, third] = await jobs.parent(3)
    _, [stranger] = await jobs.parent(1)
    await trials.evaluated(stranger, 5, 0.1)
    await trials.evaluated(first, 10, 1.5)
    await trials.evaluated(first, 5, 2.5)
    await trials.evaluated(first, 5, 9.0)  # trained again after a restart
    await jobs.end(first)
    seen = await trials.evaluated(second, 5, 3.0)
    assert seen == await trials.seen(root)
    assert [(one.id, one.key, one.state) for one in seen] == [
        (first, "0", JobState.SUCCEEDED),
        (second, "1", JobState.QUEUED),
        (third, "2", JobState.QUEUED),
    ]
    assert [[(told.step, told.loss) for told in one.evaluations] for one in seen] == [
        [(5, 2.5), (10, 1.5)],
        [(5, 3.0)],
        [],
    ]
    ends = [told.at for told in seen[0].evaluations]
    assert ends[1] < ends[0], "the order in which they were measured is kept"
