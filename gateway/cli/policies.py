"""haechi policies overview --month YYYY-MM [--months N]
haechi policies rules --month YYYY-MM
haechi policies alarms [--all] | alarms --decide ID --outcome false_alarm|correct
haechi policies exceptions [--all]
haechi policies except --kind K --action A --until DATE --reason TEXT [--department C] [--rule R] [--to PLACE …] [--from DATE]
haechi policies revoke ID
haechi policies tightenings [--all]
haechi policies tighten --department C --kind K|* --action A --reason TEXT [--to PLACE …]
haechi policies relax ID
haechi policies dry-run --month YYYY-MM [--rules FILE]
"""

from __future__ import annotations

import argparse
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.cli.shell import Shell, command
from gateway.cli.usage import month
from policies.decision import ACTIONS, DESTINATIONS

if TYPE_CHECKING:
    from gateway.oversight.oversight import Oversight


def configure(parser: argparse.ArgumentParser) -> None:
    subparsers = parser.add_subparsers(required=True, metavar="ACTION")
    overview_ = command(
        subparsers, "overview", overview, "부서·월별 필터 현황 · what was stopped, by department and month", reads=True
    )
    _month(overview_)
    overview_.add_argument("--months", type=_count, default=1, metavar="N", help="그 달까지 N개월 · so many, up to it")
    _month(
        command(
            subparsers, "rules", rules, "규칙별 통계 · what each rule found, and how often it was wrong", reads=True
        )
    )
    _configure_alarms(command(subparsers, "alarms", alarms, "오탐 신고 · reports that a filter was wrong"))
    _all(command(subparsers, "exceptions", exceptions, "예외 목록 · exceptions and when they end", reads=True))
    except_ = command(subparsers, "except", grant, "예외 등록 · loosen one kind, with a reason and an end")
    _what(except_, "PHONE")
    except_.add_argument(
        "--department", metavar="CODE", help="부서와 하위 부서만 · this department and below; default all"
    )
    except_.add_argument("--rule", metavar="RULE", help="이 규칙이 찾은 것만 · only what this rule finds")
    except_.add_argument("--until", type=_date, required=True, metavar="DATE", help="마지막 유효일 · last day it holds")
    except_.add_argument("--from", dest="begins", type=_date, metavar="DATE", help="시작일 · first day; default now")
    _id(command(subparsers, "revoke", revoke, "예외 취소 · end an exception now"))
    _all(
        command(subparsers, "tightenings", tightenings, "부서별 강화 목록 · where departments are stricter", reads=True)
    )
    tighten_ = command(subparsers, "tighten", tighten, "부서 강화 · make a department stricter")
    _what(tighten_, "PHONE, * for all")
    tighten_.add_argument("--department", required=True, metavar="CODE", help="부서와 하위 부서 · and those below it")
    _id(command(subparsers, "relax", relax, "강화 해제 · end a tightening"))
    trial = command(
        subparsers, "dry-run", dry_run, "모의 적용 · what a month would have been under other rules", reads=True
    )
    _month(trial)
    trial.add_argument(
        "--rules", type=Path, metavar="FILE", help="YAML: actions, tightenings · default: those in force now"
    )


def _month(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--month", type=month, required=True, metavar="YYYY-MM", help="월 · in the organisation's zone")


def _all(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--all", action="store_true", help="끝난 것도 · past ones too")


def _id(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", help="목록에 나온 번호 · as listed")


def _configure_alarms(parser: argparse.ArgumentParser) -> None:
    _all(parser)
    parser.add_argument("--decide", metavar="ID", help="이 신고를 판정 · decide this report")
    parser.add_argument("--outcome", choices=("false_alarm", "correct"), help="판정 · was it a false alarm")


def _what(parser: argparse.ArgumentParser, kinds: str) -> None:
    parser.add_argument("--kind", required=True, help=f"종류 · such as {kinds}")
    parser.add_argument("--action", choices=ACTIONS, required=True, help="조치 · what becomes of it instead")
    parser.add_argument("--reason", required=True, help="사유 · why; kept on record")
    parser.add_argument(
        "--to", action="append", choices=DESTINATIONS, default=[], help="반출처 · only there; may be repeated"
    )


def _count(text: str) -> int:
    if text.isdecimal() and 1 <= int(text) <= 24:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of months: 1 to 24")


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a date: write YYYY-MM-DD") from None


def _oversight(shell: Shell) -> Oversight:
    from gateway.directory.ids import now_us, uuid7  # noqa: PLC0415 – see gateway/cli/__init__.py
    from gateway.oversight.oversight import Oversight  # noqa: PLC0415 – see gateway/cli/__init__.py

    return Oversight(shell.engine, now_us, uuid7)


def _counts(counted: dict[str, Any]) -> str:
    return " ".join(f"{name} {count:,}" for name, count in counted.items() if count) or "–"


def overview(shell: Shell, args: argparse.Namespace) -> None:
    from gateway.database import reading  # noqa: PLC0415 – see gateway/cli/__init__.py
    from gateway.oversight import answers  # noqa: PLC0415 – see gateway/cli/__init__.py

    year, last = int(args.month[:4]), int(args.month[5:])
    numbers = [year * 12 + last - 1 - back for back in reversed(range(args.months))]
    months = [f"{number // 12:04d}-{number % 12 + 1:02d}" for number in numbers]
    with reading(shell.engine).connect() as connection:
        told = answers.the_overview(connection, months)
    lines = [
        f"{r['month']} {r['department']:<16} 요청 {r['requests']:>8,}  막음 {r['stopped']:>6,}  "
        f"{_counts(r['decisions'])}  |  {_counts(r['findings'])}"
        for r in told["rows"]
    ]
    shell.answer(told, *(lines or ["기록이 없습니다 · nothing on record"]))


def rules(shell: Shell, args: argparse.Namespace) -> None:
    from gateway.database import reading  # noqa: PLC0415 – see gateway/cli/__init__.py
    from gateway.oversight import answers  # noqa: PLC0415 – see gateway/cli/__init__.py

    with reading(shell.engine).connect() as connection:
        told = answers.the_rules(connection, args.month)
    lines = [
        f"{r['kind']:<15} {r['rule']:<28} {_counts(r['decisions']):<32} 신고 {r['reports']} "
        f"(오탐 {r['false_alarms']}, 정탐 {r['correct']})"
        for r in told["rows"]
    ]
    shell.answer(told, *(lines or ["기록이 없습니다 · nothing on record"]))


def alarms(shell: Shell, args: argparse.Namespace) -> None:
    from gateway.database import reading  # noqa: PLC0415 – see gateway/cli/__init__.py
    from gateway.errors import BadRequest  # noqa: PLC0415 – see gateway/cli/__init__.py
    from gateway.oversight import answers  # noqa: PLC0415 – see gateway/cli/__init__.py

    if (args.decide is None) != (args.outcome is None):
        raise BadRequest("--decide and --outcome go together. / 함께 쓰십시오.", code="invalid_arguments")
    oversight = _oversight(shell)
    if args.decide is not None:
        decided = oversight.decide(args.decide, args.outcome, by=shell.by)
        shell.answer(
            {"id": decided.id, "outcome": decided.outcome}, f"판정했습니다: {decided.outcome} · Decided: {decided.id}"
        )
        return
    found = oversight.alarms(still_open=not args.all)
    with reading(shell.engine).connect() as connection:
        told = answers.the_alarms(connection, found, shell.settings.zone, who=True)
    lines = [
        f"{a['id']}  {a['reported_at']}  {a['by']}  {a['action']}  "
        f"{', '.join(k['kind'] for k in a['kinds'])}  {a['reason_text']}  {a['outcome'] or ''}"
        for a in told
    ]
    shell.answer({"alarms": told}, *(lines or ["신고가 없습니다 · no reports"]))


def exceptions(shell: Shell, args: argparse.Namespace) -> None:
    _show_exceptions(shell, _oversight(shell).exceptions(over=args.all))


def _show_exceptions(shell: Shell, found: list[Any], *, one: bool = False) -> None:
    from gateway.database import reading  # noqa: PLC0415 – see gateway/cli/__init__.py
    from gateway.directory.ids import now_us  # noqa: PLC0415 – see gateway/cli/__init__.py
    from gateway.oversight import answers  # noqa: PLC0415 – see gateway/cli/__init__.py

    with reading(shell.engine).connect() as connection:
        told = answers.the_exceptions(connection, found, shell.settings.zone, now_us())
    lines = [
        f"{e['id']}  {e['kind']} → {e['action']}  {e['department'] or '전체 · all'}  ~{e['ends']}  {e['state']}  "
        f"{e['by']}: {e['reason']}"
        for e in told
    ]
    shell.answer(told[0] if one else {"exceptions": told}, *(lines or ["예외가 없습니다 · no exceptions"]))


def grant(shell: Shell, args: argparse.Namespace) -> None:
    zone = shell.settings.zone

    def midnight(day: date) -> int:
        from gateway.directory.ids import to_us  # noqa: PLC0415 – see gateway/cli/__init__.py

        return to_us(datetime.combine(day, time(), tzinfo=zone))

    granted = _oversight(shell).grant(
        args.kind,
        args.action,
        reason=args.reason,
        ends_at=midnight(args.until + timedelta(days=1)),
        begins_at=None if args.begins is None else midnight(args.begins),
        by=shell.by,
        department=args.department,
        rule=args.rule,
        destinations=args.to,
    )
    _show_exceptions(shell, [granted], one=True)


def revoke(shell: Shell, args: argparse.Namespace) -> None:
    ended = _oversight(shell).revoke(args.id, by=shell.by)
    shell.answer({"id": ended.id, "revoked": True}, f"예외를 취소했습니다: {ended.kind} · Exception ended")


def tightenings(shell: Shell, args: argparse.Namespace) -> None:
    _show_tightenings(shell, _oversight(shell).tightenings(ended=args.all))


def _show_tightenings(shell: Shell, found: list[Any], *, one: bool = False) -> None:
    from gateway.database import reading  # noqa: PLC0415 – see gateway/cli/__init__.py
    from gateway.oversight import answers  # noqa: PLC0415 – see gateway/cli/__init__.py

    with reading(shell.engine).connect() as connection:
        told = answers.the_tightenings(connection, found, shell.settings.zone)
    lines = [
        f"{t['id']}  {t['department']}  {t['kind']} → {t['action']}  {', '.join(t['destinations']) or '모든 곳 · everywhere'}  "
        f"{t['by']}: {t['reason']}" + (f"  (~{t['ended']})" if t["ended"] else "")
        for t in told
    ]
    shell.answer(told[0] if one else {"tightenings": told}, *(lines or ["강화한 부서가 없습니다 · none"]))


def tighten(shell: Shell, args: argparse.Namespace) -> None:
    added = _oversight(shell).tighten(
        args.department, args.kind, args.action, reason=args.reason, by=shell.by, destinations=args.to
    )
    _show_tightenings(shell, [added], one=True)


def relax(shell: Shell, args: argparse.Namespace) -> None:
    _oversight(shell).relax(args.id, by=shell.by)
    shell.answer({"id": args.id, "ended": True}, "강화를 해제했습니다 · Tightening ended")


def dry_run(shell: Shell, args: argparse.Namespace) -> None:
    from gateway.database import reading  # noqa: PLC0415 – see gateway/cli/__init__.py
    from gateway.directory.ids import now_us  # noqa: PLC0415 – see gateway/cli/__init__.py
    from gateway.oversight import answers  # noqa: PLC0415 – see gateway/cli/__init__.py
    from gateway.worlds import actions_of  # noqa: PLC0415 – see gateway/cli/__init__.py

    given = {} if args.rules is None else _read(args.rules)
    now = _oversight(shell).tightenings()
    with reading(shell.engine).connect() as connection:
        proposed = answers.proposed(
            connection,
            given,
            actions_of(shell.settings),
            lambda: tuple(one.tightening() for one in now),
        )
        told = answers.the_dry_run(connection, args.month, proposed, now_us())
    lines = [
        f"{args.month}: 판단 {told['decisions']:,}건 · decisions",
        f"  그때 · was       {_counts(told['was'])}",
        f"  적용하면 · would {_counts(told['would_be'])}",
        f"  새로 막힘 · newly stopped {told['newly_stopped']:,}   새로 통과 · newly passed {told['newly_passed']:,}",
        *(
            f"  {c['kind']:<15} {c['rule']:<28} {c['was']} → {c['would_be']}   {c['decisions']:,}건 · {c['findings']:,}"
            for c in told["changes"]
        ),
        *(
            f"  {d['department']:<16} 막음 · stopped {d['stopped']:,} → {d['would_be_stopped']:,} / {d['decisions']:,}"
            for d in told["departments"]
        ),
        told["note"],
    ]
    shell.answer(told, *lines)


def _read(path: Path) -> Any:
    import yaml  # noqa: PLC0415 – see gateway/cli/__init__.py

    from gateway.errors import BadRequest  # noqa: PLC0415 – see gateway/cli/__init__.py

    try:
        return yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise BadRequest(f"{path}: {error} / 파일을 읽을 수 없습니다.", code="invalid_rules") from None
