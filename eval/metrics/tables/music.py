"""Metrics of pitch, notes, harmony and loudness."""

from __future__ import annotations

from eval.metrics.definition import Metric, row

_RANGE = {"f_min_hz": 65.40639132514966, "f_max_hz": 2093.004522404789, "frame_length": 2048}
_PYIN = 'Mauch and Dixon, "pYIN", ICASSP 2014, with the parameters of librosa 0.11 from C2 to C7'
_OUTSIDE = "pitches outside C2 to C7; chords, of which one note or none is found"


def _f0(name: str, title: str, statistic: str, fold_octaves: bool) -> Metric:
    return row(
        name,
        title,
        "pitch:f0_error",
        "cents",
        needs_sample_rate=True,
        value_range="[0, 600]" if fold_octaves else "[0, ∞)",
        blind_to=f"{'octave errors; ' if fold_octaves else ''}timbre, level and frames voiced in only one signal; "
        f"{_OUTSIDE}; errors under 5 cents",
        source=_PYIN,
        group="pitch",
        minimum_samples=2048,
        parameters={**_RANGE, "statistic": statistic, "fold_octaves": fold_octaves},
        undefined_at={"nan": "no frame is voiced in both signals"},
    )


def _accuracy(name: str, title: str, estimators: tuple[str, ...], blind_to: str) -> Metric:
    return row(
        name,
        title,
        "notes:pitch_accuracy",
        "1",
        higher_is_better=True,
        needs_reference=False,
        needs_sample_rate=True,
        needs_labels=("pitch",),
        value_range="[0, 1]",
        blind_to=blind_to,
        source='Engel et al., "GANSynth", ICLR 2019, with estimators after de Cheveigné and Kawahara, JASA 111(4), '
        "2002 and Camacho and Harris, JASA 124(3), 2008 in place of its classifier",
        group="notes",
        minimum_samples=2048,
        parameters={"cents": 50.0, "estimators": estimators},
        undefined_at={"nan": "the clip is silent"},
    )


ROWS: tuple[Metric, ...] = (
    _f0("f0_error_mean", "Mean f0 error", "mean", False),
    _f0("f0_error_median", "Median f0 error", "median", False),
    _f0("f0_error_folded_mean", "Mean f0 error, octaves folded", "mean", True),
    _f0("f0_error_folded_median", "Median f0 error, octaves folded", "median", True),
    row(
        "voicing_error",
        "Voicing error",
        "pitch:voicing_error",
        "1",
        needs_sample_rate=True,
        value_range="[0, 1]",
        blind_to=f"pitch, timbre and level; {_OUTSIDE}",
        source=_PYIN,
        group="pitch",
        minimum_samples=2048,
        parameters=_RANGE,
    ),
    row(
        "voicing_f1",
        "Voicing F1",
        "pitch:voicing_f1",
        "1",
        higher_is_better=True,
        needs_sample_rate=True,
        value_range="[0, 1]",
        blind_to=f"pitch, timbre and level; {_OUTSIDE}",
        source=_PYIN,
        group="pitch",
        minimum_samples=2048,
        parameters=_RANGE,
        undefined_at={"nan": "no frame of either signal is voiced"},
    ),
    row(
        "raw_pitch_accuracy",
        "Raw pitch accuracy",
        "pitch:raw_pitch_accuracy",
        "1",
        higher_is_better=True,
        needs_sample_rate=True,
        value_range="[0, 1]",
        blind_to=f"timbre, level and what sounds where the reference does not; {_OUTSIDE}",
        source='Poliner et al., "Melody transcription from music audio", IEEE TASLP 15(4), 2007; f0 by pYIN',
        group="pitch",
        minimum_samples=2048,
        version=2,
        parameters={**_RANGE, "cents": 50.0, "fold_octaves": False},
        undefined_at={"nan": "no frame of the reference is voiced"},
    ),
    _accuracy(
        "pitch_accuracy",
        "Pitch accuracy",
        ("periodicity", "spectral"),
        "everything but the pitch of the loud frames of a single note; a note both estimators get wrong",
    ),
    _accuracy(
        "pitch_accuracy_periodicity",
        "Pitch accuracy by periodicity",
        ("periodicity",),
        "everything but the period of the loud frames of a single note",
    ),
    _accuracy(
        "pitch_accuracy_spectral",
        "Pitch accuracy by spectrum",
        ("spectral",),
        "everything but the partials of the loud frames of a single note",
    ),
    row(
        "onset_f1",
        "Onset F1",
        "onsets:onset_f1",
        "1",
        higher_is_better=True,
        needs_sample_rate=True,
        value_range="[0, 1]",
        blind_to="everything but where notes begin, to 50 ms; onsets the detector misses in both",
        source='Raffel et al., "mir_eval", ISMIR 2014; onsets by spectral flux with the parameters of librosa 0.11',
        group="notes",
        minimum_samples=2048,
        parameters={"window_s": 0.05, "n_fft": 2048, "hop_length": 512, "n_mels": 128},
        undefined_at={"nan": "neither signal has an onset"},
    ),
    row(
        "chroma_cosine",
        "Chroma cosine",
        "chroma:chroma_cosine",
        "1",
        higher_is_better=True,
        needs_sample_rate=True,
        value_range="[0, 1]",
        blind_to="octave, timbre and level; music in the same key scores high",
        source='Copet et al., "Simple and controllable music generation", NeurIPS 2023; parameters of audiocraft',
        group="music",
        minimum_samples=4096,
        parameters={"n_fft": 4096, "hop_length": 1024, "floor": 1e-6, "eps": 1e-8},
    ),
    row(
        "loudness_difference",
        "Loudness difference",
        "loudness:loudness_difference",
        "LU",
        needs_sample_rate=True,
        blind_to="everything but the level of the loud passages",
        source="Recommendation ITU-R BS.1770-4, annex 1, 2015",
        group="loudness",
        undefined_at={"nan": "a clip has no loudness: it is shorter than 0.4 s or nowhere above −70 LUFS"},
    ),
    row(
        "true_peak",
        "True peak",
        "loudness:true_peak",
        "dBTP",
        needs_reference=False,
        value_range="(−∞, ∞)",
        blind_to="everything but the highest point; at half the sample rate it can lie 0.7 dB higher than it reads",
        source="Recommendation ITU-R BS.1770-4, annex 2, 2015, with an interpolator of 24 samples",
        group="loudness",
        parameters={"oversampling": 4},
        undefined_at={"-inf": "the clip is silent"},
    ),
)
