"""Run two toy systems over a folder in a process of its own: ``python -m tests.eval.fake_run FOLDER OUTPUT LOG``."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

from eval.corpora import open_corpus
from eval.results import ResultsStore
from eval.runner import Runner
from models.errors import EarwitnessError
from tests.eval.fakes import Fake, as_entry, seeded_noise


def main() -> int:
    folder, output, log = map(Path, sys.argv[1:4])
    pause_s = float(sys.argv[4]) if len(sys.argv) > 4 else 0.0
    if len(sys.argv) > 5:
        limit = int(sys.argv[5])
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    systems = [
        as_entry(Fake("halver", log=log, pause_s=pause_s)),
        as_entry(Fake("noise", change=seeded_noise, log=log, pause_s=pause_s)),
    ]
    corpus = open_corpus(folder)
    try:
        with ResultsStore(output, shared=True) as store:
            runner = Runner(store, systems, ["waveform_l1", "si_sdr"], seed=1, run_id="r", batch_size=4, workers=2)
            report = runner.run(lambda: corpus.clips(split="all", rule="none"))
    except EarwitnessError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    busy = sum(report.stage_seconds[stage] for stage in ("model", "metrics", "encode"))
    print(report.computed, report.kept, report.failed, usage, busy / (report.wall_s * report.workers))
    return 0


if __name__ == "__main__":
    sys.exit(main())
