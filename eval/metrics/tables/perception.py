"""Metrics of models of hearing, each computed by an optional package."""

from __future__ import annotations

from eval.metrics.definition import Metric, row

_SPEECH = "for speech only; "


def _listener(name: str, title: str, target: str, unit: str, package: str, **fields: object) -> Metric:
    return row(
        name, title, f"perception:{target}", unit, needs_sample_rate=True, group="perception", package=package, **fields
    )


ROWS: tuple[Metric, ...] = (
    _listener(
        "pesq_wb",
        "PESQ, wide band",
        "pesq",
        "MOS",
        "pesq",
        higher_is_better=True,
        value_range="[1, 4.65]",
        blind_to=f"{_SPEECH}level, constant delay, and what lies above 8 kHz",
        source="Recommendation ITU-T P.862.2, 2007; at 16 kHz, other rates through the SoX resampler at its very high "
        "quality",
        parameters={"mode": "wb"},
        undefined_at={"nan": "PESQ finds no utterance, or the clip is shorter than a quarter of a second"},
    ),
    _listener(
        "pesq_nb",
        "PESQ, narrow band",
        "pesq",
        "MOS",
        "pesq",
        higher_is_better=True,
        value_range="[1, 4.55]",
        blind_to=f"{_SPEECH}level, constant delay, and what lies above 4 kHz",
        source="Recommendation ITU-T P.862.1, 2003; at 8 or 16 kHz, other rates through the SoX resampler at its very "
        "high quality",
        parameters={"mode": "nb"},
        undefined_at={"nan": "PESQ finds no utterance, or the clip is shorter than a quarter of a second"},
    ),
    _listener(
        "stoi",
        "STOI",
        "stoi",
        "1",
        "pystoi",
        higher_is_better=True,
        value_range="[-1, 1]",
        blind_to=f"{_SPEECH}level, pauses of the reference, and what lies above 4.3 kHz",
        source='Taal et al., "An algorithm for intelligibility prediction", IEEE TASLP 19(7), 2011; resampled to '
        "10 kHz by pystoi's polyphase filter",
        undefined_at={"nan": "less than 0.4 s of the reference is not a pause"},
    ),
    _listener(
        "estoi",
        "ESTOI",
        "extended_stoi",
        "1",
        "pystoi",
        higher_is_better=True,
        value_range="[-1, 1]",
        blind_to=f"{_SPEECH}level, pauses of the reference, and what lies above 4.3 kHz",
        source='Jensen and Taal, "An algorithm for predicting the intelligibility of speech masked by modulated noise '
        "maskers\", IEEE/ACM TASLP 24(11), 2016; resampled to 10 kHz by pystoi's polyphase filter",
        undefined_at={"nan": "less than 0.4 s of the reference is not a pause"},
    ),
    _listener(
        "visqol_audio",
        "ViSQOL, audio",
        "visqol",
        "MOS",
        "visqol",
        higher_is_better=True,
        value_range="[1, 5]",
        blind_to="level and constant delay; trained on coded music and speech",
        source='Chinen et al., "ViSQOL v3", QoMEX 2020; at 48 kHz, other rates from 32 kHz on through the SoX '
        "resampler at its very high quality",
        parameters={"mode": "audio"},
        undefined_at={"nan": "ViSQOL finds nothing to compare"},
    ),
    _listener(
        "visqol_speech",
        "ViSQOL, speech",
        "visqol",
        "MOS",
        "visqol",
        higher_is_better=True,
        value_range="[1, 5]",
        blind_to=f"{_SPEECH}level, constant delay, and what lies above 8 kHz",
        source='Chinen et al., "ViSQOL v3", QoMEX 2020, polynomial map; at 16 kHz, higher rates through the SoX '
        "resampler at its very high quality",
        parameters={"mode": "speech"},
        undefined_at={"nan": "ViSQOL finds nothing to compare"},
    ),
    _listener(
        "zimtohrli",
        "Zimtohrli",
        "zimtohrli",
        "1",
        "zimtohrli",
        value_range="[0, 1]",
        blind_to="what cannot be heard with full scale at 80 dB of sound pressure",
        source='Alakuijala et al., "Zimtohrli", 2025; at 48 kHz, other rates through the SoX resampler at its very '
        "high quality",
        undefined_at={"nan": "a signal is silent"},
    ),
)
