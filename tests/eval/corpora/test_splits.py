import hashlib
from pathlib import Path

import numpy as np
import pytest

from eval.corpora import open_corpus
from eval.corpora.splits import hash_fraction, hash_split, random_split
from tests.eval.corpora.makers import make_nsynth, notes, write_audio


def test_hash_fraction_is_the_head_of_the_sha256() -> None:
    assert hash_fraction("anna") == int(hashlib.sha256(b"anna").hexdigest()[:8], 16) / 2**32
    shares = [hash_split(f"group {n}") for n in range(5_000)]
    for split, wanted in (("train", 0.8), ("valid", 0.1), ("test", 0.1)):
        assert abs(shares.count(split) / 5_000 - wanted) < 0.02


@pytest.mark.parametrize(("count", "share", "state"), [(10, 0.1, 42), (101, 0.2, 20_200_117), (333, 0.1, 42)])
def test_random_split_is_scikit_learns(count: int, share: float, state: int) -> None:
    selection = pytest.importorskip("sklearn.model_selection")
    train, test = selection.train_test_split(np.arange(count), test_size=share, random_state=state)
    larger, smaller = random_split(count, share, state)
    assert larger.tolist() == train.tolist()
    assert smaller.tolist() == test.tolist()


def test_hash_rule_separates_groups(tmp_path: Path) -> None:
    corpus = open_corpus(make_nsynth(tmp_path, {"train": notes(150, 30), "valid": notes(50, 30, "brass")}, audio=False))
    groups = {
        split: {clip.group for clip in corpus.clips(split=split, rule="hash")} for split in ("train", "valid", "test")
    }
    assert sum(map(len, groups.values())) == len(set().union(*groups.values())) == 60
    for split, names in groups.items():
        assert {hash_split(name) for name in names} == {split}
    ids = [c.clip_id for split in groups for c in corpus.clips(split=split, rule="hash")]
    assert len(ids) == len(set(ids)) == 200


def test_clips_come_sorted_from_pooled_folders(tmp_path: Path) -> None:
    root = make_nsynth(
        tmp_path,
        {"train": notes(20, family="organ"), "valid": notes(9), "test": notes(9, family="reed")},
        audio=False,
    )
    ids = [clip.clip_id for clip in open_corpus(root).clips(split="all", rule="none")]
    assert ids == sorted(ids)
    assert len(ids) == 38


def test_notonos_rule(tmp_path: Path) -> None:
    selection = pytest.importorskip("sklearn.model_selection")
    root = make_nsynth(
        tmp_path,
        {"train": notes(120), "valid": notes(60, family="reed"), "test": notes(20, family="vocal")},
        audio=False,
    )
    corpus = open_corpus(root)
    pooled = sorted(n for n in notes(120) + notes(60, family="reed") if 24 <= int(n.split("-")[1]) <= 84)
    assert len(pooled) < 180
    train, valid = selection.train_test_split(pooled, test_size=0.2, random_state=20_200_117)
    assert [c.clip_id for c in corpus.clips(split="train", rule="notono")] == sorted(train)
    assert [c.clip_id for c in corpus.clips(split="valid", rule="notono")] == sorted(valid)
    assert [c.clip_id for c in corpus.clips(split="test", rule="notono")] == notes(20, family="vocal")


def test_melreformers_and_featuresynths_rules(tmp_path: Path) -> None:
    selection = pytest.importorskip("sklearn.model_selection")
    names = [f"{n:02d}" for n in range(23)]
    for name in names:
        write_audio(tmp_path / f"{name}.wav", duration_s=0.01)
    corpus = open_corpus(tmp_path)
    train, valid = selection.train_test_split(names, test_size=0.1, random_state=42)
    assert [c.clip_id for c in corpus.clips(split="train", rule="melreformer")] == sorted(train)
    assert [c.clip_id for c in corpus.clips(split="valid", rule="melreformer")] == sorted(valid)
    for split in ("train", "valid"):
        assert [c.clip_id for c in corpus.clips(split=split, rule="featuresynth")] == names


def test_every_rule_has_a_statement_of_one_sentence(tmp_path: Path) -> None:
    make_nsynth(tmp_path / "n", {"train": notes(2)})
    write_audio(tmp_path / "m" / "train_data" / "1.wav")
    for folder in ("n", "m"):
        for name, statement in open_corpus(tmp_path / folder).rules().items():
            assert name == name.lower()
            assert statement.endswith(".")
            assert "{" not in statement
            assert ". " not in statement
