"""What the reader of a training should mind: in English in its result, in the owner's language in its report."""

from typing import Final

from schemas.kinds.training import DataReport
from schemas.kinds.training.plan import Counted
from schemas.remarks import Remark, Sentences

SENTENCES: Final[Sentences] = {
    "en": {
        "repeated": "{count:,} examples repeat another one and were left out",
        "overlapping": "{count:,} examples are in the validation file, too, and were not trained on",
        "none_held_out": "nothing is held out, so nothing tells whether the model learns more than its examples",
        "cut": "{count:,} examples are longer than max_length and were cut",
        "masked_away": "{count:,} examples are longer than max_length and were cut; {lost:,} of them had nothing of"
        " their answer left and were left out",
        "memory": "memory ran out: a device took {count} examples at a time from step {step} on",
        "manifest_damaged": "a checkpoint's manifest is damaged; the other one was used",
        "checkpoint_damaged": "the checkpoint at step {step} is damaged; the one before was used",
    },
    "ko": {
        "repeated": "다른 예제와 같은 예제 {count:,}개를 뺐습니다",
        "overlapping": "검증 파일에도 있는 예제 {count:,}개는 학습에 쓰지 않았습니다",
        "none_held_out": "검증용으로 떼어 둔 예제가 없어, 모델이 예제를 외우기만 했는지 알 수 없습니다",
        "cut": "예제 {count:,}개가 max_length보다 길어 잘렸습니다",
        "masked_away": "예제 {count:,}개가 max_length보다 길어 잘렸고, 그중 답이 남지 않은 {lost:,}개는 뺐습니다",
        "memory": "메모리가 모자라 스텝 {step}부터 장치마다 한 번에 예제 {count}개씩 처리했습니다",
        "manifest_damaged": "체크포인트의 매니페스트가 손상되어 다른 체크포인트를 썼습니다",
        "checkpoint_damaged": "스텝 {step}의 체크포인트가 손상되어 그 앞의 체크포인트를 썼습니다",
    },
}


def of_data(report: DataReport) -> list[Remark]:
    """What was noticed when the dataset was divided."""
    found = []
    if report.duplicates:
        found.append(Remark(sentence="repeated", values={"count": report.duplicates}))
    if report.overlapping:
        found.append(Remark(sentence="overlapping", values={"count": report.overlapping}))
    if not report.validation_rows:
        found.append(Remark(sentence="none_held_out"))
    return found


def of_lengths(counted: Counted) -> list[Remark]:
    """What was noticed when tokens were counted."""
    if not counted.too_long:
        return []
    values: dict[str, int | str] = {"count": counted.too_long}
    if not counted.masked_away:
        return [Remark(sentence="cut", values=values)]
    return [Remark(sentence="masked_away", values={**values, "lost": counted.masked_away})]
