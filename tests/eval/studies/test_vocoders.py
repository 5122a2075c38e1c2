import torch

from eval.metrics.spectral import log_spectral_distance
from eval.studies.vocoders import Contender, claims, fairness, low_spectral_distance, results, run, splits
from models.vocoder import HOP_SAMPLES
from tests.signals import noise, tone


def card(steps: int, init: int | None = None) -> dict[str, object]:
    training: dict[str, object] = {"batch_size": 4, "segment_samples": 8192}
    if init is not None:
        training["init"] = {"step": init}
    return {"step": steps, "training": training, "trained_on": [{"content_sha256": "a"}]}


def waves() -> list[torch.Tensor]:
    return [torch.from_numpy(tone(300.0, 0.4, 22_050)), torch.from_numpy(noise(0.4, 22_050))]


def test_low_distance_sees_low_frequencies_only() -> None:
    low, high = (torch.from_numpy(tone(f, 1.0, 22_050)) for f in (200.0, 5000.0))
    rest = torch.from_numpy(noise(1.0, 22_050, amplitude=0.01))
    assert low_spectral_distance(rest + high, rest, 22_050) < 2.0
    assert low_spectral_distance(rest + low, rest, 22_050) > 10.0
    whole = low_spectral_distance(rest + low, rest, 22_050, below_hz=11_025.1)
    assert abs(whole - float(log_spectral_distance(rest + low, rest))) < 0.05


def test_contenders_are_scored_and_claims_follow_the_numbers() -> None:
    clips = waves()
    near = [0.97 * clip for clip in clips]
    far = [torch.roll(clip, 7) + 0.05 * torch.from_numpy(noise(0.4, 22_050, seed=3)) for clip in clips]

    def answer(answers: list[torch.Tensor]) -> Contender:
        def vocode(mel: torch.Tensor, seed: int) -> torch.Tensor:
            assert mel.shape[2] * HOP_SAMPLES >= answers[seed].numel()
            return answers[seed][None]

        return Contender(vocode, 10)

    found = {"Good": answer(near), "Griffin-Lim": answer(far), "Bad": answer([0.01 * clip for clip in clips])}
    found["Good"].card, found["Bad"].card = card(50), card(50)
    run(found, clips, 0, "cpu")
    table = results(found, ["a", "b"], 1)
    assert [row.label for row in table.rows] == ["Good", "Griffin-Lim", "Bad"]
    assert table.rows[1].cells["steps"].value is None
    good, bad = claims(found, {"good": card(50), "bad": card(50)}, ["a", "b"], 1)[1:]
    assert good.met and good.reason is None
    assert not bad.met and bad.reason is not None and "50 steps" in bad.reason


def test_equal_training_is_checked() -> None:
    assert fairness({"a": card(100), "b": card(40, init=60)}).met
    assert not fairness({"a": card(100), "b": card(40)}).met


def test_exact_split_is_exact() -> None:
    table, figures = splits(waves(), ["a", "b"], 1)
    exact, finite, published = figures.values()
    assert exact > 200
    assert 30 < published < 37
    # The finite filters lose what lies within some hertz of the edges, the more so on short noise.
    assert 15 < finite < 200
    assert len(table.rows) == 3
