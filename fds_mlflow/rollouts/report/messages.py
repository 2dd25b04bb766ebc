"""What pages about rollouts say to people who know no statistics, in every language.

What people wrote (names, reasons, descriptions) is shown as they wrote it. In Korean a version stands in brackets
behind its model, so that the particle follows a word that is known.
"""

from __future__ import annotations

from functools import partial

from fds_mlflow.display import languages
from fds_mlflow.display.languages import Messages

MESSAGES: Messages = {
    "unknown": ("not known", "알 수 없음"),
    "none": ("none", "없음"),
    "model.new": ("new model", "새 모델"),
    "model.old": ("old model", "기존 모델"),
    # --- how a trial ended, in a sentence
    "tried.UNDER_WAY": (
        "The new model (version {new}) is on trial: it decides {share} % of the payments, and the old model (version"
        " {old}) decides the rest.",
        "새 모델(버전 {new})을 시험하고 있습니다. 새 모델이 결제의 {share} %를 판단하고, 나머지는 기존 모델(버전"
        " {old})이 판단합니다.",
    ),
    "tried.PASSED": (
        "The new model (version {new}) did well on trial and has taken over from the old model (version {old}).",
        "새 모델(버전 {new})이 시험에서 좋은 결과를 보여 기존 모델(버전 {old})을 대체했습니다.",
    ),
    "tried.WITHOUT_PASS": (
        "A person had the new model (version {new}) take over from the old model (version {old}) before the checks had"
        " found it good enough.",
        "점검에서 충분히 좋다고 확인되기 전에 사람이 새 모델(버전 {new})로 기존 모델(버전 {old})을 대체했습니다.",
    ),
    "tried.BY_HAND": (
        "A person had the new model (version {new}) take over from the old model (version {old}). Whether the checks"
        " had found it good enough was not recorded.",
        "사람이 새 모델(버전 {new})로 기존 모델(버전 {old})을 대체했습니다. 점검에서 충분히 좋다고 확인되었는지는"
        " 기록되지 않았습니다.",
    ),
    "tried.FORCED": (
        "A person had the new model (version {new}) take over from the old model (version {old}) and skipped a part of"
        " the trial that had been agreed on.",
        "사람이 정해진 시험 절차의 일부를 건너뛰고 새 모델(버전 {new})로 기존 모델(버전 {old})을 대체했습니다.",
    ),
    "tried.FAILED": (
        "The trial was stopped automatically, because the new model (version {new}) did worse than was allowed. The old"
        " model (version {old}) stays.",
        "새 모델(버전 {new})의 결과가 허용된 수준보다 나빠서 시험이 자동으로 중단되었습니다. 기존 모델(버전 {old})을"
        " 계속 사용합니다.",
    ),
    "tried.UNDECIDED": (
        "The trial ended automatically without an answer: the new model (version {new}) was shown to be neither good"
        " nor harmful in the time or number of payments that it had. The old model (version {old}) stays.",
        "시험이 결론 없이 자동으로 끝났습니다. 정해진 기간이나 건수 안에 새 모델(버전 {new})이 좋은지 해로운지 확인되지"
        " 않았습니다. 기존 모델(버전 {old})을 계속 사용합니다.",
    ),
    "tried.STOPPED": (
        "A person stopped the trial of the new model (version {new}). The old model (version {old}) stays.",
        "사람이 새 모델(버전 {new})의 시험을 중단했습니다. 기존 모델(버전 {old})을 계속 사용합니다.",
    ),
    "tried.REVERTED": (
        "An earlier model (version {back}) was brought back automatically, which ended the trial of the new model"
        " (version {new}).",
        "이전 모델(버전 {back})로 자동으로 되돌아가면서 새 모델(버전 {new})의 시험이 끝났습니다.",
    ),
    "tried.ROLLED_BACK": (
        "A person brought back an earlier model (version {back}), which ended the trial of the new model (version"
        " {new}).",
        "사람이 이전 모델(버전 {back})로 되돌리면서 새 모델(버전 {new})의 시험이 끝났습니다.",
    ),
    "tried.OVERTAKEN": (
        "Somebody changed the model past the usual way, which ended the trial of the new model (version {new}) against"
        " the old model (version {old}).",
        "누군가 정해진 절차를 거치지 않고 모델을 변경하여, 새 모델(버전 {new})과 기존 모델(버전 {old})의 비교 시험이"
        " 끝났습니다.",
    ),
    "tried.ABANDONED": (
        "The trial of the new model (version {new}) broke off before it took effect.",
        "새 모델(버전 {new})의 시험이 적용되기 전에 중단되었습니다.",
    ),
    # --- how a watch ended, in a sentence
    "watched.UNDER_WAY": (
        "The new model (version {new}) has taken over and is still being watched: the old model (version {old}) goes on"
        " deciding {share} % of the payments, to compare.",
        "새 모델(버전 {new})로 바꾼 뒤 계속 지켜보고 있습니다. 비교를 위해 기존 모델(버전 {old})이 결제의 {share} %를"
        " 계속 판단합니다.",
    ),
    "watched.PASSED": (
        "While the new model (version {new}) was watched, the old model (version {old}) did well and has taken over"
        " again.",
        "새 모델(버전 {new})을 지켜보는 동안 기존 모델(버전 {old})이 좋은 결과를 보여 다시 사용됩니다.",
    ),
    "watched.WITHOUT_PASS": (
        "While the new model (version {new}) was watched, a person had the old model (version {old}) take over again"
        " before the checks had found it good enough.",
        "새 모델(버전 {new})을 지켜보는 동안, 점검에서 충분히 좋다고 확인되기 전에 사람이 기존 모델(버전 {old})을 다시"
        " 사용하게 했습니다.",
    ),
    "watched.BY_HAND": (
        "While the new model (version {new}) was watched, a person had the old model (version {old}) take over again."
        " Whether the checks had found it good enough was not recorded.",
        "새 모델(버전 {new})을 지켜보는 동안 사람이 기존 모델(버전 {old})을 다시 사용하게 했습니다. 점검에서 충분히"
        " 좋다고 확인되었는지는 기록되지 않았습니다.",
    ),
    "watched.FORCED": (
        "While the new model (version {new}) was watched, a person had the old model (version {old}) take over again"
        " and skipped a part of what had been agreed on.",
        "새 모델(버전 {new})을 지켜보는 동안 사람이 정해진 절차의 일부를 건너뛰고 기존 모델(버전 {old})을 다시 사용하게"
        " 했습니다.",
    ),
    "watched.WATCHED": (
        "The time for watching the new model (version {new}) is over, and it goes on deciding.",
        "새 모델(버전 {new})을 지켜보기로 한 기간이 끝났고, 새 모델을 계속 사용합니다.",
    ),
    "watched.STOPPED": (
        "A person ended the watch of the new model (version {new}) before its time, and it goes on deciding.",
        "사람이 새 모델(버전 {new})의 관찰을 예정보다 일찍 끝냈고, 새 모델을 계속 사용합니다.",
    ),
    "watched.REVERTED": (
        "The new model (version {new}) did worse than was allowed after it had taken over: an earlier model (version"
        " {back}) was brought back automatically.",
        "바꾼 뒤 새 모델(버전 {new})의 결과가 허용된 수준보다 나빠서 이전 모델(버전 {back})로 자동으로 되돌아갔습니다.",
    ),
    "watched.ROLLED_BACK": (
        "While the new model (version {new}) was watched, a person brought back an earlier model (version {back}).",
        "새 모델(버전 {new})을 지켜보는 동안 사람이 이전 모델(버전 {back})로 되돌렸습니다.",
    ),
    "watched.OVERTAKEN": (
        "Somebody changed the model past the usual way, which ended the watch of the new model (version {new}).",
        "누군가 정해진 절차를 거치지 않고 모델을 변경하여 새 모델(버전 {new})의 관찰이 끝났습니다.",
    ),
    "watched.ABANDONED": (
        "The watch of the new model (version {new}) broke off before it took effect.",
        "새 모델(버전 {new})의 관찰이 적용되기 전에 중단되었습니다.",
    ),
    # --- the same in a few words
    "short.UNDER_WAY": ("under way", "진행 중"),
    "short.PASSED": ("did well, took over", "좋은 결과로 대체"),
    "short.WITHOUT_PASS": ("taken over by a person, before the checks were done", "점검이 끝나기 전에 사람이 대체"),
    "short.BY_HAND": ("taken over by a person; checks not recorded", "사람이 대체 (점검 기록 없음)"),
    "short.FORCED": ("taken over by a person, part of the trial skipped", "시험 일부를 건너뛰고 사람이 대체"),
    "short.FAILED": ("stopped automatically as harmful", "해로워서 자동 중단"),
    "short.UNDECIDED": ("ended without an answer", "결론 없이 종료"),
    "short.STOPPED": ("stopped by a person", "사람이 중단"),
    "short.REVERTED": ("brought back automatically", "자동으로 되돌림"),
    "short.ROLLED_BACK": ("brought back by a person", "사람이 되돌림"),
    "short.WATCHED": ("watched to the end, stays", "관찰 종료, 계속 사용"),
    "short.OVERTAKEN": ("ended by a change past the usual way", "절차 외 변경으로 종료"),
    "short.ABANDONED": ("broke off", "중단됨"),
    # --- a rollout: headings
    "trial.title": ("{model}: version {new} on trial", "{model}: 버전 {new} 시험"),
    "watch.title": ("{model}: version {new} being watched", "{model}: 버전 {new} 관찰"),
    "as_of": ("As known on {time}.", "{time} 기준"),
    "what": ("What was tried", "무엇을 시험했나"),
    "effect": ("What it did to customers and money", "고객과 금액에 미친 영향"),
    "numbers": ("The numbers", "숫자로 보기"),
    "checks": ("What was checked", "무엇을 점검했나"),
    "who": ("Who decided, and why", "누가 왜 결정했나"),
    "unknowns": ("What is not known", "알 수 없는 것"),
    "reading": ("How to read this page", "이 문서를 읽는 방법"),
    "more": ("More", "더 보기"),
    # --- what was tried
    "column.new": ("New model", "새 모델"),
    "column.old": ("Old model", "기존 모델"),
    "version": ("Version", "버전"),
    "algorithm": ("Kind", "종류"),
    "learned": ("Learned from", "학습 데이터"),
    "period": ("Period of these data", "데이터 기간"),
    "description": ("Description", "설명"),
    "reached": (
        "It began with {first} % of the payments and reached {most} %.",
        "결제의 {first} %로 시작하여 {most} %까지 늘렸습니다.",
    ),
    "kept": (
        "The old model kept {first} % of the payments, to compare.",
        "비교를 위해 기존 모델이 결제의 {first} %를 계속 판단했습니다.",
    ),
    # --- what it did
    "effect.decided": (
        "The new model decided {new} payments, the old model {old}.",
        "새 모델은 결제 {new}건을, 기존 모델은 {old}건을 판단했습니다.",
    ),
    "effect.no_traffic": (
        "How many payments each model decided was not recorded.",
        "각 모델이 판단한 결제 건수는 기록되지 않았습니다.",
    ),
    "effect.alerts": (
        "Of {among} payments that the new model decided, it stopped {new} as suspicious.",
        "새 모델이 판단한 결제 {among}건 중 {new}건을 의심 거래로 차단했습니다.",
    ),
    "effect.errors": (
        "Of {among} payments that came to the new model, {new} got no answer because of an error.",
        "새 모델로 들어온 결제 {among}건 중 {new}건은 오류로 답을 받지 못했습니다.",
    ),
    "effect.false_positives": (
        "Of {among} payments that the new model decided long enough ago, {new} are known to have been wrongly stopped.",
        "충분한 시간이 지난 새 모델의 결제 {among}건 중 {new}건은 잘못 차단된 것으로 확인되었습니다.",
    ),
    "effect.frauds_caught": (
        "Of {among} payments that the new model decided long enough ago, {new} are known to be frauds that it stopped.",
        "충분한 시간이 지난 새 모델의 결제 {among}건 중 {new}건은 막아 낸 사기로 확인되었습니다.",
    ),
    "effect.frauds_missed": (
        "Of {among} payments that the new model decided long enough ago, {new} are known to be frauds that it let"
        " through.",
        "충분한 시간이 지난 새 모델의 결제 {among}건 중 {new}건은 놓친 사기로 확인되었습니다.",
    ),
    "effect.among_unknown": ("The new model: {what}: {new}.", "새 모델: {what}: {new}."),
    "would.count": (
        "With the old model it would have been about {about} of as many (could be between {low} and {high}).",
        "같은 건수라면 기존 모델은 약 {about}건이었을 것입니다({low}~{high}건일 수 있음).",
    ),
    "would.unknown": (
        "What the old model would have done with as many is not known.",
        "같은 건수에서 기존 모델이 어땠을지는 알 수 없습니다.",
    ),
    "money.missed": (
        "The frauds that the new model let through took {new}.",
        "새 모델이 놓친 사기의 피해액은 {new}입니다.",
    ),
    "money.would": (
        "Those that the old model would have let through among as many payments: about {about}. A few large frauds"
        " decide such an amount, so it may well be much more or less.",
        "같은 건수라면 기존 모델이 놓쳤을 사기의 피해액은 약 {about}입니다. 몇 건의 큰 사기가 좌우하는 금액이므로"
        " 실제로는 훨씬 많거나 적을 수 있습니다.",
    ),
    "money.caught": (
        "The frauds that it stopped would have taken {new}, as far as the amounts are known.",
        "막아 낸 사기의 금액은 알려진 범위에서 {new}입니다.",
    ),
    "row.requests": ("Payments decided", "판단한 결제"),
    "row.keys": ("of them different customers or payments", "그중 서로 다른 고객 또는 결제"),
    "row.errors": ("No answer because of an error", "오류로 답하지 못함"),
    "row.alerts": ("Stopped as suspicious", "의심 거래로 차단"),
    "row.matured": ("Decided long enough ago for the truth to be known", "사실을 알 만큼 시간이 지난 것"),
    "row.labelled": ("of them with a known truth", "그중 사실이 확인된 것"),
    "row.frauds_caught": ("Frauds stopped", "막아 낸 사기"),
    "row.frauds_missed": ("Frauds let through", "놓친 사기"),
    "row.false_positives": ("Wrongly stopped", "잘못 차단"),
    "row.money_caught": ("Money of the frauds stopped", "막아 낸 사기의 금액"),
    "row.money_missed": ("Money of the frauds let through", "놓친 사기의 금액"),
    # --- what was checked
    "column.check": ("Check", "점검 항목"),
    "column.answer": ("Answer", "결과"),
    "check.split": ("The payments were shared out as planned", "결제가 계획대로 나뉘었는지"),
    "check.error_rate": ("Payments without an answer", "답을 받지 못한 결제"),
    "check.alert_rate": ("Payments stopped", "차단된 결제"),
    "check.latency": ("How long an answer takes", "답하는 데 걸린 시간"),
    "check.score_shift": ("How suspicious payments look to the model", "모델이 결제를 의심하는 정도"),
    "check.missed_fraud": ("Frauds let through", "놓친 사기"),
    "check.false_positives": ("Payments wrongly stopped", "잘못 차단된 결제"),
    "check.alert_precision": ("How many of the stopped payments were frauds", "차단한 결제 중 실제 사기의 비율"),
    "check.money_lost": ("Money lost to frauds", "사기 피해액"),
    "check.part": ("{check} (in a part of the payments: {part})", "{check} (일부 결제: {part})"),
    "status.PASS": ("good enough", "충분히 좋음"),
    "status.FAIL": ("worse than allowed", "허용된 수준보다 나쁨"),
    "status.INCONCLUSIVE": ("too few payments to tell", "판단하기에 결제가 부족함"),
    "status.NODATA": ("nobody knows yet: nothing was there to look at", "아직 알 수 없음: 볼 자료가 없음"),
    "status.ERROR": ("could not be compared fairly", "공정하게 비교할 수 없음"),
    "checks.none": (
        "What the checks said was not recorded.",
        "점검 결과는 기록되지 않았습니다.",
    ),
    # --- who
    "by.judge": (
        "Decided automatically on {time}, by the rules agreed on before: {who}, {after} after the start. ",
        "{time}에 미리 정한 규칙에 따라 자동으로 결정되었습니다. 실행 주체: {who}, 시작 후 {after}.",
    ),
    "by.person": (
        "Decided on {time} by {who}, {after} after the start.",
        "{time}에 결정되었습니다. 결정자: {who}, 시작 후 {after}.",
    ),
    "by.nobody": (
        "Noticed on {time} by {who}, {after} after the start.",
        "{time}에 확인되었습니다. 확인자: {who}, 시작 후 {after}.",
    ),
    "why": ("Reason: {reason}", "사유: {reason}"),
    "why.checks": ("worse than allowed: {checks}", "허용된 수준보다 나쁨: {checks}"),
    "why.plan": ("as the plan says", "계획에 정해진 대로"),
    "autopilot": ("the autopilot of {who}", "{who}의 자동 조종"),
    "no_why": ("No reason was given.", "사유가 기록되지 않았습니다."),
    "started": ("Started on {time} by {who}.", "{time}에 시작되었습니다. 시작한 사람: {who}."),
    "basis": (
        "When it was decided, the new model had met {keys} different customers or payments. Payments of either model"
        " with a known truth: {labels}.",
        "결정 당시 새 모델은 서로 다른 고객 또는 결제 {keys}건을 판단했고, 전체에서 사실이 확인된 것은"
        " {labels}건이었습니다.",
    ),
    "column.time": ("When", "시각"),
    "column.event": ("What happened", "내용"),
    "column.who": ("Who", "주체"),
    "column.why": ("Reason", "사유"),
    "event.start": ("began with {share} %", "{share} %로 시작"),
    "event.advance": ("went on to {share} %", "{share} %로 확대"),
    "event.pause": ("paused at {share} %", "{share} %에서 일시 중지"),
    "event.resume": ("went on at {share} %", "{share} %에서 재개"),
    "event.other": ("share now {share} %", "현재 비중 {share} %"),
    "event.forced": ("{event}, against the plan", "{event}, 계획과 다르게 진행"),
    "event.not_done": ("{event} (took no effect)", "{event} (적용되지 않음)"),
    # --- what is not known
    "unknown.no_label": (
        "When this was decided, no truth had been looked at: nobody knew whether frauds were let through, or customers"
        " wrongly stopped.",
        "결정 당시 확인된 사실이 하나도 없었습니다. 사기를 놓쳤는지, 고객을 잘못 차단했는지 아무도 몰랐습니다.",
    ),
    "unknown.not_asked": (
        "Whether payments were frauds was not part of this trial: its plan names no time after which that is looked at."
        " ",
        "결제가 사기였는지는 이 시험에서 보지 않았습니다. 계획에 사실을 확인할 시점이 정해져 있지 않습니다.",
    ),
    "unknown.not_due": (
        "Of no payment is it known yet whether it was a fraud: that is looked at {age} later.",
        "아직 사기 여부가 확인된 결제가 없습니다. 사기 여부는 {age} 후에 확인합니다.",
    ),
    "unknown.labels": (
        "Of {due} payments or customers of the {model} that were decided long enough ago, the truth of {missing} is not"
        " known.",
        "충분한 시간이 지난 {model}의 결제 또는 고객 {due}건 중 {missing}건은 사실이 확인되지 않았습니다.",
    ),
    "unknown.caught": (
        "How many frauds the {model} stopped is not known: nobody looked into what it stopped.",
        "{model}이 막아 낸 사기의 수는 알 수 없습니다. 차단된 결제를 조사한 사람이 없습니다.",
    ),
    "unknown.missed": (
        "How many frauds the {model} let through is not known: nothing that it let through has a known truth.",
        "{model}이 놓친 사기의 수는 알 수 없습니다. 통과된 결제 중 사실이 확인된 것이 없습니다.",
    ),
    "unknown.amounts": (
        "Frauds that the {model} let through: {count}. Without a known amount: {missing}, so the money is at least what"
        " is told here.",
        "{model}이 놓친 사기 {count}건 중 {missing}건은 금액을 알 수 없습니다. 실제 피해액은 여기에 적힌 금액"
        " 이상입니다.",
    ),
    "unknown.amounts_all": (
        "How much the frauds that the {model} let through took is not known.",
        "{model}이 놓친 사기의 피해액은 알 수 없습니다.",
    ),
    "unknown.record": (
        "Nobody recorded this trial while it went on; payments and checks are not known.",
        "진행되는 동안 시험이 기록되지 않아 결제와 점검 결과를 알 수 없습니다.",
    ),
    "unknown.older": (
        "An older release recorded this trial, and not all of the numbers that this page tells.",
        "이전 버전의 프로그램이 기록한 시험이어서 이 문서에 필요한 숫자가 모두 기록되지는 않았습니다.",
    ),
    "unknown.evidence": (
        "On what the decision rests was not recorded: an older release wrote it down.",
        "결정의 근거는 기록되지 않았습니다. 이전 버전의 프로그램이 남긴 기록입니다.",
    ),
    "unknown.not_asked_judge": (
        "Whoever decided did not ask the checks.",
        "결정한 사람은 점검 결과를 확인하지 않았습니다.",
    ),
    "unknown.who": (
        "Who made the change is not recorded, only who noticed it.",
        "누가 변경했는지는 기록되지 않고, 누가 확인했는지만 기록됩니다.",
    ),
    "unknown.nothing": ("Nothing that this page asks about.", "이 문서에서 다루는 내용 중에는 없습니다."),
    # --- how to read it
    "reading.once": (
        "Whatever happens to a customer or payment is counted once for each kind, however often it comes back.",
        "같은 고객이나 결제에 일어난 일은 여러 번 반복되어도 종류별로 한 번만 셉니다.",
    ),
    "reading.chance": (
        "“Could be between” allows for chance, and leaves out one case in twenty. Where the new model's number lies"
        " between the two, chance alone may have made the difference.",
        "괄호 안의 범위는 우연에 따른 오차이며, 스무 번에 한 번은 벗어날 수 있습니다. 새 모델의 수가 이 범위 안에"
        " 있으면 그 차이는 우연일 수 있습니다.",
    ),
    "reading.money": (
        "Amounts are in the currency of the payments; the plan of a trial names none.",
        "금액의 통화는 결제 데이터와 같습니다. 시험 계획에는 통화가 정해져 있지 않습니다.",
    ),
    "reading.truth": (
        "Whether a payment was a fraud is often known only weeks later, and of some never.",
        "결제가 사기였는지는 몇 주 뒤에야 알 수 있는 경우가 많고, 끝내 알 수 없는 경우도 있습니다.",
    ),
    # --- links
    "link.run": ("The record of this trial in MLflow (run {run})", "MLflow의 시험 기록 (실행 {run})"),
    "link.report": ("The report with all figures, for specialists", "모든 수치를 담은 전문가용 보고서"),
    "link.new": ("The new model, version {version}, in MLflow", "MLflow의 새 모델 (버전 {version})"),
    "link.old": ("The old model, version {version}, in MLflow", "MLflow의 기존 모델 (버전 {version})"),
    "link.model": ("All versions of {model} in MLflow", "MLflow의 {model} 전체 버전"),
    "link.none": ("There is no record of this trial in MLflow.", "MLflow에 이 시험의 기록이 없습니다."),
}

text = partial(languages.text, MESSAGES)
"""A message: `text(language, key, **values)`."""
