"""What makes one doubt the figures of a report: in English in the result, in the owner's language in the report."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from consumers.scoring.table import ScoreTable
from schemas.kinds.evaluation.judge import CEILING
from schemas.kinds.evaluation.result import ItemCounts, Judged
from schemas.remarks import Remark, Sentences

FEW: Final = 30
"""Below so many items a report says that they are few."""

SENTENCES: Final[Sentences] = {
    "en": {
        "not_asked": "the ceiling was reached: {count:,} of {all:,} questions were not asked, and `strict` counts 0",
        "failed": "{count:,} of {all:,} answers failed ({code}): {why}; `strict` counts them as 0",
        "few": "{count} items are few: differences below the detectable one say nothing",
        "lone": "'{variant}' has no item in common with '{baseline}'",
        "own_judge": "the judge {judge} also wrote the answers of {variants}: models favour what they wrote",
        "not_judged": "the ceiling was reached: the scores that the judge had not given by then are missing",
        "unscored": "{count:,} scores could not be had ({code}): {why}",
        "unscored_silently": "{count:,} scores could not be had ({code}): see the items file",
        "other_judges": "'{variant}' and '{baseline}' have other judges: {metrics}",
    },
    "ko": {
        "not_asked": "한도에 이르러 질문 {all:,}개 중 {count:,}개를 묻지 않았습니다. `strict`는 이를 0으로 셉니다",
        "failed": "답변 {all:,}개 중 {count:,}개가 실패했습니다 ({code}): {why}. `strict`는 이를 0으로 셉니다",
        "few": "문항이 {count}개뿐이라, 확인 가능한 최소 차이보다 작은 차이는 아무것도 말해 주지 않습니다",
        "lone": "'{variant}'에는 '{baseline}'과 같은 문항이 없습니다",
        "own_judge": "심판 {judge}이(가) {variants}의 답변도 썼습니다. 모델은 자기가 쓴 글에 후합니다",
        "not_judged": "한도에 이르러, 그때까지 심판이 매기지 못한 점수는 결측입니다",
        "unscored": "점수 {count:,}개를 얻지 못했습니다 ({code}): {why}",
        "unscored_silently": "점수 {count:,}개를 얻지 못했습니다 ({code}): 문항 파일을 보십시오",
        "other_judges": "'{variant}'과 '{baseline}'은 심판이 다릅니다: {metrics}",
    },
}


def doubts(tables: Sequence[ScoreTable], counts: ItemCounts, judged: Judged | None) -> Iterator[Remark]:
    """Everything that the reader of a report should know before believing it."""
    if counts.not_asked:
        yield Remark(sentence="not_asked", values={"count": counts.not_asked, "all": counts.answers})
    for code, count in sum((table.errors for table in tables), Counter[str]()).items():
        why = next(table.messages[code] for table in tables if code in table.messages)
        yield Remark(sentence="failed", values={"count": count, "all": counts.answers, "code": code, "why": why})
    if counts.total < FEW:
        yield Remark(sentence="few", values={"count": counts.total})
    first = tables[0]
    for table in tables[1:]:
        if not set(table.places()) & set(first.places()):
            yield Remark(sentence="lone", values={"variant": table.variant, "baseline": first.variant})
    if judged is not None:
        yield from _of_the_judge(judged)
    for table in tables[1:]:
        pairs = ((name, first.by.get(name), table.by.get(name)) for name in table.by)
        apart = [name for name, ours, theirs in pairs if ours is not None and ours != theirs]
        if apart:
            named = {"variant": table.variant, "baseline": first.variant, "metrics": ", ".join(apart)}
            yield Remark(sentence="other_judges", values=named)


def _of_the_judge(judged: Judged) -> Iterator[Remark]:
    if judged.judges_itself and judged.judge is not None:
        variants = ", ".join(f"'{variant}'" for variant in judged.judges_itself)
        yield Remark(sentence="own_judge", values={"judge": judged.judge, "variants": variants})
    if judged.stopped:
        yield Remark(sentence="not_judged", values={})
    for code, count in judged.unscored.items():
        if code != CEILING:
            told: dict[str, int | str] = {"count": count, "code": code}
            if code in judged.messages:
                yield Remark(sentence="unscored", values={**told, "why": judged.messages[code]})
            else:
                yield Remark(sentence="unscored_silently", values=told)
