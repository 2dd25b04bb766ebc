"""What the report of a period says, in every language; how a rollout ended is told as its own page tells it."""

from __future__ import annotations

from functools import partial

from fds_mlflow.display import languages
from fds_mlflow.display.languages import Messages
from fds_mlflow.rollouts.report import messages as of_rollout

_OWN: Messages = {
    "title": ("Models and trials, {since} to {until}", "모델과 시험 현황, {since} ~ {until}"),
    "made": ("As known on {time}.", "{time} 기준"),
    "lead": (
        "Models: {models}. Trials: {trials}, of which {over} had the tried model take over, and {stopped} were stopped"
        " automatically as harmful.",
        "모델 {models}개, 시험 {trials}건. 그중 {over}건은 시험한 모델로 대체되었고, {stopped}건은 해로워서 자동으로"
        " 중단되었습니다.",
    ),
    "totals": ("In all", "전체 요약"),
    "glance": ("At a glance", "한눈에 보기"),
    "reading": ("How to read this", "이 문서를 읽는 방법"),
    "nothing": ("Nothing happened in this period.", "이 기간에는 아무 일도 없었습니다."),
    "no_models": ("No model has a history here.", "이력이 있는 모델이 없습니다."),
    "column.what": ("What", "항목"),
    "column.number": ("Number", "건수"),
    "total.models": ("Models", "모델"),
    "total.trained": ("Versions trained", "학습된 버전"),
    "total.trials": ("Trials that ended, or were under way at the end", "끝났거나 기간 말에 진행 중인 시험"),
    "total.of_them": ("of them: {what}", "그중 {what}"),
    "total.changes": ("Changes of the model that serves", "서비스 모델 변경"),
    "total.due": (
        "Payments or customers of these trials that were decided long enough ago",
        "시험 중 충분한 시간이 지난 결제 또는 고객",
    ),
    "total.labelled": ("of them with a known truth", "그중 사실이 확인된 것"),
    "total.seconds": ("From training to service, typically", "학습부터 서비스까지 걸린 시간 (중앙값)"),
    "kind.promote": ("put into service without a trial", "시험 없이 바로 적용"),
    "kind.complete": ("took over after a trial", "시험 후 대체"),
    "kind.emergency": ("emergency: an earlier model brought back", "긴급 복귀"),
    "kind.rollback": ("an earlier model brought back", "이전 모델로 복귀"),
    "kind.adopt": ("changed past the usual way", "절차 외 변경"),
    "stopped": (
        "Stopped automatically as harmful: {count}. Had these models decided all payments of their trials, there would"
        " have been about:",
        "해로워서 자동으로 중단된 시험: {count}건. 이 모델들이 시험 기간의 결제를 모두 판단했다면 대략 다음만큼 더"
        " 발생했을 것입니다:",
    ),
    "stopped.unknown": (
        "Stopped automatically as harmful, and what that spared is not known: {count}.",
        "해로워서 자동으로 중단되었으나 막은 피해를 알 수 없는 시험: {count}건.",
    ),
    "spared.frauds_missed": ("{more} more frauds let through", "놓친 사기 {more}건"),
    "spared.false_positives": ("{more} more payments wrongly stopped", "잘못 차단된 결제 {more}건"),
    "spared.errors": ("{more} more payments without an answer", "답을 받지 못한 결제 {more}건"),
    "spared.money_missed": ("{more} more money taken by frauds", "사기 피해액 {more}"),
    "unrecorded": (
        "Trials that nobody recorded, so that their payments and truths are not known: {count}.",
        "기록되지 않아 결제와 사실을 알 수 없는 시험: {count}건.",
    ),
    "column.model": ("Model", "모델"),
    "column.serves": ("Serves now", "현재 서비스"),
    "column.since": ("Since", "시작 시각"),
    "column.trained": ("Trained", "학습"),
    "column.trials": ("Trials", "시험"),
    "column.changes": ("Changes", "변경"),
    "serves": ("version {version}", "버전 {version}"),
    "nobody": ("no version", "없음"),
    "since.unknown": (
        "not recorded: changed past the usual way",
        "기록 없음: 절차 외 변경",
    ),
    "model.trained": ("Versions trained: {versions}.", "학습된 버전: {versions}."),
    "column.trial": ("Trial", "시험"),
    "column.ended": ("Ended", "종료"),
    "column.how": ("How", "결과"),
    "column.who": ("Who decided", "결정"),
    "column.why": ("Reason", "사유"),
    "column.truths": ("Truth known", "사실 확인"),
    "trial": ("version {new} against\N{NO-BREAK SPACE}{old}", "버전 {new} (기존 버전 {old})"),
    "watch": ("watch of version {new} against\N{NO-BREAK SPACE}{old}", "버전 {new} 관찰 (기존 버전 {old})"),
    "truths": ("{labelled} of {due}", "{due} 중 {labelled}"),
    "truths.unrecorded": ("not recorded", "기록 없음"),
    "model.spared": (
        "Had version {new} decided all payments of its trial, there would have been about: {what}.",
        "버전 {new}의 시험에서 이 버전이 결제를 모두 판단했다면 대략 다음만큼 더 발생했을 것입니다: {what}.",
    ),
    "column.time": ("When", "시각"),
    "column.version": ("Version", "버전"),
    "column.took": ("Since its training", "학습 후 경과"),
    "took.unknown": ("not known", "알 수 없음"),
    "took.again": ("served before", "이전에 서비스됨"),
    "trials": ("Trials:", "시험:"),
    "changes": ("Changes of the model that serves:", "서비스 모델 변경:"),
    "reading.trial": (
        "In a trial a new model decides a share of the payments beside the old one. It stands in the period in which it"
        " ended.",
        "시험에서는 새 모델이 기존 모델과 나란히 결제의 일부를 판단합니다. 시험은 끝난 기간에 표시됩니다.",
    ),
    "reading.now": (
        "What happened in the period is told as of its end; truths and amounts as known on {time}.",
        "기간 중의 일은 기간 말 기준이며, 사실과 금액은 {time} 기준입니다.",
    ),
    "reading.spared": (
        "What a stop spared is the difference of both models in the trial, and chance is a part of it. Amounts are in"
        " the currency of the payments.",
        "중단으로 막은 피해는 시험 중 두 모델의 차이이며 우연이 섞여 있습니다. 금액의 통화는 결제 데이터와 같습니다.",
    ),
    "reading.gone": (
        "Versions that were deleted from the registry are not among those trained.",
        "레지스트리에서 삭제된 버전은 학습된 버전에 포함되지 않습니다.",
    ),
}

MESSAGES: Messages = {**of_rollout.MESSAGES, **_OWN}

text = partial(languages.text, MESSAGES)
"""A message: `text(language, key, **values)`."""
