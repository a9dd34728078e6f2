from __future__ import annotations

import hashlib
import logging
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from benchmarks.alignment_set import with_pink_noise
from s2v_pipeline.alignment import passage_search
from s2v_pipeline.alignment.aligner import Alignment
from s2v_pipeline.alignment.choose import MAX_ONE_SEARCH_S, align_speech
from s2v_pipeline.alignment.passage_search import PocketsphinxSearch
from s2v_pipeline.alignment.pieces import MAX_PIECE_S
from s2v_pipeline.alignment.piecewise_aligner import METHOD, PiecewiseAligner
from s2v_pipeline.audio.denoise import denoise
from s2v_pipeline.audio.voice_activity import speech_segments
from s2v_pipeline.errors import AlignmentError
from s2v_pipeline.media import Waveform
from s2v_pipeline_tests.alignment.known_speech import DATA, NAMES, KnownSpeech, boundary_errors_s, joined, load, tiled

_OTHER = "Yesterday our committee published seventeen pages of angry letters."
_PAUSE_S = 0.5
_LONG_PAUSE_S = 1.4  # fewer words to a minute: less to recognise


def _align(waveform: Waveform, said: list[str]) -> Alignment:
    return PiecewiseAligner(speech_segments(waveform)).align(waveform, " ".join(said))


def _words(alignment: Alignment) -> list[str]:
    table = alignment.phonemes
    return list(table[table["word_index"] >= 0].drop_duplicates("word_index")["word"])


def _sentence_starts_s(table: pd.DataFrame) -> np.ndarray:
    """Starts of the phones after a silence."""
    silent = (table["phone"] == "SIL").to_numpy()
    return table["start_s"].to_numpy()[1:][silent[:-1] & ~silent[1:]]


@pytest.fixture(scope="module")
def long_speech() -> tuple[KnownSpeech, Alignment]:
    """Speech beyond the length of one search, aligned as the pipeline does it."""
    known, _ = tiled(10, pause_s=_LONG_PAUSE_S)
    assert known.waveform.duration_s > MAX_ONE_SEARCH_S
    return known, align_speech(known.waveform, known.transcript, speech_segments(known.waveform))


def test_long_speech_with_its_transcript(long_speech: tuple[KnownSpeech, Alignment]) -> None:
    known, alignment = long_speech
    assert (alignment.method, alignment.fallbacks, alignment.notes) == (METHOD, (), ())
    assert [word.strip(".").lower() for word in known.transcript.split()] == _words(alignment)
    errors_s = boundary_errors_s(known.truth, alignment.phonemes)
    assert np.median(errors_s) <= 0.012
    assert np.mean(errors_s) <= 0.015
    assert np.mean(errors_s <= 0.05) >= 0.97
    starts_s = _sentence_starts_s(known.truth)
    found_s = _sentence_starts_s(alignment.phonemes)
    assert max(np.min(np.abs(found_s - at_s)) for at_s in starts_s) <= 0.08


def test_one_transcript_with_every_fault(caplog: pytest.LogCaptureFixture) -> None:
    known, said = tiled(8, pause_s=_PAUSE_S)
    faulty = [*said[:1], _OTHER, *said[1:3], *said[4:5], _OTHER, *said[6:]]
    with caplog.at_level(logging.WARNING):
        alignment = _align(known.waveform, faulty)
    assert alignment.method == METHOD
    sentence_s = float(known.waveform.duration_s) / 8
    places_s = sorted(
        float(place.split("-")[0]) for line in alignment.fallbacks for place in line.split(" s:")[0].split(" s, ")
    )
    assert places_s == [pytest.approx(number * sentence_s, abs=0.6) for number in (3, 5)]
    assert "no words of it, or too few, are heard there" in alignment.fallbacks[0]
    (note,) = alignment.notes
    assert note.count("our committee published seventeen pages of angry") == 2
    assert all(line in caplog.text for line in (*alignment.fallbacks, note))
    errors_s = boundary_errors_s(known.truth, alignment.phonemes)
    assert np.median(errors_s) <= 0.015
    assert np.mean(errors_s <= 0.05) >= 0.95


def test_words_of_another_speech_are_refused() -> None:
    known, _ = tiled(3, pause_s=_PAUSE_S)
    with pytest.raises(AlignmentError, match="heard in the speech"):
        _align(known.waveform, [_OTHER] * 6)


def test_words_that_do_not_fit_fall_back_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    align_words = passage_search.align_words

    def fail_at_lemons(decoder: object, piece: Waveform, words: list[tuple[str, object]]) -> object:
        if "lemons" in [word for word, _ in words]:
            raise AlignmentError("the words must fit the sound", got="no path", cure="none")
        return align_words(decoder, piece, words)

    monkeypatch.setattr(passage_search, "align_words", fail_at_lemons)
    known, said = tiled(3, pause_s=_PAUSE_S)
    alignment = _align(known.waveform, said)
    assert _words(alignment).count("well") == 2
    assert "lemons" not in _words(alignment)
    (fallback,) = alignment.fallbacks
    assert "do not fit" in fallback
    assert np.median(boundary_errors_s(known.truth, alignment.phonemes)) <= 0.015


@pytest.fixture(scope="module")
def half_heard() -> Waveform:
    """The first sentence, cleaned of pink noise at -3 dB: right words fit as badly as wrong ones do in clean speech."""
    noisy = with_pink_noise(load(NAMES[0]).waveform, -3.0, "b")
    blocks = list(denoise([noisy.samples[None]], noisy.rate_hz, channels=1))
    return Waveform(np.concatenate(blocks, axis=1)[0], noisy.rate_hz)


def test_words_half_heard_in_noise_are_believed(half_heard: Waveform) -> None:
    known = load(NAMES[0])
    alignment = _align(half_heard, [known.transcript])
    assert alignment.fallbacks == ()
    assert len(_words(alignment)) == len(known.transcript.split())
    assert PocketsphinxSearch.min_fit_of_half_heard is not None
    assert PocketsphinxSearch.min_fit_of_half_heard <= alignment.fit < PocketsphinxSearch.min_fit
    assert np.median(boundary_errors_s(known.truth, alignment.phonemes)) <= 0.02


def test_a_search_without_a_limit_for_half_heard_words_refuses_them(half_heard: Waveform) -> None:
    class _Strict(PocketsphinxSearch):
        min_fit_of_half_heard = None

    with pytest.raises(AlignmentError, match="heard in the speech"):
        PiecewiseAligner(speech_segments(half_heard), _Strict).align(half_heard, load(NAMES[0]).transcript)


@pytest.mark.parametrize(
    "words",
    [
        load(NAMES[1]).transcript,  # as likely as the right ones, but they do not fit
        "easy to tell",  # too few to be heard by more than chance: they must fit as in clean speech
    ],
)
def test_in_noise_other_words_and_too_few_are_refused(half_heard: Waveform, words: str) -> None:
    with pytest.raises(AlignmentError, match="heard in the speech"):
        _align(half_heard, [words])


def test_speech_without_pauses_is_cut_between_words() -> None:
    parts = [load(NAMES[0])] * 12
    first, last = parts[0].truth["end_s"].iloc[0], parts[0].truth["start_s"].iloc[-1]
    spoken = Waveform(parts[0].waveform.samples[round(first * 16_000) : round(last * 16_000)].copy(), 16_000)
    whole = joined(*[spoken] * len(parts))
    alignment = PiecewiseAligner(((0.0, float(whole.duration_s)),)).align(whole, " ".join([parts[0].transcript] * 12))
    assert whole.duration_s > MAX_PIECE_S
    assert alignment.fallbacks == ()
    assert _words(alignment) == ["it's", "easy", "to", "tell", "the", "depth", "of", "a", "well"] * 12
    truth = parts[0].truth[parts[0].truth["phone"] != "SIL"]
    length_s = float(spoken.duration_s)
    shifts_s = [number * length_s - first for number in range(len(parts))]
    repeated = pd.concat([truth.assign(start_s=truth.start_s + at_s, end_s=truth.end_s + at_s) for at_s in shifts_s])
    errors_s = boundary_errors_s(repeated, alignment.phonemes)
    assert np.median(errors_s) <= 0.015
    assert np.mean(errors_s <= 0.06) >= 0.97


def test_a_long_silence_in_the_middle() -> None:
    known, said = tiled(2, pause_s=_PAUSE_S)
    silence = Waveform(np.zeros(30 * 16_000, np.float32), 16_000)
    alignment = _align(joined(known.waveform, silence, known.waveform), said + said)
    assert alignment.fallbacks == alignment.notes == ()
    lengths_s = alignment.phonemes["end_s"] - alignment.phonemes["start_s"]
    longest = alignment.phonemes.loc[lengths_s.idxmax()]
    assert longest["phone"] == "SIL"
    assert lengths_s.max() == pytest.approx(30.0 + _PAUSE_S + 0.44, abs=0.15)
    assert lengths_s[alignment.phonemes["phone"] != "SIL"].max() < 0.4


@pytest.mark.slow
@pytest.mark.slow
@pytest.mark.soak  # half a minute of long speech
def test_memory_does_not_grow_with_length_nor_the_table_change_with_the_process(
    long_speech: tuple[KnownSpeech, Alignment],
) -> None:
    program = (
        "import hashlib, resource; from s2v_pipeline.audio.voice_activity import speech_segments;"
        "from s2v_pipeline.alignment.choose import align_speech;"
        "from s2v_pipeline_tests.alignment.known_speech import tiled\n"
        "for n in (10, 20):\n"
        f"    known = tiled(n, pause_s={_LONG_PAUSE_S})[0]\n"
        "    table = align_speech(known.waveform, known.transcript, speech_segments(known.waveform)).phonemes\n"
        "    peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "    print(peak_kb, hashlib.sha256(table.to_csv().encode()).hexdigest())\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=DATA.parents[1]
    )
    (short_kb, digest), (long_kb, _) = (line.split() for line in ran.stdout.splitlines())
    assert digest == hashlib.sha256(long_speech[1].phonemes.to_csv().encode()).hexdigest()
    # 36 s more would take 120 MB more in one search; their samples are 2.3 MB.
    assert int(long_kb) - int(short_kb) < 30_000
