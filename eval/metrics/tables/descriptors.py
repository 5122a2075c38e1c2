"""Metrics of descriptors of the spectrum, of modulation and of the temporal envelope."""

from __future__ import annotations

from eval.metrics.definition import STFT, Metric, row

_QUIET = {"nan": "there is no frame in which both signals sound"}


def _descriptor(name: str, title: str, unit: str, **fields: object) -> Metric:
    return row(
        name,
        title,
        f"descriptors:{name}",
        unit,
        group="descriptors",
        minimum_samples=2048,
        plan=f"eval.metrics.descriptors:{name}_plan",
        **fields,
    )


ROWS: tuple[Metric, ...] = (
    _descriptor(
        "spectral_centroid_error",
        "Centroid error",
        "Hz",
        needs_sample_rate=True,
        blind_to="phase, gain, and everything that leaves the centroid in place; frames in which a signal is silent",
        source='Grey and Gordon, "Perceptual effects of spectral modifications on musical timbres", JASA 63(5), 1978',
        parameters={**STFT, "threshold_db": -80.0},
        undefined_at=_QUIET,
    ),
    _descriptor(
        "spectral_rolloff_error",
        "Rolloff error",
        "Hz",
        needs_sample_rate=True,
        blind_to="phase, gain, and everything that leaves the share of 85 % in place; frames in which a signal is "
        "silent",
        source='Tzanetakis and Cook, "Musical genre classification of audio signals", IEEE TSAP 10(5), 2002',
        parameters={**STFT, "share": 0.85, "threshold_db": -80.0},
        undefined_at=_QUIET,
    ),
    _descriptor(
        "spectral_flatness_error",
        "Flatness error",
        "1",
        value_range="[0, 1]",
        blind_to="phase, gain, and where in the spectrum tones and noise lie; frames in which a signal is silent",
        source='Johnston, "Transform coding of audio signals using perceptual noise criteria", IEEE JSAC 6(2), 1988',
        parameters={**STFT, "floor": 1e-5, "threshold_db": -80.0},
        undefined_at=_QUIET,
    ),
    _descriptor(
        "spectral_flux_error",
        "Flux error",
        "1",
        blind_to="phase, and what stays the same from frame to frame",
        source='Masri, "Computer modelling of sound", PhD thesis, Bristol 1996',
        parameters=STFT,
        undefined_at={"nan": "the spectrum never changes", "inf": "the reference's spectrum never changes"},
    ),
    _descriptor(
        "spectral_sharpness_error",
        "Sharpness error",
        "1",
        needs_sample_rate=True,
        blind_to="phase, gain above the floor, and where in the spectrogram the edges are: noise can hide blur",
        source='Brenner et al., "An automated microscope for cytologic research", J. Histochem. Cytochem. 24(1), 1976, '
        "as the mean absolute step of a log-mel spectrogram",
        parameters={**STFT, "n_mels": 128, "f_min_hz": 0.0, "f_max_hz": None, "floor": 1e-5},
        undefined_at={"nan": "both signals lie below the floor", "inf": "the reference lies below the floor"},
    ),
    row(
        "modulation_spectrum_distance",
        "Modulation-spectrum distance",
        "modulation:modulation_spectrum_distance",
        "dB",
        needs_sample_rate=True,
        blind_to="phase, gain, short delays, and modulation slower than 1.4 or faster than 45 Hz or shallower than "
        "half a dB",
        source='Greenberg and Kingsbury, "The modulation spectrogram", ICASSP 1997; Takamichi et al., IEEE/ACM TASLP '
        "24(4), 2016",
        group="descriptors",
        parameters={
            "n_mels": 32,
            "window_s": 0.04,
            "step_s": 0.01,
            "centres_hz": (2.0, 4.0, 8.0, 16.0, 32.0),
            "floor": 1e-5,
            "shallowest_db": 0.5,
        },
        undefined_at={"nan": "the clip is shorter than 1.42 s, two periods of the slowest modulation"},
    ),
    row(
        "envelope_error",
        "Envelope error",
        "envelope:envelope_error",
        "dB",
        needs_sample_rate=True,
        blind_to="phase and spectrum; levels below −80 dB of full scale",
        source="mean absolute difference of the levels of frames of 20 ms",
        group="descriptors",
        parameters={"frame_s": 0.02, "step_s": 0.005, "quietest_db": -80.0},
        undefined_at={"nan": "the clip is shorter than a frame of 20 ms"},
    ),
    *(
        row(
            name,
            title,
            f"envelope:{name}",
            "ms",
            needs_sample_rate=True,
            blind_to=blind_to,
            source='Peeters et al., "The Timbre Toolbox", JASA 130(5), 2011, with fixed shares of the maximum',
            group="descriptors",
            parameters={"frame_s": 0.01, "step_s": 0.001, "low": 0.1, "high": 0.9},
            undefined_at={"nan": "the clip is shorter than a frame of 10 ms"},
        )
        for name, title, blind_to in (
            ("onset_time_error", "Onset-time error", "phase, spectrum and gain; all notes of a clip but the loudest"),
            (
                "attack_time_error",
                "Attack-time error",
                "phase, spectrum, gain and delay; all notes of a clip but the loudest",
            ),
        )
    ),
)
