"""``pytest --benchmark``: run the benchmark suite and fail on a regression of speed or of quality.

Benchmarks are tests marked ``benchmark`` that use the fixture ``speed`` or ``quality``. Without ``--benchmark`` they
are deselected. With it they alone run, on one thread, and each is compared with ``tests/benchmarks/baseline.json``;
``--benchmark-update`` renews that file and shows what changed.

The gate fails rather than passes whenever it did not look: without a baseline, without pytest-benchmark, under xdist,
where a benchmark was skipped, has no entry, or an entry has no benchmark any more. The one thing it may leave out is
work that needs an optional package which is not installed; it says so.

Every complete run is added to the history, ``_data/benchmarks.json``, which the site plots.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks import history
from tests.benchmarks.gate import (
    SCHEMA_VERSION,
    Verdict,
    judge_quality,
    judge_speed,
    load_baseline,
    machine_kind,
    save_baseline,
)

SUITE = Path("tests") / "benchmarks"
HISTORY = Path("_data") / "benchmarks.json"
PAUSES_S = (0.0, 0.1, 0.3, 1.0, 2.0)
"""Pauses before further rounds where a ratio exceeds its limit: disturbances pass, regressions stay."""
LEAST_ROUNDS, MOST_ROUNDS, ENOUGH_S = 3, 9, 0.8
SECOND_LOOKS = 2
"""How often a benchmark that is still beyond its limit is measured once more, in a process of its own."""
SECOND_LOOK = "EARWITNESS_SECOND_LOOK"
"""Environment variable of such a process: the file into which it writes what it found."""
BLOCKS = 3
"""So many times as many rounds make a baseline, unless a round takes longer than `LONG_ROUND_S`."""
LONG_ROUND_S = 0.5
PLANTED_SLOWDOWN = 1.3
PLANTED_LOSS, PLANTED_LOSS_DB = 0.1, 4.0
"""What a rehearsal plants: CPU time times 1.3; means worse by a tenth of themselves, SI-SDR by 4 dB."""


class Gate:
    """What was measured in this run, beside the baseline."""

    def __init__(
        self,
        path: Path,
        baseline: dict[str, Any],
        *,
        update: bool = False,
        rehearsal: bool = False,
        root: Path = Path(),
        history_path: Path | None = None,
    ) -> None:
        self.path = path
        self.history_path = history_path
        self.baseline = baseline
        self.update = update
        self.rehearsal = rehearsal
        self.root = root
        self.second_look = os.environ.get(SECOND_LOOK)
        self.same_machine = baseline.get("machine") == machine_kind()
        self.selected: set[str] = set()
        self.complete = True
        self.speed: dict[str, dict[str, Any]] = {}
        self.quality: dict[str, dict[str, Any]] = {}
        self.verdicts: list[Verdict] = []
        self.measured: set[str] = set()
        self.absent: dict[str, str] = {}
        self.faults: list[str] = []

    def look_again(self, node_id: str) -> Any:
        """Measure one benchmark in a process of its own: where its data lie in memory is drawn anew there."""
        from eval.timing import Compared

        how = "--benchmark-rehearsal" if self.rehearsal else "--benchmark"
        options = [how, f"--benchmark-baseline={self.path}", "--benchmark-history=none", "-q", "-p", "no:cacheprovider"]
        with tempfile.TemporaryDirectory() as folder:
            told = Path(folder) / "found.json"
            subprocess.run(
                [sys.executable, "-m", "pytest", *options, node_id],
                cwd=self.root,
                env={**os.environ, SECOND_LOOK: str(told)},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                check=False,
            )
            return Compared(**json.loads(told.read_text(encoding="utf-8"))) if told.is_file() else None

    def entry(self, part: str, name: str) -> Any:
        return self.baseline.get(part, {}).get(name)


def slower(work: Callable[[], object], factor: float) -> Callable[[], object]:
    """The same work, taking so many times its CPU time, whatever else the machine does."""

    def prolonged() -> object:
        started = time.process_time()
        made = work()
        end = started + factor * (time.process_time() - started)
        while time.process_time() < end:
            pass
        return made

    return prolonged


class Speed:
    """Times a piece of work; see the fixture ``speed``."""

    def __init__(self, gate: Gate, benchmark: Any, request: pytest.FixtureRequest) -> None:
        self._gate = gate
        self._benchmark = benchmark
        self._name = request.node.name.removeprefix("test_")
        self._id = request.node.nodeid

    def __call__(
        self,
        work: Callable[[], object],
        reference: Callable[[], object],
        *,
        audio_s: float | None = None,
        rounds: int | None = None,
        package: str | None = None,
    ) -> None:
        """Compare ``work`` with a reference operation and fail if the ratio has grown too much.

        Args:
            work: What is measured; called many times.
            reference: Operation of the same character, from :mod:`tests.benchmarks.references`.
            audio_s: Seconds of audio per call, for the table.
            rounds: Rounds of the comparison, chosen by the length of a call where None; more are made where the limit
                is exceeded.
            package: Import name of an optional package that the work needs.
        """
        from eval.timing import Interleaved

        if self._gate.rehearsal:
            work = slower(work, PLANTED_SLOWDOWN)
        # For the table of pytest-benchmark; the call also warms up.
        self._benchmark.pedantic(work, rounds=1, iterations=1)
        contest = Interleaved(work, reference)
        least = LEAST_ROUNDS if contest.round_s < 3 * LONG_ROUND_S else 2
        rounds = rounds or max(least, min(MOST_ROUNDS, int(ENOUGH_S / contest.round_s)))
        known = self._gate.entry("speed", self._name)
        if self._gate.update:
            # What the gate's further rounds would come to.
            found = contest.run(rounds * (BLOCKS if contest.round_s < LONG_ROUND_S else 1))
        else:
            found = contest.run(rounds)
            for pause_s in PAUSES_S:
                if judge_speed(self._name, found.ratio, known, self._gate.same_machine).outcome != "worse":
                    break
                time.sleep(pause_s)
                found = contest.run(rounds)
            for _ in range(SECOND_LOOKS if self._gate.second_look is None else 0):
                if judge_speed(self._name, found.ratio, known, self._gate.same_machine).outcome != "worse":
                    break
                found = self._gate.look_again(self._id) or found
        if self._gate.second_look is not None:
            Path(self._gate.second_look).write_text(json.dumps(asdict(found)), encoding="utf-8")
        entry: dict[str, Any] = {
            "ratio": found.ratio,
            "reference": getattr(reference, "__name__", "reference").replace("<lambda>", "beside it"),
            "seconds": found.seconds,
        }
        if audio_s is not None:
            entry["audio_seconds_per_second"] = audio_s / found.seconds
        if package is not None:
            entry["package"] = package
        self._benchmark.extra_info.update(entry)
        self._gate.speed[self._name] = entry
        self._gate.measured.add(self._id)
        _settle(self._gate, [judge_speed(self._name, found.ratio, known, self._gate.same_machine)])

    def absent(self, package: str) -> None:
        """Say that this work needs an optional package which is not installed; the summary names it."""
        self._benchmark.pedantic(lambda: None, rounds=1, iterations=1)
        self._gate.absent[self._name] = package
        self._gate.measured.add(self._id)


class Quality:
    """Records the metrics of a model; see the fixture ``quality``."""

    def __init__(self, gate: Gate, benchmark: Any, request: pytest.FixtureRequest) -> None:
        self._gate = gate
        self._benchmark = benchmark
        self._id = request.node.nodeid

    def __call__(self, name: str, work: Callable[[], dict[str, dict[str, Any]]]) -> None:
        """Run ``work`` once and fail if a metric is worse than the baseline allows.

        Args:
            name: Model and data, the key in the baseline.
            work: Gives ``{metric: {"mean", "n_ok", "higher_is_better"}}``.
        """
        values = self._benchmark.pedantic(work, rounds=1, iterations=1)
        if self._gate.rehearsal:
            values = {metric: _worsened(metric, found) for metric, found in values.items()}
        self._benchmark.extra_info.update(values)
        self._gate.quality[name] = values
        self._gate.measured.add(self._id)
        _settle(self._gate, judge_quality(name, values, self._gate.entry("quality", name)))


def _worsened(metric: str, found: dict[str, Any]) -> dict[str, Any]:
    if found["mean"] is None:
        return found
    loss = PLANTED_LOSS_DB if metric == "si_sdr" else PLANTED_LOSS * abs(found["mean"])
    return {**found, "mean": found["mean"] + (-loss if found["higher_is_better"] else loss)}


def _settle(gate: Gate, verdicts: list[Verdict]) -> None:
    gate.verdicts += verdicts
    if gate.update:
        return
    if gate.rehearsal:
        missed = [verdict.line.strip() for verdict in verdicts if verdict.outcome != "worse" and verdict.measured]
        if missed:
            pytest.fail("planted, and not caught:\n" + "\n".join(missed), pytrace=False)
        return
    worse = [verdict.line.strip() for verdict in verdicts if verdict.outcome == "worse"]
    new = [verdict.line.strip() for verdict in verdicts if verdict.outcome == "new"]
    if worse:
        pytest.fail("regression against the baseline:\n" + "\n".join(worse), pytrace=False)
    if new:
        pytest.fail("no baseline entry; renew with pytest --benchmark-update:\n" + "\n".join(new), pytrace=False)


GATE = pytest.StashKey[Gate]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--benchmark`` and its companions."""
    group = parser.getgroup("benchmark gate")
    group.addoption(
        "--benchmark",
        action="store_true",
        dest="benchmark_gate",
        help="run the benchmark suite and fail on a regression of speed or of quality",
    )
    group.addoption(
        "--benchmark-update",
        action="store_true",
        dest="benchmark_gate_update",
        help="run the benchmark suite, renew its baseline and show the difference",
    )
    group.addoption(
        "--benchmark-baseline",
        metavar="PATH",
        dest="benchmark_gate_baseline",
        help=f"baseline file (default: {SUITE.as_posix()}/baseline.json)",
    )
    group.addoption(
        "--benchmark-rehearsal",
        action="store_true",
        dest="benchmark_gate_rehearsal",
        help="run the benchmark suite with every work slowed down by 30 % and every quality worsened, and fail where"
        " the gate does not catch it",
    )
    group.addoption(
        "--benchmark-history",
        metavar="PATH",
        dest="benchmark_gate_history",
        help=f"file to which a complete run is added, or none (default: {HISTORY.as_posix()})",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Open the gate, or refuse to start where it could not do its work."""
    update, rehearsal = config.getoption("benchmark_gate_update"), config.getoption("benchmark_gate_rehearsal")
    if not (config.getoption("benchmark_gate") or update or rehearsal):
        return
    if update and rehearsal:
        raise pytest.UsageError("--benchmark-rehearsal plants losses, which --benchmark-update would keep; take one")
    if not config.pluginmanager.hasplugin("benchmark"):
        raise pytest.UsageError("--benchmark needs pytest-benchmark: pip install pytest-benchmark")
    if (
        config.getoption("numprocesses", None)
        or config.getoption("dist", "no") != "no"
        or hasattr(config, "workerinput")
    ):
        raise pytest.UsageError("--benchmark cannot measure under xdist; leave -n and --dist away")
    if config.getoption("benchmark_skip", False) or config.getoption("benchmark_disable", False):
        raise pytest.UsageError("--benchmark with --benchmark-skip or --benchmark-disable would measure nothing")
    # One thread: the ratio of two operations then does not depend on the number of cores.
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
        os.environ[variable] = "1"
    os.environ["OMP_WAIT_POLICY"] = "passive"
    path = Path(config.getoption("benchmark_gate_baseline") or config.rootpath / SUITE / "baseline.json")
    try:
        baseline = load_baseline(path)
    except ValueError as error:
        if not update:
            raise pytest.UsageError(str(error)) from None
        baseline = {}
    config.option.benchmark_only = True
    if config.args_source is not pytest.Config.ArgsSource.ARGS:
        config.args[:] = [str(config.rootpath / SUITE)]
    told = config.getoption("benchmark_gate_history")
    kept = None if told == "none" or rehearsal else Path(told) if told else config.rootpath / HISTORY
    config.stash[GATE] = Gate(
        path, baseline, update=update, rehearsal=rehearsal, root=config.rootpath, history_path=kept
    )


def _is_benchmark(item: pytest.Item) -> bool:
    return item.get_closest_marker("benchmark") is not None or "benchmark" in getattr(item, "fixturenames", ())


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep benchmarks and tests apart."""
    gate = config.stash.get(GATE, None)
    dropped = [item for item in items if _is_benchmark(item) != (gate is not None)]
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        items[:] = [item for item in items if _is_benchmark(item) == (gate is not None)]
    if gate is not None:
        gate.selected = {item.nodeid for item in items}
        narrowed = config.option.keyword or config.option.markexpr or config.option.deselect
        gate.complete = config.args_source is not pytest.Config.ArgsSource.ARGS and not narrowed


@pytest.fixture(scope="session")
def _gate(request: pytest.FixtureRequest) -> Gate:
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)  # imported too early to have seen the environment
    gate = request.config.stash.get(GATE, None)
    assert gate is not None, "benchmarks run with --benchmark only"
    return gate


@pytest.fixture
def speed(_gate: Gate, benchmark: Any, request: pytest.FixtureRequest) -> Iterator[Speed]:
    """Times a piece of work against a reference operation and the baseline."""
    yield Speed(_gate, benchmark, request)


@pytest.fixture
def quality(_gate: Gate, benchmark: Any, request: pytest.FixtureRequest) -> Iterator[Quality]:
    """Compares the metrics of a model with the baseline."""
    yield Quality(_gate, benchmark, request)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail where the gate did not look, and renew the baseline where that was asked for and all went well."""
    gate = session.config.stash.get(GATE, None)
    if gate is None or exitstatus not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        return
    unmeasured = sorted(gate.selected - gate.measured)
    gate.faults += [f"{name} measured nothing" for name in unmeasured]
    if gate.complete and not gate.update:
        for part, found in (("speed", gate.speed), ("quality", gate.quality)):
            missing = sorted(set(gate.baseline.get(part, {})) - set(found) - set(gate.absent))
            gate.faults += [f"the baseline has {part} of {name}, which no benchmark measured" for name in missing]
    if gate.faults:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    elif gate.complete and gate.history_path is not None and not (gate.update and exitstatus != pytest.ExitCode.OK):
        passed = exitstatus == pytest.ExitCode.OK
        try:
            history.add(gate.history_path, history.entry(gate.speed, gate.quality, passed=passed, update=gate.update))
        except ValueError as error:
            gate.faults.append(str(error))
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
            return
    if gate.faults:
        return
    if gate.update and exitstatus == pytest.ExitCode.OK:
        content = {"schema_version": SCHEMA_VERSION, "machine": machine_kind()}
        for part, found in (("speed", gate.speed), ("quality", gate.quality)):
            before = gate.baseline.get(part, {})
            kept = {name: entry for name, entry in before.items() if not gate.complete or name in gate.absent}
            content[part] = {**kept, **found}
        if not gate.complete and gate.baseline and not gate.same_machine:
            gate.faults.append("a part of the baseline cannot be renewed on another kind of machine; renew it whole")
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
            return
        save_baseline(gate.path, content)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Show every comparison."""
    gate = config.stash.get(GATE, None)
    if gate is None:
        return
    terminalreporter.section("benchmark gate")
    if gate.baseline and not gate.same_machine:
        terminalreporter.line(
            f"another kind of machine than the baseline's {gate.baseline.get('machine')}: speed is judged loosely"
        )
    for name, entry in sorted(gate.speed.items()):
        audio = entry.get("audio_seconds_per_second")
        pace = "" if audio is None else f", {audio:.0f} s of audio per second"
        terminalreporter.line(f"{name}: {entry['seconds'] * 1e3:.2f} ms{pace}")
    for verdict in gate.verdicts:
        terminalreporter.line(verdict.line, red=verdict.outcome == "worse", green=verdict.outcome == "better")
    for name, package in sorted(gate.absent.items()):
        terminalreporter.line(f"not measured, the optional package {package} is not installed: {name}", yellow=True)
    for fault in gate.faults:
        terminalreporter.line(f"error: {fault}", red=True)
    if gate.update:
        unchanged = gate.faults or terminalreporter.stats.get("failed") or terminalreporter.stats.get("error")
        dropped = sorted(
            name
            for part, found in (("speed", gate.speed), ("quality", gate.quality))
            for name in set(gate.baseline.get(part, {})) - set(found) - set(gate.absent)
            if gate.complete
        )
        for name in dropped:
            terminalreporter.line(f"  gone  {name}")
        terminalreporter.line(f"baseline {gate.path} {'left as it was' if unchanged else 'renewed'}")
    elif any(verdict.outcome == "better" for verdict in gate.verdicts):
        terminalreporter.line("better than the baseline: renew it with pytest --benchmark-update", green=True)
