"""What the reader of a search should mind: in English in its result, in the owner's language in its report."""

from collections.abc import Sequence
from typing import Final

from consumers.stages.search.trials import EndedTrial
from schemas.kinds.search import SearchInput
from schemas.remarks import Remark, Sentences

SENTENCES: Final[Sentences] = {
    "en": {
        "time_over": "the time was over after {made:,} of {most:,} trials",
        "skipped": "trials that did not begin, because the time was over: {count:,}",
        "failed": "trials that failed: {count:,} ({codes})",
        "small_grid": "the grid has {most:,} points, fewer than the {trials:,} trials that were allowed",
    },
    "ko": {
        "time_over": "시도 {most:,}개 가운데 {made:,}개 만에 시간이 다 되었습니다",
        "skipped": "시간이 다 되어 시작하지 못한 시도: {count:,}개",
        "failed": "실패한 시도: {count:,}개 ({codes})",
        "small_grid": "격자의 점은 {most:,}개로, 허용한 시도 {trials:,}개보다 적습니다",
    },
}


def of_trials(request: SearchInput, trials: Sequence[EndedTrial]) -> list[Remark]:
    """What was noticed when all trials had ended."""
    found = []
    if len(trials) < request.most:
        found.append(Remark(sentence="time_over", values={"made": len(trials), "most": request.most}))
    skipped = sum(one.state == "skipped" for one in trials)
    if skipped:
        found.append(Remark(sentence="skipped", values={"count": skipped}))
    failed = [one for one in trials if one.state == "failed"]
    if failed:
        codes = sorted({one.error["code"] for one in failed if one.error is not None})
        found.append(Remark(sentence="failed", values={"count": len(failed), "codes": ", ".join(codes)}))
    if request.most < request.trials:
        found.append(Remark(sentence="small_grid", values={"most": request.most, "trials": request.trials}))
    return found
