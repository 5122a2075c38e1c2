"""A study of tones, small enough to know every answer; it does what the test tells it to."""

from __future__ import annotations

import numpy as np

from eval.studies.base import (
    Cell,
    Claim,
    Column,
    Listening,
    Measured,
    Plot,
    Point,
    Row,
    StudyContext,
    Table,
    Track,
)
from tests.signals import tone

NAME = "tones"
TITLE = "Tones <b>and</b> {{ their }} ends"
QUESTION = "Is a tone of <script>alert(1)</script> & 440 Hz a tone?"
MODELS: tuple[str, ...] = ("coder", "halver")

listened: list[int] = []
rows: list[Listening] | Exception | None = None


def measure(context: StudyContext) -> Measured:
    context.note("measuring")
    columns = [
        Column("level", "Level", "dB", "higher"),
        Column("bits", "Bits", better="lower"),
        Column("pitch", "Pitch", "Hz"),
    ]
    table = Table(
        "Levels",
        columns,
        [
            Row("Loud", {"level": Cell(np.float32(-3.0), -3.5, -2.5, 12), "bits": Cell(640.0), "pitch": Cell(440.0)}),
            Row("Soft", {"level": Cell(-9.0, -9.5, -8.5, 12), "bits": Cell(None, reason="it has <none>")}, "a note"),
            Row("Broken", {"level": Cell(float("nan"), 1.0, 2.0), "bits": Cell(None)}),
            Row("Vague", {"bits": Cell(641.0, 630.0, float("inf"))}),
        ],
        "Drawn with the seed " + str(context.seed),
    )
    points = [Point(f"p{k}", k / 3, k * k, "even" if k % 2 == 0 else "odd") for k in range(6)]
    plots = [
        Plot("Squares", "Third", "Square", [*points, Point("lost", 1.0, float("inf"))], joined=True),
        Plot("Nothing", "x", "y", []),
    ]
    claims = [
        Claim("Louder than −6 dB", f"{-3.0:.1f} dB", np.bool_(True)),
        Claim("Fewer than 100 bits", "640 bits", False, "because of <reasons>"),
    ]
    return Measured([table], plots, claims)


def listen(context: StudyContext) -> list[Listening]:
    listened.append(context.seed)
    if isinstance(rows, Exception):
        raise rows
    if rows is not None:
        return rows
    return [
        Listening(
            "first",
            'A "fifth" <i>up</i>',
            16_000,
            [Track("Low <tone>", tone(200, 0.3)), Track("High tone", tone(300, 0.2))],
            {"pitch": 55, "remark": "<b>loud</b>", "files": "no"},
        ),
        Listening("../second", "One alone", 8_000, [Track("Original", tone(250, 0.25, 8_000))]),
    ]
